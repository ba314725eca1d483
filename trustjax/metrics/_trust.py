"""The NetTrustScore suite: how well placed is the confidence?"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer, Shaped

from trustjax import _inputs, _numerics, _validate
from trustjax.metrics import _weights


class ExpectedConfidence(NamedTuple):
    """Mean confidence given the outcome; NaN where there is none.

    Attributes:
      correct: `[]`, over the right answers.
      incorrect: `[]`, over the wrong ones.
    """

    correct: Float[Array, ""]
    incorrect: Float[Array, ""]


class ConditionalSpectra(NamedTuple):
    """Trust spectra given the outcome; NaN where a class has no such answer.

    Attributes:
      correct: `[classes]`, over the right answers.
      incorrect: `[classes]`, over the wrong ones.
    """

    correct: Float[Array, " classes"]
    incorrect: Float[Array, " classes"]


@_inputs.take_arrays
def question_answer_trust(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, " n"]:
    r"""How well placed the confidence in each answer is.

    .. math:: Q_z(x, y) = \begin{cases} C(y|x)^\alpha & y = z \\
              (1 - C(y|x))^\beta & y \ne z \end{cases}

    Args:
      confidence: probability of the given answer, :math:`C(y|x)`.
      correct: whether the answer is right: boolean, or 0 and 1.
      alpha: how much confidence in right answers is rewarded; 0 rewards all alike.
      beta: how much confidence in wrong answers is penalised.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The trust in each answer, in [0, 1]; higher = more trust; NaN for the examples
      left out. Differentiable.

    Raises:
      ValueError: if the lengths differ, a known confidence is outside [0, 1] or NaN,
        or an exponent is negative.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    right and certain, wrong at 0    1
    wrong and certain, right at 0    0
    confidence outside [0, 1], NaN   ValueError; NaN under a transformation
    ===============================  =====

    >>> confidence = jnp.array([0.75, 0.75])
    >>> print(question_answer_trust(confidence, jnp.array([True, False])))
    [0.75 0.25]

    References:
      Wong et al. 2020 (arXiv:2009.05835), eq. 3, with alpha = beta = 1.
    """
    _validate.confidence_and_outcomes(confidence, correct, weights)
    _validate.not_negative("alpha", alpha)
    _validate.not_negative("beta", beta)
    return _question_answer_trust(confidence, correct, alpha, beta, weights)


@_inputs.take_arrays
def trust_spectrum(
    trust: Float[Array, " n"],
    labels: Integer[Array, " n"],
    num_classes: int,
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, " classes"]:
    r"""Mean trust of each answer scenario.

    .. math:: T_M(z) = \frac{1}{N_z} \sum_{x : O(x) = z} Q_z(x)

    Args:
      trust: `question_answer_trust` of each example.
      labels: the scenario of each example: the true class (the paper's oracle answer
        :math:`z = O(x)`, eq. 4), or the predicted class for the spectrum by answer
        ("answered as a given answer", section 2.2).
      num_classes: how many classes there are.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.
        `weights=correct` is the spectrum of the right answers alone.

    Returns:
      The trust in each class, in [0, 1]; higher = more trust.

    Raises:
      ValueError: if the lengths differ or a known label is not in [0, num_classes).
      TypeError: if `labels` are not integers.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    a class without examples         NaN
    a label outside the classes      ValueError; all NaN under a transformation
    ===============================  =====

    >>> trust = jnp.array([1.0, 0.5, 0.25])
    >>> print(trust_spectrum(trust, jnp.array([0, 0, 2]), 3))
    [0.75  nan 0.25]

    References:
      Wong et al. 2020 (arXiv:2009.05835), eq. 5. TrustPy gives 0 to an empty class.
    """
    total, count = _class_totals(trust, labels, num_classes, weights)
    return _numerics.divide_no_nan(total, count, otherwise=jnp.nan)


@_inputs.take_arrays
def conditional_trust_spectra(
    trust: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    labels: Integer[Array, " n"],
    num_classes: int,
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> ConditionalSpectra:
    r"""The trust spectrum of the right answers alone, and of the wrong ones.

    Args:
      trust: `question_answer_trust` of each example.
      correct: whether the answer is right: boolean, or 0 and 1.
      labels: the scenario of each example, see `trust_spectrum`.
      num_classes: how many classes there are.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      Both spectra, in [0, 1]; NaN where a class has no such answer.

    Raises:
      ValueError, TypeError: as `trust_spectrum`.

    >>> trust, correct = jnp.array([1.0, 0.5, 0.25]), jnp.array([1, 1, 0])
    >>> spectra = conditional_trust_spectra(trust, correct, jnp.array([0, 0, 1]), 2)
    >>> print(spectra.correct, spectra.incorrect)
    [0.75  nan] [ nan 0.25]

    References:
      Wong et al. 2020 (arXiv:2009.05835), eqs. 4 and 5, restricted; TrustPy's
      conditional NetTrustScore.
    """
    _validate.rank("correct", correct, "n")
    _validate.same_length(trust=trust, correct=correct)
    _validate.binary("correct", correct, weights)
    _validate.example_weights(weights, trust=trust)
    counts = _weights.counted(weights, trust.shape[0])
    right = jnp.where(correct != 0, counts, 0)
    return ConditionalSpectra(
        trust_spectrum(trust, labels, num_classes, weights=right),
        trust_spectrum(trust, labels, num_classes, weights=counts - right),
    )


@_inputs.take_arrays
def trust_matrix(
    trust: Float[Array, " n"],
    labels: Integer[Array, " n"],
    predictions: Integer[Array, " n"],
    num_classes: int,
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, "classes classes"]:
    r"""Mean trust by oracle answer (rows) and given answer (columns).

    Args:
      trust: `question_answer_trust` of each example.
      labels: the true class of each example.
      predictions: the predicted class of each example.
      num_classes: how many classes there are.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The matrix, in [0, 1], NaN where no example is. Low values on the diagonal are
      hesitant right answers, low values beside it confident confusions.

    Raises:
      ValueError, TypeError: as `trust_spectrum`.

    >>> trust, labels = jnp.array([1.0, 0.5, 0.25]), jnp.array([0, 0, 1])
    >>> print(trust_matrix(trust, labels, jnp.array([0, 0, 0]), 2))
    [[0.75  nan]
     [0.25  nan]]

    References:
      Hryniowski, Wang and Wong 2020 (arXiv:2009.14701), "Where Does Trust Break Down?".
    """
    _validate.labels(labels=labels, predictions=predictions)
    total, count = cell_totals(trust, labels, predictions, num_classes, weights)
    return _numerics.divide_no_nan(total, count, otherwise=jnp.nan)


@_inputs.take_arrays
def net_trust_score(
    trust: Float[Array, " n"],
    labels: Integer[Array, " n"],
    num_classes: int,
    *,
    prior: str | Float[Array, " classes"] = "empirical",
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""The expectation of the trust spectrum, one number for a network.

    .. math:: T_M = \sum_z P(z) T_M(z)

    Args:
      trust: `question_answer_trust` of each example.
      labels: the true class of each example.
      num_classes: how many classes there are.
      prior: :math:`P(z)`: `"empirical"`, the share of the examples, which makes the
        score the mean trust; `"uniform"`; or one weight for each class.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The score, in [0, 1]; higher = more trust.

    Raises:
      ValueError: if the lengths differ, a known label is not in [0, num_classes), or
        `prior` is unknown or not one weight for each class.
      TypeError: if `labels` are not integers.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    a class without examples         excluded; its weight goes to the others
    no example kept                  NaN
    a label outside the classes      ValueError; NaN under a transformation
    ===============================  =====

    >>> trust = jnp.array([1.0, 0.5, 0.25, 0.25])
    >>> print(f"{net_trust_score(trust, jnp.array([0, 0, 2, 0]), 3):.3f}")
    0.500
    >>> uniform = net_trust_score(trust, jnp.array([0, 0, 2, 0]), 3, prior="uniform")
    >>> print(f"{uniform:.3f}")
    0.417

    References:
      Wong et al. 2020 (arXiv:2009.05835), eq. 6. Table 1 is the sample mean: P(z) =
      N_z / N.
    """
    total, count = _class_totals(trust, labels, num_classes, weights)
    return expectation_over_classes(total, count, prior)


@_inputs.take_arrays
def trust_density(
    trust: Float[Array, " n"],
    grid: Float[Array, " grid"],
    *,
    gamma: float = 0.5,
    weights: Shaped[Array, " n"] | None = None,
) -> Float[Array, " grid"]:
    r"""Distribution of trust, by a Gaussian kernel reflected at 0 and 1.

    .. math:: F(q) = \frac{1}{N} \sum_i \sum_{k=-\infty}^{\infty}
              \varphi_h(q - q_i - 2k) + \varphi_h(q + q_i - 2k), \qquad
              h = \frac{\gamma}{\sqrt N}

    Reflected as often as the bandwidth needs, it integrates to 1 over [0, 1] for every
    number of examples.

    Args:
      trust: `question_answer_trust` of the examples of one answer scenario.
      grid: the points in [0, 1] at which the density is asked for.
      gamma: the kernel constant :math:`\gamma`.
      weights: what each example counts, see `trustjax.metrics`: `labels == z` for the
        answer scenario z.

    Returns:
      The density at each point, not negative.

    Raises:
      ValueError: if `gamma` is not positive, or a known trust is outside [0, 1].

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    no example kept                  NaN
    one example                      a kernel of width gamma, reflected many times
    a trust outside [0, 1], NaN      ValueError; NaN under a transformation
    ===============================  =====

    >>> grid = jnp.linspace(0.0, 1.0, 5)
    >>> density = trust_density(jnp.array([0.9, 0.8, 1.0, 0.3]), grid)
    >>> with jnp.printoptions(precision=2):
    ...     print(density)
    [0.39 0.49 0.74 1.52 2.13]

    References:
      Wong et al. 2020 (arXiv:2009.05835), section 2.2. TrustPy does not reflect: near 1
      it loses 44 % of the mass with 5 examples and 13 % with 500.
    """
    _check_trust(trust, weights)
    _validate.rank("grid", grid, "grid")
    _validate.floating("grid", grid)
    _validate.positive("gamma", gamma)
    return _density(trust, grid, gamma, weights)


@_inputs.take_arrays
def expected_confidence(
    confidence: Float[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    weights: Shaped[Array, " n"] | None = None,
) -> ExpectedConfidence:
    r"""Mean confidence of the right answers, and of the wrong ones.

    .. math:: \bar C_{y=z} = E[C(y|x) \mid y = z], \qquad
              \bar C_{y \ne z} = E[C(y|x) \mid y \ne z]

    Args:
      confidence: probability of the given answer.
      correct: whether the answer is right: boolean, or 0 and 1.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      Both means, in [0, 1]: the first is better high, the second low.

    Raises:
      ValueError: if the lengths differ, or a known confidence is outside [0, 1].

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    all right, all wrong             NaN for the outcome that does not occur
    confidence outside [0, 1], NaN   ValueError; NaN under a transformation
    ===============================  =====

    >>> means = expected_confidence(jnp.array([1.0, 0.5, 0.5]), jnp.array([1, 1, 0]))
    >>> print(means.correct, means.incorrect)
    0.75 0.5

    References:
      Wong et al. 2020 (arXiv:2009.05835), eqs. 7 and 8. As printed they divide by all
      questions; Table 1 follows only if they are conditional means, as here.
    """
    _validate.confidence_and_outcomes(confidence, correct, weights)
    _validate.some_examples("confidence", confidence)
    outcome = (correct == 0).astype(jnp.int32)
    confidence = _numerics.as_probability(_numerics.at_least_float32(confidence))
    total, count = _class_totals(confidence, outcome, 2, weights)
    means = _numerics.divide_no_nan(total, count, otherwise=jnp.nan)
    return ExpectedConfidence(means[0], means[1])


@functools.partial(jax.jit, static_argnames=("alpha", "beta"))
def _question_answer_trust(
    confidence: jax.Array,
    correct: jax.Array,
    alpha: float,
    beta: float,
    weights: jax.Array | None,
) -> jax.Array:
    confidence = _numerics.as_probability(_numerics.at_least_float32(confidence))
    counts = _weights.counted(weights, confidence.shape[0])
    confidence = jnp.where(counts > 0, confidence, jnp.nan)
    # The base that is not chosen is 1, so that its slope stays finite.
    right = correct != 0
    reward = jnp.where(right, confidence, 1.0) ** alpha
    penalty = jnp.where(right, 1.0, 1.0 - confidence) ** beta
    return reward * penalty


@functools.partial(jax.jit, static_argnames="gamma")
def _density(
    trust: jax.Array, grid: jax.Array, gamma: float, weights: jax.Array | None
) -> jax.Array:
    counts = _weights.counted(weights, trust.shape[0])
    trust = _numerics.as_probability(_numerics.at_least_float32(trust))
    trust = jnp.where(counts > 0, trust, 0.0)
    size = _weights.total(counts)
    bandwidth = gamma * jnp.sqrt(_numerics.divide_no_nan(_weights.unit(counts), size))
    # An image left out is at least 2 * folds away: six bandwidths or more.
    folds = math.ceil(3 * gamma)
    shifts = 2.0 * jnp.arange(-folds, folds + 1)

    def at(point: jax.Array) -> jax.Array:
        def images(total: jax.Array, shift: jax.Array) -> tuple[jax.Array, None]:
            apart = jnp.stack([point - trust - shift, point + trust - shift], axis=1)
            kernel = jnp.exp(-0.5 * (apart / bandwidth) ** 2).sum(axis=1)
            return total + _numerics.accurate_sum(kernel * counts), None

        return lax.scan(images, jnp.zeros((), trust.dtype), shifts)[0]

    # Point by point: a table of all points and examples would outgrow the memory.
    heights = lax.map(at, grid.astype(trust.dtype))
    return heights / (size * bandwidth * math.sqrt(2 * math.pi))


def expectation_over_classes(
    total: jax.Array, count: jax.Array, prior: str | jax.Array
) -> jax.Array:
    """NetTrustScore from the summed trust and the number of examples of each class."""
    if isinstance(prior, str):
        _validate.choice("prior", prior, ("empirical", "uniform"))
        shares = count if prior == "empirical" else jnp.ones_like(count)
    else:
        _validate.same_length(prior=prior, spectrum=count)
        shares = prior.astype(total.dtype)
    shares = jnp.where(count == 0, 0.0, shares)
    spectrum = _numerics.divide_no_nan(total, count)
    return _numerics.divide_no_nan(
        jnp.sum(shares * spectrum), jnp.sum(shares), otherwise=jnp.nan
    )


def _check_trust(trust: jax.Array, weights: jax.Array | None) -> None:
    _validate.rank("trust", trust, "n")
    _validate.floating("trust", trust)
    _validate.some_examples("trust", trust)
    _validate.example_weights(weights, trust=trust)
    _validate.probabilities("trust", trust, weights)


def cell_totals(
    trust: jax.Array,
    labels: jax.Array,
    predictions: jax.Array,
    num_classes: int,
    weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Summed trust and number of examples by oracle and given answer."""
    _validate.count("num_classes", num_classes)
    _validate.classes("labels", labels, num_classes, weights)
    _validate.classes("predictions", predictions, num_classes, weights)
    inside = _numerics.in_range(predictions, num_classes)
    cell = jnp.where(inside, labels * num_classes + predictions, -1)
    total, count = _class_totals(trust, cell, num_classes**2, weights)
    square = (num_classes, num_classes)
    return total.reshape(square), count.reshape(square)


def _class_totals(
    values: jax.Array, labels: jax.Array, num_classes: int, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Sum and number of the values of each class; NaN sums for labels out of range."""
    _check_trust(values, weights)
    _validate.labels(labels=labels)
    _validate.same_length(trust=values, labels=labels)
    _validate.count("num_classes", num_classes)
    _validate.classes("labels", labels, num_classes, weights)
    return _totals_of_classes(values, labels, num_classes, weights)


@functools.partial(jax.jit, static_argnames="num_classes")
def _totals_of_classes(
    values: jax.Array, labels: jax.Array, num_classes: int, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    counts = _weights.counted(weights, labels.shape[0])
    kept = counts > 0
    inside = _numerics.in_range(labels, num_classes)
    values = jnp.where(kept, _numerics.at_least_float32(values), 0.0) * counts
    total = _numerics.accurate_segment_sum(values, labels, num_classes)
    count = _weights.segment_total(counts, labels, num_classes)
    lost = jnp.any(kept & ~inside) | ~_weights.are_possible(weights)
    return jnp.where(lost, jnp.nan, total), count
