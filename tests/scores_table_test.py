"""The score table is data, and what is printed of it is never written twice."""

import pathlib

import pytest

from trustjax import scores

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_readme_holds_the_table():
    """Write it anew with `python -m tests.scores_table_test`."""
    _, table, _ = parts(README.read_text())
    assert table == f"\n{scores.markdown_table()}"


def parts(text):
    """What stands before, between and behind the two marks."""
    before, rest = text.split("<!-- scores -->")
    between, behind = rest.split("<!-- /scores -->")
    return before, between, behind


@pytest.mark.parametrize("name", scores.names())
def test_a_row_is_complete_and_fits_a_line_of_the_table(name):
    score = scores.lookup(name)
    assert score.title
    assert score.paper
    assert score.cost
    assert len(score.summary) <= 80
    assert score.summary.endswith(".")


def test_every_row_of_the_table_has_six_cells():
    lines = scores.markdown_table().splitlines()
    assert len(lines) == 2 + len(scores.names())
    for line in lines:
        assert line.replace(r"\|", "").count("|") == 7, line


if __name__ == "__main__":
    before, _, behind = parts(README.read_text())
    README.write_text(
        f"{before}<!-- scores -->\n{scores.markdown_table()}<!-- /scores -->{behind}"
    )
