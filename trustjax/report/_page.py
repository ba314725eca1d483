"""The words and tables around the figures, and the page they make together."""

import importlib.resources
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trustjax import _extras
from trustjax.assess import Assessment, Predictions, Quantity
from trustjax.report import (
    _class_figures,
    _figures,
    _gallery,
    _names,
    _style,
    _tables,
    _text,
)

with _extras.required("report"):
    import jinja2
    import markupsafe

SHELVES = {
    "confidently_wrong": (
        "Sure and wrong",
        "Look for a reason: a mislabelled image, a shape that a person would misread "
        "too, or a blind spot of the network.",
    ),
    "hesitantly_right": (
        "Right but hesitant",
        "Look for what makes these hard: the network found the answer with the least "
        "confidence here.",
    ),
    "least_trusted": (
        "Least trusted",
        "Look for wrong answers, in orange: a good score gathers them here.",
    ),
    "most_trusted": (
        "Most trusted",
        "Look for anything but easy cases: an error here would be the worst kind.",
    ),
}


def render(found: Assessment, predictions: Predictions) -> str:
    """The page: one HTML document that needs nothing beside it."""
    folder = importlib.resources.files("trustjax.report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
    )
    names = _names.OnPage(found)
    environment.finalize = names.markup
    environment.globals["place"] = place
    environment.filters["attribute"] = names.attribute
    environment.filters["emphasised"] = lambda text: emphasised(text, names)
    css = (folder / "page.css").read_text("utf-8")
    page = environment.get_template("page.html.jinja")
    content = _content(names.found, predictions)
    # Figures shorten the names that were given to the room they have.
    content |= {
        "score_figures": _score_figures(found, predictions),
        "class_figures": [
            _class_figures.spectrum(found),
            _class_figures.densities(found),
        ],
    }
    return page.render(css=css, **content)


def emphasised(sentence: str, names: _names.OnPage) -> markupsafe.Markup:
    """Escaped text, with `*this*` in bold; an asterisk in a name is one."""
    pieces = re.split(f"({_names.MARKED.pattern.replace('(', '(?:', 1)})", sentence)
    escaped = markupsafe.Markup("")
    bold = False
    for piece in pieces:
        if _names.MARKED.fullmatch(piece):
            escaped += names.markup(piece)
            continue
        first, *others = piece.split("*")
        escaped += first
        for other in others:
            escaped += markupsafe.Markup("</b>" if bold else "<b>") + other
            bold = not bold
    return escaped


def place(value: float, low: float, high: float) -> float:
    """Where a value stands on a track from `low` to `high`, in per cent."""
    if high <= low:
        return 50.0
    return round(float(np.clip(100 * (value - low) / (high - low), 0, 100)), 2)


def _content(found: Assessment, predictions: Predictions) -> dict[str, Any]:
    shelves = _shelves(found, predictions)
    strangers = _tables.strangers(found)
    gradients = _tables.gradients(found)
    contents = [
        ("scores", "Scores"),
        ("classes", "Classes"),
        ("gradients", "Gradients"),
        ("strangers", "Other inputs"),
        ("gallery", "Images"),
        ("terms", "How to read this"),
        ("run", "What was run"),
    ]
    empty = {
        name
        for name, part in (
            ("gradients", gradients),
            ("strangers", strangers),
            ("gallery", shelves),
        )
        if not part
    }
    return {
        "title": str(found.run.get("dataset", "predictions")),
        "facts": _facts(found),
        "verdict": _text.verdict(found),
        "notes": found.run.get("notes", ()),
        "contents": [entry for entry in contents if entry[0] not in empty],
        "tiles": _tiles(found),
        "comparison": _text.comparison(found),
        "level": f"{100 * found.confidence_level:g} %",
        **_tables.scores(found),
        "classes_lead": _text.classes(found),
        "matrix": _tables.trust_matrix(found),
        "mistakes": _tables.mistakes(found),
        "gradients": gradients,
        "gradients_lead": _text.gradients(found),
        "strangers": strangers,
        "shelves": shelves,
        "gallery_lead": _text.gallery(found),
        "terms": _text.terms(found),
        "run": _run(found),
    }


def _facts(found: Assessment) -> list[str]:
    facts = [
        f"{found.num_examples:,} {_text.plural('example', found.num_examples)}",
        f"{len(found.classes):,} {_text.plural('class', len(found.classes))}",
    ]
    if "model" in found.run:
        facts.insert(0, str(found.run["model"]))
    return facts


def _tiles(found: Assessment) -> list[dict[str, Any]]:
    def tile(name: str, quantity: Quantity, note: str, *, percent=False, warn=False):
        write = _text.percent if percent else _text.number
        return {
            "name": name,
            "quantity": quantity,
            "text": "" if quantity.value is None else write(quantity.value),
            "interval": _text.interval(quantity, write),
            "note": note,
            "warn": warn,
        }

    headline = found.headline
    return [
        tile(
            "Accuracy",
            headline["accuracy"],
            f"{found.num_examples - found.num_errors:,} right, "
            f"{found.num_errors:,} wrong",
            percent=True,
        ),
        tile(
            "NetTrustScore",
            headline["net_trust_score"],
            "1 is always right and sure; sure but wrong costs most",
        ),
        tile(
            "Confidence when right",
            headline["confidence_when_right"],
            "the higher, the less it hesitates",
            percent=True,
        ),
        tile(
            "Confidence when wrong",
            headline["confidence_when_wrong"],
            "the lower, the better it knows what it does not know",
            percent=True,
            warn=True,
        ),
    ]


def _score_figures(found: Assessment, predictions: Predictions) -> list[_style.Drawing]:
    drawings = [
        _figures.risk_coverage(found),
        _figures.histograms(found, predictions),
    ]
    if "grad_trust" in predictions.scores:
        drawings.append(_figures.grad_trust_scatter(predictions))
    drawings.append(_figures.reliability(found))
    return drawings


def _shelves(found: Assessment, predictions: Predictions) -> list[dict[str, Any]]:
    pictures = _gallery.pictures(found, predictions)
    return [
        {
            "name": name,
            "title": title,
            "caption": caption,
            "pictures": [
                picture._asdict() | {"confidence": _text.sureness(picture.confidence)}
                for picture in pictures[name]
            ],
        }
        for name, (title, caption) in SHELVES.items()
        if name in pictures
    ]


def _run(found: Assessment) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was run, in groups: the plain entries first, then each nested mapping."""
    plain = {k: v for k, v in found.run.items() if not isinstance(v, Mapping)}
    nested = {k: v for k, v in found.run.items() if isinstance(v, Mapping)}
    plain["intervals"] = (
        f"{100 * found.confidence_level:g} %, {found.num_samples:,} draws"
    )
    groups = [("", list(_flattened(plain)))]
    for name, values in nested.items():
        title = name.replace("_", " ").capitalize()
        groups.append((title, list(_flattened(values))))
    return [group for group in groups if group[1]]


def _flattened(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Yields (name in words, text) for every leaf of nested mappings."""
    for name, value in values.items():
        words = prefix + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{words}, ")
        elif isinstance(value, list | tuple):
            yield words, ", ".join(map(str, value))
        else:
            yield words, "–" if value is None else str(value)
