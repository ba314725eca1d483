"""Unreduced losses: one number per example, nothing averaged."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from trustjax import _inputs, _numerics, _validate, targets

_STEEPEST = 80.0
"""The largest slope whose loss and gradient float32 holds, and a sum over a batch."""


def predicted_cross_entropy(
    logits: Float[Array, "batch classes"],
) -> Float[Array, " batch"]:
    r"""Cross entropy to the predicted class, the label that the network would give.

    .. math:: \ell(z) = -\log p_{\hat y}, \qquad \hat y = \arg\max_k z_k

    Its gradient is the "re-learning stress" of Oberdiek et al.: no true label enters.
    Ties go to the first of the largest logits, and the choice is not differentiated.

    Args:
      logits: network outputs before the softmax.

    Returns:
      The loss of each example, in [0, log classes]; lower = more confident.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`.

    >>> print(predicted_cross_entropy(jnp.log(jnp.array([[0.5, 0.3, 0.2]]))).round(3))
    [0.693]

    References:
      Oberdiek, Rottmann and Gottschalk 2018 (arXiv:1805.08440), section 3.
    """
    z = _numerics.at_least_float32(_inputs.logits(logits))
    return -jnp.sum(_numerics.log_softmax(z), axis=-1, where=_numerics.is_predicted(z))


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    r"""Cross entropy to a given class.

    .. math:: \ell(z, y) = -\log p_y

    Args:
      logits: network outputs before the softmax.
      labels: the class :math:`y` that each example is asked about.

    Returns:
      The loss of each example, in [0, inf). Its gradient :math:`p - e_y` is right to
      the last digit where :math:`y` is the prediction and :math:`p_y` rounds to 1.

    Raises:
      ValueError: if `logits` is not `[batch, classes]`, or the lengths differ.

    ======================  =====
    Edge case               Value
    ======================  =====
    one class               0
    a label out of range    NaN
    a NaN logit             NaN
    ======================  =====

    >>> print(cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).round(3))
    [0.693]
    """
    z = _numerics.at_least_float32(_inputs.logits(logits))
    classes = _inputs.whole_numbers("labels", labels, "batch")
    _validate.same_length(logits=z, labels=classes)
    log_p = _numerics.log_softmax(z)
    asked = targets.one_hot(classes, log_p.shape[-1]).astype(bool)
    exists = jnp.any(asked, axis=-1)
    return jnp.where(exists, -jnp.sum(log_p, axis=-1, where=asked), jnp.nan)


def binary_cross_entropy(
    logits: Float[Array, "batch classes"], targets: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    r"""Binary cross entropy to a target for each class, e.g. a confounding label.

    .. math::
      \ell(z, t) = -\frac1C \sum_k \big(t_k \log \sigma(z_k)
        + (1 - t_k) \log \sigma(-z_k)\big)

    Args:
      logits: network outputs before the sigmoid.
      targets: :math:`t`, in [0, 1]; several classes may be asked for at once.

    Returns:
      The loss of each example, in [0, inf).

    Raises:
      ValueError: if the shapes are not `[batch, classes]`, or not the same, or a known
        target is outside [0, 1].

    ================================  =======================================
    Edge case                         Value
    ================================  =======================================
    a logit infinite as its target    adds 0, with gradient 0
    one infinite against its target   the largest float or more, gradient 0
    a NaN logit                       NaN
    ================================  =======================================

    >>> print(binary_cross_entropy(jnp.zeros((1, 3)), jnp.ones((1, 3))).round(3))
    [0.693]

    References:
      Lee, Prabhushankar and AlRegib 2023 (Purview, arXiv:2304.02834).
    """
    z, t = _logits_and_targets(logits, targets)
    _validate.probabilities("targets", t)
    z = _finite(z)
    terms = t * jax.nn.log_sigmoid(z) + (1 - t) * jax.nn.log_sigmoid(-z)
    return -jnp.mean(terms, axis=-1)


def squared_error(
    logits: Float[Array, "batch classes"], targets: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    r"""Squared error to a target for each class.

    .. math:: \ell(z, t) = \frac1C \sum_k (z_k - t_k)^2

    Args:
      logits: network outputs.
      targets: :math:`t`.

    Returns:
      The loss of each example, in [0, inf).

    Raises:
      ValueError: if the shapes are not `[batch, classes]`, or not the same.

    >>> print(squared_error(jnp.array([[3.0, 1.0]]), jnp.ones((1, 2))))
    [2.]
    """
    z, t = _logits_and_targets(logits, targets)
    return jnp.mean((z - t) ** 2, axis=-1)


def steep_slope_loss(
    z: Float[Array, " batch"],
    correct: Bool[Array, " batch"] | Integer[Array, " batch"],
    *,
    alpha_positive: float,
    alpha_negative: float,
) -> Float[Array, " batch"]:
    r"""Steep slope loss: two slides that push right and wrong answers apart.

    .. math:: \ell(z, o) = o \bigl(e^{-\alpha^+ s} - e^{-\alpha^+}\bigr)
              + (1 - o) \bigl(e^{\alpha^- s} - e^{-\alpha^-}\bigr),
              \qquad s = \frac{z}{1 + |z|}

    Args:
      z: outputs of the oracle; higher = more trust.
      correct: whether the classifier was right, `o`.
      alpha_positive: :math:`\alpha^+`, the slope for right answers.
      alpha_negative: :math:`\alpha^-`, the slope for wrong answers.

    Returns:
      The loss of each example, in
      :math:`[0, \max_\pm(e^{\alpha^\pm} - e^{-\alpha^\pm})]`, float32 or wider.

    Raises:
      ValueError: if an alpha is not in (0, 80], or the lengths differ.

    =====================  ============================================
    Edge case              Value
    =====================  ============================================
    z = inf, right answer  0, with gradient 0
    z = -inf, right        :math:`e^{\alpha^+} - e^{-\alpha^+}`, gradient 0
    z = 0                  :math:`1 - e^{-\alpha}`, gradient -alpha or alpha
    NaN                    NaN
    =====================  ============================================

    >>> z, correct = jnp.array([0.0, 1.0, 1.0]), jnp.array([True, True, False])
    >>> loss = steep_slope_loss(z, correct, alpha_positive=1, alpha_negative=3)
    >>> [f"{value:.3f}" for value in loss]
    ['0.632', '0.239', '4.432']

    References:
      Luo et al. 2021 (arXiv:2110.00054), eq. 8, whose printed signs are reversed: the
      sign here is that of the authors' code and of their text. Their code has offsets
      :math:`\beta^\pm` as well, 0 by default; here they are :math:`z \mp \beta^\pm`,
      for the caller to take.
    """
    z, correct = _outputs_and_outcomes(z, correct)
    check_alphas(alpha_positive, alpha_negative)
    return jnp.where(correct, _slide(z, alpha_positive), _slide(-z, alpha_negative))


def steep_slope_bound(
    num_examples: int,
    *,
    alpha_positive: float,
    alpha_negative: float,
    log_hypotheses: float,
    delta: float = 0.05,
) -> float:
    r"""How far the empirical risk of the steep slope loss can be from the true one.

    .. math:: \ell^{\max} \sqrt{\frac{\log |\mathcal F| + \log (2 / \delta)}{2 |D|}},
              \qquad \ell^{\max} = \max_\pm \bigl(e^{\alpha^\pm} - e^{-\alpha^\pm}\bigr)

    Args:
      num_examples: :math:`|D|`, independent examples.
      alpha_positive: as in `steep_slope_loss`.
      alpha_negative: as in `steep_slope_loss`.
      log_hypotheses: :math:`\log |\mathcal F|`; that of a network of n float32 weights
        is at most 32 n log 2.
      delta: the chance that the bound fails.

    Returns:
      The bound, positive; it holds for all hypotheses at once.

    Raises:
      ValueError: if a number is out of its range.

    >>> bound = steep_slope_bound(
    ...     60_000, alpha_positive=1, alpha_negative=3, log_hypotheses=0)
    >>> print(f"{bound:.4f}")
    0.1111

    References:
      Luo et al. 2021 (arXiv:2110.00054), theorem 3.1 (Hoeffding's inequality and a
      union bound).
    """
    _validate.count("num_examples", num_examples)
    check_alphas(alpha_positive, alpha_negative)
    _validate.not_negative("log_hypotheses", log_hypotheses)
    _validate.open_fraction("delta", delta)
    largest = 2 * math.sinh(max(alpha_positive, alpha_negative))
    return largest * math.sqrt(
        (log_hypotheses + math.log(2 / delta)) / (2 * num_examples)
    )


def oracle_cross_entropy(
    z: Float[Array, " batch"],
    correct: Bool[Array, " batch"] | Integer[Array, " batch"],
) -> Float[Array, " batch"]:
    r"""Binary cross entropy of an oracle.

    .. math:: \ell(z, o) = -o \log \sigma(z) - (1 - o) \log (1 - \sigma(z))

    Args:
      z: outputs of the oracle; higher = more trust.
      correct: whether the classifier was right, `o`.

    Returns:
      The loss of each example, not negative, float32 or wider.

    Raises:
      ValueError: if the lengths differ.

    ============================  ====================================
    Edge case                     Value
    ============================  ====================================
    z infinite on the right side  0, with gradient 0
    z infinite on the wrong side  the largest float, with gradient 0
    NaN                           NaN
    ============================  ====================================

    >>> print(oracle_cross_entropy(jnp.zeros(1), jnp.array([True])).round(3))
    [0.693]

    References:
      Luo et al. 2021 (arXiv:2110.00054), eq. 4. The authors' code broadcasts
      `[batch, 1]` against `[batch]`, so that each output is compared with every
      outcome; this is the loss of the paper. Theirs also adds 1e-7 inside the
      logarithms.
    """
    z, correct = _outputs_and_outcomes(z, correct)
    return jax.nn.softplus(-_towards(_finite(z), correct))


def oracle_focal_loss(
    z: Float[Array, " batch"],
    correct: Bool[Array, " batch"] | Integer[Array, " batch"],
    *,
    gamma: float = 2.0,
) -> Float[Array, " batch"]:
    r"""Focal loss of an oracle: cross entropy, less for what is classified well.

    .. math:: \ell(z, o) = -o (1 - \sigma(z))^\gamma \log \sigma(z)
              - (1 - o) \sigma(z)^\gamma \log (1 - \sigma(z))

    Args:
      z: outputs of the oracle; higher = more trust.
      correct: whether the classifier was right, `o`.
      gamma: :math:`\gamma`; 0 gives the cross entropy.

    Returns:
      The loss of each example, not negative, float32 or wider.

    Raises:
      ValueError: if `gamma` is negative, or the lengths differ.

    The edge cases are those of `oracle_cross_entropy`, with the largest float divided
    by 1 + gamma.

    >>> print(f"{oracle_focal_loss(jnp.zeros(1), jnp.array([True]))[0]:.3f}")
    0.173

    References:
      Luo et al. 2021 (arXiv:2110.00054), eq. 5; Lin et al. 2017 (arXiv:1708.02002). The
      authors' code differs as it does for `oracle_cross_entropy`.
    """
    z, correct = _outputs_and_outcomes(z, correct)
    _validate.not_negative("gamma", gamma)
    # Its derivative multiplies z by gamma: 1 + gamma keeps that from overflowing.
    u = _towards(_finite(z, margin=1 + gamma), correct)
    # (1 - sigmoid(u))^gamma by its logarithm: no power of a zero to differentiate.
    return jnp.exp(-gamma * jax.nn.softplus(u)) * jax.nn.softplus(-u)


def true_class_probability_loss(
    z: Float[Array, " batch"], probability: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    r"""Squared error of the oracle's confidence as the true class's probability.

    .. math:: \ell(z, p_y) = (\sigma(z) - p_y)^2

    Args:
      z: outputs of the oracle; higher = more trust.
      probability: what the classifier gave the true class, in [0, 1].

    Returns:
      The loss of each example, in [0, 1], float32 or wider.

    Raises:
      ValueError: if the lengths differ, or a known probability is outside [0, 1].

    ==========  ======================================
    Edge case   Value
    ==========  ======================================
    z = +-inf   (1 - p)^2 or p^2, with gradient 0
    NaN         NaN
    ==========  ======================================

    >>> print(f"{true_class_probability_loss(jnp.zeros(1), jnp.array([0.9]))[0]:.3f}")
    0.160

    References:
      Corbiere et al. 2019 (arXiv:1910.04851), eq. 5; Luo et al. 2021
      (arXiv:2110.00054), eq. 6.
    """
    z = _inputs.floats("z", z, "batch")
    p = _inputs.floats("probability", probability, "batch")
    _validate.same_length(z=z, probability=p)
    _validate.probabilities("probability", p)
    confidence = jax.nn.sigmoid(_numerics.at_least_float32(z))
    return (confidence - _numerics.at_least_float32(p)) ** 2


def class_balanced_weights(
    counts: Integer[Array, " classes"], *, beta: float
) -> Float[Array, " classes"]:
    r"""Weights of classes by the effective number of their examples.

    .. math:: w_y \propto \frac{1 - \beta}{1 - \beta^{n_y}}, \qquad \sum_y w_y = C

    Args:
      counts: :math:`n_y`, examples of each class.
      beta: :math:`\beta` in [0, 1]: 0 gives every class 1, 1 gives :math:`1 / n_y`.

    Returns:
      The weights, not negative; their sum is the number of classes.

    Raises:
      ValueError: if `beta` is outside [0, 1], or a known count is negative.

    ====================  ==============================
    Edge case             Value
    ====================  ==============================
    a class of no example 0
    no example at all     0 for every class
    a negative count      refused; under `jax.jit` as 0
    ====================  ==============================

    >>> [f"{w:.3f}" for w in class_balanced_weights(jnp.array([1, 9]), beta=1.0)]
    ['1.800', '0.200']

    References:
      Cui et al. 2019 (arXiv:1901.05555), eq. 4, and the normalisation of section 4.1.
      Luo et al. 2021 (arXiv:2110.00054), appendix H, compare with it; their code has no
      effective numbers.
    """
    counts = _inputs.whole_numbers("counts", counts, "classes")
    _validate.none_negative("counts", counts)
    _validate.fraction("beta", beta)
    n = jnp.maximum(counts, 0).astype(jnp.float32)
    if beta == 1.0:
        effective = n
    elif beta == 0.0:
        effective = jnp.minimum(n, 1.0)
    else:
        effective = jnp.expm1(n * math.log(beta)) / (beta - 1.0)
    weights = _numerics.divide_no_nan(jnp.ones_like(n), effective)
    return _numerics.divide_no_nan(weights * weights.shape[0], jnp.sum(weights))


def check_alphas(alpha_positive: float, alpha_negative: float) -> None:
    """Requires slopes of the steep slope loss that float32 can hold, with gradients.

    Raises:
      ValueError: if one is not in (0, 80].

    >>> check_alphas(1.0, 3.0)
    """
    for name, alpha in (
        ("alpha_positive", alpha_positive),
        ("alpha_negative", alpha_negative),
    ):
        _validate.positive(name, alpha)
        if alpha > _STEEPEST:
            raise ValueError(
                f"{name} must be at most {_STEEPEST:g}, got {alpha}: the gradients of "
                "the steep slope loss reach alpha exp(alpha)"
            )


def _logits_and_targets(
    logits: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
    z = _inputs.logits(logits)
    t = _inputs.array("targets", targets)
    _validate.same_shape(logits=z, targets=t)
    _validate.floating("targets", t)
    return _numerics.at_least_float32(z), _numerics.at_least_float32(t)


def _outputs_and_outcomes(
    z: jax.Array, correct: jax.Array
) -> tuple[jax.Array, jax.Array]:
    z = _inputs.floats("z", z, "batch")
    correct = _inputs.array("correct", correct)
    _validate.rank("correct", correct, "batch")
    _validate.same_length(z=z, correct=correct)
    _validate.binary("correct", correct)
    return _numerics.at_least_float32(z), correct.astype(bool)


def _slide(u: jax.Array, alpha: float) -> jax.Array:
    r""":math:`e^{-\alpha s} - e^{-\alpha}` with :math:`s = u / (1 + |u|)`."""
    # Not jnp.abs, whose derivative at 0 is 0: the slide is steepest there.
    magnitude = jnp.where(u >= 0, u, -u)
    t = 1 / (1 + magnitude)
    to_the_bottom = jnp.where(u >= 0, t, 2 - t)  # 1 - s, exact also where s is near 1
    return jnp.exp(alpha * (to_the_bottom - 1)) * -jnp.expm1(-alpha * to_the_bottom)


def _towards(z: jax.Array, correct: jax.Array) -> jax.Array:
    """`z` for right answers and `-z` for wrong ones: larger is always better."""
    return jnp.where(correct, z, -z)


def _finite(z: jax.Array, *, margin: float = 1.0) -> jax.Array:
    """Infinities as the largest float over `margin`: all that follows stays finite."""
    largest = float(jnp.finfo(z.dtype).max) / margin
    return jnp.clip(z, -largest, largest)
