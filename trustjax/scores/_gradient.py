r"""Scores of the gradient of each example with respect to the parameters.

A gradient asks how the network would have to change to give a certain answer. What is
asked makes the score: here the prediction itself; each class in turn in
`_class_gradients` (counterfactual GradTrust, the Fisher trace); all classes at once in
`_purview`. No true label enters.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._numerics import (
    at_least_float32,
    in_units_of_largest,
    safe_norm,
    safe_sqrt,
)
from trustjax.gradients import GRADIENT_STATISTICS
from trustjax.scores._score import Score
from trustjax.statistics import GradientStatistics

OBERDIEK = "Oberdiek et al. 2018, section 3"
_SIGNS = {
    "l1_norm": -1.0,
    "l2_norm": -1.0,
    "minimum": 1.0,
    "maximum": -1.0,
    "standard_deviation": -1.0,
}


def gradient_statistic(
    gradient_statistics: GradientStatistics, *, statistic: str = "l2_norm"
) -> Float[Array, " batch"]:
    r"""A statistic of the whole gradient, signed so that higher = more trust.

    The statistics of the groups are pooled: norms and deviations as
    :math:`(\sum_g s_g)` or :math:`(\sum_g s_g^2)^{1/2}`, extremes as extremes. The
    standard deviation is the root of the mean variance of the groups. A large
    gradient towards its own prediction is what the network has yet to learn, so
    every statistic but the minimum, which is negative, is negated.

    Args:
      gradient_statistics: what `gradients.gradient_statistics` returned, by tensor,
        layer or network.
      statistic: `"l1_norm"`, `"l2_norm"`, `"minimum"`, `"maximum"` or
        `"standard_deviation"`. Mean, skewness and kurtosis have no direction of trust.

    Returns:
      The score of each example, in (-inf, 0], unless all of a gradient is of one sign;
      higher = more trust.

    Raises:
      ValueError: if `statistic` has no direction, or was not computed.

    =================================  ==================================
    Edge case                          Value
    =================================  ==================================
    a gradient of zeros                0
    deviation of a single parameter    NaN, as NumPy gives
    a NaN                              NaN
    =================================  ==================================

    >>> values = jnp.array([[[3.0], [4.0]]])
    >>> print(gradient_statistic(GradientStatistics(values, ("a", "b"), ("l2_norm",))))
    [-5.]

    References:
      Oberdiek, Rottmann and Gottschalk 2018 (arXiv:1805.08440), section 3: of the
      minimum, the negation is the uncertainty; mean, skewness and kurtosis are not
      thresholded.
    """
    _validate.choice("statistic", statistic, _SIGNS)
    by_group = select("gradient_statistics", gradient_statistics, statistic, "batch")
    pooled = {
        "l1_norm": lambda: jnp.sum(by_group, axis=-1),
        "l2_norm": lambda: safe_norm(by_group),
        "minimum": lambda: jnp.min(by_group, axis=-1),
        "maximum": lambda: jnp.max(by_group, axis=-1),
        "standard_deviation": lambda: root_mean_square(by_group),
    }[statistic]()
    return _SIGNS[statistic] * pooled


def gradient_l2_norm(
    gradient_statistics: GradientStatistics,
) -> Float[Array, " batch"]:
    """Negated L2 norm of the gradient towards the prediction.

    `gradient_statistic` of the statistic `"l2_norm"`, with its limits.

    >>> values = jnp.array([[[3.0], [4.0]]])
    >>> given = GradientStatistics(values, ("a", "b"), ("l2_norm",))
    >>> print(gradient_l2_norm(given))
    [-5.]
    """
    return gradient_statistic(gradient_statistics, statistic="l2_norm")


def gradient_l1_norm(
    gradient_statistics: GradientStatistics,
) -> Float[Array, " batch"]:
    """Negated L1 norm of the gradient towards the prediction.

    `gradient_statistic` of the statistic `"l1_norm"`, with its limits.

    >>> values = jnp.array([[[3.0], [4.0]]])
    >>> given = GradientStatistics(values, ("a", "b"), ("l1_norm",))
    >>> print(gradient_l1_norm(given))
    [-7.]
    """
    return gradient_statistic(gradient_statistics, statistic="l1_norm")


def gradient_minimum(
    gradient_statistics: GradientStatistics,
) -> Float[Array, " batch"]:
    """Smallest component of the gradient towards the prediction.

    `gradient_statistic` of the statistic `"minimum"`, with its limits.

    >>> values = jnp.array([[[-3.0], [0.0]]])
    >>> given = GradientStatistics(values, ("a", "b"), ("minimum",))
    >>> print(gradient_minimum(given))
    [-3.]
    """
    return gradient_statistic(gradient_statistics, statistic="minimum")


def gradient_maximum(
    gradient_statistics: GradientStatistics,
) -> Float[Array, " batch"]:
    """Negated largest component of the gradient towards the prediction.

    `gradient_statistic` of the statistic `"maximum"`, with its limits.

    >>> values = jnp.array([[[3.0], [4.0]]])
    >>> given = GradientStatistics(values, ("a", "b"), ("maximum",))
    >>> print(gradient_maximum(given))
    [-4.]
    """
    return gradient_statistic(gradient_statistics, statistic="maximum")


def gradient_standard_deviation(
    gradient_statistics: GradientStatistics,
) -> Float[Array, " batch"]:
    """Negated deviation of the gradient towards the prediction.

    `gradient_statistic` of the statistic `"standard_deviation"`, with its limits.

    >>> values = jnp.array([[[1.0], [7.0]]])
    >>> given = GradientStatistics(values, ("a", "b"), ("standard_deviation",))
    >>> print(gradient_standard_deviation(given))
    [-5.]
    """
    return gradient_statistic(gradient_statistics, statistic="standard_deviation")


def root_mean_square(deviations: jax.Array) -> jax.Array:
    """Root of the mean variance of the groups."""
    scaled, unit = in_units_of_largest(deviations)
    mean_square = jnp.mean(scaled**2, axis=-1)
    return jnp.squeeze(unit, axis=-1) * safe_sqrt(mean_square)


def select(
    name: str, of_gradients: GradientStatistics, statistic: str, axes: str
) -> jax.Array:
    """One statistic of all groups, `[batch, ..., groups]`, checked and widened."""
    values = _inputs.floats(name, of_gradients.values, f"{axes} groups statistics")
    _validate.choice("statistic", statistic, of_gradients.statistics)
    _validate.count(f"the number of groups of {name}", values.shape[-2])
    column = of_gradients.statistics.index(statistic)
    return at_least_float32(values[..., column])


SCORES = (
    Score(
        gradient_l2_norm,
        needs=(GRADIENT_STATISTICS,),
        title="Gradient norm, L2",
        paper=OBERDIEK,
        equation="-|g|_2",
    ),
    Score(
        gradient_l1_norm,
        needs=(GRADIENT_STATISTICS,),
        title="Gradient norm, L1",
        paper=OBERDIEK,
        equation="-|g|_1",
    ),
    Score(
        gradient_minimum,
        needs=(GRADIENT_STATISTICS,),
        title="Gradient minimum",
        paper=OBERDIEK,
        equation="min_i g_i",
    ),
    Score(
        gradient_maximum,
        needs=(GRADIENT_STATISTICS,),
        title="Gradient maximum",
        paper=OBERDIEK,
        equation="-max_i g_i",
    ),
    Score(
        gradient_standard_deviation,
        needs=(GRADIENT_STATISTICS,),
        title="Gradient deviation",
        paper=OBERDIEK,
        equation="-(mean_l Var(g_l))^(1/2)",
        provenance="The root of the mean variance of the parameter tensors.",
    ),
)
