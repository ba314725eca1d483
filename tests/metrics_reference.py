"""The metrics as obvious loops in float64, one threshold or one example at a time."""

import numpy as np


def operating_points(scores, correct):
    """(accepted, right among them) at every threshold, from the strictest."""
    scores, correct = np.asarray(scores), np.asarray(correct).astype(bool)
    for threshold in sorted(set(scores.tolist()), reverse=True):
        accepted = scores >= threshold
        yield int(accepted.sum()), int(correct[accepted].sum())


def auroc(scores, correct):
    """Wins of right over wrong examples, ties counting half."""
    scores, correct = np.asarray(scores), np.asarray(correct).astype(bool)
    wins = [(p > n) + 0.5 * (p == n) for p in scores[correct] for n in scores[~correct]]
    return np.mean(wins)


def risk_coverage(scores, correct):
    points = list(operating_points(scores, correct))
    coverage = np.array([accepted / len(scores) for accepted, _ in points])
    risk = np.array([1 - right / accepted for accepted, right in points])
    return coverage, risk


def aurc(scores, correct):
    coverage, risk = risk_coverage(scores, correct)
    return np.trapezoid(np.append(risk[0], risk), np.append(0, coverage))


def expected_calibration_error(confidence, correct, bins):
    total = 0.0
    for i in range(bins):
        low, high = np.float32(i / bins), np.float32((i + 1) / bins)
        inside = (confidence > low if i else confidence >= 0) & (confidence <= high)
        if inside.any():
            gap = abs(confidence[inside].mean() - correct[inside].mean())
            total += inside.mean() * gap
    return total


def trust_density(trust, grid, gamma):
    """Reflections at 0 and 1, far more of them than needed."""
    bandwidth = gamma / np.sqrt(len(trust))
    heights = []
    for point in grid:
        total = 0.0
        for q in trust:
            for k in range(-12, 13):
                for image in (q + 2 * k, -q + 2 * k):
                    total += np.exp(-0.5 * ((point - image) / bandwidth) ** 2)
        heights.append(total / (len(trust) * bandwidth * np.sqrt(2 * np.pi)))
    return np.array(heights)


def percentile_curve_area(scores, score_of_kept, grid):
    """Area over 0, 1, ..., 99 percent of a function of the mask of what is kept."""
    values = []
    for x in range(100):
        if grid == "quantile":
            threshold = np.percentile(scores, x, method="higher")
        else:
            threshold = scores.min() + x / 100 * (scores.max() - scores.min())
        values.append(score_of_kept(scores >= threshold))
    return np.trapezoid(values) / 99


def adaptive_calibration_error(confidence, correct, bins):
    rising = np.sort(confidence)
    n = len(rising)
    edges = [rising[max(-(-b * n // bins) - 1, 0)] for b in range(1, bins)]
    index = np.searchsorted(edges, confidence, side="left")
    total = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            total += abs((confidence[inside] - correct[inside]).sum())
    return total / n
