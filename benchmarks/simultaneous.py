"""How often a page of equally good scores says that one is worse than another.

`K` scores of one true AUROC, correlated normal, on `n` examples of which a share is
wrong: each page compares them all, by `metrics.compare_resampled` and by the rule that
it replaces, the best against each other at an unadjusted level. Then how often a real
difference is found. `python -m benchmarks.simultaneous [pages]`.
"""

import sys

import numpy as np
from scipy.special import ndtri

from trustjax import metrics

SAMPLES = 400
LEVEL = 0.95
AUROC = 0.85
FAMILIES = [
    *(
        (names, correlation, size, errors)
        for size, errors in ((200, 30), (2000, 300))
        for names in (5, 10, 20, 35)
        for correlation in (0.0, 0.5, 0.95)
    ),
    *((10, 0.5, size, errors) for size in (40, 200, 2000) for errors in (10, 20)),
]
DIFFERENCES = [(0.03, 0.95, 2000, 300), (0.03, 0.5, 2000, 300), (0.1, 0.5, 200, 30)]


def draw(generator, aurocs, correlation, size, errors):
    """Scores `[K, size]` of these true AUROCs; the first `errors` answers are wrong."""
    correct = np.arange(size) >= errors
    shared = generator.normal(size=size)
    own = generator.normal(size=(len(aurocs), size))
    noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return noise + np.sqrt(2) * ndtri(aurocs)[:, None] * correct, correct


def resampled_aurocs(generator, scores, correct, samples=SAMPLES):
    """AUROC of the scores, `[K]`, and of `[samples, K]` resampled data sets."""
    errors, size = int((~correct).sum()), len(correct)
    drawn = generator.integers(size, size=(samples, size))
    drawn += np.arange(samples)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
    counts = np.ascontiguousarray(counts.T, np.float32)
    wrong, right = counts[:errors], counts[errors:]
    pairs = wrong.sum(axis=0) * right.sum(axis=0)
    none = np.zeros((1, samples), np.float32)
    values, resampled = [], []
    for score in scores:
        order = np.argsort(score[errors:])
        below = np.searchsorted(score[errors:][order], score[:errors])
        total = np.cumsum(np.concatenate([none, right[order]]), axis=0)
        above = total[-1] - total[below]
        values.append(1 - below.mean() / (size - errors))
        with np.errstate(invalid="ignore"):
            resampled.append((wrong * above).sum(axis=0) / pairs)
    return np.array(values), np.stack(resampled, axis=1)


def page(generator, aurocs, correlation, size, errors):
    """Who is said to be behind whom, `[K, K]`; who behind the best, unadjusted."""
    scores, correct = draw(generator, aurocs, correlation, size, errors)
    values, samples = resampled_aurocs(generator, scores, correct)
    names = [str(number) for number in range(len(aurocs))]
    found = metrics.compare_resampled(
        dict(zip(names, values, strict=True)), samples, correct, level=LEVEL
    )
    behind_best = samples[:, [values.argmax()]] - samples
    low = np.nanquantile(behind_best, (1 - LEVEL) / 2, axis=0)
    return np.asarray(found.behind), low > 0


def main() -> None:
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    generator = np.random.default_rng(0)
    print(f"{pages} pages each, true AUROC {AUROC}, {SAMPLES} resamples\n")
    print("| examples | errors | scores | correlation | wrong pages | unadjusted |")
    print("|---|---|---|---|---|---|")
    for names, correlation, size, errors in FAMILIES:
        said = [
            page(generator, np.full(names, AUROC), correlation, size, errors)
            for _ in range(pages)
        ]
        wrong, before = (
            np.mean([rule.any() for rule in part]) for part in zip(*said, strict=True)
        )
        print(
            f"| {size} | {errors} | {names} | {correlation} "
            f"| {wrong:.1%} | {before:.1%} |",
            flush=True,
        )
    print("\n| difference | correlation | examples | errors | found |")
    print("|---|---|---|---|---|")
    for difference, correlation, size, errors in DIFFERENCES:
        aurocs = np.array([AUROC, AUROC - difference])
        found = np.mean(
            [
                page(generator, aurocs, correlation, size, errors)[0][1, 0]
                for _ in range(pages)
            ]
        )
        print(
            f"| {difference} | {correlation} | {size} | {errors} | {found:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
