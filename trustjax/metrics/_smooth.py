"""Rank metrics with a slope: steps become sigmoids of a temperature.

Their cost and memory grow with the square of the batch: they are training losses for
batches, not whole data sets.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights


@_inputs.take_arrays
def smooth_auroc(
    scores: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    temperature: float = 0.1,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""AUROC with a sigmoid in place of each comparison.

    .. math:: \frac{1}{n_+ n_-} \sum_{i \text{ right}} \sum_{j \text{ wrong}}
              \mathrm{sigmoid}\Bigl( \frac{s_i - s_j}{\tau} \Bigr)

    Args:
      scores: higher = more trust, finite.
      correct: whether the prediction is right: boolean, or 0 and 1.
      temperature: :math:`\tau`, in units of the score; as it falls to 0 the value
        becomes the exact AUROC, ties counting half, and the slope vanishes.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The smooth area, in [0, 1]; higher = better, to be maximised.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `temperature` is not
        positive.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right or all wrong           NaN
    all scores equal                 0.5
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> area = smooth_auroc(jnp.array([2.0, 1.0, 0.0]), jnp.array([1, 0, 1]))
    >>> print(area.round(3))
    0.5

    References:
      Yan et al. 2003 (ICML, pairwise surrogate of the Wilcoxon-Mann-Whitney statistic).
    """
    above, counts = _comparisons(scores, correct, temperature, weights)
    right = jnp.where(correct != 0, counts, 0)
    wrong = counts - right
    pairs = right[:, None].astype(above.dtype) * wrong[None, :]
    wins = jnp.sum(jnp.where(pairs > 0, above, 0.0) * pairs)
    return _numerics.divide_no_nan(wins, jnp.sum(pairs), otherwise=jnp.nan)


@_inputs.take_arrays
def smooth_aurc(
    scores: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    temperature: float = 0.1,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""AURC with a sigmoid in place of each comparison.

    .. math:: \frac1n \sum_i \frac{e_i + \sum_{j \ne i} e_j \sigma_{ji}}
              {1 + \sum_{j \ne i} \sigma_{ji}}, \qquad
              \sigma_{ji} = \mathrm{sigmoid}\Bigl( \frac{s_j - s_i}{\tau} \Bigr)

    the mean over the examples of the soft risk among those that score at least as high;
    :math:`e_i` is 1 for an error.

    Args:
      scores: higher = more trust, finite.
      correct: whether the prediction is right: boolean, or 0 and 1.
      temperature: :math:`\tau`, in units of the score; as it falls to 0 the value of
        distinct scores becomes `aurc(..., convention="mean")`, and the slope vanishes.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The smooth area, in [0, 1]; lower = better, to be minimised.

    Raises:
      ValueError: if the lengths differ, a known score is NaN or `temperature` is not
        positive.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right, all wrong             0, 1
    no example kept                  NaN
    a NaN score                      ValueError; NaN under a transformation
    ===============================  =====

    >>> scores, correct = jnp.array([2.0, 1.0, 0.0]), jnp.array([1, 0, 1])
    >>> print(smooth_aurc(scores, correct, temperature=0.01).round(4))
    0.2778

    References:
      Zhou et al. 2024 (arXiv:2410.15361, population AURC as a weighted mean); the
      sigmoid ranks are those of Qin et al. 2010 (doi:10.1007/s10791-009-9124-x).
    """
    above, counts = _comparisons(scores, correct, temperature, weights)
    # Of what an example counts, one example is itself and the rest are equal to it.
    itself = (counts + _weights.unit(counts)) / 2
    accepted = jnp.where(counts[:, None] > 0, above, 0.0) * counts[:, None]
    accepted = jnp.fill_diagonal(accepted, itself, inplace=False)
    wrong = (correct == 0).astype(above.dtype)
    risk = (wrong @ accepted) / jnp.where(counts > 0, accepted.sum(axis=0), 1.0)
    return _weights.mean(risk, counts)


def _comparisons(
    scores: jax.Array,
    correct: jax.Array,
    temperature: float,
    weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """How much example i scores above example j, `[n, n]`, and what each counts."""
    _validate.positive("temperature", temperature)
    _validate.floating("scores", scores)
    _validate.scores_and_outcomes(scores, correct, weights)
    counts = _weights.counted(weights, scores.shape[0])
    scores = jnp.where(counts > 0, _numerics.at_least_float32(scores), 0.0)
    apart = scores[:, None] - scores[None, :]
    return jax.nn.sigmoid(apart / temperature), counts
