"""Sentences about several networks on one test set."""

from collections.abc import Sequence

import numpy as np

from trustjax import metrics
from trustjax.assess import NetworkAssessment, NetworkComparison, Quantity
from trustjax.report import _text
from trustjax.report._text import THIN


def leader(compared: NetworkComparison, number: str) -> NetworkAssessment | None:
    """The network that has the best value; None where it is not defined."""
    best = compared.statements[number].best
    return next((one for one in compared.networks if one.name == best), None)


def verdict(compared: NetworkComparison) -> list[str]:
    """Is the most accurate network the one to trust? `*bold*` are the numbers."""
    accurate = leader(compared, "accuracy")
    trusted = leader(compared, "net_trust_score")
    if accurate is None or trusted is None:
        return ["No network has an accuracy."]
    accuracy = _text.percent(_value(accurate, "accuracy"))
    trust = _text.number(_value(trusted, "net_trust_score"))
    sentences = [
        f"{accurate.name} is right most often, on *{accuracy}* of "
        f"{compared.num_examples:,} {_text.plural('example', compared.num_examples)}"
        f"{_how_sure(compared, 'accuracy')}."
    ]
    if trusted is accurate:
        sentences.append(
            f"It has the highest NetTrustScore as well, *{trust}*"
            f"{_how_sure(compared, 'net_trust_score')}."
        )
    else:
        own = _text.number(_value(accurate, "net_trust_score"))
        sentences.append(
            f"The highest NetTrustScore is that of {trusted.name}, *{trust}*, against "
            f"*{own}* of the most accurate network{_pair(compared, trusted, accurate)}."
        )
    sentences += [
        f"{right} is right more often than {trusted_more} and trusted less, both by "
        "more than chance."
        for right, trusted_more in apart(compared)
        if right != accurate.name
    ]
    wrong = compared.num_all_wrong
    verb = "is" if wrong == 1 else "are"
    sentences.append(
        f"*{wrong:,}* {_text.plural('example', wrong)} {verb} answered wrongly by "
        f"{'both' if len(compared.networks) == 2 else 'all of them'}."
    )
    return sentences


def apart(compared: NetworkComparison) -> list[tuple[str, str]]:
    """Pairs of which the first is proven right more often, and trusted less."""
    accuracy = compared.statements["accuracy"]
    trust = compared.statements["net_trust_score"]
    rows = np.argwhere(np.asarray(accuracy.behind).T & np.asarray(trust.behind))
    return [
        (compared.names[row], compared.names[column]) for row, column in rows.tolist()
    ]


def _how_sure(compared: NetworkComparison, number: str) -> str:
    """Whether the best value may be chance."""
    statement = compared.statements[number]
    if statement.reason:
        return f", which may be chance: {statement.reason} before networks are compared"
    others = [name for name in statement.may_be_best if name != statement.best]
    if not others:
        others_are = "other" if len(compared.networks) == 2 else "others"
        return f", ahead of the {others_are} by more than chance"
    verb = "is" if len(others) == 1 else "are"
    return f"; {_text.listed(others)} {verb} not distinguishable from it in that"


def _pair(
    compared: NetworkComparison, trusted: NetworkAssessment, accurate: NetworkAssessment
) -> str:
    statement = compared.statements["net_trust_score"]
    row, column = (statement.names.index(one.name) for one in (accurate, trusted))
    if bool(statement.behind[row, column]):
        return ", a difference beyond chance"
    return ", which may be chance"


def _value(one: NetworkAssessment, number: str) -> float:
    return one.numbers[number].value or 0.0


def networks(compared: NetworkComparison) -> str:
    """What the table of networks says, and how far it can be believed."""
    level = _level(compared)
    return (
        "A network can be right more often and still be trusted less: question-answer "
        "trust rewards right answers by their confidence, and punishes wrong ones by "
        "theirs. The same examples were put to all, so that what is hard for each of "
        "them cancels in a difference. ★ is the best here, ≈ what is not "
        "distinguishable from it; whatever has neither is behind by more than chance. "
        "These marks, and all that is said of differences of these numbers, hold "
        f"together on {level} of such pages."
    )


def classes(compared: NetworkComparison) -> str:
    """Which classes all distrust, and on which they differ."""
    distrusted = [c.name for c in compared.classes if c.distrusted]
    differing = sum(c.differs for c in compared.classes)
    known = sum(c.count > 0 for c in compared.classes)
    sentences = []
    if not distrusted:
        sentences.append(
            "In no class is the trust in every network below that network's own "
            "average by more than chance."
        )
    elif len(distrusted) <= _text.MOST_LISTED:
        sentences.append(
            f"In {_text.listed(distrusted)}, every network deserves less trust than "
            "its own average, by more than chance: the questions themselves may be "
            "hard, or their labels doubtful."
        )
    else:
        sentences.append(
            f"In {len(distrusted)} of {known} classes, every network deserves less "
            "trust than its own average, by more than chance."
        )
    if not differing:
        sentences.append("On no class are two networks proven to differ.")
    else:
        verb = "class" if differing == 1 else "classes"
        widest = max((c for c in compared.classes if c.differs), key=lambda c: c.spread)
        best, worst = _ends(compared, widest.differences)
        sentences.append(
            f"On {differing} {verb} two networks differ by more than chance, most on "
            f"{widest.name}, where {best} is ahead of {worst} by "
            f"{_text.number(widest.spread)}."
        )
    sentences.append(
        f"Each of these two lists is one statement about all {known} classes and all "
        "networks."
    )
    return " ".join(sentences)


def _ends(compared: NetworkComparison, differences: np.ndarray) -> Sequence[str]:
    row, column = np.unravel_index(np.argmax(differences), differences.shape)
    return compared.names[row], compared.names[column]


def _level(compared: NetworkComparison) -> str:
    return f"{100 * compared.confidence_level:g}{THIN}%"


def terms(compared: NetworkComparison) -> list[tuple[str, str]]:
    """The words of the page."""
    level = _level(compared)
    of_one = dict(_text.terms(compared.networks[0].assessment))
    kept = ("Confidence", "Question-answer trust", "AUROC", "Coverage and risk, AURC")
    return [
        *((name, of_one[name]) for name in kept),
        (
            "NetTrustScore, uniform",
            "The mean question-answer trust over all examples (Wong et al. 2020); the "
            "uniform one counts every class alike.",
        ),
        (
            "Gap of confidence",
            "The mean confidence of right answers less that of wrong ones: how far a "
            "network hesitates where it should.",
        ),
        (
            "Calibration error",
            "The mean gap between confidence and accuracy, without what chance adds to "
            "it. Two networks differ in it only where their own intervals are apart: "
            "those are not paired.",
        ),
        (
            "Best score",
            "The score that tells this network's right answers from its wrong ones "
            "best. Each was picked from all scores of its network, so the statement "
            "that compares them is about all scores of all networks at once.",
        ),
        (
            "Trust spectrum and density",
            "The trust of each network by true class, and how it is distributed within "
            "one (figures 4 and 5 of the paper).",
        ),
        (
            "Interval",
            f"Those of a network's numbers are those of its own page: of {level} of "
            "test sets, each holds what infinitely many examples would give. They say "
            "less about a difference than the paired interval of that difference does, "
            "and nothing of another training.",
        ),
        (
            "One statement",
            "Whoever looks at many differences and picks the largest is fooled by luck "
            "more often than an interval errs. So the statements of three families "
            f"hold together, each family on {level} of pages without one false: the "
            f"differences of all {len(compared.statements)} numbers of all pairs of "
            "networks; the trust spectra of all networks; the differences of all "
            "classes of all pairs.",
        ),
    ]


def shown(quantity: Quantity, *, percent: bool) -> tuple[str, str]:
    """A number and its interval as the page writes them."""
    write = _text.percent if percent else _text.number
    if quantity.value is None:
        return "not defined", ""
    return write(quantity.value), _text.interval(quantity, write)


def reasons(statements: Sequence[metrics.Comparison]) -> str:
    """Of which networks nothing is said, and why; empty where there are none."""
    reasons = {
        name: reason
        for statement in statements
        for name, reason in statement.reasons.items()
    }
    return " ".join(
        f"Nothing is said of {name}: {reason}." for name, reason in reasons.items()
    )
