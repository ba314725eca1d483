"""What every function of `trustjax.explain` must do: one row for each in `ROWS`."""

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems
from trustjax import explain


class Row(NamedTuple):
    """A function and what it is called with.

    Attributes:
      function: `(apply_fn, params, x, **keywords) -> tree of arrays`.
      keywords: the others.
      network: one of `problems.ALL`, of eight images and three classes.
      differentiable: whether a derivative by the parameters is asked for.
      whole: the fields of the result that are not one row for each image.
    """

    function: Callable[..., Any]
    keywords: Mapping[str, Any] = types.MappingProxyType({})
    network: str = "cnn"
    differentiable: bool = True
    whole: tuple[str, ...] = ()


CLASSES_OF_EACH = jnp.arange(8) % 3


def of_size(*size):
    """A map for each image."""
    return jax.random.uniform(jax.random.key(5), (8, *size))


MASKED = {"key": jax.random.key(0), "masks": 11, "cells": 3, "microbatch": 4}

ROWS = {
    "grad_cam": Row(explain.grad_cam, {"target": CLASSES_OF_EACH}),
    "grad_cam, tokens": Row(explain.grad_cam, {"target": 2}, "transformer"),
    "grad_cam_plus_plus": Row(explain.grad_cam_plus_plus, network="channels_first"),
    "hires_cam": Row(
        explain.hires_cam, {"target": jnp.stack([CLASSES_OF_EACH] * 2, axis=-1)}
    ),
    "layer_cam, clips": Row(explain.layer_cam, {"target": 1}, "video"),
    "counterfactual_cam": Row(explain.counterfactual_cam, {"method": "layer_cam"}),
    "contrast_cam, several": Row(
        explain.contrast_cam,
        {
            "contrast": jnp.stack([CLASSES_OF_EACH, (CLASSES_OF_EACH + 1) % 3], axis=1),
            "objective": "logit_difference",
            "method": "hires_cam",
        },
    ),
    "why_not_certain": Row(explain.why_not_certain, {"target": CLASSES_OF_EACH}),
    "causal_cam": Row(explain.causal_cam),
    "voice": Row(explain.voice, {"method": "grad_cam_plus_plus"}),
    "voice, some contrasts": Row(explain.voice, {"contrasts": 2, "target": 1}),
    "saliency, several": Row(
        explain.saliency,
        {"target": jnp.stack([CLASSES_OF_EACH, 2 - CLASSES_OF_EACH], axis=-1)},
    ),
    "integrated_gradients": Row(
        explain.integrated_gradients, {"steps": 3, "microbatch": 2}
    ),
    "smooth_grad": Row(
        explain.smooth_grad,
        {"key": jax.random.key(0), "samples": 3, "microbatch": 2, "target": 1},
    ),
    "class_maps": Row(explain.class_maps, {"method": "layer_cam"}),
    "class_maps, some": Row(explain.class_maps, {"target": CLASSES_OF_EACH[:, None]}),
    "insertion_curve": Row(explain.insertion_curve, {"maps": of_size(8, 8)}),
    "insertion_curve, few at once": Row(
        explain.insertion_curve, {"maps": of_size(8, 8), "step": 13, "microbatch": 3}
    ),
    "deletion_curve, many at once": Row(
        explain.deletion_curve, {"maps": of_size(6, 6), "microbatch": 20}, "transformer"
    ),
    "deletion_curve, clips": Row(
        explain.deletion_curve,
        {"maps": of_size(3, 5, 4), "target": CLASSES_OF_EACH, "baseline": "impute"},
        "video",
    ),
    "masking_accuracy": Row(
        explain.masking_accuracy,
        {"maps": of_size(8, 8), "labels": CLASSES_OF_EACH},
        differentiable=False,
    ),
    "average_drop": Row(
        explain.average_drop, {"maps": of_size(8, 8), "target": CLASSES_OF_EACH}
    ),
    "occlusion": Row(explain.occlusion, {"window": 3, "stride": 3, "microbatch": 4}),
    "rise, clips": Row(explain.rise, MASKED | {"target": 1, "p": 0.3}, "video"),
    "rise, until": Row(explain.rise, MASKED | {"until": 0.9}, differentiable=False),
    "rise_and_shape, several": Row(
        explain.rise_and_shape,
        MASKED | {"target": jnp.stack([CLASSES_OF_EACH] * 2, axis=-1), "centred": True},
    ),
}
"""Each function in the ways that take different roads through it."""


def _of_images(keywords, rows):
    """The keywords with only these rows of what has one for each image."""
    return {
        name: value[rows] if isinstance(value, jax.Array) and value.ndim else value
        for name, value in keywords.items()
    }


class Case:
    """A row with its network, and what it gives for all eight images."""

    def __init__(self, row: Row):
        self.row = row
        self.apply_fn, self.params, self.x = problems.get(row.network)

    def call(self, params, x, keywords):
        return self.row.function(self.apply_fn, params, x, **keywords)

    @functools.cached_property
    def compiled(self):
        """The function, which must not be traced twice for the same shapes."""
        chex.clear_trace_counter()
        traced = chex.assert_max_traces(self.traced, n=1)
        return jax.jit(traced)

    def traced(self, params, x, arrays):
        static = {k: v for k, v in self.row.keywords.items() if k not in arrays}
        return self.call(params, x, static | arrays)

    @property
    def arrays(self):
        """The keywords that are one row for each image: arguments of the program."""
        given = self.row.keywords.items()
        return {k: v for k, v in given if isinstance(v, jax.Array) and v.ndim}

    @functools.cached_property
    def value(self):
        return self.compiled(self.params, self.x, self.arrays)

    def by_image(self, result):
        """The fields of a result that have a row for each image."""
        if not hasattr(result, "_asdict"):
            return result
        return {k: v for k, v in result._asdict().items() if k not in self.row.whole}


@functools.cache
def _case(name):
    return Case(ROWS[name])


@pytest.fixture(params=ROWS)
def case(request):
    return _case(request.param)


def assert_same(ours, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        ours,
        expected,
    )


def test_a_finite_row_for_each_image(case):
    for leaf in jax.tree.leaves(case.by_image(case.value)):
        assert leaf.shape[0] == 8
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_)
        chex.assert_tree_all_finite(leaf)
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(case.value))


def test_compiled_once(case):
    """A second call with other values of the same shapes finds the program."""
    assert_same(case.compiled(case.params, case.x, case.arrays), case.value)
    case.compiled(case.params, case.x + 1, case.arrays)


@pytest.mark.exhaustive
def test_vmap_over_batches_is_one_batch(case):
    halves = jax.tree.map(
        lambda a: a.reshape(2, 4, *a.shape[1:]), (case.x, case.arrays)
    )
    stacked = jax.jit(jax.vmap(case.traced, (None, 0, 0)))(case.params, *halves)
    joined = jax.tree.map(lambda a: a.reshape(8, *a.shape[2:]), case.by_image(stacked))
    assert_same(joined, case.by_image(case.value))


@pytest.mark.exhaustive
def test_a_batch_of_one_is_a_row_of_the_batch(case):
    one = _of_images(case.arrays, slice(5, 6))
    alone = jax.jit(case.traced)(case.params, case.x[5:6], one)
    row = jax.tree.map(lambda a: a[5:6], case.by_image(case.value))
    assert_same(case.by_image(alone), row)


@pytest.mark.parametrize(
    "kind", [pytest.param("Auto", marks=pytest.mark.exhaustive), "Explicit"]
)
def test_sharded_is_unsharded_and_stays_sharded(case, kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    by_image = NamedSharding(mesh, P("data"))
    params = jax.device_put(case.params, NamedSharding(mesh, P()))
    x, arrays = jax.device_put((case.x, case.arrays), by_image)
    sharded = jax.jit(case.traced)(params, x, arrays)
    for leaf in jax.tree.leaves(case.by_image(sharded)):
        assert leaf.sharding.is_equivalent_to(by_image, leaf.ndim)
    assert_same(sharded, case.value)


@pytest.mark.exhaustive
def test_half_precision_gives_single(case):
    halved = lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a
    params, x = jax.tree.map(halved, (case.params, case.x))
    result = jax.jit(case.traced)(params, x, case.arrays)
    for ours, exact in zip(
        jax.tree.leaves(result), jax.tree.leaves(case.value), strict=True
    ):
        assert ours.dtype == exact.dtype
        chex.assert_tree_all_finite(ours)


@pytest.mark.exhaustive
def test_the_derivative_by_the_parameters_is_finite(case):
    if not case.row.differentiable:
        pytest.skip("this one is not made to be differentiated")

    def total(params):
        leaves = jax.tree.leaves(case.traced(params, case.x, case.arrays))
        floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return sum(jnp.sum(leaf) for leaf in floats)

    gradient = jax.jit(jax.grad(total))(case.params)
    chex.assert_tree_all_finite(gradient)
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))
