"""Why a network makes its surest mistakes: two maps of each, in one batch."""

from typing import Any

import jax
import numpy as np

from trustjax import assess, explain, models, report
from trustjax.pipeline import _own
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._network import Network

MOST = 6

_NONE = np.zeros((0, 1, 1), np.float32)
_WHICH = "confidently_wrong"  # of the gallery


def maps(
    config: ReportConfig,
    network: Network,
    predictions: assess.Predictions,
    assessed: assess.Assessment,
) -> report.MistakeMaps:
    """Maps of "why P?" and "why P, rather than the true class?".

    Args:
      config: what the report is about.
      network: what was asked.
      predictions: what it said, with the images.
      assessed: which of its mistakes are the surest.

    Returns:
      The maps; or why there are none, where the network cannot be cut at features that
      have positions.
    """
    assert predictions.images is not None, "a report on a network has its images"
    numbers = assessed.gallery[_WHICH][:MOST]
    if not len(numbers):
        return report.MistakeMaps(numbers, _NONE, _NONE)
    images = np.stack([as_floats(predictions.images[int(n)]) for n in numbers])
    size = min(MOST, config.examples_at_a_time(images.shape[1:]))
    numbers = numbers[:size]
    cut: dict[str, Any] = {"class_tokens": class_tokens(config)}

    @jax.jit
    def ask(params, x, answers, labels):
        why = explain.grad_cam(network.apply_fn, params, x, target=answers, **cut)
        rather = explain.contrast_cam(
            network.apply_fn,
            params,
            x,
            target=answers,
            contrast=labels,
            objective="logit_difference",
            **cut,
        )
        return why, rather

    # As many rows whatever there are mistakes: one program for the reports of a kind.
    rows = np.arange(size) % len(numbers)
    answers, labels = (
        np.asarray(of)[numbers[rows]].astype(np.int32)
        for of in (predictions.predicted, predictions.labels)
    )
    try:
        why, rather = ask(network.params, images[rows], answers, labels)
    except (NotImplementedError, ValueError) as error:
        return report.MistakeMaps(numbers[:0], _NONE, _NONE, _reason(error))
    count = len(numbers)
    return report.MistakeMaps(
        numbers, np.asarray(why)[:count], np.asarray(rather)[:count]
    )


def class_tokens(config: ReportConfig) -> int:
    """How many tokens of the network come before those of the image, where known."""
    if config.model is None or _own.is_own(config.model):
        return 0
    return models.known(config.model).class_tokens


def as_floats(image: np.ndarray) -> np.ndarray:
    """An image in [0, 1], as a network takes it."""
    return image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)


def in_short(reason: object) -> str:
    r"""The first sentence of what an error says.

    >>> in_short(ValueError("there is no feature map. The cuts are\n 0: add"))
    'there is no feature map'
    """
    return str(reason).partition("\n")[0].partition(". ")[0].rstrip(".")


def _reason(error: Exception) -> str:
    return (
        "There are no class activation maps of this network, for it cannot be cut at "
        f"features that have positions: {in_short(error)}."
    )
