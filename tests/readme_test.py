"""What README shows runs, and what it tells of is there."""

import contextlib
import pathlib
import re
import sys

import pytest

from trustjax import cli

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
OF_PYTORCH = "## Use it with PyTorch"
"""The section whose examples are marked `py` and run beside torch (from_torch_test)."""


@pytest.fixture
def _in_an_empty_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        yield


@pytest.mark.usefixtures("_in_an_empty_folder", "without_type_checks")
@pytest.mark.exhaustive
def test_the_examples_can_be_pasted_one_after_the_other(capsys):
    pasted = {}
    for example in EXAMPLES:
        exec(example, pasted)
    auroc, page, *statistics, accuracy = capsys.readouterr().out.split()
    assert 0 <= float(auroc) <= 1
    assert page == "reports/mine/index.html"
    assert pathlib.Path(page).exists()
    assert " ".join(statistics).endswith("(500, 2, 8)")
    assert 0.8 < float(accuracy) <= 1
    run = cli_of("assess", "predictions.npz")
    assert (run / "index.html").exists()


def test_every_example_is_run_by_one_of_two_tests():
    for section in re.split(r"^(?=## )", README, flags=re.MULTILINE):
        marks = set(re.findall(r"^```(\w+)$", section, re.MULTILINE))
        assert marks <= ({"py"} if section.startswith(OF_PYTORCH) else {"python"})


def cli_of(*arguments):
    """The folder that `trustjax <arguments>` writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["trustjax", *arguments])
        cli.main()
    return pathlib.Path("reports/predictions")


@pytest.mark.parametrize("path", re.findall(r"\]\(([^):]+)\)", README))
def test_the_links_lead_somewhere(path):
    assert (pathlib.Path(__file__).parents[1] / path).exists()
