"""Sentences about explanations, for a reader who has not read the papers."""

from collections.abc import Sequence

import numpy as np

from trustjax.report import _text
from trustjax.report._explained import ExplainedImage, Explanations, Map

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_ANSWERS = 3  # of an image: the rest is in metrics.json


def number(value: float) -> str:
    """A number of any size in three digits, with true signs.

    >>> number(0.25), number(1234.0), number(4.2e-5)
    ('0.25', '1.23·10³', '4.2·10⁻⁵')
    """
    if value == 0 or 1e-3 <= abs(value) < 999.5:
        return f"{value:.3g}".replace("-", "−")
    digits, _, power = f"{value:.2e}".partition("e")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits.replace('-', '−')}·10{str(int(power)).translate(_RAISED)}"


def question(asked: Map, target: int, names: Sequence[str]) -> str:
    """What a map answers, with the names of the classes."""
    contrast = "" if asked.contrast is None else names[asked.contrast]
    words = asked.question.format(answer=names[target], contrast=contrast)
    return words[0].upper() + words[1:]


def verdict(subject: Explanations, names: Sequence[str]) -> list[str]:
    """What a hurried reader should take away; `*bold*` are the numbers."""
    images = subject.images
    if len(images) == 1:
        (image,) = images
        sentences = [
            f"The network answers {names[image.answer]}, at "
            f"*{_text.sureness(float(image.probabilities.max()))}*."
        ]
    else:
        sentences = [f"Why the network answers as it does on *{len(images)}* images."]
    labelled = [image for image in images if image.label is not None]
    if labelled:
        right = sum(image.answer == image.label for image in labelled)
        if len(labelled) == 1:
            sentences.append(
                "That is right."
                if right
                else f"The true class is {names[labelled[0].label or 0]}."
            )
        else:
            sentences.append(f"It is right on *{right}* of {len(labelled)}.")
    sentences.append(
        "A map shows what moves this answer of this network, not whether it is right."
    )
    return sentences


def of_image(image: ExplainedImage, names: Sequence[str]) -> str:
    """What the network says of one image, and what to know of its maps."""
    order = np.argsort(-image.probabilities, kind="stable")[:MOST_ANSWERS]
    first, *rest = (
        f"{names[c]} ({_text.sureness(float(image.probabilities[c]))})"
        for c in order.tolist()
    )
    sentences = [f"The network answers {first}"]
    if rest:
        sentences[0] += f", then {_text.listed(rest)}"
    sentences[0] += "."
    if image.label is not None:
        said = "right" if image.label == image.answer else "wrong"
        sentences.append(f"The label is {names[image.label]}: the answer is {said}.")
    if image.target != image.answer:
        sentences.append(f"The maps are about {names[image.target]}, as asked.")
    return " ".join([*sentences, *image.notes])


CAPTIONS = {
    "contrast": "Look at the same place in neighbouring pictures: what speaks for the "
    "answer alone is bright in the first and not in the others. Where the reasons "
    "differ most from class to class, the answer hangs on them. Each picture has a "
    "scale of its own.",
    "other": "Look for places that several methods share. Red is for the answer and "
    "blue against it where a scale has 0 in its middle; a standard error as large as "
    "the range of its map says that more masks are needed.",
}

TITLES = {
    "contrast": "Why this, and not another?",
    "other": "What else says where it looked",
}


def facts(shown: Map) -> list[str]:
    """The numbers of a map, a line each."""
    lines = [f"{name} {number(value)}" for name, value in shown.facts.items()]
    if shown.standard_error is not None:
        spread = float(np.ptp(shown.values))
        largest = float(shown.standard_error.max())
        share = f", {100 * largest / spread:.0f}{_text.THIN}% of its range"
        lines.append(
            f"standard error at most {number(largest)}{share if spread > 0 else ''}"
        )
    return lines


def terms(subject: Explanations) -> list[tuple[str, str]]:
    """What the methods are, and how to read their pictures."""
    entries = list(subject.methods.items())
    entries.append(
        (
            "Insertion, deletion",
            "The pixels of an image come one after the other, or go, those first that "
            "the map says matter most. A map that found them has a high insertion "
            "curve, and a low deletion curve. Both ask the network about images "
            "unlike any that it has seen.",
        )
    )
    entries.append(
        (
            "Scale",
            "The numbers under a picture are those of the raw map, at the two ends of "
            "its colours. Maps of different methods have different units: compare "
            "places, not numbers.",
        )
    )
    return entries
