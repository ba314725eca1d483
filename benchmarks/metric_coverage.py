"""How often intervals of 95 % hold the true value, with few errors and many.

Made-up test sets of a known truth: accuracy, the mean of a trust in [0, 1], AUROC and
calibration error, by the intervals of `metrics` and by plain bootstrap percentiles.
`python -m benchmarks.metric_coverage [data sets [examples ...]]`.
"""

import sys

import jax
import numpy as np

from benchmarks.simultaneous import draw, resampled_aurocs
from trustjax import metrics

SAMPLES = 200
SIZES = {40: (1, 3, 5, 10, 20), 200: (1, 5, 20, 100), 2000: (1, 5, 20, 200)}
AUROCS = (0.5, 0.7, 0.85, 0.95, 0.99)
# Confidence c of answers that are right with another chance: what the truth is.
CONFIDENT = {"calibrated": 1.0, "overconfident": 1.25, "far too confident": 2.0}


def covered(interval, truth):
    """Share of the intervals that hold the truth, of those given, and their width."""
    low, high = (np.asarray(end, np.float64) for end in interval[1:])
    low, high = low[~np.isnan(low)], high[~np.isnan(low)]
    return np.mean((low <= truth + 1e-9) & (truth - 1e-9 <= high)), np.mean(high - low)


def percentiles(values, samples):
    return values, *np.nanquantile(samples, [0.025, 0.975], axis=0)


def show(what, size, errors, *found):
    cells = " | ".join(f"{share:.1%} | {width:.3f}" for share, width in found)
    print(f"| {what} | {size} | {errors} | {cells} |", flush=True)


def accuracy(generator, size, errors, sets):
    right = generator.binomial(size, 1 - errors / size, size=sets)
    exact = metrics.proportion_interval(right, np.full(sets, size))
    samples = generator.binomial(size, right / size, size=(SAMPLES, sets)) / size
    truth = 1 - errors / size
    return covered(exact, truth), covered(percentiles(right / size, samples), truth)


def trust(generator, size, errors, sets):
    """Mean trust: high for right answers, low for wrong ones, which come by chance."""
    wrong = generator.random((sets, size)) < errors / size
    of_wrong, of_right = (
        generator.beta(a, b, (sets, size)) for a, b in ((2, 3), (9, 1))
    )
    values = np.where(wrong, of_wrong, of_right)
    rows = generator.integers(size, size=(sets, SAMPLES, size))
    samples = np.stack(
        [value[drawn].mean(-1) for value, drawn in zip(values, rows, strict=True)], 1
    )
    truth = 0.4 * errors / size + 0.9 * (1 - errors / size)
    rarer = np.minimum(wrong.sum(axis=1), (~wrong).sum(axis=1))
    found = metrics.interval_of_resampled(values.mean(1), samples, rarer)
    return covered(found, truth), covered(percentiles(values.mean(1), samples), truth)


def auroc(generator, size, errors, sets, truth):
    values, samples = np.empty(sets), np.empty((SAMPLES, sets))
    for page in range(sets):
        scores, correct = draw(generator, np.array([truth]), 0.0, size, errors)
        value, of_page = resampled_aurocs(generator, scores, correct, SAMPLES)
        values[page], samples[:, page] = value[0], of_page[:, 0]
    trials = min(errors, size - errors)
    found = metrics.interval_of_resampled(values, samples, trials)
    return covered(found, truth), covered(percentiles(values, samples), truth)


def calibration(generator, size, errors, sets, exponent):
    """The truth is the binned error of 2 million confidences and their chances."""

    def confidences(count):
        chance = generator.beta(10 * (1 - errors / size), 10 * errors / size, count)
        return chance, 1 - (1 - chance) ** exponent

    chance, confidence = confidences(2_000_000)
    place = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    truth = np.abs(np.bincount(place, confidence - chance)).sum() / len(chance)
    plain, found = [], []
    for page in range(sets):
        chance, confidence = confidences(size)
        correct = generator.random(size) < chance
        key = jax.random.key(page)
        found.append(
            metrics.calibration_error_interval(
                confidence, correct, key=key, num_samples=SAMPLES
            )
        )
        plain.append(resampled_calibration(generator, confidence, correct))
    return covered(np.transpose(found), truth), covered(np.transpose(plain), truth)


def resampled_calibration(generator, confidence, correct):
    place = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    rows = generator.integers(len(place), size=(SAMPLES, len(place)))
    gaps = [np.bincount(place[row], (confidence - correct)[row]) for row in rows]
    errors = [np.abs(gap).sum() / len(place) for gap in gaps]
    return 0.0, *np.quantile(errors, [0.025, 0.975])


def main() -> None:
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    generator = np.random.default_rng(0)
    print(f"{sets} data sets each, {SAMPLES} resamples\n")
    print("| metric | examples | errors | holds | width | percentiles | width |")
    print("|---|---|---|---|---|---|---|")
    for size in [int(given) for given in sys.argv[2:]] or SIZES:
        for errors in SIZES[size]:
            case = (generator, size, errors, sets)
            show("accuracy", size, errors, *accuracy(*case))
            if errors < 3:
                continue
            show("mean trust", size, errors, *trust(*case))
            for truth in AUROCS:
                show(f"AUROC {truth}", size, errors, *auroc(*case, truth))
            for name, exponent in CONFIDENT.items():
                show(
                    f"calibration, {name}", size, errors, *calibration(*case, exponent)
                )


if __name__ == "__main__":
    main()
