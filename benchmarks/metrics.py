"""The rank metrics of a million examples against scikit-learn and NumPy.

Run `python -m benchmarks.metrics`. The rivals take turns, so that a busy moment hits
all of them; each row is the best of the rounds, and its ratio to `metrics.summary`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import metrics as sklearn_metrics

from benchmarks._timing import interleaved
from trustjax import metrics

EXAMPLES = 1_000_000
CLASSES = 10
ROUNDS = 5


def numpy_aurc(scores: np.ndarray, correct: np.ndarray) -> float:
    """What one writes first: mean selective risk in a stable order, ties ignored."""
    order = np.argsort(-scores, kind="stable")
    errors = np.cumsum(~correct[order])
    return float(np.mean(errors / np.arange(1, len(scores) + 1)))


def numpy_aurc_with_ties(scores: np.ndarray, correct: np.ndarray) -> float:
    """The same area as `metrics.aurc`."""
    order = np.argsort(-scores)
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    accepted = np.flatnonzero(last) + 1
    risk = np.cumsum(~correct[order])[last] / accepted
    coverage = accepted / len(scores)
    return float(np.trapezoid(np.append(risk[0], risk), np.append(0, coverage)))


def main() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=EXAMPLES).astype(np.float32)
    correct = rng.random(EXAMPLES) < 1 / (1 + np.exp(-2 * scores - 1))
    labels = rng.integers(0, CLASSES, EXAMPLES).astype(np.int32)
    predictions = np.where(correct, labels, (labels + 1) % CLASSES).astype(np.int32)
    s, c, p, y = (jnp.asarray(a) for a in (scores, correct, predictions, labels))
    jitted = jax.jit(metrics.summary, static_argnames="num_classes")

    ours, traced = "trustjax summary (13 metrics)", "trustjax summary inside jit"
    baselines = {
        "scikit-learn AUROC + average precision": lambda: (
            sklearn_metrics.roc_auc_score(correct, scores),
            sklearn_metrics.average_precision_score(correct, scores),
        ),
        "NumPy AURC, stable order": lambda: numpy_aurc(scores, correct),
        "NumPy AURC, ties grouped": lambda: numpy_aurc_with_ties(scores, correct),
    }
    rounds = interleaved(
        {
            ours: lambda: metrics.summary(s, p, y, num_classes=CLASSES),
            traced: lambda: jitted(s, p, y, num_classes=CLASSES),
            "trustjax auroc": lambda: metrics.auroc(s, c),
            "trustjax aurc": lambda: metrics.aurc(s, c),
            **baselines,
        },
        ROUNDS,
    )
    seconds = {name: min(times) for name, times in rounds.items()}
    print(f"{EXAMPLES:,} examples, best of {ROUNDS} interleaved rounds")
    print(f"{'':42}{'ms':>8}{'x summary':>12}{'x in jit':>12}")
    for name, value in seconds.items():
        ratios = f"{value / seconds[ours]:12.2f}{value / seconds[traced]:12.2f}"
        print(f"{name:42}{1e3 * value:8.1f}{ratios}")


if __name__ == "__main__":
    main()
