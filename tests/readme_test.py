"""What README shows runs, and what it tells of is there."""

import pathlib
import re

import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_can_be_pasted(capsys):
    example = re.search(r"```python\n(import jax.*?)```", README, re.DOTALL)
    assert example is not None
    exec(example[1], {})
    auroc, *statistics = capsys.readouterr().out.split()
    assert 0.8 < float(auroc) <= 1
    assert " ".join(statistics).endswith("(1500, 6, 8)")


@pytest.mark.parametrize("path", re.findall(r"\]\(([^):]+)\)", README))
def test_the_links_lead_somewhere(path):
    assert (pathlib.Path(__file__).parents[1] / path).exists()
