"""Small networks of every kind that the gradient engine must get right.

Each is `Problem(apply_fn, params, x)`: eight examples, three classes, a few hundred
parameters. Batteries take them all: `@pytest.mark.parametrize("name", problems.ALL)`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax import lax

BATCH = 8
CLASSES = 3


class Problem(NamedTuple):
    apply_fn: Callable[[Any, Any], jax.Array]
    params: Any
    x: Any


def get(name) -> Problem:
    """One problem by name; made once."""
    return _make(name)


@functools.cache
def _make(name):
    return ALL[name]()


def _arrays(**shapes):
    """Random arrays by path (`conv1__kernel`), kernels scaled by their fan-in."""
    keys = jax.random.split(jax.random.key(len(shapes)), len(shapes))
    params = {}
    for key, (path, shape) in zip(keys, shapes.items(), strict=True):
        layer, _, leaf = path.rpartition("__")
        fan_in = max(1, jnp.zeros(shape[:-1]).size) if leaf == "kernel" else 10
        params.setdefault(layer, {})[leaf] = jax.random.normal(key, shape) * (
            1.5 / fan_in**0.5
        )
    return params


def _images(*shape, seed=7):
    return jax.random.normal(jax.random.key(seed), (BATCH, *shape))


def _conv(layer, x, *, strides: int = 1, padding: Any = "SAME", **options):
    rank = x.ndim - 2
    spatial = "DHW"[-rank:]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    y = lax.conv_general_dilated(
        x,
        layer["kernel"],
        (strides,) * rank,
        padding,
        dimension_numbers=layout,
        **options,
    )
    return y + layer["bias"].reshape((1,) * (rank + 1) + (-1,))


def _dense(layer, x):
    return x @ layer["kernel"] + layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))


def _pooled_head(params, x):
    return _dense(params["dense"], x.mean(tuple(range(1, x.ndim - 1))))


def _max_pool(x, window=2, strides=2, padding="VALID"):
    rank = x.ndim - 2
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, *[window] * rank, 1),
        (1, *[strides] * rank, 1),
        padding,
    )


def mlp():
    """Dense layers on vectors: the outer-product closed forms."""

    def apply_fn(params, x):
        x = jnp.tanh(_dense(params["dense1"], x))
        return _dense(params["dense2"], jax.nn.relu(x))

    params = _arrays(
        dense1__kernel=(6, 7),
        dense1__bias=(7,),
        dense2__kernel=(7, CLASSES),
        dense2__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(6))


def cnn():
    """Convolutions, leaky ReLU and max pooling, as in Oberdiek et al. 2018."""

    def apply_fn(params, x):
        x = _max_pool(jax.nn.leaky_relu(_conv(params["conv1"], x), 0.1))
        x = jax.nn.leaky_relu(_conv(params["conv2"], x, padding="VALID"), 0.1)
        return _dense(params["dense"], x.reshape(x.shape[0], -1))

    params = _arrays(
        conv1__kernel=(3, 3, 1, 4),
        conv1__bias=(4,),
        conv2__kernel=(3, 3, 4, 5),
        conv2__bias=(5,),
        dense__kernel=(20, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(8, 8, 1))


def overlapping_pools():
    """Max pooling with padding, overlap and many ties, and average pooling."""

    def apply_fn(params, x):
        x = jax.nn.relu(_conv(params["conv1"], x))
        x = _max_pool(x, window=3, strides=2, padding="SAME")
        x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")
        return _pooled_head(params, _conv(params["conv2"], x))

    params = _arrays(
        conv1__kernel=(3, 3, 2, 4),
        conv1__bias=(4,),
        conv2__kernel=(1, 1, 4, 5),
        conv2__bias=(5,),
        dense__kernel=(5, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, jnp.round(_images(7, 7, 2)))


def resnet():
    """Strided residual blocks with normalisation by running statistics."""

    def normalise(layer, x, running):
        running_mean, running_variance = running
        shape = (1,) * (x.ndim - 1) + (-1,)
        x = (x - running_mean) * lax.rsqrt(running_variance + 1e-5)
        return x * layer["scale"].reshape(shape) + layer["bias"].reshape(shape)

    @jax.jit
    def block(params, x):
        y = jax.nn.relu(
            normalise(params["norm"], _conv(params["conv2"], x, strides=2), (0.1, 0.9))
        )
        return jax.nn.relu(
            _conv(params["conv3"], y) + _conv(params["shortcut"], x, strides=2)
        )

    def apply_fn(params, x):
        x = jax.nn.relu(_conv(params["conv1"], x))
        return _pooled_head(params, block(params, x))

    params = _arrays(
        conv1__kernel=(3, 3, 3, 4),
        conv1__bias=(4,),
        conv2__kernel=(3, 3, 4, 6),
        conv2__bias=(6,),
        norm__scale=(6,),
        norm__bias=(6,),
        conv3__kernel=(3, 3, 6, 6),
        conv3__bias=(6,),
        shortcut__kernel=(1, 1, 4, 6),
        shortcut__bias=(6,),
        dense__kernel=(6, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(6, 6, 3))


def conv_variants():
    """Grouped, depthwise, dilated and transposed convolutions in one network."""

    def apply_fn(params, x):
        x = _conv(params["grouped"], x, feature_group_count=2)
        x = jnp.tanh(_conv(params["depthwise"], x, feature_group_count=4))
        x = _conv(params["dilated"], x, rhs_dilation=(2, 1), padding=((2, 1), (0, 2)))
        x = jnp.tanh(x)
        kernel = params["transposed"]["kernel"]
        x = lax.conv_transpose(x, kernel, (2, 2), "SAME")
        x = x + params["transposed"]["bias"].reshape(1, 1, 1, -1)
        return _pooled_head(params, jnp.tanh(x))

    params = _arrays(
        grouped__kernel=(3, 3, 2, 4),
        grouped__bias=(4,),
        depthwise__kernel=(3, 3, 1, 8),
        depthwise__bias=(8,),
        dilated__kernel=(3, 2, 8, 4),
        dilated__bias=(4,),
        transposed__kernel=(3, 3, 4, 5),
        transposed__bias=(5,),
        dense__kernel=(5, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(5, 6, 4))


def channels_first():
    """NCHW images and OIHW kernels, asymmetric padding (or a crop), stride 2 by 3."""

    def apply_fn(params, x):
        for layer, padding in ((params["conv1"], (1, 2)), (params["conv2"], (-1, 1))):
            x = lax.conv_general_dilated(
                x,
                layer["kernel"],
                (2, 3),
                (padding, (0, 2)),
                dimension_numbers=("NCHW", "OIHW", "NCHW"),
            )
            x = jax.nn.gelu(x + layer["bias"].reshape(1, -1, 1, 1))
        return _dense(params["dense"], x.mean((2, 3)))

    params = _arrays(
        conv1__kernel=(4, 2, 3, 3),
        conv1__bias=(4,),
        conv2__kernel=(5, 4, 2, 2),
        conv2__bias=(5,),
        dense__kernel=(5, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(2, 10, 11))


def audio():
    """One-dimensional convolutions."""

    def apply_fn(params, x):
        x = jax.nn.relu(_conv(params["conv1"], x, strides=2))
        return _pooled_head(params, _conv(params["conv2"], x, rhs_dilation=(2,)))

    params = _arrays(
        conv1__kernel=(3, 2, 4),
        conv1__bias=(4,),
        conv2__kernel=(3, 4, 4),
        conv2__bias=(4,),
        dense__kernel=(4, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(12, 2))


def video():
    """A three-dimensional convolution, then frames folded into the batch."""

    def apply_fn(params, x):
        x = jax.nn.relu(_conv(params["conv1"], x))
        batch, frames, *rest = x.shape
        x = _conv(params["conv2"], x.reshape(batch * frames, *rest), strides=2)
        x = x.reshape(batch, frames, *x.shape[1:])
        return _pooled_head(params, jnp.tanh(x))

    params = _arrays(
        conv1__kernel=(2, 3, 3, 1, 3),
        conv1__bias=(3,),
        conv2__kernel=(3, 3, 3, 4),
        conv2__bias=(4,),
        dense__kernel=(4, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(3, 5, 4, 1))


def transformer():
    """Patches by a strided convolution, attention with reshaped kernels, LayerNorm."""

    def layer_norm(layer, x):
        x = x - x.mean(-1, keepdims=True)
        x = x * lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * layer["scale"].reshape(1, 1, -1) + layer["bias"].reshape(1, 1, -1)

    def attention(params, x):
        query, key, value = jnp.einsum("bnd,dthk->tbnhk", x, params["qkv"]["kernel"])
        weights = jax.nn.softmax(jnp.einsum("bnhk,bmhk->bhnm", query, key))
        x = jnp.einsum("bhnm,bmhk->bnhk", weights, value)
        return jnp.einsum("bnhk,hkd->bnd", x, params["out"]["kernel"])

    def apply_fn(params, x):
        x = _conv(params["patches"], x, strides=2, padding="VALID")
        x = x.reshape(x.shape[0], -1, x.shape[-1]) + params["position"]["embedding"]
        x = x + attention(params, layer_norm(params["norm"], x))
        x = x + jax.nn.gelu(_dense(params["mlp"], x))
        return _pooled_head(params, x)

    params = _arrays(
        patches__kernel=(2, 2, 1, 4),
        patches__bias=(4,),
        position__embedding=(1, 9, 4),
        norm__scale=(4,),
        norm__bias=(4,),
        qkv__kernel=(4, 3, 2, 2),
        out__kernel=(2, 2, 4),
        mlp__kernel=(4, 4),
        mlp__bias=(4,),
        dense__kernel=(4, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(6, 6, 1))


def scanned():
    """Layers stacked in one array and run by `lax.scan`, each under `remat`."""

    def apply_fn(params, x):
        @jax.checkpoint
        def layer(x, kernels):
            conv = {"kernel": kernels[0], "bias": kernels[1]}
            return jnp.tanh(_conv(conv, x)), None

        layers = (params["layers"]["kernel"], params["layers"]["bias"])
        x, _ = lax.scan(layer, x, layers)
        return _pooled_head(params, x)

    params = _arrays(
        layers__kernel=(3, 3, 3, 2, 2),
        layers__bias=(3, 2),
        dense__kernel=(2, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(5, 5, 2))


def branching():
    """`cond`, `switch` and `while_loop`; some depend on the example, some do not."""

    def apply_fn(params, x):
        x = lax.cond(
            params["conv1"]["bias"][0] > 0,
            lambda x: jnp.tanh(_conv(params["conv1"], x)),
            lambda x: jax.nn.relu(_conv(params["conv1"], x, padding=((2, 0), (0, 2)))),
            x,
        )
        # How often to halve is found by a loop and not differentiated.
        power = lax.while_loop(
            lambda power: power[0] > 1.0,
            lambda power: (power[0] / 2, power[1] + 1),
            (lax.stop_gradient(jnp.abs(x).max()), 0),
        )[1]
        x = lax.switch(
            jnp.minimum(power, 1),
            [
                lambda x: _conv(params["conv2"], x),
                lambda x: 2 * _conv(params["conv2"], x, strides=1, rhs_dilation=(2, 2)),
            ],
            x,
        )
        return _pooled_head(params, x)

    params = _arrays(
        conv1__kernel=(3, 3, 1, 3),
        conv1__bias=(3,),
        conv2__kernel=(2, 2, 3, 3),
        conv2__bias=(3,),
        dense__kernel=(3, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(5, 5, 1))


def custom_rules():
    """Convolutions inside functions with their own derivative rules."""

    def plain(layer, x):
        return _conv(layer, x)

    # A straight-through rule that scales the gradient by two: not what autodiff
    # gives, so an engine that looked through the rule would be caught.
    doubled = jax.custom_vjp(plain)

    def forward(layer, x):
        return plain(layer, x), (layer, x)

    def backward(residuals, cotangent):
        _, pull = jax.vjp(plain, *residuals)
        return jax.tree.map(lambda t: 2 * t, pull(cotangent))

    doubled.defvjp(forward, backward)

    tripled = jax.custom_jvp(plain)

    @tripled.defjvp
    def _(primals, tangents):
        value, tangent = jax.jvp(plain, primals, tangents)
        return value, 3 * tangent

    def apply_fn(params, x):
        x = jnp.tanh(doubled(params["conv1"], x))
        x = jnp.tanh(tripled(params["conv2"], x))
        return _pooled_head(params, x)

    params = _arrays(
        conv1__kernel=(3, 3, 1, 3),
        conv1__bias=(3,),
        conv2__kernel=(3, 3, 3, 2),
        conv2__bias=(2,),
        dense__kernel=(2, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(5, 5, 1))


def shared_kernels():
    """One kernel used twice, one standardised before use, one dense tied."""

    def apply_fn(params, x):
        kernel = params["twice"]["kernel"]
        x = jnp.tanh(_conv(params["twice"], x))
        x = jnp.tanh(_conv({**params["twice"], "kernel": kernel}, x, strides=2))
        kernel = params["standard"]["kernel"]
        kernel = (kernel - kernel.mean()) / kernel.std()
        x = jnp.tanh(_conv({**params["standard"], "kernel": kernel}, x))
        x = x.mean((1, 2))
        x = jnp.tanh(x @ params["tied"]["kernel"])
        return _dense(params["dense"], x @ params["tied"]["kernel"].T)

    params = _arrays(
        twice__kernel=(3, 3, 2, 2),
        twice__bias=(2,),
        standard__kernel=(3, 3, 2, 4),
        standard__bias=(4,),
        tied__kernel=(4, 5),
        dense__kernel=(4, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(5, 5, 2))


def dynamic_kernels():
    """A convolution whose kernel is made from the example itself."""

    def apply_fn(params, x):
        def one(image):
            kernel = _dense(params["made"], image.mean((0, 1))[None])
            layer = {"kernel": kernel.reshape(3, 3, 2, 3), "bias": jnp.zeros(3)}
            return _conv(layer, image[None])[0]

        return _pooled_head(params, jnp.tanh(jax.vmap(one)(x)))

    params = _arrays(
        made__kernel=(2, 54),
        made__bias=(54,),
        dense__kernel=(3, CLASSES),
        dense__bias=(CLASSES,),
    )
    return Problem(apply_fn, params, _images(4, 4, 2))


def several_inputs():
    """A tree of inputs: an image and a vector of indices into an embedding."""

    def apply_fn(params, x):
        image = _conv(params["conv"], x["image"]).mean((1, 2))
        words = params["words"]["embedding"][x["words"]].mean(1)
        return _dense(params["dense"], jnp.tanh(image + words))

    params = _arrays(
        conv__kernel=(3, 3, 1, 4),
        conv__bias=(4,),
        words__embedding=(6, 4),
        dense__kernel=(4, CLASSES),
        dense__bias=(CLASSES,),
    )
    words = jax.random.randint(jax.random.key(3), (BATCH, 5), 0, 6)
    return Problem(apply_fn, params, {"image": _images(4, 4, 1), "words": words})


ALL: dict[str, Callable[[], Problem]] = {
    make.__name__: make
    for make in (
        audio,
        branching,
        channels_first,
        cnn,
        conv_variants,
        custom_rules,
        dynamic_kernels,
        mlp,
        overlapping_pools,
        resnet,
        scanned,
        several_inputs,
        shared_kernels,
        transformer,
        video,
    )
}
LIGHT = frozenset({"branching", "cnn", "conv_variants", "transformer"})
"""Those that `make test` takes where each costs seconds of the compiler."""


def light_or_exhaustive():
    """For `parametrize`: all, of which those that are not light are exhaustive."""
    return [
        pytest.param(name, marks=[] if name in LIGHT else pytest.mark.exhaustive)
        for name in ALL
    ]


IMAGES = [name for name in ALL if name not in ("several_inputs", "mlp", "audio")]
"""The problems whose input is one batch of images or clips."""
