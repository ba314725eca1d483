"""A page of explanations: maps at hand, its files, its words, and hostile names."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.report_names_test import EXPLICIT
from tests.report_test import Elements, sections
from trustjax import report
from trustjax.report import _explain_text, _overlay

CLASSES = ("tabby", "tiger *cat*", "\u202e小猫 <b> _x$y$")


def image(name, *, channels=3, size=20, frames=(), label: int | None = 1):
    rng = np.random.default_rng(len(name))
    shape = (*frames, size, size)
    values = rng.normal(size=shape).astype(np.float32)
    x = np.linspace(0, 1, 5)
    maps = (
        report.Map(
            "Grad-CAM",
            "why {answer}?",
            np.abs(values),
            group="contrast",
            insertion=report.Curve(x, x**2, 0.34),
            deletion=report.Curve(x, 1 - x, 0.5),
        ),
        report.Map(
            "ContrastCAM",
            "why {answer}, rather than {contrast}?",
            0 * values,
            contrast=2,
            group="contrast",
        ),
        report.Map("Gradient", "what moves {answer}?", values, signed=True),
        report.Map("Broken", "why {answer}?", np.full_like(values, np.nan)),
        report.Map(
            "RISE",
            "what is enough for {answer}?",
            np.abs(values),
            facts={"masks": 200.0},
            standard_error=np.full_like(values, 0.25),
        ),
    )
    pixels = rng.integers(256, size=(*shape, channels), dtype=np.uint8)
    return report.ExplainedImage(
        name,
        pixels,
        np.array([0.7, 0.2, 0.1]),
        0,
        label,
        (2,),
        maps,
        {"grad_cam": maps[0].values},
        ("A word on it.",),
    )


@pytest.fixture(scope="module")
def explained():
    images = (
        image("a/cat 猫 <i>.png"),
        image("grey.png", channels=1, size=64, label=None),
        image("clip", frames=(5,), label=0),
    )
    representative = np.zeros((9, 9, 1), np.uint8)
    return report.Explanations(
        CLASSES,
        images,
        {2: representative},
        {"Grad-CAM": "What it is."},
        run={"model": "cnn", "report": {"seed": 0}},
        notes=("One note.",),
    )


@pytest.fixture(scope="module")
def folder(explained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    assert report.write_explanations(explained, folder) == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Elements((folder / "index.html").read_text("utf-8"))


MAPS = {"maps/000-cat-i-.npz", "maps/001-grey.npz", "maps/002-clip.npz"}


def test_the_page_has_its_sections_and_files(folder, page):
    assert sections(page) == {"image-0", "image-1", "image-2", "terms", "run"}
    beside = {*MAPS, "index.png"}
    for number in range(3):
        beside |= {f"figures/{name}-{number}.svg" for name in ("insertion", "deletion")}
        beside |= {f"tables/areas-{number}.csv"}
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {*beside, "index.html", "metrics.json"}
    listed = json.loads((folder / "metrics.json").read_text())["files"]
    assert set(listed) == beside
    with np.load(folder / "maps/001-grey.npz") as kept:
        assert kept["grad_cam"].shape == (64, 64)
    with Image.open(folder / "index.png") as sheet:
        assert min(sheet.size) > 300


def test_every_question_is_asked_in_words(page):
    text = re.sub(r" ([?,:.])", r"\1", page.text)
    for words in (
        "Why tabby?",
        "Why tabby, rather than \u202e小猫 <b> _x$y$?",
        "How sure is RISE?",
        "0 everywhere",
        "not a number",
        "standard error at most 0.25",
        "masks 200",
        "frame 3 of 5",
        "The label is tiger *cat*: the answer is wrong.",
        "A word on it.",
        "One note.",
        "It is right on 1 of 2.",
    ):
        assert words in text, words
    images = page.named("img")
    # Three images with five maps and an error each, and a representative.
    assert len(images) == 3 * (1 + 5 + 1 + 1)
    assert all("alt" in one for one in images)
    assert sum("pixels" in one.get("class", "") for one in images) == 2 * 8 + 1


def test_no_name_becomes_markup_or_turns_the_text(folder):
    text = (folder / "index.html").read_text("utf-8")
    assert "<b> _x" not in text
    assert "<i>.png" not in text
    apart = re.sub(r"<(bdi|tspan|title)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not EXPLICIT.search(re.sub(r'="[^"]*"', "", apart))


def test_the_same_explanations_give_the_same_bytes(folder, explained, tmp_path):
    report.write_explanations(explained, tmp_path)
    for path in folder.rglob("*"):
        if path.is_file():
            again = tmp_path / path.relative_to(folder)
            assert again.read_bytes() == path.read_bytes(), path.name


@pytest.mark.exhaustive
def test_files_of_an_older_page_go_with_it(explained, tmp_path):
    report.write_explanations(explained, tmp_path)
    mine = tmp_path / "maps" / "mine.npz"
    np.savez(mine, a=np.arange(3))
    fewer = dataclasses.replace(explained, images=explained.images[1:2])
    report.write_explanations(fewer, tmp_path)
    left = {path.name for path in (tmp_path / "maps").iterdir()}
    assert left == {"000-grey.npz", "mine.npz"}


def test_the_numbers_are_those_of_the_maps(folder, explained):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (folder / "metrics.json").read_text()
    first, *_ = json.loads(text, parse_constant=refuse)["images"]
    assert first["answer"] == "tabby"
    assert first["label"] == "tiger *cat*"
    assert first["probabilities"] == dict(zip(CLASSES, (0.7, 0.2, 0.1), strict=True))
    grad_cam, contrast, _, broken, rise = first["maps"]
    values = explained.images[0].maps[0].values
    assert grad_cam["high"] == pytest.approx(float(values.max()))
    assert grad_cam["insertion_area"] == 0.34
    assert contrast["contrast"] == CLASSES[2]
    assert broken["high"] is None
    assert rise["largest_standard_error"] == 0.25


def test_the_legend_is_the_colours_of_the_ends():
    values = np.array([[0.0, 2.0], [1.0, 4.0]])
    grey = np.full((2, 2, 1), 128, np.uint8)
    found = _overlay.scale(values, signed=False)
    assert found is not None
    assert found == (0.0, 4.0, False)
    pixels = _overlay.laid_over(grey, values, found)
    low, *_, high = found.gradient.split("rgb(")[1:]
    for end, pixel in ((low, pixels[0, 0]), (high, pixels[1, 1])):
        stop = np.array([int(n) for n in end.partition(")")[0].split(",")])
        assert np.abs(stop - pixel).max() <= 1
    # 0 stands in the middle: as light as the middle of the scale.
    signed = _overlay.scale(np.array([[-1.0, 3.0]]), signed=True)
    assert signed is not None
    assert signed.placed(np.array([-3.0, 0.0, 3.0])).tolist() == [0, 0.5, 1]
    assert _overlay.scale(np.array([[np.inf]]), signed=False) is None


def test_a_constant_map_has_one_colour_and_says_so():
    zero = _overlay.scale(np.zeros((2, 2)), signed=True)
    assert zero is not None
    assert (zero.placed(np.zeros((2, 2))) == 0.5).all()
    seven = _overlay.scale(np.full((2, 2), 7.0), signed=False)
    assert seven is not None
    assert (seven.placed(np.full((2, 2), 7.0)) == 0).all()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (-0.5, "\u22120.5"),
        (999.4, "999"),
        (1e6, "1·10⁶"),
        (-3e-7, "\u22123·10⁻⁷"),
    ],
)
def test_numbers_of_any_size_are_short(value, written):
    assert _explain_text.number(value) == written
