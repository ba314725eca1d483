r"""The second stage, in training and in use, and both stages as one network.

.. math:: \hat y = \mathcal H(r_x), \qquad r_x = a(z) \, h^\top, \quad z = f(x)
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from trustjax import _numerics
from trustjax.introspection._algebra import linear
from trustjax.introspection._asking import logits_and_embedding
from trustjax.introspection._config import IntrospectionConfig
from trustjax.introspection._features import Features, features
from trustjax.introspection._standardized import Standardization
from trustjax.typing import ApplyFn, Params, SplitModel

_ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}

FIRST_STAGE, SECOND_STAGE = "first_stage", "second_stage"
"""The two parts of the parameters of both stages."""


def read(
    config: IntrospectionConfig, logits: jax.Array, embedding: jax.Array
) -> Features:
    """What a second stage reads, as two factors; the first is 1 of what has one."""
    if config.inputs == "introspective":
        return features(
            logits, embedding, loss=config.feature_loss, constant=config.constant
        )
    parts = {
        "embedding": (embedding,),
        "logits": (logits,),
        "embedding_and_logits": (embedding, logits),
    }[config.inputs]
    widened = [_numerics.at_least_float32(part) for part in parts]
    given = jnp.concatenate(widened, axis=1)
    return Features(jnp.ones_like(given[:, :1]), given)


class StandardizedLinear(nnx.Module):
    """A dense layer on standardised, flattened features, from their factors."""

    def __init__(self, shape: tuple[int, int], units: int, *, rngs: nnx.Rngs):
        flat = (shape[0] * shape[1], units)
        initial = nnx.initializers.lecun_normal()(rngs.params(), flat)
        self.kernel = nnx.Param(initial.reshape(*shape, units))
        self.bias = nnx.Param(jnp.zeros(units))
        self.mean = nnx.BatchStat(jnp.zeros(shape))
        self.deviation = nnx.BatchStat(jnp.ones(shape))

    def __call__(self, features: Features) -> Float[Array, "batch units"]:
        """The outputs of the layer."""
        kernel = _numerics.divide_no_nan(
            self.kernel[...], self.deviation[...][:, :, None]
        )
        of_mean = jnp.einsum("cdu,cd->u", kernel, self.mean[...])
        return linear(features, kernel, self.bias[...] - of_mean)

    def plain(self) -> dict[str, np.ndarray]:
        """Kernel and bias of the same layer on features as they are."""
        kernel, bias, mean, deviation = (
            np.asarray(variable[...], np.float64)
            for variable in (self.kernel, self.bias, self.mean, self.deviation)
        )
        varies = deviation[:, :, None] > 0
        scale = np.where(varies, deviation[:, :, None], 1)
        kernel = np.where(varies, kernel / scale, 0)
        return {"kernel": kernel, "bias": bias - np.einsum("cdu,cd->u", kernel, mean)}


class SecondStage(nnx.Module):
    """The second stage in training: from logits and embedding to logits.

    Args:
      config: widths, activation and what it reads.
      classes: of the first stage.
      width: of its embedding.
    """

    def __init__(self, config: IntrospectionConfig, classes: int, width: int):
        rngs = nnx.Rngs(config.seed)
        shape = config.input_shape(classes, width)
        self.config, self.classes = config, classes
        self.first = StandardizedLinear(shape, config.widths[0], rngs=rngs)
        self.hidden = nnx.List(
            nnx.Linear(n, m, rngs=rngs) for n, m in itertools.pairwise(config.widths)
        )
        self.dense = nnx.Linear(config.widths[-1], classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch 1 1 both"]
    ) -> Float[Array, "batch classes"]:
        """The logits of records that are the first stage's logits and embedding."""
        both = x[:, 0, 0]
        given = read(self.config, both[:, : self.classes], both[:, self.classes :])
        activation = _ACTIVATIONS[self.config.activation]
        y = activation(self.first(given))
        for layer in self.hidden:
            y = activation(layer(y))
        return self.dense(y)

    def standardize(self, found: Standardization) -> None:
        """Takes mean and deviation of a training set."""
        self.first.mean[...] = jnp.float32(found.mean)
        self.first.deviation[...] = jnp.float32(found.deviation)

    def plain(self) -> dict[str, dict[str, jax.Array]]:
        """Its parameters for `second_stage`: standardising is a part of the kernel."""
        layers = [
            self.first.plain(),
            *(
                nnx.to_pure_dict(nnx.state(layer, nnx.Param))
                for layer in (*self.hidden, self.dense)
            ),
        ]
        to_float = lambda array: jnp.asarray(np.asarray(array), jnp.float32)
        named = zip(_names(self.config), layers, strict=True)
        return {name: jax.tree.map(to_float, layer) for name, layer in named}


def joined(logits: jax.Array, embedding: jax.Array) -> jax.Array:
    """What the first stage says of a batch, as `SecondStage` takes it for images."""
    both = [_numerics.at_least_float32(part) for part in (logits, embedding)]
    return jnp.concatenate(both, axis=1)[:, None, None, :]


def combined(config: IntrospectionConfig, first_stage: ApplyFn | SplitModel) -> ApplyFn:
    """Both stages as one network, `(params, x) -> logits`.

    Args:
      config: of the second stage.
      first_stage: the network that it reads.

    Returns:
      A function of `{"first_stage": ..., "second_stage": ...}` and a batch.
    """
    activation = _ACTIVATIONS[config.activation]

    def apply_fn(params: Params, x: Any) -> jax.Array:
        asked = logits_and_embedding(first_stage, params[FIRST_STAGE], x)
        first, *others, last = (params[SECOND_STAGE][name] for name in _names(config))
        y = linear(read(config, *asked), first["kernel"], first["bias"])
        for layer in (*others, last):
            y = _dense(layer, activation(y))
        return y

    return apply_fn


def _names(config: IntrospectionConfig) -> tuple[str, ...]:
    """Of the layers of a second stage, in their order."""
    return *(f"hidden{i}" for i, _ in enumerate(config.widths, 1)), "dense"


def _dense(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"][None]
