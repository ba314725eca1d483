"""Names that users gave stand on the page as they are, apart, and in their place."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from tests import made_up
from tests.report_test import Elements
from trustjax import assess, report
from trustjax.report import _class_figures, _names

LONG = ("long " * 60 + "A", "long " * 60 + "B")
CLASSES = (
    "$x^2_i$ costs 5$",
    "_hidden\\frac{a}{b}",
    "\u202eevil override",
    "عربي مع English",
    "黑色的小猫和一只很大很大的狗在一起",
    *LONG,
    '<b>bold</b> & "quotes"',
    "*star*",
    "nul\0 esc\x1b tab\t \ud800",
    "\u2069isolate\u2067s",
    "plain",
)
TITLES = {"coin": "_coin $\\alpha$ *x* \u202eabc", "margin": "边际 " + "m" * 300}
GROUPS = ("层1/" + "k" * 100, "a*b/\u202ekernel", "dense")
OTHERS = ("噪声\u202e", "x" * 120)
EXPLICIT = re.compile("[\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    said = made_up.predictions(400, len(CLASSES), class_names=CLASSES)
    numbers = np.random.default_rng(0).random(200)
    table = said.gradient_statistics
    assert table is not None
    said = dataclasses.replace(
        said,
        score_titles=TITLES,
        gradient_statistics=dataclasses.replace(table, groups=GROUPS),
        out_of_distribution={name: {"margin": numbers} for name in OTHERS},
        run={"dataset": "数据 \u202e*set*$.npz", "model": "m" * 80},
    )
    found = assess.assess(said, num_samples=20)
    path = report.write(found, said, tmp_path_factory.mktemp("hostile"))
    return path.read_text("utf-8")


@pytest.mark.exhaustive
def test_every_name_is_on_the_page_whole(page):
    elements = Elements(page)
    whole = {a["title"] for t, a in elements.tags if t == "bdi" and "title" in a}
    whole |= set(map(str.strip, elements.words))
    for name in (*CLASSES, *TITLES.values(), *GROUPS, *OTHERS):
        assert _names.cleaned(name) in whole, name


def test_no_name_becomes_markup_or_a_formula(page):
    elements = Elements(page)
    bold = re.findall(r"<b>(.*?)</b>", page)
    assert bold
    assert all(re.fullmatch(r"[\d.]+\u202f%", text) for text in bold)
    assert page.count("<b>") == page.count("</b>")
    assert {len(a) for t, a in elements.tags if t == "bdi"} <= {0, 1}
    assert "$x^2_i$ costs 5$</tspan>" in page
    assert "_hidden\\frac{a}{b}</tspan>" in page


def test_no_name_turns_the_text_around_it(page):
    apart = re.sub(r"<(bdi|tspan|title)\b.*?</\1>", "", page, flags=re.DOTALL)
    in_attributes = re.sub(r'="[^"]*"', "", apart)
    assert not EXPLICIT.search(in_attributes)
    for attribute in re.findall(r'(?:title|alt)="([^"]*)"', apart):
        assert not EXPLICIT.search(_names.MARKED.sub("", attribute)), attribute


def test_figures_name_each_class_apart(page):
    spectrum = re.search(r'id="figure-spectrum".*?</svg>', page, re.DOTALL)
    assert spectrum is not None
    written = re.findall(r"<tspan[^>]*>(.*?)</tspan>", spectrum[0])
    shown = [re.sub("<title>.*</title>", "", text) for text in written]
    assert len(set(shown)) == len(CLASSES)
    titles = re.findall("<title>(.*?)</title>", spectrum[0])
    assert set(map(_names.cleaned, LONG)) <= set(titles)


@pytest.mark.parametrize("longest", [10, 20, 32])
def test_short_names_fit_and_stay_different(longest):
    names = [
        *CLASSES,
        *("a" * 40 + letter + "a" * 40 for letter in "bcd"),
        *(f"{number} of a kind" * 9 for number in range(30)),
    ]
    short = _names.shortened(names, longest)
    cleaned = [_names.cleaned(name) for name in names]
    for one, other in itertools.combinations(range(len(names)), 2):
        assert (short[one] == short[other]) == (cleaned[one] == cleaned[other])
    assert max(map(_names.width, short)) <= longest + 1


@pytest.mark.exhaustive
def test_many_classes_are_named_beside_their_line():
    names = tuple(f"{number} {CLASSES[number % 12]}" for number in range(60))
    said = made_up.predictions(300, 60, class_names=names, full=False)
    found = assess.assess(said, num_samples=5)
    drawn = _class_figures.spectrum(found).svg
    assert len(re.findall("<tspan", drawn)) == 5
