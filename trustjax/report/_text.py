"""Sentences about an assessment, for a reader who has not read the papers."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from trustjax.assess import Assessment, Quantity, ScoreAssessment

MOST_LISTED = 8  # more names than these are a number
THIN = "\u202f"  # a narrow space that does not break: 97.1 %


def percent(value: float, digits: int = 1) -> str:
    """A share as per cent."""
    return f"{100 * value:.{digits}f}{THIN}%"


def sureness(confidence: float) -> str:
    """A confidence as per cent: 100 % only where it is that."""
    if 0.9995 <= confidence < 1:
        return f">{THIN}99.9{THIN}%"
    return percent(confidence)


def number(value: float) -> str:
    """A number on the scale of 0 to 1."""
    return f"{value:.3f}"


def interval(quantity: Quantity, write: Callable[[float], str]) -> str:
    """The interval of a quantity; empty where it has none."""
    if quantity.low is None or quantity.high is None:
        return ""
    low, high = write(quantity.low), write(quantity.high)
    if low.endswith(f"{THIN}%"):
        low = low.removesuffix(f"{THIN}%")
    return f"{low} to {high}"


def plural(noun: str, count: int) -> str:
    """The noun, in the plural where there are several."""
    if count == 1:
        return noun
    return noun + ("es" if noun.endswith("s") else "s")


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def verdict(assessed: Assessment) -> list[str]:
    """What a hurried reader should take away; `*bold*` are the numbers."""
    right = assessed.headline["confidence_when_right"].value
    wrong = assessed.headline["confidence_when_wrong"].value
    accuracy = assessed.headline["accuracy"].value or 0.0
    sentences = [
        f"The network is right on *{percent(accuracy)}* of {assessed.num_examples:,} "
        f"{plural('example', assessed.num_examples)}."
    ]
    if assessed.other_class_order is not None:
        sentences.append(
            "In another order of the classes it would be right on "
            f"*{percent(assessed.other_class_order.accuracy)}*: are its outputs in the "
            "order of the labels? All that follows takes them to be."
        )
    if right is not None and wrong is not None:
        sentences.append(
            f"When it is right it is *{percent(right)}* sure on average; when it "
            f"is wrong, still *{percent(wrong)}*."
        )
        best = assessed.scores[0]
        risk = best.selective_risk
        sentences.append(
            f"Left to answer only the 80{THIN}% that {best.title} trusts most, it errs "
            f"in *{percent(risk.value or 0.0, 2)}* of its answers "
            f"({interval(risk, lambda share: percent(share, 2))}) instead of "
            f"*{percent(1 - accuracy, 2)}*."
        )
    else:
        sentences.append(
            f"As every answer is {'right' if wrong is None else 'wrong'}, nothing here "
            "can say which score tells right from wrong."
        )
    return sentences


def comparison(assessed: Assessment) -> list[str]:
    """Which score is the best here, and which are proven not to be."""
    best = assessed.scores[0]
    auroc = best.numbers["auroc"]
    if auroc.value is None:
        return [f"No score can be compared with another: {auroc.not_defined}."]
    is_best = "is the best here at telling right answers from wrong ones"
    if assessed.comparison.reason:
        is_best = "has the highest AUROC here"
    sentences = [
        f"{best.title} {is_best}: a right answer scores higher than a wrong one "
        f"{percent(auroc.value)} of the time (AUROC)."
    ]
    others = assessed.scores[1:]
    if not others:
        return sentences
    twins = [score for score in others if same_order(score, best)]
    if twins:
        verb = "orders" if len(twins) == 1 else "order"
        sentences.append(f"{titles(twins)} {verb} the examples alike.")
    if assessed.comparison.reason:
        sentences.append(
            f"That may be chance: {assessed.comparison.reason} before one score can be "
            "said to be better than another."
        )
        return sentences
    tied = [score for score in others if score.may_be_best and score not in twins]
    behind = len(others) - len(tied) - len(twins)
    if tied:
        verb = "is" if len(tied) == 1 else "are"
        sentences.append(
            f"{titles(tied)} {verb} not distinguishable from it, and may be as good or "
            "better."
        )
    if behind:
        who = "The other" if tied or twins else "The"
        what = "score is" if behind == 1 else f"{behind} scores are"
        if not (tied or twins):
            what = "other score is" if behind == 1 else f"other {behind} scores are"
        sentences.append(f"{who} {what} behind by more than chance.")
    sentences.append(
        f"This is one statement about all {len(assessed.scores)} scores: were they "
        f"equally good, at most {percent(1 - assessed.confidence_level, 0)} of such "
        "pages would call any of them behind."
    )
    return sentences


def titles(scores: Sequence[ScoreAssessment]) -> str:
    """The scores in prose; of many, how many they are, and how the table marks them."""
    if len(scores) > MOST_LISTED:
        return f"{len(scores)} others (marked ≈)"
    return listed(score.title for score in scores)


def same_order(one: ScoreAssessment, other: ScoreAssessment) -> bool:
    """Whether two scores accept the same answers at every threshold."""
    mine, others = one.risk_coverage, other.risk_coverage
    return np.array_equal(mine.x, others.x) and np.array_equal(mine.y, others.y)


def classes(assessed: Assessment) -> str:
    """What the trust spectrum says."""
    known = [c for c in assessed.classes if c.trust.value is not None]
    worst = min(known, key=lambda c: c.trust.value or 0.0)
    best = max(known, key=lambda c: c.trust.value or 0.0)
    sentence = (
        "Question-answer trust rewards right answers by their confidence and punishes "
        "wrong ones by theirs; averaged over the examples of a class it says how far "
        "the network can be trusted there. "
    )
    if worst is not best:
        sentence += (
            f"Here it is highest on {best.name} ({number(best.trust.value or 0.0)}) "
            f"and lowest on {worst.name} ({number(worst.trust.value or 0.0)}). "
        )
        below = [c.name for c in known if c.below_average]
        if not below:
            sentence += (
                "No class deserves less trust than the network's average by more than "
                "chance"
            )
        elif len(below) <= MOST_LISTED:
            sentence += (
                f"Less than the network's average, by more than chance, is the trust "
                f"in {listed(below)}"
            )
        else:
            sentence += (
                f"In {len(below)} classes it is less than the network's average, by "
                "more than chance"
            )
        sentence += f": one statement about all {len(known)} classes."
    empty = [c.name for c in assessed.classes if c.count == 0]
    if empty:
        shown = listed(empty) if len(empty) <= 5 else f"{len(empty)} classes"
        sentence += f" Trust in {shown} is not defined: no example has such a label."
    return sentence


def gradients(assessed: Assessment) -> str:
    """What the table of gradient statistics says."""
    return (
        "Ask the network to be surer of its own answer, and see how hard each layer "
        "would have to change. Each cell says how well one statistic of one layer's "
        "gradient tells right answers from wrong ones without knowing the labels "
        "(AUROC; 0.5 is chance, 1 is perfect)."
    )


def strangers() -> str:
    """What the table of other data sets says."""
    return (
        "A trustworthy score is low on inputs that belong to none of the classes. Each "
        "cell says how often an image of the test set scores higher than one of the "
        "other set (AUROC; 0.5 is chance, 1 is perfect) and, below it, how many of the "
        "others still pass a threshold that 95 % of the test set passes."
    )


def gallery(assessed: Assessment) -> str:
    """What the pictures are ordered by."""
    return (
        "The first two rows are ordered by the network's confidence, the last two by "
        f"{assessed.scores[0].title}, the best score above. Below each image: the "
        "answer, the label where it is another, and the confidence."
    )


def _question_answer_trust(assessed: Assessment) -> str:
    if assessed.alpha == assessed.beta == 1:
        return "The confidence of a right answer; one minus that of a wrong one."
    return (
        f"The confidence of a right answer to the power of {assessed.alpha:g} (alpha); "
        f"one minus that of a wrong one to the power of {assessed.beta:g} (beta)."
    )


def terms(assessed: Assessment) -> list[tuple[str, str]]:
    """The words of the page."""
    level = f"{100 * assessed.confidence_level:g}{THIN}%"
    return [
        (
            "Confidence",
            "The probability that the network gives to its own answer (max softmax).",
        ),
        (
            "Score",
            "Any number that claims to say how far an answer can be trusted; higher is "
            "more. No score has seen the true label.",
        ),
        ("Question-answer trust", _question_answer_trust(assessed)),
        (
            "NetTrustScore",
            "The mean question-answer trust over all examples (Wong et al. 2020). With "
            "every class counted alike it is "
            f"{number(assessed.headline['net_trust_score_uniform'].value or 0.0)}.",
        ),
        (
            "Trust spectrum, density, matrix",
            "The same trust by class, its distribution within a class, and its mean by "
            "label and answer.",
        ),
        (
            "AUROC",
            "How often a right answer scores higher than a wrong one. 0.5 is a coin, 1 "
            "is perfect. It does not depend on the share of errors.",
        ),
        (
            "FPR95",
            f"Set a threshold that keeps 95{THIN}% of the right answers: the share of "
            "wrong answers that pass it too.",
        ),
        (
            "AUPR-error",
            "Average precision at finding the errors, the least trusted first. Chance "
            "is the error rate, "
            f"{number(assessed.num_errors / assessed.num_examples)}.",
        ),
        (
            "Coverage and risk, AURC",
            "Answer only the most trusted share of the questions (coverage) and count "
            "the errors among those answers (risk). AURC is the mean risk over all "
            "coverages; it depends on the accuracy as well as on the score.",
        ),
        (
            "AUAC, two readings",
            "Mean accuracy of what a rising threshold keeps. With thresholds at the "
            "score's quantiles it is a ranking metric; with thresholds evenly over its "
            "range it depends on the score's scale as well, and a heavy-tailed score "
            "wins. Published numbers fit the second only.",
        ),
        ("Calibration", calibration(assessed)),
        (
            "Interval",
            f"Of {level} of test sets drawn as this one was, such an interval holds "
            "what infinitely many examples would give. Those of proportions are exact "
            "(Clopper and Pearson), those of means and of AUROC hold at least as "
            "often, however few the examples. They say how much would change with "
            "other examples, not with another training.",
        ),
        (
            "By more than chance, one statement",
            "Whoever looks at many scores and picks the best, or at many classes and "
            "picks the worst, is fooled by luck far more often than an interval errs. "
            f"So what is said of all scores holds together, on {level} of pages "
            "without one false statement; the same goes for what is said of all "
            "classes, of all gradient statistics, and of all scores on all other data "
            "sets. The four numbers at the top have intervals of their own.",
        ),
        (
            "Not distinguishable",
            "No other score is proven to be better: this test set cannot say whether "
            "it is as good as the best. (The largest of all differences between two "
            "scores, in units of its standard error, is held against the largest of "
            f"{assessed.num_samples:,} draws in which nothing differs.)",
        ),
    ]


def calibration(assessed: Assessment) -> str:
    """What the calibration error is, and how much of it chance would give."""
    error = assessed.reliability.expected_calibration_error.value or 0.0
    fair = assessed.reliability.error_without_chance
    sentence = (
        "Whether confidence can be read as a probability. The expected calibration "
        "error is the mean gap between confidence and accuracy, here "
        f"{number(error)}. It is never negative, so chance alone makes it larger; "
        f"without that it is {number(fair.value or 0.0)} "
        f"({interval(fair, number)})"
    )
    if not fair.low:
        sentence += ", which may be that of a perfectly calibrated network"
    return sentence + "."
