"""Networks that somebody brings: what stands for them, their weights, their answers."""

import jax
import numpy as np
import pytest
from flax import linen, nnx, serialization, traverse_util

from trustjax import bridge, weights

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


class Small(nnx.Module):
    """Two dense layers with BatchNorm between them, and dropout if it is wanted."""

    def __init__(self, rngs, dropout_rate=0.0):
        self.dense1 = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.dense2 = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.dense2(self.dropout(nnx.relu(self.norm(self.dense1(x)))))


class LinenSmall(linen.Module):
    """The same in Linen, whose call takes the mode."""

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.Dense(8, name="dense1")(x)
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        return linen.Dense(3, name="dense2")(linen.relu(x))


def trained(seed):
    """A network whose running statistics have moved."""
    model = Small(nnx.Rngs(seed))
    model.train()
    model(X + 1)
    model.eval()
    return model


def arrays_of(model):
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {
        "/".join(map(str, path)): np.asarray(leaf[...])
        for path, leaf in nnx.to_flat_state(state)
    }


def answers(network):
    return jax.jit(network.apply_fn)(network.params, X)


def as_linen(model):
    """The variables of the same network in Linen."""
    nested = traverse_util.unflatten_dict(arrays_of(model), sep="/")
    return {
        "params": {
            name: {k: v for k, v in layer.items() if k not in ("mean", "var")}
            for name, layer in nested.items()
        },
        "batch_stats": {"norm": {k: nested["norm"][k] for k in ("mean", "var")}},
    }


def test_each_kind_of_object_is_the_same_network():
    model = trained(1)
    expected = model(X)
    linen_module, variables = LinenSmall(), as_linen(model)
    for network in (
        model,
        lambda: model,
        bridge.from_nnx(model),
        lambda: bridge.from_nnx(model),
        (linen_module, variables),
        lambda: (linen_module, variables),
        bridge.from_linen(linen_module, variables, train=False),
    ):
        found = answers(bridge.from_object(network))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_weights_take_the_place_of_its_own():
    model, other = trained(1), trained(2)
    arrays, expected = arrays_of(model), model(X)
    before = other(X)
    plain = lambda params, x: x @ params["w"] + params["layers"][0][None]
    for network, given in [
        (other, arrays),
        (lambda: other, arrays),
        (other, {name.replace("/", "."): array for name, array in arrays.items()}),
        ((LinenSmall(), as_linen(other)), arrays),
        (LinenSmall(), arrays),
        (LinenSmall, traverse_util.flatten_dict(as_linen(model), sep="/")),
    ]:
        found = answers(bridge.from_object(network, arrays=given, example=X))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(other(X), before)  # the object is left as it was
    params = {"w": np.zeros((6, 3)), "layers": [np.zeros(3)]}
    given = {"w": np.ones((6, 3)), "layers/0": np.arange(3.0)}
    found = answers(bridge.from_object((plain, params), arrays=given))
    np.testing.assert_allclose(found, X.sum(1)[:, None] + np.arange(3), rtol=1e-5)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "msgpack", "orbax"])
def test_files_of_weights_give_the_same_answers(kind, tmp_path):
    model = trained(1)
    path = tmp_path / ("steps" if kind == "orbax" else f"weights.{kind}")
    if kind == "msgpack":
        # A train state: the network is found in it.
        state = {"step": 3, **as_linen(model), "opt_state": {"count": np.int32(3)}}
        path.write_bytes(serialization.msgpack_serialize(state))
    else:
        weights.write(path, arrays_of(model))
    for network in (trained(2), LinenSmall()):
        found = bridge.from_object(network, arrays=weights.read(path), example=X)
        np.testing.assert_allclose(answers(found), model(X), rtol=1e-5, atol=1e-6)


def test_weights_of_another_network_list_all_that_differs():
    arrays = arrays_of(trained(1))
    arrays["dense1/kernel"] = np.zeros((7, 8))
    arrays["dens2/bias"] = arrays.pop("dense2/bias")
    for network in (trained(2), LinenSmall(), (LinenSmall(), as_linen(trained(2)))):
        with pytest.raises(ValueError) as refused:
            bridge.from_object(network, arrays=arrays, example=X)
        said = str(refused.value)
        assert "dense2/bias (3,), perhaps dens2/bias" in said
        assert "dens2/bias (3,)" in said
        assert "dense1/kernel must be (6, 8), got (7, 8)" in said


def test_dropout_can_be_asked_where_the_module_holds_the_mode():
    with_dropout = bridge.from_object(Small(nnx.Rngs(0), dropout_rate=0.5))
    assert with_dropout.stochastic_apply_fn is not None
    one, other = (
        with_dropout.stochastic_apply_fn(with_dropout.params, X, jax.random.key(seed))
        for seed in (0, 1)
    )
    assert not np.allclose(one, other)
    assert bridge.from_object(Small(nnx.Rngs(0))).stochastic_apply_fn is None


class Torch:
    """Stands for a module of PyTorch, which is known by its classes' names."""

    __module__ = "torch.nn.modules.module"

    def __call__(self):
        raise AssertionError("a module is not called")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (3, "a network must be an nnx.Module, (apply_fn, params), (linen.Module, var"),
        (None, "got NoneType"),
        ((1, 2), "got (int, int)"),
        ((lambda p, x: x, {}, {}), "got (function, dict, dict)"),
        (lambda: "resnet", "got str"),
        (lambda params, x: x, "called without arguments raises TypeError: "),
        (Small, "Small called without arguments raises TypeError: Small.__init__()"),
        (LinenSmall(), "LinenSmall is a Linen module without variables: give (LinenSm"),
        (Torch(), "got Torch: give bridge.from_torch(module, example)"),
        ((Torch(), {}), "got (Torch, dict): give bridge.from_torch(module, example)"),
    ],
)
def test_what_is_no_network_says_what_was_expected(network, expected):
    with pytest.raises(ValueError) as refused:
        bridge.from_object(network)
    assert expected in str(refused.value)


def test_a_linen_module_with_weights_needs_an_example():
    with pytest.raises(ValueError, match="no variables: give an example batch"):
        bridge.from_object(LinenSmall(), arrays=arrays_of(trained(1)))
