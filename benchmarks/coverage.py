"""How often the intervals of a page hold what they claim to, with few errors and many.

    python -m benchmarks.coverage [test sets]

Test sets are drawn from one population again and again; a cell says in how many of them
the interval holds the population's value, in per cent: 95 is what is claimed. The last
columns are of families: trust in all classes and the NetTrustScore together, AUROC of
twenty equally good scores together, and how many test sets call none of these behind.
"""

import sys

import numpy as np

from trustjax import metrics
from trustjax.assess import _auroc, _intervals, _rates, _scores

LEVEL = 0.95
CLASSES = 10
SCORES = 20
CORRELATION = 0.5
SIZES = {40: (1, 3, 10), 200: (1, 5, 20, 50), 2000: (1, 5, 20, 200)}
POPULATION = 400_000


def draw(generator, count, error_rate):
    """Outcomes, confidences and labels; one wrong answer in three is as sure as any."""
    right = generator.random(count) >= error_rate
    sure = generator.beta(9, 1, count)
    unsure = ~right & (generator.random(count) < 2 / 3)
    sure[unsure] = generator.beta(4, 3, unsure.sum())
    return right, sure, generator.integers(CLASSES, size=count)


def means(right, sure):
    """What the means of the page are taken of."""
    trust = np.where(right, sure, 1 - sure)
    return {"NetTrustScore": trust, "right": sure[right], "wrong": sure[~right]}


def rates(right, sure):
    """The rank metrics of the confidence, each value, low, high."""
    ranks = _scores.dense_ranks(sure)
    found = {"risk": _rates.selective_risk(ranks, right, LEVEL)[:3]}
    if right.any() and not right.all():
        found["FPR95"] = _rates.fpr_at_tpr(ranks, right, LEVEL)[:3]
        placed = _auroc.placements(ranks[None], right)
        low, high = family(placed, 1)
        found["AUROC"] = placed.auroc[0], low[0], high[0]
    return found


def family(placed, statements):
    return _auroc.intervals(
        placed, LEVEL, statements=statements, num_samples=500, seed=0
    )


def of_classes(right, sure, labels, truth):
    """Whether trust in all classes and its mean lie in intervals that hold together."""
    level = 1 - (1 - LEVEL) / (CLASSES + 1)
    trust = means(right, sure)["NetTrustScore"]
    low, high = _intervals.mean_intervals(trust, labels, CLASSES, level)
    mean = _intervals.mean_interval(trust, level)
    low, high = np.append(low, mean[0]), np.append(high, mean[1])
    return ((low <= truth) & (truth <= high)).all()


def of_scores(generator, count, errors):
    """Of equal scores: whether all AUROCs are held, and none is called behind."""
    right = np.arange(count) >= errors
    shared = generator.normal(size=count)
    noise = generator.normal(size=(SCORES, count))
    values = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * noise
    values += np.sqrt(2) * 1.0364 * right  # AUROC .85
    ranks = np.stack([_scores.dense_ranks(of) for of in values])
    placed = _auroc.placements(ranks, right)
    low, high = family(placed, SCORES)
    names = tuple(map(str, range(SCORES)))
    found = _auroc.compare(
        names, placed, right, level=LEVEL, num_samples=500, seed=errors
    )
    held = ((low <= 0.85) & (high >= 0.85)).all()
    return held, len(found.may_be_best) == SCORES


def row(generator, count, errors, sets):
    """Coverage by interval; a test set without a value of one does not count for it."""
    rate = errors / count
    right, sure, _ = draw(generator, POPULATION, rate)
    truth = {name: of.mean() for name, of in means(right, sure).items()}
    truth |= {name: found[0] for name, found in rates(right, sure).items()}
    held = {"accuracy": []} | {name: [] for name in truth}
    held |= {"classes": [], "AUROCs": [], "none behind": []}
    rights = []
    for _ in range(sets):
        right, sure, labels = draw(generator, count, rate)
        rights.append(right.sum())
        ends = {
            name: _intervals.mean_interval(of, LEVEL)
            for name, of in means(right, sure).items()
            if of.size
        }
        ends |= {name: found[1:] for name, found in rates(right, sure).items()}
        for name, (low, high) in ends.items():
            held[name].append(low <= truth[name] <= high)
        held["classes"].append(of_classes(right, sure, labels, truth["NetTrustScore"]))
        together, none_behind = of_scores(generator, count, errors)
        held["AUROCs"].append(together)
        held["none behind"].append(none_behind)
    found = metrics.proportion_interval(
        np.array(rights), np.full(sets, count), level=LEVEL
    )
    held["accuracy"] = (found.low <= 1 - rate) & (1 - rate <= found.high)
    return {name: float(np.mean(of)) for name, of in held.items()}


def main() -> None:
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    generator = np.random.default_rng(0)
    print(f"{sets} test sets each\n")
    for index, (count, errors) in enumerate(
        (count, errors) for count, many in SIZES.items() for errors in many
    ):
        found = row(generator, count, errors, sets)
        if not index:
            print(f"| examples | errors | {' | '.join(found)} |")
            print("|---" * (len(found) + 2) + "|")
        cells = " | ".join(f"{100 * share:.1f}" for share in found.values())
        print(f"| {count} | {errors} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
