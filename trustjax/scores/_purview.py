r"""Purview: what would it take to see every class in this example at once?

A confounding label asks for a combination of classes that no training example had. The
squared gradient norm of each layer towards it says how far the network is from it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, passes
from trustjax._numerics import at_least_float32
from trustjax._paths import Path, paths_of
from trustjax.passes import CONFOUNDING_GRADIENTS
from trustjax.scores._score import Score
from trustjax.statistics import GradientStatistics
from trustjax.typing import ApplyFn, Params

PARTS = ("all", "early", "late")

Place = tuple[int, ...]


def purview(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    *,
    labels: Any = "all_ones",
    group: str = "layer",
    part: str = "all",
    wrt: Callable[[str], bool] | None = None,
) -> Float[Array, " batch"]:
    r"""Purview as one number: negated mean of the squared gradient norms of the layers.

    .. math:: s(x) = -\frac1L \sum_{l} \lVert \nabla_{\theta_l} \ell(f(x), t) \rVert_2^2

    with the binary cross entropy :math:`\ell` to the confounding label :math:`t`.

    Args:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: a tree of arrays.
      x: inputs, `[batch, ...]`.
      labels: :math:`t`, as `targets.confounding_labels` takes it: `"all_ones"`,
        `"all_zeros"`, or a value in [0, 1] for each class.
      group: what a layer is: `"layer"`, `"tensor"`, or `"network"` for all at once.
      part: `"all"` layers, the `"early"` half or the `"late"` half of them, in the
        order in which the network uses them; the middle of an odd number is in neither.
      wrt: keeps the parameters whose path (`"conv1/kernel"`) it says yes to.

    Returns:
      The score of each example, in (-inf, 0]; higher = more trust, as its authors read
      it.

    Raises:
      ValueError: if an option is unknown, a label is not in [0, 1] or not `[classes]`,
        or a half is asked of one layer.

    ==================================  =====
    Edge case                           Value
    ==================================  =====
    the network agrees with the label   0
    a NaN logit                         NaN
    ==================================  =====

    >>> linear = lambda params, x: x @ params["dense"]
    >>> score = purview(linear, {"dense": jnp.zeros((1, 2))}, jnp.array([[4.0]]))
    >>> print(score.round(3))  # (sigma(0) - 1) / 2 * 4, twice, squared
    [-2.]

    References:
      Lee, Prabhushankar and AlRegib 2023 (arXiv:2304.02834), as the authors' GradTrust
      demo computes it: by tensor, early and late. There the gradients of GradNorm are
      still in place, the middle tensor of an even number is in neither half, and
      batches add up.
    """
    norms = passes.confounding_gradients(
        apply_fn, params, x, labels=labels, group=group, wrt=wrt
    )
    _validate.choice("part", part, PARTS)
    if part != "all":
        norms = _half(norms, part, apply_fn, params, x)
    return _purview(norms)


def _purview(
    confounding_gradients: GradientStatistics,
) -> Float[Array, " batch"]:
    r"""Negated squared gradient norm of the layers towards all classes.

    Args:
      confounding_gradients: as `passes.confounding_gradients` returned them,
        `[batch, groups, 1]`.

    Returns:
      The score of each example, in (-inf, 0]; higher = more trust.

    Raises:
      ValueError: if the statistic is not a squared norm.

    ==================================  =====
    Edge case                           Value
    ==================================  =====
    gradients of zeros                  0
    a NaN                               NaN
    ==================================  =====

    >>> norms = GradientStatistics(jnp.ones((1, 3, 1)), tuple("abc"), ("squared_norm",))
    >>> print(_purview(norms))
    [-1.]

    References:
      As `purview`.
    """
    values = _inputs.floats(
        "confounding_gradients",
        confounding_gradients.values,
        "batch groups statistics",
    )
    _validate.choice("statistic", "squared_norm", confounding_gradients.statistics)
    _validate.count("the number of groups of confounding_gradients", values.shape[1])
    return -jnp.mean(at_least_float32(values), axis=(1, 2))


def _half(
    norms: GradientStatistics, part: str, apply_fn: ApplyFn, params: Params, x: Any
) -> GradientStatistics:
    """The first or the last half of the groups, in the order of the network."""
    _validate.count("the number of groups", len(norms.groups), at_least=2)
    depth: dict[str, list[tuple[int, ...]]] = {group: [] for group in norms.groups}
    for path, use in _first_uses(apply_fn, params, x):
        depth.get(path.name, depth.get(path.layer, [])).append(use)
    ordered = sorted(norms.groups, key=lambda group: min(depth[group]))
    half = len(ordered) // 2
    chosen = ordered[:half] if part == "early" else ordered[-half:]
    columns = jnp.array([norms.groups.index(group) for group in chosen])
    return GradientStatistics(norms.values[:, columns], tuple(chosen), norms.statistics)


def _first_uses(apply_fn: ApplyFn, params: Params, x: Any) -> list[tuple[Path, Place]]:
    """Each parameter, and where the network first uses it."""
    program = jax.make_jaxpr(lambda params: apply_fn(params, x))(params).jaxpr
    return list(zip(paths_of(params), _places(program), strict=True))


def _places(program: core.Jaxpr) -> list[Place]:
    """Where each input is first read: the equation, and the place inside a call."""
    first: dict[Any, Place] = {}
    for number, equation in enumerate(program.eqns):
        called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        body = getattr(called, "jaxpr", called)
        inside = [()] * len(equation.invars)
        if body is not None and len(body.invars) == len(inside):
            inside = _places(body)
        for variable, place in zip(equation.invars, inside, strict=True):
            if not isinstance(variable, core.Literal):
                first.setdefault(variable, (number, *place))
    return [first.get(v, (len(program.eqns),)) for v in program.invars]


SCORES = (
    Score(
        _purview,
        needs=(CONFOUNDING_GRADIENTS,),
        title="Purview",
        paper="Lee et al. 2023",
        equation="-mean_l |grad_l BCE(z, 1)|_2^2",
        provenance="All layers; the GradTrust demo adds GradNorm's gradients.",
    ),
)
