"""Explanations as interventions: figure, table and words."""

from trustjax import _extras
from trustjax.assess import Assessment, Interventions, MapNumbers
from trustjax.report import _section, _style, _text

with _extras.required("report"):
    from matplotlib.figure import Figure

COLUMNS = {
    "between": ("between", "V[E(y|S)]: what the masks disagree on"),
    "within": ("within", "E(V[y|S]): what is unsure under each mask"),
    "sufficiency": ("enough", "How sure the answer stays where its half is kept"),
    "necessity": ("needed", "How far the answer is lost where its half is redrawn"),
}


def figure(assessed: Assessment) -> _style.Drawing:
    """Both parts of the uncertainty, a bar for each method."""
    found = _there(assessed)
    titles = list(found.methods)
    names = _style.Labels(titles, 24)
    between, within = (
        [getattr(of, part).value or 0.0 for of in found.methods.values()]
        for part in ("between", "within")
    )
    places = list(range(len(titles)))[::-1]
    with _style.drawing("interventions"):
        drawn = Figure(figsize=(_style.WIDTH / 72, (110 + 26 * len(titles)) / 72))
        axes = drawn.subplots()
        axes.barh(places, between, color=_style.WRONG, label="between masks")
        axes.barh(
            places, within, left=between, color=_style.SKY, label="within each mask"
        )
        axes.set_yticks(places, names.stand_ins)
        axes.set_xlabel("uncertainty of the answer (Gini), mean over images")
        drawn.legend(loc="outside lower center", ncols=2, fontsize=9)
        alternative = "Uncertainty between and within masks: " + "; ".join(
            f"{name} {one:.2f} and {other:.2f}"
            for name, one, other in zip(titles, between, within, strict=True)
        )
        svg = _style.to_svg(drawn, "interventions", alternative, names)
    return _style.Drawing(
        "interventions",
        "What masks leave uncertain",
        svg,
        "Look for a short orange part: whichever share of the image such a map leaves, "
        "the answer is the same one.",
    )


def _there(assessed: Assessment) -> Interventions:
    assert assessed.interventions is not None, "the section needs them"
    return assessed.interventions


def methods(assessed: Assessment) -> _section.Table:
    """The four numbers of each method."""

    def cell(of: MapNumbers, part: str) -> _section.Cell:
        quantity = getattr(of, part)
        return _section.Cell(
            _text.number(quantity.value),
            *quantity[:3],
            hint=_text.interval(quantity, _text.number),
        )

    return _section.Table(
        name="interventions",
        title="Explanations as interventions",
        corner="map",
        columns=[
            _section.Column(part, title, hint=hint)
            for part, (title, hint) in COLUMNS.items()
        ],
        rows=[
            _section.Row(title, [cell(of, part) for part in COLUMNS])
            for title, of in _there(assessed).methods.items()
        ],
        caption="Look for maps that beat the two that know nothing of the network, the "
        "Gaussian in the middle and the noise: less between, more enough and more "
        "needed (within: what each mask leaves unsure; enough and needed: of the "
        "highest half, from 0 to 1; point at a cell for its interval: those of a "
        "column hold together).",
        kind="square heat",
    )


def lead(assessed: Assessment) -> str:
    """What was done to the images, and what is ours of it."""
    count = _there(assessed).num_examples
    return (
        f"{count:,} {_text.plural('image', count)} of the test set, of which each map "
        "leaves its highest tenth, two tenths, and so on to nine tenths, the rest "
        "made the mean of the image. The uncertainty of the answer then has two parts "
        "(AlRegib and Prabhushankar 2025): what these masks disagree on, and what each "
        "leaves unsure. Of the highest half it is also asked whether it is enough for "
        "the answer, the rest being redrawn from other images, and whether it is "
        "needed. Which masks to take is a choice: other families give other numbers."
    )
