"""The page about several networks: what it says, and what it takes care not to say."""

import dataclasses
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from tests.assess_compare_test import network
from tests.report_names_test import EXPLICIT
from tests.report_test import Elements, rows_of, sections
from trustjax import assess, report
from trustjax.report import (
    _names,
    _network_figures,
    _network_page,
    _network_tables,
    _network_text,
)

RUN = {"dataset": "made_up", "num_parameters": 1_234_567, "config": {"a": 1}}
NAMES = ("a *bold* one", "\u202eturned <b>", "plain")


@pytest.fixture(scope="module")
def found():
    labels = np.random.default_rng(1).integers(4, size=900)
    good, twin, poor = (
        network((3, 3, skill, 0.2), labels=labels, seed=seed)
        for seed, skill in ((2, 3), (3, 3), (4, 0.5))
    )
    good = dataclasses.replace(good, run=RUN)
    networks: dict[str, assess.Predictions] = dict(
        zip(NAMES, (good, twin, poor), strict=True)
    )
    return assess.compare(networks, num_samples=100)


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    assert report.write_comparison(found, out) == out / "index.html"
    return out


@pytest.fixture(scope="module")
def page(folder):
    return Elements((folder / "index.html").read_text("utf-8"))


def test_the_page_has_its_sections_and_files(folder, page):
    assert sections(page) == {"networks", "classes", "terms", "run"}
    figures = "plane", "confidences", "reliability", "risk", "spectra", "densities"
    tables = "networks", "differences", "classes"
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {
        "index.html",
        "metrics.json",
        *(f"figures/{name}.svg" for name in figures),
        *(f"tables/{name}.csv" for name in tables),
    }
    shown = {attributes.get("id") for attributes in page.named("figure")}
    assert shown == {f"figure-{name}" for name in (*figures, *tables)}
    links = {link["href"] for link in page.named("a")}
    assert {link for link in links if not link.startswith("#")} == files - {
        "index.html"
    }


def test_the_same_comparison_gives_the_same_page(folder, found):
    again = _network_page.rendered(found)
    assert again.html == (folder / "index.html").read_text("utf-8")


def test_the_numbers_are_strict_json(folder, found):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (folder / "metrics.json").read_text("utf-8")
    numbers = json.loads(text, parse_constant=refuse)
    assert tuple(numbers["networks"]) == NAMES
    of_one = numbers["networks"][NAMES[0]]
    assert of_one["num_parameters"] == RUN["num_parameters"]
    assert of_one["accuracy"]["value"] == found.networks[0].numbers["accuracy"].value
    assert of_one["run"] == RUN
    trust = numbers["comparisons"]["net_trust_score"]
    assert trust["may_be_best"] == list(NAMES[:2])
    assert [c["distrusted_by_all"] for c in numbers["classes"]][3]


def test_the_table_of_networks_holds_what_table_1_holds(folder, found):
    rows = rows_of((folder / "tables/networks.csv").read_text("utf-8"))
    assert [row["network"] for row in rows] == list(map(_names.cleaned, NAMES))
    assert [row["parameters"] for row in rows] == ["1234567", "", ""]
    for row, one in zip(rows, found.networks, strict=True):
        for number in _network_tables.NUMBERS:
            quantity = one.numbers[number.name]
            ends = [float(row[f"{number.name}{e}"]) for e in ("", " low", " high")]
            assert ends == [quantity.value, quantity.low, quantity.high]
        assert row["best score"] == one.assessment.scores[0].title


def test_marks_are_those_of_the_statements(found):
    table = _network_tables.networks(found)
    place = [column.name for column in table.columns].index("net_trust_score")
    kinds = [row.cells[place].kind for row in table.rows]
    assert sorted(kinds) == ["", "best", "near"]
    assert kinds[2] == ""
    differences = _network_tables.differences(found)
    assert len(differences.rows) == 3
    coloured = {row.name: row.cells[1].level for row in differences.rows}
    assert coloured[f"{NAMES[0]} less {NAMES[1]}"] == 0
    assert coloured[f"{NAMES[0]} less {NAMES[2]}"] == _network_tables.COLOUR


def test_no_name_becomes_markup_or_turns_the_text(folder):
    text = (folder / "index.html").read_text("utf-8")
    assert "turned <b>" not in text
    bold = re.findall(r"<b>(.*?)</b>", text)
    assert bold
    assert all(re.fullmatch(r"[\d.,]+(\u202f%)?", part) for part in bold)
    apart = re.sub(r"<(bdi|tspan|title)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not EXPLICIT.search(re.sub(r'="[^"]*"', "", apart))


def test_terms_name_every_family_of_statements(page):
    assert "the differences of all 8 numbers of all pairs of networks" in page.text
    assert "the differences of all classes of all pairs" in page.text


def with_statement(found, number, values, apart):
    """The comparison with other values, and told apart or not."""
    statement = found.statements[number]
    values = jnp.asarray(values, jnp.float32)
    differences = values[:, None] - values[None]
    margin = 0.5 * jnp.abs(differences) if apart else jnp.full_like(differences, 9.0)
    changed = dataclasses.replace(
        statement,
        values=values,
        differences=differences,
        low=differences - margin,
        high=differences + margin,
    )
    return dataclasses.replace(found, statements={**found.statements, number: changed})


@pytest.mark.parametrize(
    ("accuracy", "trust", "words"),
    [
        (([3, 2, 1], True), ([3, 2, 1], True), "the highest NetTrustScore as well"),
        (([3, 2, 1], True), ([1, 2, 3], True), "a difference beyond chance"),
        (([3, 2, 1], True), ([1, 2, 3], False), "which may be chance"),
        (([3, 2, 1], False), ([3, 2, 1], False), "not distinguishable from it in that"),
    ],
)
def test_the_verdict_claims_what_the_statements_support(found, accuracy, trust, words):
    found = with_statement(found, "accuracy", *accuracy)
    found = with_statement(found, "net_trust_score", *trust)
    text = " ".join(_network_text.verdict(found))
    assert words in text
    assert ("ahead of the others by more than chance" in text) == accuracy[1]
    assert text.startswith(f"{NAMES[0]} is right most often")


def test_networks_that_are_right_more_often_and_trusted_less_are_named(found):
    found = with_statement(found, "accuracy", [3, 2, 1], apart=True)
    found = with_statement(found, "net_trust_score", [3, 1, 2], apart=True)
    assert _network_text.apart(found) == [(NAMES[1], NAMES[2])]
    text = " ".join(_network_text.verdict(found))
    assert f"{NAMES[1]} is right more often than {NAMES[2]} and trusted less" in text
    unsure = with_statement(found, "net_trust_score", [3, 1, 2], apart=False)
    assert _network_text.apart(unsure) == []
    assert "trusted less" not in " ".join(_network_text.verdict(unsure))


@pytest.mark.exhaustive
def test_few_errors_are_said_and_nothing_is_claimed():
    labels = np.arange(60) % 4
    sure = network(50.0, labels=labels, seed=1)
    poor = network(0.5, labels=labels, seed=2)
    found = assess.compare({"sure": sure, "poor": poor}, num_samples=20)
    page = Elements(_network_page.rendered(found).html)
    assert "0 answers are wrong, and it takes 10" in page.text
    assert "by more than chance, on" not in page.text
    assert not re.search(r"\bnan\b", page.text)
    table = _network_tables.networks(found)
    assert not any(cell.kind == "near" for row in table.rows for cell in row.cells)


@pytest.mark.exhaustive
def test_many_classes_are_lines_and_a_choice_of_rows():
    generator = np.random.default_rng(0)
    labels = generator.integers(60, size=1500)
    networks = {}
    for name in ("a", "b"):
        logits = generator.normal(size=(1500, 60))
        logits[np.arange(1500), labels] += 3
        networks[name] = assess.Predictions(logits, labels)
    found = assess.compare(networks, num_samples=20)
    table = _network_tables.classes(found)
    assert len(table.rows) <= _network_tables.MOST_CLASSES
    assert len(table.rows) + len(table.rest) == 60
    assert "in the file only" in table.caption
    drawn = _network_figures.spectra(found).svg
    assert len(re.findall("<tspan", drawn)) == 2, "the networks, and no class"


def test_the_looks_of_many_networks_differ(found):
    many = dataclasses.replace(found, networks=found.networks[:1] * 20)
    looks = {(colour, dash) for _, colour, dash in _network_figures._looks(many)}
    assert len(looks) == 20
