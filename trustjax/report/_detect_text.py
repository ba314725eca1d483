"""Sentences about a detector, for a reader who has not read the papers."""

from trustjax.assess import Detection, Quantity
from trustjax.report import _section, _text
from trustjax.report._detected import DetectionPage

KINDS = {
    "threshold": "a threshold on one column",
    "glm": "a logistic regression",
    "lasso": "a logistic regression with few weights (LASSO)",
    "ridge": "a logistic regression with small weights (ridge)",
    "elastic_net": "a logistic regression with few and small weights (elastic net)",
    "network": "a small network",
    "purview": "a small network on the gradients towards a confounding label (Purview)",
}


FEATURES = (
    "On the test part. Look for violins that do not overlap: such a feature tells "
    "populations apart alone. A violin is wide where many examples lie, and has its "
    "median at the white line; each is as wide as the others at its widest. What lies "
    "beyond the ends of an axis, half a per cent on either side, is drawn at the ends."
)


def verdict(page: DetectionPage) -> list[str]:
    """What a hurried reader should take away; `*bold*` are the numbers."""
    found = page.detection
    own = found.numbers[found.detector]
    auroc = own["auroc"]
    return [
        f"The detector, {KINDS[page.kind]} on *{page.num_columns[1]:,}* of "
        f"{page.num_columns[0]:,} columns, tells {what(page)} with an AUROC of "
        f"*{_text.number(auroc.value or 0.0)}* "
        f"({_text.interval(auroc, _text.number)}), on examples that it has not seen.",
        _difference(found),
        f"At its balanced threshold it lets *{_percent(own['true_positive_rate'])}* of "
        "what is to be trusted pass, and stops "
        f"*{_percent(own['true_negative_rate'])}* of the rest.",
        *_seen(page),
    ]


def what(page: DetectionPage) -> str:
    """What is told apart."""
    if not page.unknown:
        return "right answers from wrong ones"
    unknown = _text.listed(page.unknown)
    if not page.errors:
        return f"the test set from {unknown}"
    return f"right answers from errors and {unknown}"


def _seen(page: DetectionPage) -> list[str]:
    """What the numbers do not say of unknown inputs."""
    if not page.unknown:
        return []
    return [
        f"Its unknown inputs are of {_text.listed(page.unknown)}, in the fitting part "
        "as in the test part: how it takes others is not tested here."
    ]


def _difference(found: Detection) -> str:
    single = found.numbers[found.single]["auroc"].value or 0.0
    beside = f"The best single score, {found.single}, reaches *{_text.number(single)}*"
    ahead = found.ahead
    if ahead.low is None or ahead.high is None or ahead.value is None:
        return f"{beside}; no difference is claimed: {ahead.not_defined}."
    ends = f"{_signed(ahead.low)} to {_signed(ahead.high)}"
    if found.is_ahead:
        return (
            f"{beside}: the detector is better by *{_text.number(ahead.value)}* "
            f"({ends}), more than selection and chance explain."
        )
    if found.is_behind:
        return (
            f"{beside}: the detector is *worse* by {_text.number(-ahead.value)} "
            f"({ends}). Take the single score."
        )
    if ahead.value == ahead.low == ahead.high == 0:
        return f"{beside}, and orders all examples alike: take the single score."
    return (
        f"{beside}: a difference of {_signed(ahead.value)} ({ends}), which chance "
        "alone may have made. Nothing says that the detector is better."
    )


def tiles(page: DetectionPage) -> _section.Tiles:
    """The numbers at the top of the page."""
    found = page.detection
    of_detector, of_single = (
        found.numbers[title] for title in (found.detector, found.single)
    )
    balanced = of_detector["balanced_accuracy"]

    def tile(name: str, quantity: Quantity, note: str, write=_text.number):
        text = write(quantity.value or 0.0)
        ends = _text.interval(quantity, write)
        return _section.Tile(name, quantity, text, ends, note)

    return _section.Tiles(
        [
            tile("AUROC of the detector", of_detector["auroc"], KINDS[page.kind]),
            tile(
                "AUROC of the best single score",
                of_single["auroc"],
                f"{found.single}, the best on the fitting part",
            ),
            tile(
                "Balanced accuracy",
                balanced,
                "of the detector, at the threshold of the fitting part",
                _text.percent,
            ),
        ]
    )


def coefficients(page: DetectionPage) -> str:
    """What stands above the coefficients."""
    if page.weights_of == page.kind:
        return ""
    if not page.weights:
        return f"The detector is {KINDS[page.kind]} and has no coefficients."
    return (
        f"The detector is {KINDS[page.kind]} and has no coefficients. These are of "
        f"{KINDS[page.weights_of]}, the best of those that have."
    )


def used(page: DetectionPage) -> list[tuple[str, str]]:
    """How to use the detector."""
    if not page.used:
        entries = [
            (
                "As a score",
                "This detector takes columns of a file of predictions. Where all of "
                "them are scores of this library, trustjax report --detector takes it "
                "too.",
            )
        ]
    else:
        entries = [("As a score of a report", page.used)]
    return [
        *entries,
        (
            "In Python",
            'detector = trustjax.detectors.load("detector.npz"), then '
            "detectors.score(detector, columns): higher = more trust. From "
            "detector.threshold on, an example is trusted.",
        ),
    ]


def terms(page: DetectionPage) -> list[tuple[str, str]]:
    """What the words mean."""
    level = f"{100 * page.detection.level:g}{_text.THIN}%"
    return [
        (
            "Column",
            "One number for each example: a score, or a statistic of the gradient of "
            "the loss towards the network's own answer, for the weights of one layer.",
        ),
        (
            "Fitting part, test part",
            "The detector learns from the fitting part, and its kind and the single "
            "score it is compared with are chosen there. All numbers but those that "
            "say otherwise are of the test part.",
        ),
        (
            "AUROC",
            "How often an example that is to be trusted scores higher than one that is "
            "not: 1 for a perfect order, 0.5 for a coin.",
        ),
        (
            "FPR95",
            "How many of those not to be trusted pass a threshold that "
            "95 % of the others pass.",
        ),
        (
            "AUPR-In, AUPR-Out",
            "Average precision at finding what is to be trusted, and what is not. Both "
            "depend on how many there are of either: compare them within this page "
            "alone.",
        ),
        (
            "Balanced threshold, balanced accuracy",
            "The threshold that would be right most often if there were as many "
            "examples of either kind (Oberdiek et al. 2018, eq. 7), found on the "
            "fitting part; and how often it is right on the test part.",
        ),
        (
            "Intervals",
            f"All intervals of this page and what it says of the difference hold "
            f"together, with a chance of {level}. They say what other examples would "
            "change; another training of the network is not in them.",
        ),
    ]


def _percent(quantity: Quantity) -> str:
    return _text.percent(quantity.value or 0.0)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
