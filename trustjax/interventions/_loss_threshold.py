r"""The fixed rule of membership: whoever costs no more than training examples do.

Every other attack is a score, and somebody has to choose its threshold. This one has
its threshold from the network's own training, so that its error is what an attacker
without a single known member would have.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32, divide_no_nan


def below_mean_loss(
    losses: Float[Array, " batch"], mean_training_loss: float | Float[Array, ""]
) -> Bool[Array, " batch"]:
    r"""Whether examples are said to be members: by their loss and one threshold.

    .. math:: \text{member} \iff \ell(x, y) \le
              \tfrac1n \textstyle\sum_{i \in \text{training}} \ell(x_i, y_i)

    Args:
      losses: of each example, with its true label, such as `losses.cross_entropy`.
      mean_training_loss: the mean of the same loss over what the network learned from,
        which is often published.

    Returns:
      Whether each is said to be a member.

    Raises:
      ValueError: if the losses are not `[batch]`.
      TypeError: if they are not floating point.

    ===================================  ==================
    Edge case                            Value
    ===================================  ==================
    a loss equal to the mean             a member
    a NaN loss                           no member
    a NaN mean                           nobody is a member
    a mean of inf                        whoever has a loss
    ===================================  ==================

    >>> print(below_mean_loss(jnp.array([0.1, 0.5, 0.9]), 0.5))
    [ True  True False]

    References:
      Yeom et al. 2018 (arXiv:1709.01604), as Jayaraman et al. 2021 (arXiv:2005.10881)
      and Carlini et al. 2022 (arXiv:2112.03570) state it.
    """
    value = at_least_float32(_inputs.floats("losses", losses, "batch"))
    return value <= jnp.asarray(mean_training_loss, value.dtype)


class Advantage(NamedTuple):
    """How good decisions about membership are.

    Attributes:
      true_positive_rate: the share of members that are found, in [0, 1].
      false_positive_rate: the share of others that are taken for members, in [0, 1].
      balanced_accuracy: 1/2 of who guesses; 1 is perfect.
      advantage: the first rate less the second, in [-1, 1]; 0 of who guesses.
    """

    true_positive_rate: Float[Array, ""]
    false_positive_rate: Float[Array, ""]
    balanced_accuracy: Float[Array, ""]
    advantage: Float[Array, ""]


def membership_advantage(
    said: Shaped[np.ndarray | Array, " examples"],
    members: Shaped[np.ndarray | Array, " examples"],
) -> Advantage:
    r"""The error of decisions about membership, members and others counting alike.

    .. math:: \mathrm{Adv} = \mathrm{TPR} - \mathrm{FPR}, \qquad
              \mathrm{BA} = \tfrac12 (1 + \mathrm{Adv})

    Args:
      said: whether each example is said to be a member, boolean.
      members: whether it is, boolean.

    Returns:
      `Advantage`.

    Raises:
      ValueError: if the lengths differ, or a known value is not 0 or 1.
      TypeError: if they are neither booleans nor integers.

    =======================  ===========================================
    Edge case                Value
    =======================  ===========================================
    no member, nobody else   NaN of its rate, of accuracy and advantage
    all are said to be       0 and 1/2
    no example               NaN
    =======================  ===========================================

    >>> found = membership_advantage(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    >>> print([round(float(number), 3) for number in found])
    [1.0, 0.333, 0.833, 0.667]

    References:
      Yeom et al. 2018 (arXiv:1709.01604), definition 4.
    """
    said, members = _inputs.array("said", said), _inputs.array("members", members)
    _validate.rank("said", said, "examples")
    _validate.same_shape(said=said, members=members)
    for name, values in {"said": said, "members": members}.items():
        _validate.binary(name, values)

    def share(among: jax.Array) -> jax.Array:
        found = jnp.sum(among & (said != 0), dtype=jnp.float32)
        count = jnp.sum(among, dtype=jnp.float32)
        return divide_no_nan(found, count, otherwise=jnp.nan)

    true, false = share(members != 0), share(members == 0)
    advantage = true - false
    return Advantage(true, false, (1 + advantage) / 2, advantage)
