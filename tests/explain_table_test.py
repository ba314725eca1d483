"""The table of explanations is data; what is printed of it is never written twice."""

import pathlib

import pytest

from trustjax import explain

README = pathlib.Path(__file__).parents[1] / "README.md"


def parts(text):
    """What stands before, between and behind the two marks."""
    before, rest = text.split("<!-- explanations -->")
    table, behind = rest.split("<!-- /explanations -->")
    return before, table, behind


def test_the_readme_holds_the_table():
    """Write it anew with `python -m tests.explain_table_test`."""
    _, table, _ = parts(README.read_text())
    assert table == f"\n{explain.markdown_table()}"


@pytest.mark.parametrize("name", explain.METHODS)
def test_a_row_says_what_a_page_needs(name):
    row = explain.METHODS[name]
    assert row.fn is getattr(explain, name)
    assert name == row.name
    asked = row.question.format(answer="P", contrast="Q")
    assert asked.endswith("?")
    assert ("Q" in asked) == row.for_each_contrast
    assert row.described.endswith(").")
    assert "|" not in row.described


if __name__ == "__main__":
    before, _, behind = parts(README.read_text())
    README.write_text(
        f"{before}<!-- explanations -->\n{explain.markdown_table()}"
        f"<!-- /explanations -->{behind}"
    )
