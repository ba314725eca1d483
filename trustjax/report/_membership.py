"""What a network gives away of what it learned from: figure, table and words."""

from trustjax import _extras
from trustjax.assess import Assessment, MemberNumbers, Membership, Quantity
from trustjax.report import _figures, _section, _style, _tables, _text

with _extras.required("report"):
    from matplotlib.figure import Figure

MOST_SCORES = 4
LOSS = "Loss, with the label"


def figure(assessed: Assessment) -> _style.Drawing:
    """True against false positives, on logarithmic axes."""
    found = _there(assessed)
    shown = _figures.distinct(assessed.scores, MOST_SCORES)
    names = _style.Labels([score.title for score in shown], 26)
    curves = [found.scores[score.name].roc for score in shown]
    drawn_as = [LOSS, *names.stand_ins]
    with _style.drawing("membership"):
        drawn = Figure(figsize=(_style.WIDTH / 72, 330 / 72))
        axes = drawn.subplots()
        for curve, name, (colour, dashes) in zip(
            [found.loss.roc, *curves], drawn_as, _style.SERIES, strict=False
        ):
            seen = curve.y > 0
            axes.plot(curve.x[seen], curve.y[seen], color=colour, ls=dashes, label=name)
        least = 1 / found.num_others
        axes.plot([least, 1], [least, 1], color=_style.MUTED, lw=0.8, ls=":")
        axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1))
        axes.set_xlabel("test images taken for training images")
        axes.set_title("training images that are found")
        axes.legend(fontsize=9, handlelength=1.6, borderpad=0.2, loc="lower right")
        at_one = found.loss.true_positive_rates[0.01].value or 0.0
        alternative = (
            "True against false positive rates on logarithmic axes. By the loss "
            f"{_text.percent(at_one)} of the training images are found where 1 % of "
            "the test images are taken for such."
        )
        svg = _style.to_svg(drawn, "membership", alternative, names)
    return _style.Drawing(
        "membership",
        "Who was learned from",
        svg,
        "Look at the left: a line that leaves the dotted one there finds some training "
        "images with hardly a mistake. Dotted: who guesses.",
    )


def _there(assessed: Assessment) -> Membership:
    assert assessed.membership is not None, "the section needs it"
    return assessed.membership


def scores(assessed: Assessment) -> _section.Table:
    """Scores and the loss: AUROC, and what is found at few false positives."""
    found = _there(assessed)
    rates = tuple(found.loss.true_positive_rates)
    known = [score for score in assessed.scores if score.name in found.scores]
    rows = [(LOSS, found.loss)]
    rows += [(score.title, found.scores[score.name]) for score in known]
    reached = _tables.least_of_best(of.auroc for _, of in rows)

    def auroc(quantity: Quantity) -> _section.Cell:
        # Whichever way it tells them apart, that gives them away.
        return _section.Cell(
            f"{quantity.value or 0.0:.3f}",
            *quantity[:3],
            kind="top" if (quantity.high or 0.0) >= reached else "wrong",
            level=_tables.auroc_depth(quantity),
            hint=_text.interval(quantity, _text.number),
        )

    def rate(of: MemberNumbers, fpr: float) -> _section.Cell:
        quantity = of.true_positive_rates[fpr]
        more = (quantity.low or 0.0) > fpr
        return _section.Cell(
            f"{100 * (quantity.value or 0.0):.1f}",
            *quantity[:3],
            kind="wrong",
            level=_tables.DEEPEST // 2 * int(more),
            hint=_text.interval(quantity, _text.percent),
        )

    columns = [_section.Column("auroc", "AUROC")]
    columns += [
        _section.Column(f"tpr_at_{fpr:g}", f"% found at {100 * fpr:g} %")
        for fpr in rates
    ]
    return _section.Table(
        name="membership",
        title="Telling training images from test images",
        corner="attack",
        columns=columns,
        rows=[
            _section.Row(name, [auroc(of.auroc), *(rate(of, fpr) for fpr in rates)])
            for name, of in rows
        ],
        caption="Look for deep orange: there a stranger can tell who was learned from "
        "(the last columns: training images that are found where so many test images "
        "are taken for such; coloured where more than guessing is proven; outlined: "
        "the largest AUROC, and all whose intervals reach as high; point at a cell for "
        "its interval: those of a column hold together).",
        kind="square heat",
    )


def lead(assessed: Assessment) -> str:
    """What was asked, and what it does not say."""
    found = _there(assessed)
    few = found.num_others * min(found.loss.true_positive_rates) < 1
    zero = (
        f" Of {found.num_others:,} test images 0.1 % are none: that column is without "
        "any false positive."
        if few
        else ""
    )
    auroc = found.loss.auroc
    return (
        f"{found.num_members:,} images that the network learned from against the "
        f"{found.num_others:,} of the test set: does a larger score, or a smaller "
        "loss, say which is which? By the loss in "
        f"{_text.percent(auroc.value or 0.0)} of pairs (half is guessing). This is "
        "the population attack, one threshold for all images: training and test "
        "images may differ in other ways, and whoever trains networks like this one "
        "(shadows) may find more. A small number here is no promise of privacy."
        f"{zero}"
    )
