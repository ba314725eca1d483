"""A missing optional dependency is an error that says what to install."""

import subprocess
import sys

import pytest

exhaustive = pytest.mark.exhaustive


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [
        ("data", "grain", "data"),
        pytest.param("data", "tensorflow_datasets", "data", marks=exhaustive),
        pytest.param("data", "importlib_resources", "data", marks=exhaustive),
        pytest.param("report", "matplotlib", "report", marks=exhaustive),
        ("report", "jinja2", "report"),
        ("train", "orbax", "train"),
        ("cli", "tyro", "cli"),
    ],
)
def test_a_missing_extra_names_the_install_command(package, missing, extra):
    code = f"import sys; sys.modules['{missing}'] = None; import trustjax.{package}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"run: pip install 'trustjax[{extra}]'" in run.stderr


@pytest.mark.parametrize(
    "missing", ["torch", pytest.param("torchax", marks=exhaustive)]
)
def test_torch_is_missed_where_it_is_asked_for(missing):
    code = (
        f"import sys; sys.modules['{missing}'] = None; from trustjax import bridge;"
        "bridge.from_torch(None, None)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "run: pip install 'trustjax[torch]'" in run.stderr
