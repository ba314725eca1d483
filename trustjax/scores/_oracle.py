"""The score of a trained oracle."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _numerics
from trustjax.ingredients import Ingredient
from trustjax.scores._score import Score


def oracle(output: Float[Array, "batch 1"]) -> Float[Array, " batch"]:
    r"""What a network trained to tell right from wrong answers says of each.

    .. math:: z = f_\theta(x), \qquad p(\text{right} \mid x) = \sigma(z)

    The paper ranks by :math:`\sigma(z)`, which in float32 is 1 for every z above 17;
    the order is that of z.

    Args:
      output: of the oracle, as `oracles.TrainedOracle.ingredients` computes it.

    Returns:
      z, in (-inf, inf); higher = more trust, above 0 = to be trusted.

    Raises:
      ValueError: if `output` is not `[batch, 1]`.

    =================================  ======
    Edge case                          Value
    =================================  ======
    an infinite output                 itself
    a NaN output                       NaN
    =================================  ======

    >>> print(oracle(jnp.array([[2.5], [-1.0]])))
    [ 2.5 -1. ]

    References:
      Luo et al. 2021 (arXiv:2110.00054), eq. 7.
    """
    z = _inputs.floats("oracle_output", output, "batch 1")
    if z.shape[1] != 1:
        raise ValueError(f"oracle_output must have shape [batch, 1], got {z.shape}")
    return jnp.squeeze(_numerics.at_least_float32(z), axis=-1)


ORACLE_OUTPUT = Ingredient("oracle_output", cost="a forward pass of the oracle")
"""What an oracle makes of each input: `oracles.TrainedOracle.ingredients` has it."""

SCORES = (
    Score(
        oracle,
        needs=(ORACLE_OUTPUT,),
        title="Oracle",
        paper="Luo et al. 2021, eq. 7",
        equation="z = f(x), the log odds of a right answer",
        provenance="A network trained on when this classifier is right.",
    ),
)
