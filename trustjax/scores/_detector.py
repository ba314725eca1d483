"""The score of a fitted detector."""

from jaxtyping import Array, Float

from trustjax import _inputs, _numerics
from trustjax.ingredients import Ingredient
from trustjax.scores._score import Score


def detector(output: Float[Array, " batch"]) -> Float[Array, " batch"]:
    r"""What a detector, fitted on scores and statistics of gradients, says.

    .. math:: s = \log \frac{p(\text{right} \mid v)}{p(\text{wrong} \mid v)}

    with the columns :math:`v` of the example; of known against unknown inputs likewise.

    Args:
      output: as `detectors.Detector.ingredients` computes it.

    Returns:
      s, in (-inf, inf); higher = more trust.

    Raises:
      ValueError: if `output` is not `[batch]`.

    =================================  ======
    Edge case                          Value
    =================================  ======
    an infinite output                 itself
    a NaN output                       NaN
    =================================  ======

    >>> import jax.numpy as jnp
    >>> print(detector(jnp.array([2.5, -1.0])))
    [ 2.5 -1. ]

    References:
      Oberdiek et al. 2018 (arXiv:1805.08440), section 4, the meta classifiers.
    """
    s = _inputs.floats("detector_output", output, "batch")
    return _numerics.at_least_float32(s)


DETECTOR_OUTPUT = Ingredient("detector_output", cost="the columns of the detector")
"""What a detector makes of each example: `detectors.Detector.ingredients` has it."""

SCORES = (
    Score(
        detector,
        needs=(DETECTOR_OUTPUT,),
        title="Detector",
        paper="Oberdiek et al. 2018, section 4",
        equation="s(v), the log odds of a right answer",
        provenance="Fitted on columns of scores and statistics of gradients.",
    ),
)
