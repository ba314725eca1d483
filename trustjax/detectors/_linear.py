"""Linear detectors: one column, or a logistic regression on all of them."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _extras, metrics
from trustjax.detectors._populations import Populations

Layers = tuple[tuple[np.ndarray, np.ndarray], ...]

STRENGTHS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
_PASSES = 3000
_TOLERANCE = 1e-3  # of the coefficients, relative to the largest


def fit_threshold(learning: Populations, validation: Populations) -> Layers:
    """The one column, and its direction, whose balanced threshold does best.

    The direction is the one in which the column ranks the learning part, the column the
    best on the validation part.
    """
    ranks = jax.vmap(metrics.auroc, in_axes=(0, None))
    columns, trusted = jnp.asarray(learning.values.T), jnp.asarray(learning.trusted)
    direction = np.where(np.asarray(ranks(columns, trusted)) < 0.5, -1.0, 1.0)
    directed = jnp.asarray((validation.values * direction).T)
    separates = jax.vmap(metrics.balanced_threshold, in_axes=(0, None))
    found = separates(directed, jnp.asarray(validation.trusted))
    best = int(np.argmax(np.asarray(found.balanced_accuracy)))
    kernel = np.zeros((len(direction), 1))
    kernel[best] = direction[best]
    return ((kernel, np.zeros(1)),)


def fit_logistic(
    learning: Populations,
    validation: Populations,
    everything: Populations,
    *,
    seed: int,
    l1_ratio: float | None,
    strengths: Sequence[float] = STRENGTHS,
) -> Layers:
    r"""A logistic regression, its penalty as strong as the validation part likes best.

    .. math:: \min_{w, b} \; \frac1n \sum_i \log(1 + e^{-y_i (w \cdot u_i + b)})
              + \lambda \left( \rho |w|_1 + \tfrac{1 - \rho}{2} |w|_2^2 \right)

    Args:
      learning: what the candidates are fitted on.
      validation: where the strength with the best AUROC is chosen; of equally good
        ones the strongest.
      everything: what the chosen one is fitted on.
      seed: of the order in which the solver takes examples.
      l1_ratio: :math:`\rho`; None for no penalty.
      strengths: candidates for :math:`\lambda`. Those at which the solver does not
        settle are none.
    """
    if l1_ratio is None:
        return _layers(_regression(0.0, 0.0, everything, seed).fit(*everything))
    candidates = sorted(strengths, reverse=True)
    if not candidates or candidates[-1] <= 0:
        raise ValueError(f"strengths must be positive numbers, got {tuple(strengths)}")
    found = {
        strength: float(
            metrics.auroc(validation.values @ layers[0][0][:, 0], validation.trusted)
        )
        for strength in candidates
        if (layers := _settled(strength, l1_ratio, learning, seed)) is not None
    }
    for strength in sorted(found, key=lambda s: (found[s], s), reverse=True):
        layers = _settled(strength, l1_ratio, everything, seed)
        if layers is not None:
            return layers
    raise ValueError(
        f"the regression does not settle in {_PASSES} passes with strengths "
        f"{tuple(strengths)}: give larger ones"
    )


def _settled(
    strength: float, l1_ratio: float, data: Populations, seed: int
) -> Layers | None:
    """The regression of one strength; None if its solver does not settle."""
    with _extras.required("detect"):
        from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return _layers(_regression(strength, l1_ratio, data, seed).fit(*data))
        except ConvergenceWarning:
            return None


def _regression(strength: float, l1_ratio: float, data: Populations, seed: int) -> Any:
    with _extras.required("detect"):
        from sklearn import linear_model
    # Newton's method for what has second derivatives, which is fast with few columns.
    smooth = l1_ratio == 0
    return linear_model.LogisticRegression(
        C=1 / (len(data.trusted) * strength) if strength else np.inf,
        l1_ratio=l1_ratio,
        solver="newton-cholesky" if smooth else "saga",
        max_iter=100 if smooth else _PASSES,
        tol=1e-6 if smooth else _TOLERANCE,
        random_state=seed,
    )


def _layers(regression: Any) -> Layers:
    return ((regression.coef_.T.copy(), regression.intercept_.copy()),)
