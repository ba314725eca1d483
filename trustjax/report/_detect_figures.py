"""Violin plots: how a few features are spread, population by population."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from trustjax import _extras
from trustjax.report import _style
from trustjax.report._detected import Feature

with _extras.required("report"):
    from matplotlib.axes import Axes
    from matplotlib.mlab import GaussianKDE
    from matplotlib.ticker import MaxNLocator

MOST_POPULATIONS = 8
_COLOURS = (
    _style.GREEN,
    _style.WRONG,
    _style.RIGHT,
    _style.PURPLE,
    _style.GOLD,
    _style.SKY,
    _style.MUTED,
)
_GRID = 160
_LARGEST_SAMPLE = 4000  # values that a density is estimated from
_TAIL = 0.005  # of all values that may lie beyond each end of an axis


class Axis(NamedTuple):
    """How values are laid on an axis.

    Attributes:
      forward: value -> place.
      ticks: places and their labels; None leaves them to matplotlib.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    ticks: tuple[list[float], list[str]] | None


def violins(
    features: Sequence[Feature], populations: Sequence[str]
) -> list[_style.Drawing]:
    """A figure for each feature, a violin for each population that has examples."""
    shown = [
        place
        for place in range(len(populations))
        if any(len(feature.values[place]) for feature in features)
    ][:MOST_POPULATIONS]
    return [
        _violins(feature, shown, populations, f"violins-{number}")
        for number, feature in enumerate(features)
    ]


def _violins(
    feature: Feature, shown: Sequence[int], populations: Sequence[str], name: str
) -> _style.Drawing:
    names = _style.Labels([populations[place] for place in shown], 18)
    with _style.drawing(name):
        figure, panel = _style.new_figure(50 + 44 * len(shown))
        _panel(panel, feature, shown)
        panel.set_yticks(-np.arange(len(shown)), names.stand_ins)
        panel.set_ylim(-len(shown) + 0.4, 0.6)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
        for word, place in zip(panel.get_yticklabels(), shown, strict=True):
            word.set_color(_colour(place))
        medians = "; ".join(
            f"{populations[place]} {np.median(feature.values[place]):.3g}"
            for place in shown
            if len(feature.values[place])
        )
        alternative = f"Violin plot of {feature.title}. Medians: {medians}."
        svg = _style.to_svg(figure, name, alternative, names)
    return _style.Drawing(name, feature.title, svg, _caption(feature))


def _caption(feature: Feature) -> str:
    if feature.threshold is None:
        return feature.info
    return (
        f"{feature.info} Right of the dashed line, its balanced threshold on the "
        "fitting part, an example is trusted."
    )


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _panel(panel: Axes, feature: Feature, shown: Sequence[int]) -> None:
    together = np.concatenate([feature.values[place] for place in shown])
    finite = together[np.isfinite(together)]
    if not finite.size:
        finite = np.zeros(1)
    low, high = np.quantile(finite, [_TAIL, 1 - _TAIL])
    axis = axis_of(finite, float(low), float(high))
    ends = axis.forward(np.array([low, high]))
    if ends[0] == ends[1]:
        ends = ends + np.array([-0.5, 0.5])
    for row, place in enumerate(shown):
        values = np.clip(feature.values[place], low, high)
        if len(values):
            places = np.clip(axis.forward(values), *ends)
            _violin(panel, places, -row, ends, _colour(place))
    if feature.threshold is not None and low <= feature.threshold <= high:
        (at,) = axis.forward(np.array([feature.threshold]))
        panel.axvline(at, color=_style.INK, linewidth=1, dashes=(3, 2))
    margin = 0.03 * (ends[1] - ends[0])
    panel.set_xlim(ends[0] - margin, ends[1] + margin)
    if axis.ticks is not None:
        panel.set_xticks(*axis.ticks)
    else:
        panel.xaxis.set_major_locator(MaxNLocator(3))


def _violin(
    panel: Axes, places: np.ndarray, row: float, ends: np.ndarray, colour: str
) -> None:
    if len(places) > _LARGEST_SAMPLE:
        places = np.random.default_rng(0).choice(places, _LARGEST_SAMPLE, replace=False)
    spread = float(np.ptp(places))
    if len(places) < 3 or spread <= 1e-9 * max(1.0, float(np.abs(ends).max())):
        panel.plot(places[:3], np.full(min(len(places), 3), row), "o", color=colour)
        return
    inside = np.linspace(places.min(), places.max(), _GRID)
    density = GaussianKDE(places)(inside)
    half = 0.42 * density / density.max()
    panel.fill_between(inside, row - half, row + half, color=colour, linewidth=0)
    median = float(np.median(places))
    tall = float(np.interp(median, inside, half))
    panel.plot([median, median], [row - tall, row + tall], color=_style.PAPER, lw=1.4)


def axis_of(values: np.ndarray, low: float, high: float) -> Axis:
    """An axis on which values that span decades can be told apart.

    Args:
      values: all that are drawn, finite.
      low: the smallest that is not at the end of the axis.
      high: the largest.

    >>> axis_of(np.array([0.0, 1.0]), 0.0, 1.0).ticks is None
    True
    >>> axis_of(np.array([1e-6, 1e-3, 1.0]), 1e-6, 1.0).ticks[1]
    ['10⁻⁶', '10⁻⁴', '10⁻²', '1']
    """
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return Axis(lambda v: v, None)
    biggest = max(abs(low), abs(high))
    middle = float(np.median(sizes))
    if biggest <= 30 * middle and low * high <= 0:
        return Axis(lambda v: v, None)
    if low > 0 or high < 0:
        if biggest <= 100 * min(abs(low), abs(high)):
            return Axis(lambda v: v, None)
        sign = 1 if low > 0 else -1
        smallest = min(abs(low), abs(high))
        ticks = [sign * size for size in _decades(smallest, biggest)]
        forward = lambda v: sign * np.log10(np.clip(np.abs(v), smallest, None))
    else:
        # As far on a logarithm as half of the values reach, on a line near zero.
        unit = float(np.quantile(sizes, 0.1))
        forward = lambda v: np.sign(v) * np.log10(1 + np.abs(v) / unit)
        of_size = _decades(10 * unit, biggest, most=3)
        ticks = [*[-s for s in of_size if -s >= low][::-1], 0.0]
        ticks += [s for s in of_size if s <= high]
    places = forward(np.array(ticks)).tolist()
    return Axis(forward, (places, [_power(tick) for tick in ticks]))


def _decades(smallest: float, biggest: float, most: int = 4) -> list[float]:
    first = math.ceil(math.log10(smallest) - 1e-9)
    last = math.floor(math.log10(biggest) + 1e-9)
    step = max(1, -(-(last - first + 1) // most))
    return [10.0**power for power in range(first, last + 1, step)]


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(value: float) -> str:
    if value == 0:
        return "0"
    sign = "−" if value < 0 else ""
    power = round(math.log10(abs(value)))
    if -2 < power < 3:
        return f"{sign}{abs(value):g}"
    return f"{sign}10{str(power).translate(_RAISED)}"
