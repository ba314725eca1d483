"""The full networks, against the logits of their PyTorch twins.

Every network whose name is in the golden file and in the registry is tested: a new
family needs no line here. The large ones are marked exhaustive.
"""

import functools
import json
import zlib

import jax
import numpy as np
import pytest

from tests import golden_numbers
from trustjax import models
from trustjax.models import _weights

MORE = golden_numbers.load("zoo_more")
SENSITIVE = golden_numbers.load("10b_zoo_sensitive") | MORE
PLAIN = golden_numbers.load("10_zoo")
# Those of other implementations have no plain numbers, and none are needed.
KNOWN = PLAIN | MORE
LIGHT = {"confidnet_mnist", "confidnet_vgg16", "mobilenet_v3_small", "resnet18"}
NAMES = sorted({key.partition("/")[0] for key in KNOWN} & set(models.names()))
FULL_NETWORKS = [
    pytest.param(name, marks=[] if name in LIGHT else pytest.mark.exhaustive)
    for name in NAMES
]


def torch_fill(name, shape, gain=1.0, seed=0):
    """The rule by which the golden networks were filled (tests/golden/README.md)."""
    rng = np.random.default_rng(zlib.crc32(name.encode()) + seed)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    values = rng.standard_normal(shape)
    if name.endswith("running_mean") or (
        len(shape) <= 1 and not name.endswith("weight")
    ):
        values *= 0.1
    elif len(shape) <= 1:
        values = 1 + 0.1 * values
    else:
        values *= np.sqrt(gain / np.prod(shape[1:]))
    return values.astype(np.float32)


def specification(name):
    """{name: (shape, type)} of the twin's state dict."""
    listed = json.loads(bytes(KNOWN[f"{name}/spec_json"]))
    return {key: (tuple(shape), dtype) for key, shape, dtype in listed}


def filled_state_dict(name, gain):
    """The twin's state dict, without what it leaves as the network has it."""
    constants = models.known(name).constants
    return {
        key: torch_fill(key, shape, gain)
        for key, (shape, dtype) in specification(name).items()
        if dtype.startswith("float") and not _weights.any_match(constants, key)
    }


def sensitive_input(shape, few):
    """Few random pixels, each repeated: the stem must be right for these."""
    batch, *size, channels = shape
    x = np.random.default_rng(100).standard_normal((batch, *few, channels))
    for axis, (pixels, drawn) in enumerate(zip(size, few, strict=True), 1):
        x = x.repeat(pixels // drawn, axis)
    return x.astype(np.float32)


def plain_input(shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", FULL_NETWORKS)
def test_logits_are_those_of_the_twin(name):
    gain = float(SENSITIVE[f"{name}/gain"])
    shape = tuple(KNOWN[f"{name}/input_shape"])
    few = MORE.get(f"{name}/drawn", [4, 7, 7][-len(shape[1:-1]) :])
    apply_fn, params = models.from_state_dict(name, filled_state_dict(name, gain))
    compiled = jax.jit(apply_fn)
    # The plain numbers are of weights of gain 1, under which inputs matter less.
    asked = {
        "sensitive": (sensitive_input(shape, few), SENSITIVE[f"{name}/logits_f64"])
    }
    if gain == 1 and f"{name}/logits_f64" in PLAIN:
        asked["plain"] = (plain_input(shape), PLAIN[f"{name}/logits_f64"])
    for kind, (x, expected) in asked.items():
        error = np.abs(compiled(params, x) - expected).max() / np.abs(expected).max()
        assert error < 1e-4, kind


@functools.cache
def outline(name):
    """The shapes of a network's parameters and of all its variables."""
    row = models.known(name)
    names = row.torch_names or ()
    model = models.outlined(name)
    return row, {
        _weights.torch_name(path, names): _weights.torch_shape(
            path, tuple(variable.shape)
        )
        for path, variable in _weights.variables(model).items()
    }


@pytest.mark.parametrize("name", FULL_NETWORKS)
def test_names_shapes_and_counts_are_those_of_the_twin(name):
    row, shapes = outline(name)
    expected = {
        key: shape
        for key, (shape, _) in specification(name).items()
        if not _weights.any_match(row.constants, key)
    }
    assert shapes == expected
    statistics = ("running_mean", "running_var")
    count = sum(
        int(np.prod(shape))
        for key, shape in shapes.items()
        if not key.endswith(statistics)
    )
    assert count == KNOWN[f"{name}/n_params"]
