"""What README shows runs, and what it tells of is there."""

import pathlib
import re

import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_can_be_pasted(capsys):
    example = re.search(r"```python\n(import jax.*?)```", README, re.DOTALL)
    assert example is not None
    exec(example[1], {})
    printed = capsys.readouterr().out
    assert "(64, 8, 8)" in printed
    assert len(example[1].strip().splitlines()) <= 14


@pytest.mark.parametrize("path", re.findall(r"\]\(([^):]+)\)", README))
def test_the_links_lead_somewhere(path):
    assert (pathlib.Path(__file__).parents[1] / path).exists()
