"""Ingredients that need more than a network: samples, ensembles, fitted states."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from trustjax import scores
from trustjax.scoring._ingredients import Ingredient, of_network
from trustjax.scoring._loop import run
from trustjax.typing import ApplyFn, Params, SplitModel


def dropout_logits(
    stochastic_apply_fn: Callable[[Params, Any, jax.Array], jax.Array],
    *,
    key: jax.Array,
    num_samples: int = 50,
) -> Ingredient:
    """The ingredient `"dropout_logits"` of the Monte-Carlo dropout scores.

    Masks are drawn by the number of the record, so that results do not depend on how
    the records are cut into batches.

    Args:
      stochastic_apply_fn: `(params, x, key) -> logits`, as
        `bridge.stochastic_from_nnx` makes it.
      key: where the masks come from.
      num_samples: forward passes.

    Returns:
      The ingredient.

    >>> noisy = lambda params, x, key: x + jax.random.normal(key, x.shape)
    >>> dropout_logits(noisy, key=jax.random.key(0)).needs
    ()
    """
    return Ingredient(
        lambda batch: scores.dropout_logits(
            stochastic_apply_fn,
            batch.params,
            batch.x,
            key=key,
            num_samples=num_samples,
            index=batch.index,
        )
    )


def augmented_logits(
    augment_fn: Callable[[Any, jax.Array], Any],
    *,
    key: jax.Array,
    num_samples: int = 10,
) -> Ingredient:
    """The ingredient `"augmented_logits"` of test-time augmentation.

    Args:
      augment_fn: `(x, key) -> x`.
      key: where the changes come from.
      num_samples: forward passes.

    Returns:
      The ingredient.

    >>> augmented_logits(lambda x, key: x, key=jax.random.key(0)).needs
    ()
    """
    return of_network(
        scores.augmented_logits,
        augment_fn=augment_fn,
        key=key,
        num_samples=num_samples,
    )


def ensemble_logits() -> Ingredient:
    """The ingredient `"ensemble_logits"` of deep ensembles.

    Returns:
      An ingredient that needs `"ensemble_params"` to be given: the parameters of the
      members, each array with a leading axis `[members, ...]`.

    >>> ensemble_logits().needs
    ('ensemble_params',)
    """
    return Ingredient(
        lambda batch, stacked: scores.ensemble_logits(batch.apply_fn, stacked, batch.x),
        needs=("ensemble_params",),
    )


FITS: Mapping[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "trust_score_state": scores.fit_trust_score,
    "knn_state": lambda features, labels: scores.fit_knn(features),
    "mahalanobis_state": scores.fit_mahalanobis,
    "centroid_state": scores.fit_centroids,
}
"""By name of the state that a score needs: `(features, labels) -> state`."""


def fit_states(
    model: ApplyFn | SplitModel,
    params: Params,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    fits: Mapping[str, Callable[[np.ndarray, np.ndarray], Any]] = FITS,
) -> dict[str, Any]:
    """Fits the states of neighbour scores on the features of a training set.

    The one place where a score learns from labels: those of the training set.

    Args:
      model: `apply_fn(params, x) -> logits`, or a `SplitModel`, as in `score_batch`.
      params: what the model takes first.
      batches: the training set, as `run` takes it.
      fits: what to fit; leave some out, or put your own options in.

    Returns:
      The states by name, to be `given` to `run` or `score_batch`.

    Raises:
      ValueError: as `run`, or if a fit refuses the features.

    >>> batch = dict(image=np.eye(2, dtype=np.float32), label=np.array([0, 1]),
    ...              index=np.array([0, 1]), mask=np.array([True, True]))
    >>> split = SplitModel(lambda params, x: x @ params, lambda params, h: h)
    >>> sorted(fit_states(split, np.eye(2, dtype=np.float32), [batch]))
    ['centroid_state', 'knn_state', 'mahalanobis_state', 'trust_score_state']
    """
    results = run(["features"], model, params, batches)
    features, labels = results.values["features"], results.labels
    return {name: fit(features, labels) for name, fit in fits.items()}
