"""BatchNorm folded into the convolutions before it."""

from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from trustjax import bridge
from trustjax.typing import ApplyFn, Params

_Path = tuple[Any, ...]


def fold_batch_norm(model: nnx.Module, x: Any) -> tuple[ApplyFn, Params]:
    r"""A network in evaluation mode, with each BatchNorm in the convolution before it.

    .. math:: \mathrm{BN}(k * x + b) = (a k) * x + a (b - \mu) + \beta,
       \quad a = \gamma / \sqrt{\sigma^2 + \epsilon}

    The logits are the same up to rounding, for less work. The parameters are others:
    per-example gradients are then with respect to the folded kernels `a k` and their
    biases, and statistics of them are not those of the network as it was trained.

    A BatchNorm is folded where it alone takes what a convolution gives. All others stay
    as they are: before a convolution (DenseNet), or behind a ReLU.

    ==================================  =====================================
    Edge case                           Value
    ==================================  =====================================
    no BatchNorm behind a convolution   what `bridge.from_nnx(model)` gives
    a layer that is called twice        it stays as it is
    a layer inside a `jit` or a loop    it stays as it is
    ==================================  =====================================

    Args:
      model: an NNX network, e.g. of `create` or `pretrained`. It is copied.
      x: a batch that it takes, or its shape and type; it is traced, not run.

    Returns:
      `(apply_fn, params)`; a convolution that had a norm has a `bias` beside its
      `kernel`, and the norm has no parameters.

    Raises:
      ValueError: if the network does not take `x`.

    >>> model = nnx.Sequential(
    ...     nnx.Conv(3, 4, (3, 3), use_bias=False, rngs=nnx.Rngs(0)),
    ...     nnx.BatchNorm(4, use_running_average=True, rngs=nnx.Rngs(0)),
    ... )
    >>> images = jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
    >>> _, params = fold_batch_norm(model, images)
    >>> jax.tree.map(jax.numpy.shape, params)
    {'layers': {0: {'bias': (4,), 'kernel': (3, 3, 3, 4)}}}

    References:
      Jacob et al. 2018 (arXiv:1712.05877), section 3.2, eq. 14.
    """
    folded = nnx.clone(model)
    folded.eval()
    for conv, norm in _pairs(folded, x):
        _fold(_at(folded, conv), _at(folded, norm))
        _replace(folded, norm, _Identity())
    return bridge.from_nnx(folded)


class _Identity(nnx.Module):
    """Stands where a norm was."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class _Marked(nnx.Module):
    """A layer whose input and output have names in the traced program."""

    def __init__(self, layer: nnx.Module, number: int):
        self.layer = layer
        self.number = number

    def __call__(self, x: jax.Array) -> jax.Array:
        layer: Any = self.layer
        y = layer(checkpoint_name(x, f"into {self.number}"))
        return checkpoint_name(y, f"out of {self.number}")


class _Place(NamedTuple):
    """Where a name stands in a program."""

    before: Any
    after: Any


def _pairs(model: nnx.Module, x: Any) -> list[tuple[_Path, _Path]]:
    """The convolutions and the norms that alone take what these give.

    Found in the traced program, so that no order of a network's layers is assumed.
    """
    marked = nnx.clone(model)
    layers = [
        (path, layer)
        for path, layer in nnx.iter_modules(model)
        if isinstance(layer, nnx.Conv | nnx.BatchNorm) and path
    ]
    for number, (path, _) in enumerate(layers):
        _replace(marked, path, _Marked(_at(marked, path), number))
    apply_fn, params = bridge.from_nnx(marked)
    program = jax.make_jaxpr(apply_fn)(params, x).jaxpr

    places: dict[str, list[_Place]] = {}
    for equation in program.eqns:
        if equation.primitive.name == "name":
            here = _Place(equation.invars[0], equation.outvars[0])
            places.setdefault(equation.params["name"], []).append(here)
    uses = [v for equation in program.eqns for v in equation.invars]
    taken = Counter(map(id, [*uses, *program.outvars]))
    once = {name: found[0] for name, found in places.items() if len(found) == 1}
    given = {
        id(once[name].after): path
        for number, (path, layer) in enumerate(layers)
        if isinstance(layer, nnx.Conv) and (name := f"out of {number}") in once
    }
    return [
        (given[id(source)], path)
        for number, (path, layer) in enumerate(layers)
        if isinstance(layer, nnx.BatchNorm)
        and (name := f"into {number}") in once
        and id(source := once[name].before) in given
        and taken[id(source)] == 1
    ]


def _fold(conv: Any, norm: Any) -> None:
    """Moves what a norm does into a convolution; in float64, as it is done once."""
    of = lambda variable, otherwise: (
        otherwise if variable is None else np.asarray(variable[...], np.float64)
    )
    factor = of(norm.scale, 1.0) / np.sqrt(of(norm.var, 1.0) + norm.epsilon)
    bias = factor * (of(conv.bias, 0.0) - of(norm.mean, 0.0)) + of(norm.bias, 0.0)
    dtype = conv.kernel.dtype
    kernel = of(conv.kernel, 1.0) * factor
    conv.kernel.set_value(jax.numpy.asarray(kernel, dtype))
    conv.bias = nnx.Param(jax.numpy.asarray(bias, dtype))
    conv.use_bias = True


def _at(model: Any, path: _Path) -> Any:
    for name in path:
        model = getattr(model, name) if isinstance(name, str) else model[name]
    return model


def _replace(model: Any, path: _Path, layer: nnx.Module) -> None:
    *scopes, name = path
    parent = _at(model, tuple(scopes))
    if isinstance(name, str):
        setattr(parent, name, layer)
    else:
        parent[name] = layer
