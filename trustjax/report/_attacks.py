"""What is left under attack, and which score sees it: figure, table and words."""

from collections.abc import Callable, Sequence

from trustjax import _extras
from trustjax.assess import Assessment, AttackNumbers, Attacks, Quantity
from trustjax.report import _figures, _section, _style, _tables, _text

with _extras.required("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SCORES = 4

_Chosen = Callable[[AttackNumbers], Quantity]


def figure(assessed: Assessment) -> _style.Drawing:
    """Accuracy, and AUROC of a few scores, against the radius of the attack."""
    attacks = _there(assessed)
    shown = _figures.distinct(assessed.scores, MOST_SCORES)
    names = _style.Labels([score.title for score in shown], 26)
    radii = list(attacks.by_radius)
    with _style.drawing("attacks"):
        drawn = Figure(figsize=(_style.WIDTH / 72, 400 / 72))
        upper, lower = drawn.subplots(2, 1, sharex=True)
        _band(upper, attacks, lambda of: of.accuracy, _style.RIGHT, "-", "right")
        _band(upper, attacks, lambda of: of.success, _style.WRONG, "--", "made wrong")
        upper.set_title("share of images")
        for score, name, (colour, dashes) in zip(
            shown, names.stand_ins, _style.SERIES, strict=False
        ):
            _band(lower, attacks, _auroc_of(score.name), colour, dashes, name)
        lower.axhline(0.5, color=_style.RULE)
        lower.set_title("AUROC of scores")
        for axes in (upper, lower):
            axes.set_xticks(radii, [f"{radius:g}" for radius in radii])
            axes.set_ylim(-0.02, 1.02)
            axes.legend(fontsize=9, handlelength=1.6, borderpad=0.2)
        lower.set_xlabel("radius of the attack")
        worst = attacks.by_radius[radii[-1]]
        alternative = (
            "Share of right answers, share of right answers made wrong, and AUROC of "
            f"scores against the radius. At radius {radii[-1]:g}, "
            f"{_text.percent(worst.accuracy.value or 0.0)} are right."
        )
        svg = _style.to_svg(drawn, "attacks", alternative, names)
    return _style.Drawing(
        "attacks",
        "What attacks leave",
        svg,
        "Look for a line of AUROC that falls below a half: there the score trusts what "
        "fools the network more than ordinary images. Bands are "
        f"{100 * assessed.confidence_level:g}{_text.THIN}% intervals that hold "
        "together.",
    )


def _there(assessed: Assessment) -> Attacks:
    assert assessed.attacks is not None, "the section needs them"
    return assessed.attacks


def _auroc_of(name: str) -> _Chosen:
    return lambda numbers: numbers.auroc[name]


def _band(
    axes: Axes,
    attacks: Attacks,
    chosen: _Chosen,
    colour: str,
    dashes: str | tuple[int, tuple[int, int]],
    label: str,
) -> None:
    """One number by radius, and its interval; a gap where it is not defined."""
    found = {radius: chosen(of) for radius, of in attacks.by_radius.items()}
    _figures.band(axes, found, colour, linestyle=dashes, marker=".", label=label)


def network(assessed: Assessment) -> _section.Table:
    """Radii by what is left of the network."""
    attacks = _there(assessed)
    columns = {"right": "accuracy", "made wrong": "success"}

    def cell(quantity: Quantity) -> _section.Cell:
        if quantity.value is None:
            return _section.Cell("–", kind="none", hint=quantity.not_defined)
        return _section.Cell(
            f"{100 * quantity.value:.1f}",
            *quantity[:3],
            hint=_text.interval(quantity, _text.percent),
        )

    return _section.Table(
        name="attacks",
        title="What attacks leave, in per cent",
        corner="radius",
        columns=[_section.Column(name, name) for name in columns],
        rows=[
            _section.Row(
                f"{radius:g}", [cell(getattr(of, part)) for part in columns.values()]
            )
            for radius, of in attacks.by_radius.items()
        ],
        caption="Look for the radius at which a picture is still the same to a person "
        "and no longer to the network (made wrong: of the images that were right "
        "without the attack; point at a cell for its interval: those of a column hold "
        "together).",
        kind="square heat",
    )


def scores(assessed: Assessment) -> _section.Table:
    """Scores by radii: AUROC, and the share that passes unseen."""
    attacks = _there(assessed)
    radii: Sequence[float] = list(attacks.by_radius)
    known = next(iter(attacks.by_radius.values())).auroc
    rated = [score for score in assessed.scores if score.name in known]
    reached = {
        radius: _tables.least_of_best(of.auroc.values())
        for radius, of in attacks.by_radius.items()
    }

    def cell(name: str, radius: float) -> _section.Cell:
        numbers = attacks.by_radius[radius]
        unseen = numbers.unseen[name]
        return _tables.auroc_cell(
            numbers.auroc[name],
            reached[radius],
            also={
                "unseen": unseen.value,
                "unseen low": unseen.low,
                "unseen high": unseen.high,
            },
            small=f"{100 * (unseen.value or 0.0):.0f} % unseen",
            beside=f"{_text.interval(unseen, _text.percent)} fool it unseen",
        )

    return _section.Table(
        name="attacked_scores",
        title="AUROC of each score for images that fool the network, by radius",
        corner="score",
        columns=[_section.Column(f"{r:g}", f"{r:g}") for r in radii],
        rows=[
            _section.Row(score.title, [cell(score.name, r) for r in radii])
            for score in rated
        ],
        caption="Look for a row that is orange: that score trusts attacked images more "
        "than ordinary ones (outlined: the best of the column, and all whose intervals "
        "reach as high; without colour: not distinguishable from a coin; small: of all "
        "images that were right, how many fool the network and pass a threshold that "
        "95 % pass as they are; point at a cell for its interval: all hold together).",
        kind="square heat",
    )


def lead(assessed: Assessment) -> str:
    """What was done to the images, and what it does not say."""
    attacks = _there(assessed)
    radius, worst = list(attacks.by_radius.items())[-1]
    count = attacks.num_examples
    return (
        f"{count:,} {_text.plural('image', count)} of the test set, changed against "
        "the network by projected gradient descent: no number of an image by more than "
        "the radius, where white is 1. Without it "
        f"{_text.percent(attacks.unchanged.value or 0.0)} are right, at a radius of "
        f"{radius:g}, {_text.percent(worst.accuracy.value or 0.0)}. These attacks do "
        "not know the scores. One that also raises a score can pass it, so a high "
        "number in this table is no promise; a low one is a warning."
    )
