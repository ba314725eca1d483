"""Masking accuracy and average drop, against a loop over images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import explain


def network(params, x):
    return jnp.tanh(x.reshape(len(x), -1)) @ params


def problem(batch=6, size=(4, 5), channels=2):
    rng = np.random.default_rng(0)
    pixels = int(np.prod(size)) * channels
    params = jnp.asarray(rng.normal(size=(pixels, 3)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(batch, *size, channels)), jnp.float32)
    maps = jnp.asarray(rng.normal(size=(batch, *size)), jnp.float32)
    return params, x, maps


def seen_through(image, own_map, baseline, threshold=None):
    mask = (own_map - own_map.min()) / (own_map.max() - own_map.min())
    if threshold is not None:
        mask = (mask >= threshold).astype(np.float32)
    return mask, image * mask[..., None] + baseline * (1 - mask[..., None])


@pytest.mark.parametrize("threshold", [None, 0.4])
@pytest.mark.parametrize("known", [True, False])
def test_masking_accuracy_is_a_loop(threshold, known):
    params, x, maps = problem()
    labels = jnp.arange(6) % 3 if known else None
    found = explain.masking_accuracy(
        network, params, x, maps, labels=labels, threshold=threshold
    )
    for number, (image, own_map) in enumerate(
        zip(np.asarray(x), np.asarray(maps), strict=True)
    ):
        mask, seen = seen_through(image, own_map, image.mean((0, 1)), threshold)
        right = network(params, image[None]).argmax() if labels is None else number % 3
        assert found.correct[number] == (network(params, seen[None]).argmax() == right)
        np.testing.assert_allclose(found.complexity[number], mask.mean(), rtol=1e-5)


def test_average_drop_is_a_loop():
    params, x, maps = problem()
    for target in (None, 1, jnp.arange(6) % 3):
        found = explain.average_drop(
            network, params, x, maps, target=target, baseline=0.5
        )
        for number, (image, own_map) in enumerate(
            zip(np.asarray(x), np.asarray(maps), strict=True)
        ):
            _, seen = seen_through(image, own_map, 0.5)
            before, after = (
                np.asarray(jax.nn.softmax(network(params, i[None])[0]), np.float64)
                for i in (image, seen)
            )
            label = {None: before.argmax(), 1: 1}.get(
                target if isinstance(target, int | None) else "each", number % 3
            )
            y, o = before[label], after[label]
            np.testing.assert_allclose(
                [part[number] for part in found],
                [max(0, y - o) / y, o > y, max(0, o - y) / (1 - y)],
                atol=1e-5,
            )


def test_probabilities_of_zero_and_one():
    sure = lambda params, x: x.reshape(len(x), -1) * 1e4
    x = jnp.array([[[[1.0]], [[0.0]]]])
    maps = jnp.array([[[1.0], [0.0]]])
    whole = explain.average_drop(sure, None, x, maps, target=0, baseline=1.0)
    assert [float(part[0]) for part in whole] == [0.5, 0.0, 0.0]
    none = explain.average_drop(sure, None, x, maps, target=1, baseline=1.0)
    assert [float(part[0]) for part in none] == [0.0, 1.0, 0.5]


def test_constant_maps_thresholds_and_nan():
    params, x, maps = problem()
    labels = network(params, jnp.zeros_like(x)).argmax(-1)
    nothing = explain.masking_accuracy(
        network, params, x, jnp.ones_like(maps), labels=labels, baseline="zero"
    )
    assert (nothing.correct == 1).all()
    assert (nothing.complexity == 0).all()
    everything = explain.masking_accuracy(
        network, params, x, maps, labels=None, threshold=0.0
    )
    assert (everything.correct == 1).all()
    assert (everything.complexity == 1).all()
    spoilt = maps.at[2, 0, 0].set(jnp.nan)
    for found in (
        explain.masking_accuracy(network, params, x, spoilt, labels=None),
        explain.masking_accuracy(
            network, params, x, spoilt, labels=None, threshold=0.5
        ),
        explain.average_drop(network, params, x, spoilt),
    ):
        for part in found:
            np.testing.assert_array_equal(np.isnan(part), np.arange(6) == 2)


@pytest.mark.usefixtures("without_type_checks")
def test_what_cannot_be_is_named():
    params, x, maps = problem()
    masked = lambda **changed: explain.masking_accuracy(
        network, params, **({"x": x, "maps": maps, "labels": None} | changed)
    )
    for changed, error, message in (
        ({"maps": maps[:, 0]}, ValueError, "maps must have a number for each pixel"),
        ({"labels": jnp.zeros(5, int)}, ValueError, "labels has 5, x has 6"),
        ({"labels": jnp.zeros(6)}, TypeError, "labels must be integers"),
        ({"labels": jnp.full(6, 3)}, ValueError, r"must be in \[0, 3\), got 3"),
        ({"threshold": 1.5}, ValueError, r"threshold must be in \[0, 1\], got 1\.5"),
    ):
        with pytest.raises(error, match=message):
            masked(**changed)
    with pytest.raises(TypeError, match="target must be a class"):
        explain.average_drop(network, params, x, maps, target=lambda z: z[:, 0])  # pyright: ignore
