"""A threshold whose risk is bounded for unseen data, not only for these examples."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

from trustjax import _inputs, _validate
from trustjax.metrics._ranking import Ranking, rank, share

MOST_VISITS = 31  # for 2**31 - 1 examples
# Six rounds for 100,000 errors in a million, one for a hundred.
TERMS_AT_ONCE = 256
# From here on the terms add 1e-13 of their sum, which float32 does not hold.
LOG_NEGLIGIBLE = -30.0
# Of the whole range of a rate: to 1e-12, for rates of a few in a million.
HALVINGS = 40


class GuaranteedSelection(NamedTuple):
    """What to accept so that the risk stays below a limit; all `[]`.

    Attributes:
      threshold: accept scores from here on; inf if nothing can be guaranteed.
      coverage: share of these examples that is accepted; 0 if nothing is.
      risk: share of the accepted that is wrong here; NaN if nothing is accepted.
      bound: what the true risk stays below; NaN if nothing is accepted.
    """

    threshold: Float[Array, ""]
    coverage: Float[Array, ""]
    risk: Float[Array, ""]
    bound: Float[Array, ""]


@_inputs.take_arrays
def selection_with_guaranteed_risk(
    scores: Shaped[Array, " n"],
    correct: Shaped[Array, " n"],
    *,
    risk: float,
    delta: float = 0.001,
    weights: Shaped[Array, " n"] | None = None,
) -> GuaranteedSelection:
    r"""Accepts as much as possible with a true risk below `risk`, almost surely (SGR).

    Looks at :math:`k = \lceil \log_2 (n + 1) \rceil` thresholds, which accept
    :math:`n, n - n / k, n - 2 n / k, \dots` examples. Each has as bound the largest
    error rate :math:`b` that could still show so few errors :math:`e` among the
    :math:`m` accepted,

    .. math:: \sum_{j=0}^{e} \binom{m}{j} b^j (1 - b)^{m - j} = \frac{\delta}{k}

    and the one with the largest coverage and a bound of at most `risk` is taken. With
    probability :math:`1 - \delta` over the examples, its true risk is below its bound.

    Args:
      scores: higher = more trust.
      correct: whether the prediction is right: boolean, or 0 and 1.
      risk: the limit :math:`r^*` for the share of errors among the accepted.
      delta: the chance :math:`\delta` that the guarantee fails.
      weights: what each example counts, see `trustjax.metrics`; 1 if None.

    Returns:
      The selection. It holds for new examples of the same distribution, if these were
      not used to train the network or to choose the score.

    Raises:
      ValueError: if the lengths differ, a known score is NaN, or `risk` or `delta` is
        not in (0, 1).

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    too few examples or all wrong    threshold inf, coverage 0, risk and bound NaN
    all right, n examples            coverage 1, bound 1 - (delta / k)^(1/n)
    a NaN score                      ValueError; all NaN under a transformation
    ===============================  =====

    >>> scores, correct = jnp.arange(2000.0), jnp.arange(2000) >= 200
    >>> chosen = selection_with_guaranteed_risk(scores, correct, risk=0.05)
    >>> bool(chosen.risk < chosen.bound), bool(chosen.bound <= 0.05)
    (True, True)
    >>> print(f"{chosen.coverage:.2f}")
    0.91

    References:
      Geifman and El-Yaniv 2017 (arXiv:1705.08500), algorithm 1 and lemma 3.1. The
      authors' code takes the last threshold that its binary search visits, whatever its
      bound, and cuts through ties. The search passes a small set by: of its first half
      too little can be said. A grid that does not depend on the outcomes tries all
      examples first.
    """
    _validate.open_fraction("risk", risk)
    _validate.open_fraction("delta", delta)
    _validate.whole_weights(weights, "the guarantee is for a number of examples")
    return _select(rank(scores, correct, weights), risk, delta)


@functools.partial(jax.jit, static_argnames=("risk", "delta"))
def _select(ranking: Ranking, risk: float, delta: float) -> GuaranteedSelection:
    size = ranking.num_examples
    visits = jnp.maximum(jnp.ceil(jnp.log2(size + 1.0)), 1).astype(jnp.int32)
    step = jnp.arange(MOST_VISITS)
    left_out = step * (size // visits) + step * (size % visits) // visits
    end = ranking.end[jnp.searchsorted(ranking.accepted, size - left_out)]
    accepted = ranking.accepted[end]
    log_chance = math.log(delta) - jnp.log(visits)
    bounds = jax.vmap(binomial_upper_bound, in_axes=(0, 0, None))(
        ranking.errors[end], jnp.maximum(accepted, 1), log_chance
    )
    safe = (step < visits) & (accepted > 0) & (bounds <= risk)
    first = jnp.argmax(safe)  # they come by falling coverage
    some = safe[first]
    accepted, end = jnp.where(some, accepted[first], 0), end[first]
    bound = jnp.where(some, bounds[first], jnp.nan)
    threshold = ranking.score[end].astype(bound.dtype)
    return GuaranteedSelection(
        ranking.if_known(jnp.where(accepted == 0, jnp.inf, threshold)),
        ranking.if_known(share(accepted, ranking.num_examples)),
        ranking.if_known(share(ranking.errors[end], accepted)),
        ranking.if_known(bound),
    )


def binomial_upper_bound(
    successes: jax.Array, count: jax.Array, log_chance: jax.Array
) -> jax.Array:
    r"""The rate at which so few successes have this chance.

    The bound of Clopper and Pearson 1934 (doi:10.1093/biomet/26.4.404). Solves
    :math:`P(X \le e) = \mathrm{chance}` for the rate of the binomial :math:`X`, by
    bisection; right to six digits in float32 for a million draws.
    """
    rate = successes / count

    def halve(_: jax.Array, limits: tuple) -> tuple:
        low, high = limits
        excess = (low + high) / 2
        log_probability = _log_binomial_cdf(successes, count, excess)
        too_likely = log_probability > log_chance
        return jnp.where(too_likely, excess, low), jnp.where(too_likely, high, excess)

    low, high = lax.fori_loop(0, HALVINGS, halve, (jnp.zeros_like(rate), 1 - rate))
    return jnp.where(successes == count, 1.0, rate + (low + high) / 2)


def _log_binomial_cdf(
    successes: jax.Array, count: jax.Array, excess: jax.Array
) -> jax.Array:
    r"""Log of :math:`P(X \le e)` at the rate :math:`b = e / m + \mathrm{excess}`.

    The probability of exactly :math:`e` (Loader 2000: Stirling's formula, so that no
    large logarithms of factorials cancel) times the sum, relative to it, of the terms
    below, until they no longer matter.
    """
    failures = count - successes
    rate = successes / count
    bound = rate + excess
    divergence = jnp.where(
        successes == 0,
        -jnp.log1p(-bound),
        -rate * jnp.log1p(excess / jnp.maximum(rate, 1e-30))
        + (1 - rate) * jnp.log1p(excess / (1 - bound)),
    )
    stirling = jnp.where(
        successes == 0,
        0.0,
        _stirling_error(count)
        - _stirling_error(successes)
        - _stirling_error(failures)
        - 0.5 * jnp.log(2 * math.pi * rate * failures),
    )

    def add_terms(state: tuple) -> tuple:
        start, log_last, total = state
        step = start + jnp.arange(TERMS_AT_ONCE, dtype=jnp.int32)
        falling = (successes - step) / (failures + 1 + step) * (1 - bound) / bound
        log_terms = log_last + jnp.cumsum(jnp.log(jnp.maximum(falling, 0.0)))
        return start + TERMS_AT_ONCE, log_terms[-1], total + jnp.exp(log_terms).sum()

    matters = lambda state: state[1] > LOG_NEGLIGIBLE
    zero = jnp.zeros_like(bound)
    below = lax.while_loop(matters, add_terms, (jnp.zeros((), jnp.int32), zero, zero))
    return stirling - count * divergence + jnp.log1p(below[2])


def _stirling_error(n: jax.Array) -> jax.Array:
    r"""What Stirling's formula lacks to :math:`\ln n!`, for n >= 1."""
    n = jnp.maximum(n, 1).astype(jnp.float32)
    small = jax.scipy.special.gammaln(jnp.minimum(n, 16.0) + 1)
    m = jnp.minimum(n, 16.0)
    small = small - (m + 0.5) * jnp.log(m) + m - 0.5 * math.log(2 * math.pi)
    return jnp.where(n <= 16, small, 1 / (12 * n) - 1 / (360 * n**3))
