"""`trustjax compare`: reports and files of several networks, from the command line."""

import json
import pathlib
import sys

import numpy as np
import pytest

from tests import made_up
from trustjax import assess, cli, pipeline, report

# As a user runs it: wrong types meet the library, not the tests' type checker.
pytestmark = pytest.mark.usefixtures("without_type_checks")


def run(*arguments):
    """Runs `trustjax <arguments>` in the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["trustjax", *map(str, arguments)])
        cli.main()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def said():
    run_record = {"model": "cnn", "dataset": "made_up", "num_parameters": 42}
    return made_up.predictions(200, full=False, run=run_record)


def saved(name, said, **changes):
    np.savez(name, **{"logits": said.logits, "labels": said.labels} | changes)
    return name


def compared(*paths):
    config = pipeline.ComparisonConfig(tuple(map(pathlib.Path, paths)))
    return pipeline.comparison_report(config).comparison


@pytest.fixture
def folder(said):
    report.write(assess.assess(said), said, "reports/cnn-0")
    return "reports/cnn-0"


def test_a_report_and_files_are_compared_on_one_page(said, folder, capsys):
    noise = np.random.default_rng(0).normal(size=said.logits.shape)
    other = saved("other.npz", said, logits=said.logits + noise, score_mine=noise[:, 0])
    chances = saved("chances.npz", said)
    with np.load(chances) as arrays:
        labels = arrays["labels"]
    np.savez(chances, probabilities=said.probabilities, labels=labels)
    run("compare", folder, other, chances, "--out", "page")
    out = capsys.readouterr().out
    assert "comparison: page/index.html" in out
    assert "cnn: accuracy: " in out
    numbers = json.loads(pathlib.Path("page/metrics.json").read_text())
    assert list(numbers["networks"]) == ["cnn", "other", "chances"]
    of_cnn = numbers["networks"]["cnn"]
    assert of_cnn["num_parameters"] == 42
    assert of_cnn["run"]["dataset"] == "made_up"
    assert of_cnn["run"]["file"] == "reports/cnn-0/scores.npz"
    assert numbers["run"]["command"].startswith("trustjax compare reports/cnn-0 oth")
    equal = numbers["comparisons"]["accuracy"]["differences"]
    assert equal[0][2] == equal[2][0] == 0, "the same answers"


@pytest.mark.exhaustive
def test_scores_that_the_outputs_determine_are_compared(said):
    paths = [saved("a.npz", said), saved("b.npz", said)]
    found = compared(*paths)
    names = {score.name for score in found.networks[0].assessment.scores}
    assert {"max_softmax", "grad_trust", "energy", "margin"} <= names
    titles = {score.title for score in found.networks[0].assessment.scores}
    assert "GradTrust" in titles


@pytest.mark.exhaustive
def test_files_of_one_name_are_told_apart_by_their_paths(said):
    for name in ("one", "two"):
        pathlib.Path(name).mkdir()
        saved(f"{name}/said.npz", said)
    found = compared("one/said.npz", "two/said.npz")
    assert found.names == ("one/said.npz", "two/said.npz")


@pytest.mark.exhaustive
def test_names_can_be_given(said):
    paths = [saved("a.npz", said), saved("b.npz", said)]
    run("compare", *paths, "--names", "first", "second")
    numbers = json.loads(pathlib.Path("reports/comparison/metrics.json").read_text())
    assert list(numbers["networks"]) == ["first", "second"]
    with pytest.raises(SystemExit):
        run("compare", *paths, "--names", "other", "second")
    again = json.loads(pathlib.Path("reports/comparison/metrics.json").read_text())
    assert again == numbers, "a page of other settings stays"
    run("compare", *paths, "--names", "other", "second", "--overwrite")
    again = json.loads(pathlib.Path("reports/comparison/metrics.json").read_text())
    assert list(again["networks"]) == ["other", "second"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.npz"], "it takes two networks to compare, got 1"),
        (["a.npz", "b.npz", "--names", "one"], "there are 1 names for 2 networks"),
        (["a.npz", "b.npz", "--names", "one", "one"], "must differ, got one, one"),
        (["a.npz", "a.npz"], "must differ, got a.npz, a.npz"),
        (["a.npz", "labels.npz"], "row 3 is the first with another label"),
        (["a.npz", "index.npz"], "row 1 is the first with another record number"),
        (["a.npz", "none.npz"], "none.npz"),
        (["a.npz", "empty"], "empty is no report: it holds no metrics.json"),
        (["a.npz", "page"], "page/metrics.json: not the numbers of a report"),
        (["a.npz", "b.npz", "--out", "/dev/null/page"], "cannot write in the folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    said, capsys, arguments, expected
):
    index = np.arange(200)
    saved("a.npz", said, index=index)
    saved("b.npz", said, index=index)
    saved("labels.npz", said, labels=said.labels + (index == 3))
    saved("index.npz", said, index=np.where(index == 1, 900, index))
    pathlib.Path("empty").mkdir()
    pathlib.Path("page").mkdir()
    pathlib.Path("page/metrics.json").write_text('{"networks": {}}')
    with pytest.raises(SystemExit) as ending:
        run("compare", *arguments)
    assert ending.value.code == 2
    message, hint = capsys.readouterr().err.strip().splitlines()
    assert expected in message
    assert "TRUSTJAX_TRACEBACK" in hint
    assert not pathlib.Path("reports/comparison/index.html").exists()
