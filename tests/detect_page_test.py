"""The page about a detector: its files, its words, its figures, and hostile names."""

import json
import re

import numpy as np
import pytest

from tests.report_names_test import EXPLICIT
from tests.report_test import Elements, sections
from trustjax import assess, report
from trustjax.report import _detect_figures, _detect_text

MINUS = "\N{MINUS SIGN}"
HOSTILE = "\u202e小猫 <b> _x$y$ *bold*"


def page(*, kind="ridge", weights_of="ridge", gap=1.5, several=True, **changes):
    rng = np.random.default_rng(0)
    population = np.repeat([0, 1, 2], [120, 30, 50])
    names = ("right answers", "wrong answers", HOSTILE)
    trusted = population == 0
    good = gap * trusted + rng.normal(size=200)
    poor = 0.3 * good + rng.normal(size=200)
    untrusted = (1, 2) if several else (1,)
    detection = assess.assess_detection(
        assess.Judged(f"detector ({kind})", good, 0.5),
        assess.Judged(HOSTILE, poor, 0.1),
        trusted,
        populations={names[n]: population == n for n in untrusted},
        kinds={f"detector ({kind})": (0.9, good)},
        singles={HOSTILE: (0.8, poor), "Margin": (0.7, -poor)},
        num_samples=100,
    )
    spread = np.exp(6 * rng.normal(size=200))

    def by_population(values):
        return tuple(values[population == n] for n in range(3))

    found = {
        "detection": detection,
        "errors": True,
        "populations": names,
        "trusted": (True, False, False),
        "unknown": (HOSTILE,),
        "parts": ("learning", "choosing", "test"),
        "counts": np.array([[60, 30, 120], [9, 5, 30], [20, 10, 50]]),
        "features": [
            report.Feature("What it says", by_population(good), "Words.", 0.5),
            report.Feature("norm of conv1", by_population(spread), "Words."),
            report.Feature("minimum of conv1", by_population(-spread), "Words."),
            report.Feature("mean of conv1", by_population(spread * poor), "Words."),
            report.Feature("constant", by_population(0 * good), "Words."),
        ],
        "kind": kind,
        "num_columns": (12, 4),
        "weights": [
            report.Weight("conv1", "l2_norm", -0.7),
            report.Weight("conv1", "minimum", 0.0),
            report.Weight(HOSTILE, "l2_norm", 0.2),
            report.Weight("", "Margin", 1.5),
        ],
        "weights_of": weights_of,
        "infos": {"Margin": "The gap <of> two."},
        "used": "trustjax report --detector d.npz",
        "run": {"dataset": "made_up", "model": "cnn", "seed": 0},
        "notes": (f"Left out: {HOSTILE}.",),
    }
    return report.DetectionPage(**{**found, **changes})


def written(tmp_path, found):
    save = lambda path: path.write_bytes(b"whole")
    return report.write_detection(
        found, tmp_path, save=save, arrays={"trusted": np.ones(3, bool)}
    )


def test_the_page_its_figures_tables_and_numbers(tmp_path):
    path = written(tmp_path, page())
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {
        *("index.html", "metrics.json", "detector.npz", "columns.npz"),
        *(f"figures/violins-{n}.svg" for n in range(5)),
        *(
            f"tables/{name}.csv"
            for name in (
                "methods",
                "populations",
                "coefficients",
                "singles",
                "kinds",
                "examples",
            )
        ),
    }
    text = path.read_text("utf-8")
    assert sections(Elements(text)) == {
        *("summary", "quality", "features", "coefficients"),
        *("tried", "use", "terms", "run"),
    }
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["scores"]["detector (ridge)"]["auroc"]["value"] > 0.7
    assert numbers["coefficients"]["gradients"]["conv1"]["l2_norm"] == -0.7
    assert numbers["is_ahead"]
    assert set(numbers["by_population"]) == {"wrong answers", HOSTILE}
    shown = Elements(text)
    for words in (
        "tells right answers from errors and",
        "more than selection and chance explain",
        "trustjax report --detector d.npz",
        f"{MINUS}0.70",
        "The gap <of> two.",
    ):
        assert words in shown.text, words


def test_hostile_names_stay_text(tmp_path):
    text = written(tmp_path, page()).read_text("utf-8")
    assert "<b> _x" not in text
    assert "\u202e" not in re.sub(r"<(bdi|tspan)[^>]*>.*?</\1>|=\"[^\"]*\"", "", text)
    assert not EXPLICIT.search(Elements(text).text.replace("\u202e", ""))
    assert HOSTILE in (tmp_path / "tables/populations.csv").read_text("utf-8")


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    pages = [written(tmp_path / name, page()).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_one_population_and_no_linear_detector(tmp_path):
    found = page(kind="network", weights=[], weights_of="", several=False)
    shown = Elements(written(tmp_path, found).read_text("utf-8"))
    assert "The detector is a small network and has no coefficients." in shown.text
    assert not (tmp_path / "tables/populations.csv").exists()
    assert not (tmp_path / "tables/coefficients.csv").exists()


def test_unknown_inputs_that_were_fitted_on_are_named():
    said = " ".join(_detect_text.verdict(page()))
    assert f"Its unknown inputs are of {HOSTILE}, in the fitting part" in said
    assert "unknown inputs are of" not in " ".join(
        _detect_text.verdict(page(unknown=()))
    )


def test_coefficients_of_another_kind_say_so():
    said = _detect_text.coefficients(page(kind="network"))
    assert "The detector is a small network and has no coefficients" in said
    assert "logistic regression with small weights (ridge), the best of those" in said
    assert _detect_text.coefficients(page()) == ""


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (1.5, "more than selection and chance explain"),
        (0.0, "Nothing says that the detector is better"),
    ],
)
def test_what_is_said_of_the_difference(gap, words):
    assert words in " ".join(_detect_text.verdict(page(gap=gap)))


def test_few_errors_claim_nothing():
    trusted = np.arange(40) > 3
    detection = assess.assess_detection(
        assess.Judged("detector (ridge)", trusted * 1.0, 0.5),
        assess.Judged("Margin", np.arange(40) % 5 * 1.0, 0.5),
        trusted,
        populations={},
        kinds={},
        singles={},
        num_samples=50,
    )
    said = " ".join(_detect_text.verdict(page(detection=detection)))
    assert "no difference is claimed: 4 answers are wrong, and it takes 10." in said


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (np.linspace(-1, 1, 9), None),
        (np.geomspace(1e-6, 1, 9), ["10⁻⁶", "10⁻⁴", "10⁻²", "1"]),
        (
            -np.geomspace(1e-6, 1, 9),
            [f"{MINUS}{size}" for size in ("10⁻⁶", "10⁻⁴", "10⁻²", "1")],
        ),
        (np.zeros(5), None),
    ],
)
def test_axes_tell_decades_apart(values, labels):
    axis = _detect_figures.axis_of(values, values.min(), values.max())
    assert labels == (axis.ticks and axis.ticks[1])
    places = axis.forward(np.sort(values))
    assert np.isfinite(places).all()
    assert (np.diff(places) >= 0).all()


def test_an_axis_through_zero_keeps_the_order():
    values = np.concatenate(
        [-np.geomspace(1e-6, 9, 40), [0], np.geomspace(1e-5, 50, 40)]
    )
    axis = _detect_figures.axis_of(values, values.min(), values.max())
    assert axis.ticks is not None
    assert "0" in axis.ticks[1]
    assert (np.diff(axis.forward(np.sort(values))) > 0).all()
    assert axis.ticks[0] == sorted(axis.ticks[0])
