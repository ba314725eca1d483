"""The page in a real browser: desk and phone, light and dark, nothing fetched."""

import pytest

from tests import browser, detect_page_test, explain_page_test, made_up
from trustjax import assess, report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        browser.CHROMIUM is None,
        reason="no chromium here: apt-get install chromium runs the browser test",
    ),
]

BOXES = """
[...document.querySelectorAll('figure svg, figure img, figure table, .tile')].map(
  element => {
    const box = element.getBoundingClientRect();
    return [element.closest('[id]')?.id ?? element.tagName, box.width, box.height];
  })
"""
UNDESCRIBED = """
[...document.querySelectorAll(`img:not([alt]), img[alt=""],
  svg:not([aria-label]), figure:not(:has(figcaption)), table:not(:has(th))`)].length
"""
# Text that a narrow window cuts off without a way to scroll to it.
CUT_OFF = """
[...document.querySelectorAll('main *, header *')].filter(element => {
  if (element.closest('svg, .scroll')) return false;
  const box = element.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 1;
}).map(element => element.outerHTML.slice(0, 80))
"""
SCROLLED = """
[...document.querySelectorAll('.scroll')].filter(
  element => element.scrollWidth > element.clientWidth + 1
).map(element => element.ariaLabel)
"""
BROKEN_IMAGES = "[...document.images].filter(image => !image.naturalWidth).length"
SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll('svg.plot text')].map(text => {
  const svg = text.closest('svg');
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
}))
"""
COLOURS = """
['--ink', '--paper'].map(name => getComputedStyle(document.documentElement)
  .getPropertyValue(name).trim())
"""


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    said = made_up.predictions(
        num_classes=10,
        class_names=(
            "an uncommonly long name of a class",
            *("Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker"),
            *("Bag", "Ankle boot"),
        ),
    )
    found = assess.assess(said, num_samples=20)
    return report.write(found, said, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def compared_path(tmp_path_factory):
    names = (
        "convolutional",
        "perceptron",
        "residual",
        "an uncommonly long name of one",
    )
    networks = {name: made_up.predictions(1500, 10, full=False) for name in names}
    found = assess.compare(networks, num_samples=20)
    return report.write_comparison(found, tmp_path_factory.mktemp("compared"))


@pytest.fixture(scope="module")
def tab():
    with browser.opened() as page:
        yield page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_page_opens_whole(tab, page_path, width, dark):
    tab.open(page_path, width=width, height=900, dark=dark)
    assert tab.complaints() == []
    assert tab.requests() == [page_path.resolve().as_uri()]
    boxes = tab.evaluate(BOXES)
    assert {"figure-risk", "figure-histograms", "figure-scatter"} <= {
        b[0] for b in boxes
    }
    assert len(boxes) > 60
    for name, box_width, box_height in boxes:
        assert box_width > 30, name
        assert box_height > 30, name
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(CUT_OFF) == []
    if width > 1000:
        assert tab.evaluate(SCROLLED) == [], "a table is wider than its card"
    assert tab.evaluate(UNDESCRIBED) == 0
    assert tab.evaluate(BROKEN_IMAGES) == 0
    assert tab.evaluate(SMALLEST_TEXT) > 7.5, "text in figures must be readable"
    ink, paper = tab.evaluate(COLOURS)
    assert (ink > paper) == dark, "light ink on dark paper, or the other way round"


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
@pytest.mark.exhaustive
def test_page_of_networks_opens_whole(tab, compared_path, width):
    tab.open(compared_path, width=width, height=900)
    assert tab.complaints() == []
    assert tab.requests() == [compared_path.resolve().as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(CUT_OFF) == []
    if width > 1000:
        assert tab.evaluate(SCROLLED) == [], "a table is wider than its card"
    assert tab.evaluate(UNDESCRIBED) == 0
    assert tab.evaluate(SMALLEST_TEXT) > 7.5, "text in figures must be readable"


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_page_of_explanations_opens_whole(tab, tmp_path, width):
    images = (
        explain_page_test.image("grey.png", channels=1, size=64),
        explain_page_test.image("a name " * 9),
    )
    names = ("tabby", "tiger cat", "an uncommonly long name of a class")
    explained = report.Explanations(names, images, {2: images[1].image}, {})
    page = report.write_explanations(explained, tmp_path)
    tab.open(page, width=width, height=900, dark=width < 600)
    assert tab.complaints() == []
    assert tab.requests() == [page.resolve().as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(CUT_OFF) == []
    assert tab.evaluate(BROKEN_IMAGES) == 0
    assert tab.evaluate(SMALLEST_TEXT) > 7.5, "text in figures must be readable"
    for name, box_width, box_height in tab.evaluate(BOXES):
        assert box_width > 30, name
        assert box_height > 30, name


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
@pytest.mark.exhaustive
def test_page_about_a_detector_opens_whole(tab, tmp_path, width):
    page = detect_page_test.written(tmp_path, detect_page_test.page())
    tab.open(page, width=width, height=900, dark=width < 600)
    assert tab.complaints() == []
    assert tab.requests() == [page.resolve().as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(CUT_OFF) == []
    if width > 1000:
        assert tab.evaluate(SCROLLED) == [], "a table is wider than its card"
    assert tab.evaluate(UNDESCRIBED) == 0
    assert tab.evaluate(SMALLEST_TEXT) > 7.5, "text in figures must be readable"


COLUMN = """
(name, column) => [...document.querySelectorAll(`#figure-${name} tbody tr`)].map(
  row => row.cells[column].textContent)
"""
HEAD = "(name, column) => document.querySelectorAll(`#figure-${name} thead th`)[column]"


@pytest.fixture
def open_tab(tab, page_path):
    tab.open(page_path, width=1280, height=900)
    return tab


def column(tab, table, number):
    return tab.evaluate(f"({COLUMN})('{table}', {number})")


def click(tab, table, number):
    tab.evaluate(f"({HEAD})('{table}', {number}).querySelector('button').click()")
    return tab.evaluate(f"({HEAD})('{table}', {number}).ariaSort")


def test_a_click_sorts_numbers_as_numbers(open_tab):
    assert click(open_tab, "scores", 5) == "descending"
    aurc = [float(text) for text in column(open_tab, "scores", 5)]
    assert aurc == sorted(aurc, reverse=True)
    for direction in ("descending", "ascending"):
        assert click(open_tab, "scores", 7) == direction
        *ranges, last = column(open_tab, "scores", 7)
        assert last == "not defined", "what has no number is last, whichever way"
        numbers = [float(text) for text in ranges]
        assert numbers == sorted(numbers, reverse=direction == "descending")


def test_a_third_click_gives_the_table_back(open_tab):
    given = column(open_tab, "mistakes", 0)
    assert click(open_tab, "mistakes", 0) == "ascending"
    names = column(open_tab, "mistakes", 0)
    assert names == sorted(given, key=str.lower)
    assert click(open_tab, "mistakes", 0) == "descending"
    assert click(open_tab, "mistakes", 0) is None
    assert column(open_tab, "mistakes", 0) == given


def test_one_column_at_a_time_is_sorted_and_said_so(open_tab):
    click(open_tab, "mistakes", 2)
    click(open_tab, "mistakes", 3)
    assert open_tab.evaluate(f"({HEAD})('mistakes', 2).ariaSort") is None
    assert open_tab.evaluate(f"({HEAD})('mistakes', 3).ariaSort") == "descending"


def test_a_key_sorts_as_a_click_does(open_tab):
    given = column(open_tab, "gradients", 1)
    open_tab.evaluate(f"({HEAD})('gradients', 1).querySelector('button').focus()")
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    open_tab.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **enter)
    open_tab.call("Input.dispatchKeyEvent", type="keyUp", **enter)
    assert column(open_tab, "gradients", 1) == sorted(given, reverse=True)
    assert open_tab.evaluate("document.activeElement.tagName") == "BUTTON"


def test_every_figure_file_can_be_seen_alone(tab, page_path):
    figures = sorted((page_path.parent / "figures").glob("*.svg"))
    assert len(figures) == 6
    for path in figures:
        tab.open(path, width=800, height=600)
        assert tab.complaints() == []
        assert tab.evaluate("document.documentElement.tagName") == "svg"
        width, height = tab.evaluate(
            "(box => [box.width, box.height])(document.querySelector('path')"
            ".ownerSVGElement.getBoundingClientRect())"
        )
        assert width > 300
        assert height > 200
        assert "var(" not in path.read_text()
        beyond = """[...document.querySelectorAll('text')].filter(text => {
          const box = text.getBoundingClientRect();
          const whole = document.documentElement.getBoundingClientRect();
          return box.right > whole.right + 1 || box.left < whole.left - 1;
        }).map(text => text.textContent)"""
        assert tab.evaluate(beyond) == [], path.name
