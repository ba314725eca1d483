"""The page in a real browser: desk and phone, light and dark, nothing fetched."""

import pytest

from tests import browser, made_up
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
