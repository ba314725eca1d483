"""Reliability diagrams of the study `introspection_corruption`, by severity."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from experiments.introspection_networks import STYLES
from trustjax import metrics

WHEN = ("as it is", "scaled")
"""Before temperature scaling, and after it."""

FEWEST = 50
"""Answers of all networks in a bin that is drawn."""


@jax.jit
def _curve(
    logits: jax.Array, labels: jax.Array, temperatures: jax.Array
) -> metrics.ReliabilityCurve:
    """Of each network, `[networks, bins]`; logits are `[networks, images, classes]`."""

    def of_network(
        z: jax.Array, temperature: jax.Array, labels: jax.Array
    ) -> metrics.ReliabilityCurve:
        sure = jnp.max(jax.nn.softmax(z / temperature, axis=-1), axis=-1)
        return metrics.reliability_curve(sure, jnp.argmax(z, axis=-1) == labels)

    return jax.vmap(of_network, (0, 0, None))(logits, temperatures, labels)


def curves(
    asked: Sequence[Mapping[str, np.ndarray]],
    temperatures: Mapping[str, Sequence[float]],
    labels: np.ndarray,
    keys: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Confidence and accuracy by bin, of the answers to several versions together.

    Args:
      asked: of each seed the answers, `method|version` -> logits.
      temperatures: method -> of each seed.
      labels: of the images.
      keys: severity -> the versions of it.

    Returns:
      Severity -> method -> before and after scaling -> bins: the `confidence` and
      `accuracy` of all networks together, `count` of their answers, and `lowest` and
      `highest`, the accuracies of networks; None where a bin is empty.
    """

    def logits(method: str, versions: Sequence[str]) -> np.ndarray:
        parts = ([own[f"{method}|{key}"] for key in versions] for own in asked)
        return np.stack([np.concatenate(of_seed) for of_seed in parts])

    return {
        severity: {
            method: {
                when: _of(
                    logits(method, versions),
                    np.tile(labels, len(versions)),
                    np.array(own if when == "scaled" else np.ones(len(asked))),
                )
                for when in WHEN
            }
            for method, own in temperatures.items()
        }
        for severity, versions in keys.items()
    }


def _of(
    logits: np.ndarray, labels: np.ndarray, temperatures: np.ndarray
) -> dict[str, Any]:
    found = _curve(logits, labels, np.float32(temperatures))
    confidence, accuracy, count = (np.asarray(part, float) for part in found[:3])
    total = count.sum(axis=0)
    # Of all answers together: bins of each network, weighted by their answers.
    means = [
        np.divide(
            np.nansum(part * count, axis=0),
            total,
            out=np.full(len(total), np.nan),
            where=total > 0,
        )
        for part in (confidence, accuracy)
    ]
    return {
        "confidence": _plain(means[0]),
        "accuracy": _plain(means[1]),
        "count": total.astype(int).tolist(),
        "lowest": _plain(np.min(accuracy, axis=0, initial=1, where=count > 0)),
        "highest": _plain(np.max(accuracy, axis=0, initial=0, where=count > 0)),
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Accuracy against confidence, a column for each severity; ranges of networks."""
    figure, axes = plt.subplots(
        len(WHEN),
        len(said),
        figsize=(3 * len(said), 6),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, when in enumerate(WHEN):
        for axis, (severity, own) in zip(axes[row], said.items(), strict=True):
            axis.plot([0, 1], [0, 1], color="#aaaaaa", lw=1)
            for method, of_method in own.items():
                _line(axis, of_method[when], STYLES[method], method)
            axis.grid(alpha=0.25)
            named = severity if severity == "clean" else f"severity {severity}"
            axis.set_title(f"{named}, {when}", fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("confidence")
    for row in axes:
        row[0].set_ylabel("accuracy")
    axes[0, 0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(axis: Any, own: Mapping[str, Any], color: str, label: str) -> None:
    drawn = np.array(own["count"]) >= FEWEST
    x, y = (np.array(own[part], float)[drawn] for part in ("confidence", "accuracy"))
    ends = (np.array(own[part], float)[drawn] for part in ("lowest", "highest"))
    axis.fill_between(x, *ends, color=color, alpha=0.12, lw=0)
    axis.plot(x, y, marker="o", ms=3, lw=1.2, color=color, label=label)
