"""The score table is data, and what is printed of it is never written twice."""

import ast
import pathlib

import pytest

from trustjax import scores

LIBRARY = pathlib.Path(__file__).parents[1] / "trustjax"
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


@pytest.mark.parametrize("name", scores.names())
def test_a_registered_score_is_a_public_function(name):
    assert callable(getattr(scores, name))
    assert scores.lookup(name).fn.__name__.removeprefix("_") == name


def test_the_name_of_a_score_is_written_nowhere_but_in_its_own_file():
    """A name is its function's: who asks for it gets it from the table."""
    names = set(scores.names())
    found = [
        f"{path.relative_to(LIBRARY)}:{node.lineno}: {node.value!r}"
        for path in LIBRARY.rglob("*.py")
        # A kind of detector has the name of the paper that a score has it from.
        # So it has where `trustjax detect` asks for one and tells of it.
        if "detectors" not in path.parts and not path.name.startswith("_detect")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and node.value in names
        # The command that trains one.
        and not (path.name in {"cli.py", "_launch.py"} and node.value == "oracle")
    ]
    assert not found


def test_one_score_is_the_baseline():
    assert [n for n in scores.names() if scores.lookup(n).baseline] == [
        scores.baseline().name
    ]


@pytest.mark.parametrize("name", scores.names(computable_from={"logits"}))
@pytest.mark.parametrize("num_classes", [2, 1000])
def test_which_scores_change_with_a_constant_of_the_logits(name, num_classes):
    """Against their equations: p does not change with it, z does."""
    score = scores.lookup(name)
    assert score.changes_with_constant(num_classes) == ("z_" in score.equation)


def test_a_score_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r"<lambda> is not: write it with def"):
        scores.Score(lambda z: z, needs=(), title="", paper="", equation="")


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
