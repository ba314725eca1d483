"""A missing optional dependency is an error that says what to install."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [
        ("data", "grain", "data"),
        ("data", "tensorflow_datasets", "data"),
        ("data", "importlib_resources", "data"),
        ("report", "matplotlib", "report"),
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
