"""Explanations as interventions: the numbers, the section, and the road to them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import made_up, problems
from trustjax import assess, data, explain, interventions, pipeline, report
from trustjax.assess import _intervals
from trustjax.assess._interventions import PARTS
from trustjax.pipeline import _interventions
from trustjax.pipeline._network import Network

DRAWS = 40


def intervened(count=100):
    rng = np.random.default_rng(0)
    return assess.Intervened(
        {
            title: {part: rng.uniform(0, high, count) for part in PARTS}
            for title, high in (("Grad-CAM", 0.5), ("Noise", 0.9))
        }
    )


@pytest.fixture(scope="module")
def said():
    said = made_up.predictions(count=240)
    return dataclasses.replace(said, intervened=intervened(), out_of_distribution={})


@pytest.fixture(scope="module")
def found(said):
    return assess.assess(said, num_samples=DRAWS)


def test_the_numbers_are_means_with_intervals_that_hold_together(said, found):
    asked = found.interventions
    assert asked.num_examples == 100
    for method, numbers in asked.methods.items():
        for part, quantity in numbers._asdict().items():
            values = said.intervened.methods[method][part]
            low, value, high = made_up.ends(quantity)
            assert value == pytest.approx(values.mean())
            ends = _intervals.mean_interval(values, 0.975)  # of two methods
            assert (low, high) == pytest.approx(ends)
            assert 0 <= low < value < high <= 1


@pytest.mark.exhaustive
def test_the_section_has_its_figure_table_and_numbers(said, found, tmp_path):
    page = report.write(found, said, tmp_path).read_text()
    assert 'href="#interventions"' in page
    assert "100 images of the test set, of which each map" in page
    lines = (tmp_path / "tables/interventions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["Grad-CAM", "Noise"]
    assert (tmp_path / "figures/interventions.svg").stat().st_size > 3000
    numbers = json.loads((tmp_path / "metrics.json").read_text())["interventions"]
    low, value, _ = made_up.ends(found.interventions.methods["Noise"].necessity)
    written = numbers["methods"]["Noise"]["necessity"]
    assert (written["low"], written["value"]) == (low, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda of: {}, "of one method at least, got none"),
        (lambda of: {"a": {"between": np.ones(3)}}, "interventions of a must have bet"),
        (
            lambda of: of | {"Noise": of["Noise"] | {"within": np.ones(3)}},
            r"within of Noise must have shape \[images\], .* got \(3,\)",
        ),
        (
            lambda of: of | {"Noise": of["Noise"] | {"within": np.full(100, 1.5)}},
            r"within of Noise must be in \[0, 1\]: 100 rows",
        ),
        (
            lambda of: of | {"Noise": of["Noise"] | {"within": np.full(100, np.nan)}},
            r"within of Noise must be in \[0, 1\]",
        ),
    ],
)
def test_interventions_that_do_not_fit_are_refused(said, change, message):
    methods = change(dict(said.intervened.methods))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(said, intervened=assess.Intervened(methods))


def test_of_the_highest_shares_as_many_positions_are_left_of_every_map():
    rng = np.random.default_rng(0)
    maps = np.round(rng.normal(size=(3, 4, 5)), 1)  # with ties
    shares = (0.0, 0.1, 0.5, 1.0)
    found = np.asarray(
        jax.jit(interventions.highest_shares, static_argnums=1)(
            jnp.asarray(maps), shares
        )
    )
    assert found.shape == (4, 3, 4, 5)
    for share, masks in zip(shares, found, strict=True):
        for mask, map_ in zip(masks, maps, strict=True):
            expected = np.zeros(20)
            expected[np.argsort(-map_.ravel(), kind="stable")[: round(20 * share)]] = 1
            np.testing.assert_array_equal(mask.ravel(), expected)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("maps", "shares", "message"),
    [
        (jnp.ones(3), (0.5,), r"maps must have shape \[batch, \*positions\]"),
        (jnp.ones((2, 3)), (), "there must be a share, got .* and 0 shares"),
        (jnp.ones((2, 3)), (1.5,), r"shares must be in \[0, 1\], got 1.5"),
    ],
)
def test_shares_that_cannot_be(maps, shares, message):
    with pytest.raises(ValueError, match=message):
        interventions.highest_shares(maps, shares)


def the_network():
    apply_fn, params, x = problems.get("cnn")
    network = Network(apply_fn, params, None, (), {}, ())
    low, high = float(x.min()), float(x.max())
    images = np.asarray((x - low) / (high - low), np.float32)
    return network, data.from_arrays("own", images, np.arange(8) % 3, ["a", "b", "c"])


def config(**options):
    chosen = {"methods": ("saliency",), "images": 5, "others": 3} | options
    return pipeline.ReportConfig(
        model="cnn", interventions=pipeline.InterventionOptions(**chosen)
    )


@pytest.mark.exhaustive
def test_masks_of_maps_are_asked_as_one_by_one_and_a_stopped_run_goes_on(tmp_path):
    network, test = the_network()
    apply_fn, params = network.apply_fn, network.params
    heard = []

    def asked(folder, **options):
        found = _interventions.asked(
            config(**options),
            network,
            test,
            batch_size=2,
            folder=folder,
            progress=lambda *facts: heard.append(facts),
        )
        assert found is not None
        return found

    found = asked(tmp_path)
    assert [done for _, done, total, _ in heard if total == 15] == [5, 10, 15]
    assert not list(tmp_path.glob("*.npz"))
    assert list(found.methods) == ["Gradient", *_interventions.CONTROLS]
    x = jnp.asarray(test.source.take(range(8))[0])
    map_ = explain.over_channels(explain.saliency(apply_fn, params, x[:5]))
    masks = interventions.highest_shares(map_, _interventions.SHARES)
    unsure = interventions.predictive_uncertainty_of(
        apply_fn, params, x[:5], interventions.masked(masks)
    )
    half = interventions.highest_shares(map_, (0.5,))[0]
    of = (apply_fn, params, x[:5], half, interventions.given(x[5:, None]))
    expected = {
        "between": unsure.between,
        "within": unsure.within,
        "sufficiency": interventions.sufficiency(*of).value,
        "necessity": interventions.necessity(*of).value,
    }
    for part, values in expected.items():
        ours = found.methods["Gradient"][part]
        np.testing.assert_allclose(ours, values, atol=1e-5)

    class StoppedError(Exception):
        pass

    def stop(*facts):
        raise StoppedError

    with pytest.raises(StoppedError):
        _interventions.asked(
            config(), network, test, batch_size=2, folder=tmp_path, progress=stop
        )
    (kept,) = tmp_path.glob("*.npz")
    with np.load(kept) as arrays:
        changed = dict(arrays) | {"between": np.zeros(5)}
    np.savez(kept, allow_pickle=False, **changed)
    again = asked(tmp_path)  # the first from what is kept, the others anew
    np.testing.assert_array_equal(again.methods["Gradient"]["between"], 0)
    for title in _interventions.CONTROLS:
        for part in PARTS:
            np.testing.assert_array_equal(
                again.methods[title][part], found.methods[title][part]
            )


def test_a_method_that_cannot_be_asked_is_refused_before_the_scoring():
    network, test = the_network()
    flat = network._replace(
        apply_fn=lambda params, x: x.reshape(len(x), -1)[:, :3] * params, params=1.0
    )
    _interventions.require(config(), flat, test)
    with pytest.raises(ValueError, match=r"--interventions.methods grad_cam cannot be"):
        _interventions.require(config(methods=("grad_cam",)), flat, test)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("voice",)}, "interventions.methods must be one of .*, got 'voi"),
        ({"images": 0}, "interventions.images must be an integer >= 1"),
        ({"others": 0}, "interventions.others must be an integer >= 1"),
    ],
)
def test_choices_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.InterventionOptions(**options)
