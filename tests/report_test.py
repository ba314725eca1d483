"""The files of a report: strict, reproducible, whole or not at all, without gaps."""

import csv
import dataclasses
import html.parser
import io
import json
import re
from typing import NamedTuple

import numpy as np
import pytest

from tests import made_up
from trustjax import assess, report
from trustjax.report import (
    _gallery,
    _json,
    _names,
    _page,
    _section,
    _style,
    _tables,
    _text,
    _trust_report,
)


@pytest.fixture(scope="module")
def said():
    return made_up.predictions()


@pytest.fixture(scope="module")
def found(said):
    return assess.assess(said, num_samples=200)


@pytest.fixture(scope="module")
def folder(found, said, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "made" / "up"
    heard = []
    progress = lambda *facts: heard.append(facts)
    assert report.write(found, said, out, progress=progress) == out / "index.html"
    sections = len(_trust_report.PAGE.sections)
    assert heard == [("drawing", n + 1, sections, {}) for n in range(sections)]
    return out


class Elements(html.parser.HTMLParser):
    """Every opening tag with its attributes, and the text of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._hidden = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in {"style", "script"}

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def page(folder):
    return Elements((folder / "index.html").read_text("utf-8"))


def sections(page):
    return {attributes.get("id") for attributes in page.named("section")}


FIGURES = {"risk", "histograms", "scatter", "reliability", "spectrum", "densities"}
TABLES = {"scores", "matrix", "mistakes", "gradients", "strangers"}
BESIDE = {f"figures/{name}.svg" for name in FIGURES}
BESIDE |= {f"tables/{name}.csv" for name in TABLES}


def test_folder_holds_its_files_and_nothing_else(folder):
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {"index.html", "metrics.json", "scores.npz"} | BESIDE
    listed = json.loads((folder / "metrics.json").read_text())["files"]
    assert set(listed) == {"scores.npz"} | BESIDE


def test_metrics_are_strict_json(folder, found):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    numbers = json.loads((folder / "metrics.json").read_text(), parse_constant=refuse)
    accuracy = found.headline["accuracy"]
    assert numbers["headline"]["accuracy"] == {
        "value": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
    }
    assert numbers["best_score"] == found.best
    assert numbers["scores"]["coin"]["auroc"]["value"] == pytest.approx(0.5, abs=0.1)
    assert numbers["run"] == {"dataset": "made_up", "seed": 0, "config": {"rate": None}}
    assert numbers["gradients"]["groups"] == ["conv0", "conv1", "dense"]


def test_what_is_not_defined_is_null_with_a_reason(said):
    all_right = dataclasses.replace(said, labels=said.predicted)
    found = assess.assess(all_right, num_samples=200)
    numbers = json.loads(_json.to_text(_json.of_assessment(found)))
    assert numbers["scores"]["coin"]["auroc"] == {
        "value": None,
        "not_defined": "every answer is right",
    }


def test_a_column_that_does_not_rank_has_no_best(found):
    table = _tables.scores(found)
    marked = {
        column.name: [row.cells[i].kind == "best" for row in table.rows]
        for i, column in enumerate(table.columns)
    }
    assert not any(marked.pop("auac_range"))
    assert all(map(any, marked.values()))


def test_scores_can_be_read_back(folder, said):
    read = assess.read_predictions(folder / "scores.npz")
    np.testing.assert_array_equal(read.logits, said.logits)
    np.testing.assert_array_equal(read.labels, said.labels)
    assert read.class_names == said.class_names
    assert read.scores.keys() == said.scores.keys()
    for name, values in said.scores.items():
        np.testing.assert_array_equal(read.scores[name], values)


@pytest.mark.exhaustive
def test_record_numbers_can_be_read_back(found, said, tmp_path):
    assert assess.read_predictions(report_of(found, said, tmp_path)).index is None
    numbered = dataclasses.replace(said, index=np.arange(len(said.labels))[::-1])
    read = assess.read_predictions(report_of(found, numbered, tmp_path))
    np.testing.assert_array_equal(read.index, numbered.index)


def report_of(found, said, folder):
    return report.write(found, said, folder).parent / "scores.npz"


def test_the_same_assessment_gives_the_same_page(folder, found, said):
    again = _trust_report.rendered(found, said)
    assert again.html == (folder / "index.html").read_text("utf-8")
    assert again.files == {name: (folder / name).read_text("utf-8") for name in BESIDE}


def test_page_stands_alone(page):
    assert page.named("html")[0]["lang"] == "en"
    assert page.named("script") == [{}], "one, in the page itself"
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            address = attributes.get(name, "#")
            local = address in {"metrics.json", "scores.npz"} | BESIDE
            assert local or address.startswith(("#", "data:")), (tag, address)
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_page_refers_to_nothing_that_is_not_there(page):
    identifiers = {a["id"] for _, a in page.tags if "id" in a}
    for tag, attributes in page.tags:
        for value in attributes.values():
            for target in re.findall(r"^#(.+)|url\(#([^)]+)\)", value or ""):
                assert "".join(target) in identifiers, (tag, value)


def test_everything_to_see_is_described(page):
    assert len(page.named("figure")) == len(page.named("figcaption")) == 15
    assert len(page.named("svg")) == 6
    assert all(svg["aria-label"] and svg["role"] == "img" for svg in page.named("svg"))
    images = page.named("img")
    assert len(images) == 48
    assert all(re.match("example \\d+: answered", image["alt"]) for image in images)
    assert all(header["scope"] in {"row", "col"} for header in page.named("th"))


def test_page_has_every_part(page):
    assert sections(page) == {
        "headline",
        "scores",
        "classes",
        "gradients",
        "strangers",
        "gallery",
        "terms",
        "run",
    }
    for words in ("GradTrust", "made_up", "NetTrustScore", "rate nan"):
        assert words in page.text
    assert "A <coin>, for comparison." in page.text, "escaped, then read back"


def test_parts_without_data_are_left_out():
    plain = made_up.predictions(full=False)
    scores = {"margin": plain.scores["margin"]}
    plain = dataclasses.replace(plain, scores=scores)
    page = Elements(
        _trust_report.rendered(assess.assess(plain, num_samples=200), plain).html
    )
    assert sections(page) == {"headline", "scores", "classes", "terms", "run"}
    figures = {attributes.get("id") for attributes in page.named("figure")}
    assert "figure-scatter" not in figures
    assert "figure-risk" in figures
    links = {link["href"] for link in page.named("a")}
    assert not links & {"#gradients", "#strangers", "#gallery"}


@pytest.mark.parametrize("case", ["all right", "all wrong", "one example"])
def test_what_is_not_defined_is_said_on_the_page(said, case):
    labels = (said.predicted + (case == "all wrong")) % 5
    odd = dataclasses.replace(said, labels=labels)
    if case == "one example":
        odd = assess.Predictions(said.logits[:1], labels[:1])
    page = Elements(
        _trust_report.rendered(assess.assess(odd, num_samples=200), odd).html
    )
    assert not re.search(r"\bnan\b(?!</td>)|None", page.text.replace("rate nan", ""))
    reason = "no answer is right" if case == "all wrong" else "no answer is wrong"
    assert f"not defined: {reason}" in page.text
    assert "No score can be compared with another" in page.text


def test_an_empty_class_is_said_on_the_page(said):
    labels = np.where(said.labels == 4, 0, said.labels)
    names = ("ant", "bee", "cat", "dog", "yeti")
    odd = assess.Predictions(said.logits, labels, class_names=names)
    page = Elements(
        _trust_report.rendered(assess.assess(odd, num_samples=200), odd).html
    )
    assert "Trust in yeti is not defined: no example has such a label." in page.text


def test_a_thousand_classes_and_many_examples_stay_small(found):
    many = made_up.predictions(10_000, 1000)
    classes = tuple(
        dataclasses.replace(found.classes[index % 5], name=f"class {index}")
        for index in range(1000)
    )
    cells = np.ones((1000, 1000))
    wide = dataclasses.replace(
        found, classes=classes, confusion=cells.astype(int), trust_matrix=cells
    )
    text = _trust_report.rendered(wide, many).html
    assert len(text) < 1_000_000
    assert len(_json.to_text(_json.of_assessment(wide))) < 1_000_000
    page = Elements(text)
    figures = {attributes.get("id") for attributes in page.named("figure")}
    assert "figure-spectrum" in figures
    assert "figure-matrix" not in figures, "nobody can read a million cells"
    assert "figure-mistakes" in figures


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_is_a_csv_file_with_every_digit_and_every_row(folder, found):
    scores = rows_of((folder / "tables/scores.csv").read_text("utf-8"))
    assert [row["Score"] for row in scores] == [s.title for s in found.scores]
    for row, score in zip(scores, found.scores, strict=True):
        auroc = score.numbers["auroc"]
        ends = [float(row[f"auroc{end}"]) for end in ("", " low", " high")]
        assert ends == [auroc.value, auroc.low, auroc.high]
    assert next(r for r in scores if r["Score"] == "GradTrust")["auac_range"] == ""
    mistakes = rows_of((folder / "tables/mistakes.csv").read_text("utf-8"))
    assert len(mistakes) == len(found.mistakes) > _tables.MOST_MISTAKES
    assert sum(int(row["count"]) for row in mistakes) == found.num_errors


def test_names_are_whole_in_a_csv_file():
    names = _names.Names()
    long = 'a "name", with a comma and $ ' + "x" * 60
    (marked,) = names.marked([long])
    assert marked != long
    cells = [_section.Cell("0.50", 0.5, also={"count": 3}), _section.Cell(marked)]
    columns = [_section.Column("trust", "Trust"), _section.Column("twin", "Twin")]
    row = _section.Row(marked, cells)
    table = _section.Table("t", "T", "class", columns, [row], "", rest=[row])
    assert rows_of(_page.to_csv(table, names)) == 2 * [
        {"class": long, "trust": "0.5", "trust count": "3", "twin": long}
    ]


def test_a_section_is_left_out_by_its_own_declaration():
    class Subject(NamedTuple):
        numbers: dict[str, int] | None

    asked = []

    def drawn(subject):
        asked.append(subject)
        return [[None], [_section.Terms([("a", "b")]), None]]

    section = _section.Section("s", "S", drawn, needs=("numbers",))
    assert section.filled(Subject(None)) is None
    assert section.filled(Subject({})) is None
    assert asked == [], "what is left out is not drawn"
    filled = section.filled(Subject({"a": 1}))
    assert filled is not None
    assert [len(row) for row in filled.rows] == [1]
    nothing = dataclasses.replace(section, drawn=lambda subject: [[None]])
    assert nothing.filled(Subject({"a": 1})) is None


def test_a_page_of_other_sections_is_another_list():
    table = _section.Table("t", "T", "", [], [_section.Row("only", [])], "caption")
    page = _section.Page(
        kind="Another page",
        title=str,
        facts=lambda subject: ["a fact"],
        verdict=lambda subject: ["*1* is one."],
        notes=lambda subject: [],
        sections=(_section.Section("one", "One", lambda subject: [[table]]),),
        footer="",
    )
    made = _page.render(page, "about <this>", _names.Names())
    elements = Elements(made.html)
    assert sections(elements) == {"one"}
    assert "Another page: about <this>" in elements.text
    assert made.files.keys() == {"tables/t.csv"}


@pytest.mark.exhaustive
def test_files_that_the_new_report_has_not_go_with_the_old_one(said, tmp_path):
    plain = made_up.predictions(full=False)
    full_found, plain_found = (assess.assess(s, num_samples=200) for s in (said, plain))
    report.write(full_found, said, tmp_path)
    mine = (tmp_path / "figures/mine.svg", tmp_path / "tables/mine.csv")
    for path in mine:
        path.write_text("the user's")
    report.write(plain_found, plain, tmp_path)
    assert not (tmp_path / "tables/gradients.csv").exists()
    assert (tmp_path / "tables/scores.csv").exists()
    assert all(path.read_text() == "the user's" for path in mine)


@pytest.mark.parametrize(
    "listed", ["nothing", ["../mine.txt", "notes.txt", "figures/../notes.svg", 3]]
)
def test_a_strange_list_of_files_takes_nothing_away(found, said, tmp_path, listed):
    folder = tmp_path / "report"
    folder.mkdir()
    kept = (tmp_path / "mine.txt", folder / "notes.txt", folder / "notes.svg")
    for path in kept:
        path.write_text("the user's")
    (folder / "metrics.json").write_text(json.dumps({"files": listed}))
    report.write(found, said, folder)
    assert all(path.read_text() == "the user's" for path in kept)


def test_an_unwritable_folder_is_an_error(found, said, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write in the folder .*file/report"):
        report.write(found, said, tmp_path / "file" / "report")


def test_a_failure_leaves_the_old_report(found, said, tmp_path, monkeypatch):
    for name in ("index.html", "metrics.json", "scores.npz"):
        (tmp_path / name).write_text("old")

    def fail(*_):
        raise RuntimeError("no figure")

    monkeypatch.setattr(_trust_report._class_figures, "spectrum", fail)
    with pytest.raises(RuntimeError, match="no figure"):
        report.write(found, said, tmp_path)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}
    assert len(list(tmp_path.iterdir())) == 3


def test_figures_keep_their_text_and_share_no_name():
    def drawn(name):
        with _style.drawing(name):
            figure, axes = _style.new_figure(100)
            axes.plot([0, 1], [0, 1], color=_style.RIGHT)
            axes.set_title("0.123456 < 1 & more")
            return _style.to_svg(figure, name, 'a "line" < 1')

    one, other = drawn("one"), drawn("other")
    assert "0.123456 &lt; 1 &amp; more" in one, "text is not rounded as coordinates are"
    assert "var(--right)" in one
    assert 'aria-label="a &quot;line&quot; &lt; 1"' in one
    names = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (one, other)]
    assert names[0]
    assert not names[0] & names[1]


def test_images_are_kept_or_made_smaller():
    small = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28, 1)
    address, pixelated = _gallery.data_address(small)
    assert pixelated
    assert address.startswith("data:image/png;base64,")
    large = np.zeros((300, 200, 3), np.uint8)
    address, pixelated = _gallery.data_address(large)
    assert not pixelated
    assert len(address) < 3000


@pytest.mark.parametrize(
    ("confidence", "text"),
    [(0.5, "50.0%"), (0.99949, "99.9%"), (0.99951, ">99.9%"), (1.0, "100.0%")],
)
def test_sureness_is_rounded_up_to_certainty_only_there(confidence, text):
    assert _text.sureness(confidence).replace(_text.THIN, "") == text


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_lists_are_prose(names, text):
    assert _text.listed(names) == text


@pytest.mark.parametrize("behind", [0, 1, 2])
@pytest.mark.parametrize("tied", [0, 1, 2])
def test_comparison_is_grammatical(found, tied, behind):
    best, *others = found.scores
    other = next(score for score in others if score.name == "coin")

    def copies(number, *, may_be_best):
        return tuple(
            dataclasses.replace(
                other, title=f"{may_be_best}{i}", may_be_best=may_be_best
            )
            for i in range(number)
        )

    scores = (best, *copies(tied, may_be_best=True))
    scores += copies(behind, may_be_best=False)
    text = " ".join(_text.comparison(dataclasses.replace(found, scores=scores)))
    assert (" not distinguishable " in text) == (tied > 0)
    assert ("behind by more than chance." in text) == (behind > 0)
    assert ("one statement about all" in text) == (tied + behind > 0)
    assert "1 scores" not in text


def test_a_page_with_one_error_claims_nothing():
    said = made_up.predictions(40, 3, full=False)
    labels = said.predicted.copy()
    labels[0] = (labels[0] + 1) % 3
    said = dataclasses.replace(said, labels=labels)
    page = Elements(
        _trust_report.rendered(assess.assess(said, num_samples=200), said).html
    )
    assert "1 answer is wrong, and it takes 10" in page.text
    assert "behind by more than chance" not in page.text
    assert "≈ best" not in page.text


def test_another_order_of_the_classes_is_said(found):
    order = assess.ClassOrder(1.0, (1, 0))
    text = _text.verdict(dataclasses.replace(found, other_class_order=order))[1]
    assert text.startswith("In another order of the classes it would be right on *100")


def test_comparison_is_among_the_numbers(folder, found):
    numbers = json.loads((folder / "metrics.json").read_text())["comparison"]
    assert numbers["names"] == list(found.comparison.names)
    assert "coin" not in numbers["may_be_best"]
    assert numbers["no_statement_because"] is None
    coin, best = (numbers["names"].index(name) for name in ("coin", found.best))
    assert numbers["high"][coin][best] < 0 < numbers["low"][best][coin]
