"""A preprocessing as a line of text: for the command, and for records of runs."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from trustjax.preprocessing._preprocessing import (
    INTERPOLATIONS,
    PRESETS,
    WORDS,
    Preprocessing,
)


def parse(text: str) -> Preprocessing:
    """The preprocessing that a line of text means.

    ======================  ========================================================
    Word                    What
    ======================  ========================================================
    `imagenet` (first)      a name of `PRESETS`, to start from
    `size=224`, `crop=224`  the size that the network takes; `size=240x320` is height
                            by width
    `resize=256`            the short side before the centre crop
    `bilinear`, `bicubic`   how pixels are interpolated
    `mean=.485,.456,.406`   one number for all channels, or one for each, in [0, 1]
    `std=.229,.224,.225`    likewise
    `range=0,255`           what 0 and 1 become after that
    `bgr`                   blue first
    `channels-first`        `[batch, channels, height, width]`
    ======================  ========================================================

    Or all of it as JSON: `{"size": [224, 224], "mean": [0.5], ...}`.

    Args:
      text: words with spaces between them, in any order.

    Raises:
      ValueError: naming the word that is not known, is there twice or has no such
        value, or what is wrong with the whole.

    >>> parse("imagenet resize=256 crop=224 bicubic").resize
    256
    >>> str(parse("mean=.5 std=.5 bgr")), parse("lite") == PRESETS["lite"]
    ('mean=0.5 std=0.5 bgr', True)
    """
    if text.lstrip().startswith("{"):
        return _from_json(text)
    found: dict[str, Any] = {}
    start = Preprocessing()
    for place, word in enumerate(text.split()):
        name, equals, value = word.partition("=")
        if word in PRESETS:
            if place:
                raise ValueError(f"{word} must come first, got {text!r}")
            start = PRESETS[word]
            continue
        if name in _VALUES and equals:
            field, convert = _VALUES[name]
            try:
                setting = convert(value)
            except ValueError as error:
                raise ValueError(f"{name} of a preprocessing: {error}") from None
        elif word in INTERPOLATIONS:
            field, setting = "interpolation", word
        elif word in WORDS:
            field, setting = WORDS[word], True
        else:
            known = (*PRESETS, *(f"{name}=" for name in _VALUES), *INTERPOLATIONS)
            raise ValueError(
                f"unknown word {word!r} in a preprocessing; known are "
                f"{', '.join((*known, *WORDS))}"
            )
        if field in found:
            raise ValueError(f"{field} is there twice in {text!r}")
        found[field] = setting
    if not text.split():
        raise ValueError("a preprocessing must have at least one word, such as unit")
    return dataclasses.replace(start, **found)


def _from_json(text: str) -> Preprocessing:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"a preprocessing that is no JSON: {error}") from None
    kinds = {"resize": int, "interpolation": str, "bgr": bool, "channels_first": bool}
    fields = {field.name for field in dataclasses.fields(Preprocessing)}
    if unknown := sorted(set(given) - fields):
        raise ValueError(
            f"unknown {', '.join(unknown)} in a preprocessing; known are "
            f"{', '.join(sorted(fields))}"
        )
    for name, value in given.items():
        if value is None and name in ("size", "resize"):
            continue
        if name in kinds:
            if type(value) is not kinds[name]:
                raise ValueError(f"{name} must be {kinds[name].__name__}, got {value}")
            continue
        number = int if name == "size" else int | float
        if not isinstance(value, list) or not all(
            isinstance(v, number) and not isinstance(v, bool) for v in value
        ):
            raise ValueError(f"{name} must be a list of numbers, got {value}")
        given[name] = tuple(value)
    return Preprocessing(**given)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text, re.ASCII)
    if match is None:
        raise ValueError(f"must be like 224 or 240x320 (height x width), got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise ValueError(f"must be a whole number, got {text!r}")
    return int(text)


def _several(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"must be numbers like .5,.5,.5, got {text!r}") from None


_VALUES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "size": ("size", _size),
    "crop": ("size", _size),
    "resize": ("resize", _whole),
    "mean": ("mean", _several),
    "std": ("std", _several),
    "range": ("range", _several),
}
