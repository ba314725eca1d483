r"""Membership inference: was an example among those that a network learned from?

An attack is a score of examples with known labels, higher = member. Any score of the
library can be asked so; what is here is of the true label, as attackers have it, and of
shadow networks, which are trained alike on halves of similar data.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from trustjax import _inputs, _validate, targets
from trustjax._numerics import at_least_float32, divide_no_nan, log_softmax

READINGS = ("paper", "released")

_LEAST_DEVIATION = 1e-6
"""Of shadow networks that all answer alike."""


def label_log_odds(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    r"""The logarithm of the odds of the true label, which does not saturate.

    .. math:: \phi = \log \frac{p_y}{1 - p_y} = z_y - \log \sum_{k \ne y} e^{z_k}

    It ranks examples as minus the cross entropy does, :math:`-\log(1 + e^{-\phi})`, and
    is nearly normal over networks.

    Args:
      logits: network outputs before the softmax.
      labels: the true classes.

    Returns:
      :math:`\phi`, in (-inf, inf); higher = more likely a member.

    Raises:
      ValueError: if a shape is wrong, or a known label is no class.

    ======================  =====
    Edge case               Value
    ======================  =====
    one class               inf
    a label out of range    NaN
    a NaN logit             NaN
    ======================  =====

    >>> print(label_log_odds(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([0])))
    [0.]

    References:
      Carlini et al. 2022 (LiRA, arXiv:2112.03570), eq. 5, which form 1 - p.
    """
    z = at_least_float32(_inputs.logits(logits))
    labels = _inputs.whole_numbers("labels", labels, "batch")
    _validate.same_length(logits=z, labels=labels)
    _validate.classes("labels", labels, z.shape[1])
    own = targets.one_hot(labels, z.shape[1]).astype(bool)
    value = jnp.sum(z, axis=-1, where=own)
    others = jax.nn.logsumexp(jnp.where(own, -jnp.inf, z), axis=-1)
    wrong = ~jnp.any(own, axis=-1) | jnp.isnan(z).any(axis=-1)
    return jnp.where(wrong, jnp.nan, value - others)


class Shadows(NamedTuple):
    """What shadow networks say of the examples that are asked about.

    Attributes:
      values: one number for each network and example, `[networks, examples]`, such as
        `label_log_odds` or a score.
      members: which of them each network learned from, `[networks, examples]`.
    """

    values: Float[Array, "networks examples"]
    members: Bool[Array, "networks examples"]


def lira(
    values: Float[Array, " examples"],
    shadows: Shadows,
    *,
    online: bool = True,
    fixed_variance: bool = False,
    reading: str = "paper",
) -> Float[Array, " examples"]:
    r"""LiRA: how much likelier a number is of networks that saw the example.

    .. math::
      \text{online: } \log \frac{N(\phi; \mu_{in}, \sigma_{in})}
        {N(\phi; \mu_{out}, \sigma_{out})}, \qquad
      \text{offline: } \frac{\phi - \mu_{out}}{\sigma_{out}}

    Means and deviations are of each example over the networks that learned from it, and
    over those that did not. Offline the attacker has only the latter; the value ranks
    as the probability of a smaller number, :math:`\Phi`, and does not saturate.

    Args:
      values: :math:`\phi` of the network that is attacked.
      shadows: that of networks that the attacker trained.
      online: take both kinds of networks, or only those without the example.
      fixed_variance: one deviation of all examples, each about its own mean, for few
        networks.
      reading: `"paper"`, means and unbiased deviations of at least 1e-6, and offline
        one-sided; or `"released"`, the authors' code: medians, deviations with ddof 0
        and 1e-30; a fixed variance is there about the mean of all, and that of the
        networks with the example is taken for both; offline it is minus the log
        density, by which a number that is too small is a member as well.

    Returns:
      The attack's score, in (-inf, inf); higher = more likely a member. NaN for an
      example of which too few networks are of a kind: two, of medians one.

    Raises:
      ValueError: if a shape or length is wrong, or `reading` is unknown; if for some
        known example there are too few networks.

    >>> with_it = jnp.array([[True], [True], [False], [False]])
    >>> shadows = Shadows(jnp.array([[3.0], [5.0], [-1.0], [1.0]]), with_it)
    >>> print([lira(jnp.array([v]), shadows).round(3).item() for v in (2.0, 0.0)])
    [0.0, -4.0]

    References:
      Carlini et al. 2022 (LiRA, arXiv:2112.03570), algorithm 1 and section V.
    """
    values = at_least_float32(_inputs.floats("values", values, "examples"))
    of_shadows = at_least_float32(
        _inputs.floats("values of shadows", shadows.values, "networks examples")
    )
    members = _inputs.array("members", shadows.members)
    _validate.same_shape(values_of_shadows=of_shadows, members=members)
    _validate.same_length(values=values, examples_of_shadows=of_shadows[0])
    _validate.choice("reading", reading, READINGS)
    released = reading == "released"
    _enough(members, 1 if released else 2, online)
    kinds = (members.astype(bool), ~members.astype(bool))
    (inside, spread_in), (outside, spread_out) = (
        _spread(of_shadows, kind, released, fixed_variance) for kind in kinds
    )
    if released and fixed_variance and online:
        spread_out = spread_in
    if online:
        return _log_density(values, inside, spread_in) - _log_density(
            values, outside, spread_out
        )
    if released:
        return -_log_density(values, outside, spread_out)
    return (values - outside) / spread_out


def _spread(
    values: jax.Array, kept: jax.Array, released: bool, fixed: bool
) -> tuple[jax.Array, jax.Array]:
    """The middle and the deviation of each example over the networks that are kept."""
    count = jnp.sum(kept, axis=0)
    mean = divide_no_nan(jnp.sum(values, axis=0, where=kept), count, otherwise=jnp.nan)
    middle = mean
    if released:
        middle = jnp.nanmedian(jnp.where(kept, values, jnp.nan), axis=0)
    ddof = 0 if released else 1
    if fixed:
        centre = jnp.mean(values, where=kept) if released else mean[None]
        squares = jnp.sum((values - centre) ** 2, where=kept)
        freedom = jnp.sum(count) if released else jnp.sum(count - 1)
        variance = squares / freedom
    else:
        squares = jnp.sum((values - mean[None]) ** 2, axis=0, where=kept)
        variance = divide_no_nan(squares, count - ddof, otherwise=jnp.nan)
    deviation = jnp.sqrt(variance)
    if released:
        return middle, deviation + 1e-30
    return middle, jnp.maximum(deviation, _LEAST_DEVIATION)


def _log_density(x: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """Of a normal distribution, but for a constant."""
    return -(((x - mean) / deviation) ** 2) / 2 - jnp.log(deviation)


def _enough(members: jax.Array, fewest: int, online: bool) -> None:
    if not _validate.is_known(members):
        return
    count = np.asarray(members).astype(bool).sum(axis=0)
    kinds = {"without": len(members) - count}
    if online:
        kinds["with"] = count
    for kind, networks in kinds.items():
        few = np.flatnonzero(networks < fewest)
        if few.size:
            raise ValueError(
                f"there must be {fewest} or more shadow networks {kind} each example, "
                f"got {networks[few[0]]} for example {few[0]} ({few.size} such)"
            )


def attack_columns(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> dict[str, Float[Array, " batch"]]:
    """What the shadow-model attack is fitted on, as columns for `detectors.fit`.

    The probabilities in falling order, that of the true label, its rank, and its log
    odds: the attack is one detector of all classes, members against others, fitted on
    what shadow networks say.

    Args:
      logits: network outputs before the softmax.
      labels: the true classes.

    Returns:
      `{column: [batch]}`.

    Raises:
      ValueError: as `label_log_odds`.

    >>> z = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    >>> print(sorted(attack_columns(z, jnp.array([0]))))
    ['label_log_odds', 'label_probability', 'label_rank', 'probability_1', ...]

    References:
      Shokri et al. 2017 (arXiv:1610.05820), section V: a classifier for each class on
      the probabilities; Salem et al. 2019 (arXiv:1806.01246) take one for all classes,
      on the largest in falling order.
    """
    odds = label_log_odds(logits, labels)
    log_p = log_softmax(at_least_float32(jnp.asarray(logits)))
    own = targets.one_hot(jnp.asarray(labels), log_p.shape[1]).astype(bool)
    of_label = jnp.sum(log_p, axis=-1, where=own)
    falling = -jnp.sort(-log_p, axis=-1)
    columns = {
        f"probability_{rank + 1}": jnp.exp(falling[:, rank])
        for rank in range(log_p.shape[1])
    }
    return columns | {
        "label_probability": jnp.exp(of_label),
        "label_rank": jnp.sum(log_p > of_label[:, None], axis=-1).astype(jnp.float32),
        "label_log_odds": odds,
    }
