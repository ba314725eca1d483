"""Small networks of every kind that a cut must be found in.

Each is `Network(apply_fn, params, x, ...)` with what is right for it: the shapes of its
embedding and its feature map for one example, None where it has none, and the
parameters that the logits are computed with from there. Tests take them all:
`@pytest.mark.parametrize("name", networks.ALL)`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import lax

from trustjax import bridge

BATCH, CLASSES, WIDTH, PATCHES, DEPTH = 4, 5, 16, 16, 2

Shape = tuple[int, ...] | None


class Network(NamedTuple):
    """A network and what is known of it.

    Attributes:
      apply_fn: `(params, x) -> logits`.
      params: its parameters.
      x: a batch of `BATCH` examples.
      embedding: shape of the embedding of one example; None if there is none.
      feature_map: likewise.
      reads_embedding: the parameters between embedding and logits, by their paths.
      reads_map: likewise, from the feature map on.
    """

    apply_fn: Callable[[Any, Any], jax.Array]
    params: Any
    x: Any
    embedding: Shape
    feature_map: Shape
    reads_embedding: frozenset[str] = frozenset({"dense"})
    reads_map: frozenset[str] = frozenset({"dense"})


ALL: dict[str, Callable[[], Network]] = {}
_random = np.random.default_rng(0)


def get(name: str) -> Network:
    """One network by name; made once."""
    return _make(name)


@functools.cache
def _make(name: str) -> Network:
    return ALL[name]()


def _add(make: Callable[[], Network]) -> Callable[[], Network]:
    ALL[make.__name__] = make
    return make


def weights(*shape: int, scale: float | None = None) -> np.ndarray:
    scale = scale or 1 / math.sqrt(max(1, math.prod(shape[:-1])))
    return (scale * _random.standard_normal(shape)).astype(np.float32)


def inputs(*shape: int) -> np.ndarray:
    return weights(BATCH, *shape, scale=1.0)


def tokens_of_text(length: int = 6) -> np.ndarray:
    return _random.integers(0, 20, (BATCH, length)).astype(np.int32)


# Convolutional bodies with heads of many kinds.


def conv(x, kernel, strides=1, layout=("NHWC", "HWIO", "NHWC")):
    return lax.conv_general_dilated(
        x, kernel, (strides, strides), "SAME", dimension_numbers=layout
    )


def body(params, x):
    x = jax.nn.relu(conv(x, params["conv1"]) + params["bias1"].reshape(1, 1, 1, -1))
    return jax.nn.relu(conv(x, params["conv2"], strides=2))


def body_params(**heads) -> dict[str, Any]:
    return {
        "conv1": weights(3, 3, 3, 8),
        "bias1": weights(8, scale=0.1),
        "conv2": weights(3, 3, 8, 8),
        **heads,
    }


def pooled(maps):
    return maps.mean((1, 2))


def _with_head(
    name: str,
    head: Callable[[Any, Any], Any],
    embedding: Shape = (8,),
    feature_map: Shape = (4, 4, 8),
    *,
    shape: tuple[int, ...] = (8, 8, 3),
    reads: tuple[str, ...] = ("dense",),
    reads_embedding: tuple[str, ...] | None = None,
    **heads: np.ndarray,
) -> None:
    """A network of `body` and a head."""
    heads.setdefault("dense", weights(8, CLASSES))

    def make() -> Network:
        return Network(
            lambda params, x: head(params, body(params, x)),
            body_params(**heads),
            inputs(*shape),
            embedding,
            feature_map,
            frozenset(reads if reads_embedding is None else reads_embedding),
            frozenset(reads),
        )

    ALL[name] = make


def _calibrated(params, maps):
    log_probabilities = jax.nn.log_softmax(pooled(maps) @ params["dense"])
    return log_probabilities @ params["calibration"]


def _sum_of_two(params, maps):
    features = pooled(maps)
    return features @ params["dense"] + features @ params["other"]


def _two_heads(params, maps):
    features = pooled(maps)
    hidden = [jax.nn.relu(features @ params[f"hidden{k}"]) for k in (1, 2)]
    return hidden[0] @ params["dense1"] + hidden[1] @ params["dense2"]


def _cosine(params, maps):
    features, kernel = pooled(maps), params["dense"]
    features = features / jnp.linalg.norm(features, axis=-1, keepdims=True)
    return 10 * features @ (kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True))


def _largest_and_mean(params, maps):
    both = jnp.concatenate([pooled(maps), maps.max((1, 2))], axis=-1)
    return both @ params["dense"]


def _largest_of_windows(params, maps):
    window = (1, 2, 2, 1)
    maps = lax.reduce_window(maps, -jnp.inf, lax.max, window, window, "VALID")
    return maps.reshape(len(maps), -1) @ params["dense"]


def _dropped(params, maps):
    """Dropout with a key that is closed over, one mask for the batch."""
    features = pooled(maps)
    mask = jax.random.bernoulli(jax.random.key(3), 0.8, features.shape)
    return jnp.where(mask, features / 0.8, 0) @ params["dense"]


_with_head("dense", lambda p, maps: pooled(maps) @ p["dense"])
_with_head(
    "log_softmax",
    lambda p, maps: jax.nn.log_softmax(pooled(maps) @ p["dense"]),
)
_with_head("temperature", lambda p, maps: pooled(maps) @ p["dense"] / 2.5)
_with_head(
    "calibrated",
    _calibrated,
    (CLASSES,),
    reads=("calibration", "dense"),
    reads_embedding=("calibration",),
    calibration=weights(CLASSES, CLASSES),
)
_with_head(
    "conv_head",
    lambda p, maps: conv(maps.mean((1, 2), keepdims=True), p["dense"])[:, 0, 0],
    dense=weights(1, 1, 8, CLASSES),
)
_with_head(
    "conv_head_at_positions",
    lambda p, maps: pooled(conv(maps, p["dense"])),
    None,
    dense=weights(1, 1, 8, CLASSES),
)
_with_head(
    "two_dense_heads",
    _sum_of_two,
    reads=("dense", "other"),
    other=weights(8, CLASSES),
)
_with_head(
    "two_heads",
    _two_heads,
    None,
    reads=("dense1", "dense2", "hidden1", "hidden2"),
    hidden1=weights(8, 8),
    hidden2=weights(8, 8),
    dense1=weights(8, CLASSES),
    dense2=weights(8, CLASSES),
)
_with_head("largest_and_mean", _largest_and_mean, (16,), dense=weights(16, CLASSES))
_with_head("cosine", _cosine)
_with_head("mean_in_two_steps", lambda p, maps: maps.mean(1).mean(1) @ p["dense"])
_with_head("largest_of_windows", _largest_of_windows, (8,), (3, 3, 8), shape=(6, 6, 3))
_with_head("dropout_with_one_key", _dropped)
_with_head(
    "distances_to_prototypes",
    lambda p, maps: -((pooled(maps)[:, None] - p["dense"].T[None]) ** 2).sum(-1),
    None,
    (8, 8, 8),
    reads=("conv2", "dense"),
)


@_add
def jitted() -> Network:
    """A function under `jax.jit`, with another inside."""
    stage = jax.jit(body)
    apply_fn = jax.jit(lambda params, x: pooled(stage(params, x)) @ params["dense"])
    params = body_params(dense=weights(8, CLASSES))
    return Network(apply_fn, params, inputs(8, 8, 3), (8,), (4, 4, 8))


@_add
def rematerialised() -> Network:
    """A function under `jax.checkpoint`."""
    whole = lambda params, x: pooled(body(params, x)) @ params["dense"]
    params = body_params(dense=weights(8, CLASSES))
    apply_fn = jax.checkpoint(whole)
    return Network(apply_fn, params, inputs(8, 8, 3), (8,), (4, 4, 8))


@_add
def weights_closed_over() -> Network:
    """A closure without parameters."""
    kernel, known = weights(8, CLASSES), body_params()
    return Network(
        lambda params, x: pooled(body(known, x)) @ kernel,
        {},
        inputs(8, 8, 3),
        (8,),
        (4, 4, 8),
        frozenset(),
        frozenset(),
    )


@_add
def head_closed_over() -> Network:
    """A new head on a body with parameters."""
    kernel = weights(8, CLASSES)
    return Network(
        lambda params, x: pooled(body(params, x)) @ kernel,
        body_params(),
        inputs(8, 8, 3),
        (8,),
        (4, 4, 8),
        frozenset(),
        frozenset(),
    )


@_add
def bytes_scaled() -> Network:
    """Images of whole numbers, scaled by the network itself."""
    images = _random.integers(0, 255, (BATCH, 8, 8, 3)).astype(np.uint8)
    return Network(
        lambda params, x: pooled(body(params, x / jnp.float32(255))) @ params["dense"],
        body_params(dense=weights(8, CLASSES)),
        images,
        (8,),
        (4, 4, 8),
    )


def _channels_first(params, x):
    layout = ("NCHW", "OIHW", "NCHW")
    x = jax.nn.relu(conv(x, params["conv1"], layout=layout))
    return jax.nn.relu(conv(x, params["conv2"], strides=2, layout=layout))


@_add
def channels_first() -> Network:
    """The order of PyTorch."""
    return Network(
        lambda params, x: _channels_first(params, x).mean((2, 3)) @ params["dense"],
        {
            "conv1": weights(8, 3, 3, 3, scale=0.2),
            "conv2": weights(6, 8, 3, 3, scale=0.2),
            "dense": weights(6, CLASSES),
        },
        inputs(3, 8, 8),
        (6,),
        (4, 4, 6),
    )


@_add
def channels_first_in_one_row() -> Network:
    """The same, flattened for its dense layer."""

    def apply_fn(params, x):
        return _channels_first(params, x).reshape(len(x), -1) @ params["dense"]

    params = {
        "conv1": weights(8, 3, 3, 3, scale=0.2),
        "conv2": weights(6, 8, 3, 3, scale=0.2),
        "dense": weights(96, CLASSES),
    }
    return Network(apply_fn, params, inputs(3, 8, 8), (96,), (4, 4, 6))


@_add
def two_flips() -> Network:
    """The mean over an image and its mirror image: two values alive to the end."""

    def apply_fn(params, x):
        views = (x, x[:, :, ::-1])
        of_view = [pooled(body(params, view)) @ params["dense"] for view in views]
        return (of_view[0] + of_view[1]) / 2

    params = body_params(dense=weights(8, CLASSES))
    return Network(apply_fn, params, inputs(8, 8, 3), None, None)


@_add
def skip_from_input() -> Network:
    """The input is alive until the logits."""

    def apply_fn(params, x):
        return pooled(body(params, x)) @ params["dense"] + pooled(x) @ params["skip"]

    params = body_params(dense=weights(8, CLASSES), skip=weights(3, CLASSES))
    return Network(apply_fn, params, inputs(8, 8, 3), None, None)


@_add
def skip_joined() -> Network:
    """The input is alive until it joins the features."""

    def apply_fn(params, x):
        joined = jnp.concatenate([pooled(body(params, x)), pooled(x)], axis=-1)
        return joined @ params["dense"]

    params = body_params(dense=weights(11, CLASSES))
    return Network(apply_fn, params, inputs(8, 8, 3), (11,), None)


@_add
def two_inputs() -> Network:
    """x is a dict."""

    def apply_fn(params, x):
        features = pooled(body(params, x["image"]))
        return jnp.concatenate([features, x["age"]], axis=-1) @ params["dense"]

    x = {"image": inputs(8, 8, 3), "age": inputs(2)}
    params = body_params(dense=weights(10, CLASSES))
    return Network(apply_fn, params, x, (10,), None)


# Networks without positions.


@_add
def perceptron() -> Network:
    def apply_fn(params, x):
        return jax.nn.relu(x.reshape(len(x), -1) @ params["hidden"]) @ params["dense"]

    params = {"hidden": weights(192, 8), "dense": weights(8, CLASSES)}
    return Network(apply_fn, params, inputs(8, 8, 3), (8,), None)


@_add
def linear() -> Network:
    """Its embedding is x, which is no cut."""
    params = {"dense": weights(6, CLASSES)}
    return Network(lambda params, x: x @ params["dense"], params, inputs(6), None, None)


# Transformers.


def normalised(x, scale):
    variance = x.var(axis=-1, keepdims=True)
    x = (x - x.mean(axis=-1, keepdims=True)) * lax.rsqrt(variance + 1e-6)
    return x * scale.reshape((1,) * (x.ndim - 1) + (-1,))


def attention(params, x, mask=None, heads=2):
    batch, length, width = x.shape
    queries, keys, values = (
        (x @ params["qkv"])
        .reshape(batch, length, 3, heads, width // heads)
        .transpose(2, 0, 3, 1, 4)
    )
    similarity = queries @ keys.swapaxes(-1, -2) / math.sqrt(width // heads)
    if mask is not None:
        similarity = jnp.where(mask, similarity, -1e9)
    read = jax.nn.softmax(similarity) @ values
    return read.transpose(0, 2, 1, 3).reshape(batch, length, width) @ params["out"]


def block(params, x, mask=None):
    x = x + attention(params, normalised(x, params["scale1"]), mask)
    hidden = jax.nn.gelu(normalised(x, params["scale2"]) @ params["hidden1"])
    return x + hidden @ params["hidden2"]


def block_params(*layers: int) -> dict[str, np.ndarray]:
    return {
        "qkv": weights(*layers, WIDTH, 3 * WIDTH, scale=0.3),
        "out": weights(*layers, WIDTH, WIDTH, scale=0.3),
        "scale1": np.ones((*layers, WIDTH), np.float32),
        "scale2": np.ones((*layers, WIDTH), np.float32),
        "hidden1": weights(*layers, WIDTH, 2 * WIDTH, scale=0.3),
        "hidden2": weights(*layers, 2 * WIDTH, WIDTH, scale=0.3),
    }


def patches(params, x, class_tokens):
    x = lax.conv_general_dilated(
        x,
        params["patches"],
        (4, 4),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = x.reshape(len(x), -1, WIDTH)
    if class_tokens:
        first = jnp.broadcast_to(params["class"], (len(x), class_tokens, WIDTH))
        x = jnp.concatenate([first, x], axis=1)
    return x + params["positions"]


def _transformer(
    name: str,
    read_out: Callable[[Any, Any], jax.Array],
    embedding: Shape,
    *,
    class_tokens: int = 0,
    remat: bool = False,
    stacked: bool = False,
    reads: tuple[str, ...],
    reads_embedding: tuple[str, ...] = ("dense",),
) -> None:
    layer = jax.checkpoint(block) if remat else block

    def apply_fn(params, x):
        x = patches(params, x, class_tokens)
        if stacked:
            step = lambda x, params: (layer(params, x), None)
            return read_out(params, lax.scan(step, x, params["blocks"])[0])
        for of_block in params["blocks"]:
            x = layer(of_block, x)
        return read_out(params, x)

    def make() -> Network:
        length = PATCHES + class_tokens
        params = {
            "patches": weights(4, 4, 3, WIDTH),
            "class": weights(1, max(1, class_tokens), WIDTH, scale=1.0),
            "positions": weights(1, length, WIDTH, scale=0.5),
            "blocks": (
                block_params(DEPTH)
                if stacked
                else [block_params() for _ in range(DEPTH)]
            ),
            "scale": np.ones(WIDTH, np.float32),
            "dense": weights(WIDTH, CLASSES),
            "other": weights(WIDTH, CLASSES),
        }
        return Network(
            apply_fn,
            params,
            inputs(16, 16, 3),
            embedding,
            (length, WIDTH),
            frozenset(reads_embedding),
            frozenset(reads),
        )

    ALL[name] = make


def _first(params, x):
    return normalised(x, params["scale"])[:, 0] @ params["dense"]


def _mean(params, x):
    return normalised(x, params["scale"]).mean(1) @ params["dense"]


def _taken(params, x):
    return jnp.take(normalised(x, params["scale"]), 0, axis=1) @ params["dense"]


def _distilled(params, x):
    x = normalised(x, params["scale"])
    return (x[:, 0] @ params["dense"] + x[:, 1] @ params["other"]) / 2


def _by_attention(params, x):
    weight = jax.nn.softmax(x @ params["other"][:, 0])
    return jnp.einsum("bt,btd->bd", weight, x) @ params["dense"]


_LAST = ("blocks/1", "dense", "scale")
_class_token = functools.partial(
    _transformer, read_out=_first, embedding=(WIDTH,), class_tokens=1, reads=_LAST
)
_class_token("class_token")
_class_token("class_token_rematerialised", remat=True)
_class_token("class_token_in_a_scan", stacked=True)
_class_token("class_token_taken", read_out=_taken)
_mean_pooled = functools.partial(
    _transformer, read_out=_mean, embedding=(WIDTH,), reads=("dense",)
)
_mean_pooled("mean_of_tokens")
_mean_pooled("mean_of_tokens_in_a_scan", stacked=True, remat=True)
_transformer("distilled", _distilled, None, class_tokens=2, reads=(*_LAST, "other"))
_transformer("pooled_by_attention", _by_attention, (WIDTH,), reads=("dense", "other"))


def windows(x, size):
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)


def joined(x, size, height):
    count, channels = height // size, x.shape[-1]
    x = x.reshape(x.shape[0] // count**2, count, count, size, size, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, height, channels)


@_add
def shifted_windows() -> Network:
    """As Swin: a batch of windows inside each block."""

    def apply_fn(params, x):
        x = lax.conv_general_dilated(
            x,
            params["patches"],
            (2, 2),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for number, layer in enumerate(params["blocks"]):
            shift = 2 * (number % 2)
            y = jnp.roll(normalised(x, layer["scale1"]), (-shift, -shift), (1, 2))
            y = joined(attention(layer, windows(y, 4)), 4, 8)
            x = x + jnp.roll(y, (shift, shift), (1, 2))
            hidden = jax.nn.gelu(normalised(x, layer["scale2"]) @ layer["hidden1"])
            x = x + hidden @ layer["hidden2"]
        x = normalised(x, params["scale"]).transpose(0, 3, 1, 2)
        return x.mean((2, 3)) @ params["dense"]

    params = {
        "patches": weights(2, 2, 3, WIDTH),
        "blocks": [block_params() for _ in range(2)],
        "scale": np.ones(WIDTH, np.float32),
        "dense": weights(WIDTH, CLASSES),
    }
    return Network(apply_fn, params, inputs(16, 16, 3), (WIDTH,), (8, 8, WIDTH))


@_add
def mixer() -> Network:
    """As MLP-Mixer: dense layers over the tokens."""

    def apply_fn(params, x):
        x = patches(params, x, 0)
        for layer in params["blocks"]:
            y = normalised(x, layer["scale1"]).swapaxes(1, 2)
            y = jax.nn.gelu(y @ layer["tokens1"]) @ layer["tokens2"]
            x = x + y.swapaxes(1, 2)
            hidden = jax.nn.gelu(normalised(x, layer["scale2"]) @ layer["hidden1"])
            x = x + hidden @ layer["hidden2"]
        return normalised(x, params["scale"]).mean(1) @ params["dense"]

    over_tokens = lambda: {
        "tokens1": weights(PATCHES, 12),
        "tokens2": weights(12, PATCHES),
    }
    params = {
        "patches": weights(4, 4, 3, WIDTH),
        "positions": weights(1, PATCHES, WIDTH, scale=0.5),
        "blocks": [block_params() | over_tokens() for _ in range(2)],
        "scale": np.ones(WIDTH, np.float32),
        "dense": weights(WIDTH, CLASSES),
    }
    return Network(apply_fn, params, inputs(16, 16, 3), (WIDTH,), (PATCHES, WIDTH))


# Text, and time.


def _text(name: str, masked: bool, embedding: Shape, feature_map: Shape) -> None:
    def apply_fn(params, x):
        mask = (x != 0) if masked else jnp.ones_like(x, bool)
        x = params["table"][x] + params["positions"]
        for layer in params["blocks"]:
            x = block(layer, x, mask[:, None, None, :] if masked else None)
        x = normalised(x, params["scale"])
        weight = mask.astype(x.dtype)[..., None]
        return (x * weight).sum(1) / weight.sum(1) @ params["dense"]

    def make() -> Network:
        params = {
            "table": weights(20, WIDTH, scale=1.0),
            "positions": weights(1, 6, WIDTH, scale=0.5),
            "blocks": [block_params() for _ in range(2)],
            "scale": np.ones(WIDTH, np.float32),
            "dense": weights(WIDTH, CLASSES),
        }
        return Network(apply_fn, params, tokens_of_text(), embedding, feature_map)

    ALL[name] = make


_text("text", False, (WIDTH,), (6, WIDTH))
_text("text_with_a_mask", True, (WIDTH,), None)


@_add
def bag_of_words() -> Network:
    params = {"table": weights(20, WIDTH), "dense": weights(WIDTH, CLASSES)}
    return Network(
        lambda params, x: params["table"][x].mean(1) @ params["dense"],
        params,
        tokens_of_text(),
        (WIDTH,),
        (6, WIDTH),
    )


class _Recurrent(linen.Module):
    last: bool

    @linen.compact
    def __call__(self, x):
        states: Any = linen.RNN(linen.LSTMCell(8))(linen.Embed(20, 4, name="table")(x))
        read = states[:, -1] if self.last else states.mean(1)
        return linen.Dense(CLASSES, name="dense")(read)


def _recurrent(name: str, last: bool, feature_map: Shape, reads: set[str]) -> None:
    def make() -> Network:
        module, x = _Recurrent(last), tokens_of_text()
        variables = module.init(jax.random.key(0), x)
        apply_fn, params = bridge.from_linen(module, variables)
        return Network(
            apply_fn, params, x, (8,), feature_map, reads_map=frozenset(reads)
        )

    ALL[name] = make


_recurrent("recurrent_mean", False, (6, 8), {"dense"})
_recurrent("recurrent_last", True, (6, 4), {"LSTMCell_0", "dense"})


class _Convolutional(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        for _ in range(2):
            x = linen.Conv(8, (3, 3))(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(x))
        return linen.Dense(CLASSES, name="dense")(x.mean((1, 2)))


@_add
def of_linen() -> Network:
    module, x = _Convolutional(), inputs(8, 8, 3)
    variables = module.init(jax.random.key(0), x)
    apply_fn, params = bridge.from_linen(module, variables)
    return Network(apply_fn, params, x, (8,), (8, 8, 8))
