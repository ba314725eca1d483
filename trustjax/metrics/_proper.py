"""Proper scores of probabilities, and the temperature that improves them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights
from trustjax.metrics._calibration import bin_edges

_LOG_WIDEST = 30.0  # of the logits' scale, to both sides


class BrierDecomposition(NamedTuple):
    """Parts of the Brier score, all `[]`, summed over the classes.

    `brier = reliability - resolution + uncertainty + within_bins`, exactly.

    Attributes:
      reliability: squared distance of each bin's probability from its frequency;
        lower = better.
      resolution: squared distance of the frequencies from the base rate; higher =
        better.
      uncertainty: variance of the outcome, the score of the base rate.
      within_bins: what the bins hide: the variance of the probabilities within them,
        minus twice their covariance with the outcome. 0 for one value in each bin.
    """

    reliability: Float[Array, ""]
    resolution: Float[Array, ""]
    uncertainty: Float[Array, ""]
    within_bins: Float[Array, ""]


@_inputs.take_arrays
def brier_score(
    probabilities: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Mean squared distance of the probabilities from what happened.

    .. math:: \frac1n \sum_i \sum_k (p_{ik} - [y_i = k])^2

    Args:
      probabilities: of every class.
      labels: the true classes.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The score, in [0, 2] for probabilities that sum to 1; lower = better.

    Raises:
      ValueError: if the lengths differ, a known probability is outside [0, 1] or a
        known label is not a class.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    one column, `probability[:, None]`  the binary score of label 0
    no example kept                  NaN
    a label outside the classes      ValueError; NaN under a transformation
    probability outside [0, 1], NaN  ValueError; NaN under a transformation
    ===============================  =====

    >>> probabilities = jnp.array([[0.75, 0.25], [0.5, 0.5]])
    >>> print(brier_score(probabilities, jnp.array([0, 1])))
    0.3125

    References:
      Brier 1950 (doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2). The sum over the
      classes, as there; scikit-learn halves it if asked to scale by half.
    """
    _validate.probabilities_and_labels(probabilities, labels, weights)
    return _brier_score(probabilities, labels, weights)


@_inputs.take_arrays
def brier_decomposition(
    probabilities: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    *,
    bins: int = 15,
    weights: Shaped[Array, " n"] | None = None,
) -> BrierDecomposition:
    r"""The Brier score as reliability, resolution and uncertainty.

    .. math:: \underbrace{\sum_{kb} \frac{n_{kb}}{n} (\bar p_{kb} - \bar y_{kb})^2}_{
              \text{reliability}} -
              \underbrace{\sum_{kb} \frac{n_{kb}}{n} (\bar y_{kb} - \bar y_k)^2}_{
              \text{resolution}} +
              \underbrace{\sum_k \bar y_k (1 - \bar y_k)}_{\text{uncertainty}} +
              \text{within bins}

    over bins of equal width, for each class.

    Args:
      probabilities: of every class.
      labels: the true classes.
      bins: number of bins; a value on an edge is in the lower bin.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The four parts, whose signed sum is `brier_score`.

    Raises:
      ValueError: as `brier_score`, or if `bins` is not a positive integer.

    The edge cases are those of `brier_score`.

    >>> probabilities = jnp.array([[0.75, 0.25], [0.5, 0.5]])
    >>> parts = brier_decomposition(probabilities, jnp.array([0, 1]), bins=2)
    >>> print(parts.reliability, parts.uncertainty)
    0.171875 0.5

    References:
      Murphy 1973 (doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2); the part within
      the bins, Stephenson et al. 2008 (doi:10.1175/2007WAF2006116.1).
    """
    _validate.probabilities_and_labels(probabilities, labels, weights)
    _validate.count("bins", bins)
    return _brier_decomposition(probabilities, labels, bins, weights)


@_inputs.take_arrays
def negative_log_likelihood(
    logits: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Mean surprise at the true class.

    .. math:: -\frac1n \sum_i \ln \mathrm{softmax}(z_i)_{y_i}

    Args:
      logits: network outputs before the softmax; log probabilities serve as well.
      labels: the true classes.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The mean in nats, not negative; lower = better.

    Raises:
      ValueError: if `logits` is not `[n, classes]`, a known logit is NaN or a known
        label is not a class.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    a true class of probability 0    inf
    no example kept                  NaN
    a label outside the classes      ValueError; NaN under a transformation
    a NaN logit                      ValueError; NaN under a transformation
    ===============================  =====

    >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]]))
    >>> print(f"{negative_log_likelihood(logits, jnp.array([0, 0])):.3f}")
    1.040

    References:
      Good 1952 (doi:10.1111/j.2517-6161.1952.tb00104.x). scikit-learn's `log_loss` on
      the probabilities.
    """
    _check_logits(logits, labels, weights)
    return _negative_log_likelihood(logits, labels, weights)


@_inputs.take_arrays
def fit_temperature(
    logits: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    *,
    max_steps: int = 100,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The temperature that calibrates: divide logits by it before the softmax.

    .. math:: \hat T = \arg\min_{T > 0} -\sum_i \ln \mathrm{softmax}(z_i / T)_{y_i}

    found by halving: the sum is convex in :math:`1 / T`, whatever the scale of the
    logits.

    Args:
      logits: network outputs before the softmax, of examples not trained on.
      labels: the true classes.
      max_steps: the largest number of halvings; some thirty are the rule.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The temperature; above 1 = the network is overconfident. It changes no prediction.

    Raises:
      ValueError: as `negative_log_likelihood`, or if `max_steps` is not positive.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right                        the optimum is 0: one-hot probabilities, which says
                                     that more examples are needed. The first
                                     temperature at which float32 makes them so
    worse than guessing              inf, the optimum: the same for every class
    equal logits                     1: it changes nothing
    no example kept                  NaN
    a label outside the classes      ValueError; NaN under a transformation
    a NaN logit                      ValueError; NaN under a transformation
    ===============================  =====

    >>> logits = jnp.log(jnp.array([[0.9, 0.1]] * 4)) * 3
    >>> print(fit_temperature(logits, jnp.array([0, 0, 0, 1])).round(2))
    6.0

    References:
      Guo et al. 2017 (arXiv:1706.04599), section 4.2.
    """
    _check_logits(logits, labels, weights)
    _validate.count("max_steps", max_steps)
    return _fit_temperature(logits, labels, max_steps, weights)


@jax.jit
def _brier_score(
    probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None
) -> jax.Array:
    probabilities = _nan_if_impossible(probabilities, labels)
    distance = jnp.sum((probabilities - _one_hot(labels, probabilities)) ** 2, axis=1)
    return _weights.mean(distance, _weights.counted(weights, labels.shape[0]))


@functools.partial(jax.jit, static_argnames="bins")
def _brier_decomposition(
    probabilities: jax.Array, labels: jax.Array, bins: int, weights: jax.Array | None
) -> BrierDecomposition:
    probabilities = _nan_if_impossible(probabilities, labels)
    counts = _weights.counted(weights, labels.shape[0])
    kept = counts > 0
    happened = _one_hot(labels, probabilities)
    inner_edges = bin_edges(bins, probabilities.dtype)[1:-1]

    def of_class(probability: jax.Array, outcome: jax.Array) -> BrierDecomposition:
        index = jnp.searchsorted(inner_edges, probability, side="left")

        def bin_means(values: jax.Array) -> jax.Array:
            values = jnp.where(kept, values, 0.0) * counts
            sums = _numerics.accurate_segment_sum(values, index, bins)
            return _numerics.divide_no_nan(sums, count)

        count = _weights.segment_total(counts, index, bins)
        size = _weights.total(counts)
        weight = _numerics.divide_no_nan(count, size, otherwise=jnp.nan)
        confidence, frequency = bin_means(probability), bin_means(outcome)
        base_rate = jnp.sum(weight * frequency)
        from_confidence = probability - confidence[index]
        from_frequency = outcome - frequency[index]
        variance = bin_means(from_confidence**2)
        covariance = bin_means(from_confidence * from_frequency)
        return BrierDecomposition(
            reliability=jnp.sum(weight * (confidence - frequency) ** 2),
            resolution=jnp.sum(weight * (frequency - base_rate) ** 2),
            uncertainty=base_rate * (1 - base_rate),
            within_bins=jnp.sum(weight * (variance - 2 * covariance)),
        )

    by_class = jax.vmap(of_class, in_axes=1)(probabilities, happened)
    impossible = jnp.any(kept[:, None] & jnp.isnan(probabilities))
    return jax.tree.map(
        lambda part: jnp.where(impossible, jnp.nan, jnp.sum(part)), by_class
    )


@jax.jit
def _negative_log_likelihood(
    logits: jax.Array, labels: jax.Array, weights: jax.Array | None
) -> jax.Array:
    logits = _numerics.at_least_float32(logits)
    log_likelihood = _at_labels(jax.nn.log_softmax(logits), labels)[:, 0]
    return _weights.mean(-log_likelihood, _weights.counted(weights, labels.shape[0]))


@functools.partial(jax.jit, static_argnames="max_steps")
def _fit_temperature(
    logits: jax.Array, labels: jax.Array, max_steps: int, weights: jax.Array | None
) -> jax.Array:
    logits = _numerics.at_least_float32(logits)
    counts = _weights.counted(weights, labels.shape[0])
    above = logits - _at_labels(logits, labels)
    above = jnp.where((counts > 0)[:, None], above, 0.0)
    scale = jnp.max(jnp.abs(above), where=jnp.isfinite(above), initial=0.0)

    def slope(inverse: jax.Array) -> jax.Array:
        """Of the likelihood, which is convex in the inverse temperature."""
        chances = jax.nn.softmax(logits * inverse)
        terms = jnp.where(chances == 0, 0.0, chances * above)
        return _weights.mean(jnp.sum(terms, axis=1), counts)

    def halve(state: tuple) -> tuple:
        low, high, count = state
        middle = (low + high) / 2
        rising = slope(jnp.exp(middle) / scale) >= 0
        low, high = jnp.where(rising, low, middle), jnp.where(rising, middle, high)
        return low, high, count + 1

    def unfinished(state: tuple) -> jax.Array:
        low, high, count = state
        # They are logarithms: the temperature is right to a few of its last bits.
        return (count < max_steps) & (high - low > 4e-7)

    widest = jnp.full((), _LOG_WIDEST, logits.dtype)
    low, high, _ = lax.while_loop(unfinished, halve, (-widest, widest, 0))
    temperature = scale / jnp.exp((low + high) / 2)
    at_uniform = slope(jnp.zeros((), logits.dtype))
    temperature = jnp.where(at_uniform >= 0, jnp.inf, temperature)
    temperature = jnp.where(scale == 0, 1.0, temperature)
    return jnp.where(jnp.isnan(at_uniform), jnp.nan, temperature)


def _check_logits(
    logits: jax.Array, labels: jax.Array, weights: jax.Array | None
) -> None:
    _validate.logits(logits)
    _validate.some_examples("logits", logits)
    _validate.rank("labels", labels, "n")
    _validate.same_length(logits=logits, labels=labels)
    _validate.example_weights(weights, labels=labels)
    _validate.no_nan("logits", logits, weights)
    _validate.classes("labels", labels, logits.shape[1], weights)


def _at_labels(values: jax.Array, labels: jax.Array) -> jax.Array:
    """The value of each example's class, `[n, 1]`; NaN where the label is no class."""
    inside = _numerics.in_range(labels, values.shape[1])[:, None]
    index = jnp.where(inside, labels[:, None], 0)
    return jnp.where(inside, jnp.take_along_axis(values, index, axis=1), jnp.nan)


def _one_hot(labels: jax.Array, probabilities: jax.Array) -> jax.Array:
    return jax.nn.one_hot(labels, probabilities.shape[1], dtype=probabilities.dtype)


def _nan_if_impossible(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    """The probabilities, NaN outside [0, 1] and where the label is no class."""
    values = _numerics.as_probability(_numerics.at_least_float32(probabilities))
    possible = _numerics.in_range(labels, values.shape[1])
    return jnp.where(possible[:, None], values, jnp.nan)
