"""What is added to cross entropy: trust, its order, or the size of gradients."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trustjax import gradients, losses, metrics, scores, statistics, train

Score = Callable[[jax.Array], jax.Array]
"""`logits -> [batch]`, higher = more trust, with a slope."""

MOST_LOG_GRAD_TRUST = 60.0
"""Of a one-hot softmax it is infinite, and two infinities have no difference."""


def finite_log_grad_trust(logits: jax.Array) -> jax.Array:
    """The logarithm of GradTrust: the same order, in units that a sigmoid can take."""
    return jnp.minimum(scores.log_grad_trust(logits), MOST_LOG_GRAD_TRUST)


SCORES: dict[str, tuple[Score, float]] = {
    "max softmax": (scores.max_softmax, 0.1),
    "margin": (scores.margin, 0.1),
    "GradTrust": (finite_log_grad_trust, 1.0),
}
"""Each with the temperature of its sigmoids: about a tenth of the range that it has."""

CONFIDENCES = ("max softmax", "margin")
"""Those in [0, 1], which NetTrustScore and the ranking loss need: GradTrust has no
upper end."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A way of training.

    Attributes:
      name: on the page.
      weights: those that are tried, of the term or of the decay.
      changes: of the training's choices, for a weight.
      options: of `train.fit_many`, for a weight.
    """

    name: str
    weights: Sequence[float] = (0.0,)
    changes: Callable[[float], Mapping[str, Any]] = lambda weight: {}
    options: Callable[[float], Mapping[str, Any]] = lambda weight: {}


def distrust(
    logits: jax.Array, batch: train.TrainBatch, *, score: Score, weight: float
) -> jax.Array:
    """1 - NetTrustScore of a confidence."""
    trust = metrics.question_answer_trust(
        score(logits), _right(logits, batch), weights=batch["mask"]
    )
    return weight * (
        1.0
        - metrics.net_trust_score(
            trust, batch["label"], logits.shape[-1], weights=batch["mask"]
        )
    )


def disorder(
    logits: jax.Array,
    batch: train.TrainBatch,
    *,
    score: Score,
    temperature: float,
    weight: float,
) -> jax.Array:
    """1 - smooth AUROC; 0 of a batch that is all right, which has no order."""
    area = metrics.smooth_auroc(
        score(logits),
        _right(logits, batch),
        temperature=temperature,
        weights=batch["mask"],
    )
    return weight * jnp.nan_to_num(1.0 - area)


def risk(
    logits: jax.Array,
    batch: train.TrainBatch,
    *,
    score: Score,
    temperature: float,
    weight: float,
) -> jax.Array:
    """Smooth AURC."""
    return weight * metrics.smooth_aurc(
        score(logits),
        _right(logits, batch),
        temperature=temperature,
        weights=batch["mask"],
    )


def misranking(
    logits: jax.Array, batch: train.TrainBatch, *, score: Score, weight: float
) -> jax.Array:
    """The correctness ranking loss of Moon et al., the mean over pairs."""
    return weight * jnp.mean(
        train.correctness_ranking_loss(
            score(logits), batch["correctness"], mask=batch["mask"]
        )
    )


def steepness(
    apply_fn: Any,
    params: Any,
    images: jax.Array,
    batch: train.TrainBatch,
    *,
    weight: float,
) -> jax.Array:
    """The mean squared norm of the gradient of each example's cross entropy."""
    found = gradients.gradient_statistics(
        apply_fn,
        params,
        images,
        loss_fn=losses.cross_entropy,
        loss_args=(batch["label"],),
        statistics=(statistics.l2_norm,),
        group="network",
    )
    squares = found.values[:, 0, 0] ** 2
    return weight * jnp.mean(squares, where=batch["mask"])


def _right(logits: jax.Array, batch: train.TrainBatch) -> jax.Array:
    return jnp.argmax(logits, axis=-1) == batch["label"]


PLAIN = "cross entropy"
DECAY = "weight decay"
STEEPNESS = "gradient norm"


def methods(
    weights: Sequence[float],
    decays: Sequence[float],
    steepness_weights: Sequence[float],
    asked: Collection[str] = tuple(SCORES),
) -> dict[str, Method]:
    """All that are compared, by name, plain cross entropy first.

    Args:
      weights: of terms that are in [0, 1], or the ranking loss.
      decays: of AdamW.
      steepness_weights: of the squared norm of gradients, which is larger.
      asked: the scores that terms are of.
    """

    def of_batch(name: str, term: Callable[..., Any], **given: Any) -> Method:
        def options(weight: float) -> dict[str, Any]:
            own = functools.partial(term, weight=weight, **given)
            return {"dataset_loss_fn": own}

        return Method(name, weights, options=options)

    found = [
        Method(PLAIN),
        Method(DECAY, decays, changes=lambda decay: {"weight_decay": decay}),
    ]
    found += [
        of_batch(f"NetTrustScore of {name}", distrust, score=SCORES[name][0])
        for name in CONFIDENCES
        if name in asked
    ]
    for title, term in (("smooth AUROC", disorder), ("smooth AURC", risk)):
        found += [
            of_batch(f"{title} of {name}", term, score=score, temperature=temperature)
            for name, (score, temperature) in SCORES.items()
            if name in asked
        ]
    found += [
        of_batch(
            "correctness ranking",
            misranking,
            score=SCORES["max softmax"][0],
        ),
        Method(
            STEEPNESS,
            steepness_weights,
            options=lambda weight: {
                "network_loss_fn": functools.partial(steepness, weight=weight)
            },
        ),
    ]
    return {method.name: method for method in found}
