"""What a page about explanations is made from: maps as NumPy arrays on the host."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Curve(NamedTuple):
    """How sure a network is of a class as pixels come or go.

    Attributes:
      x: the share of the pixels that came or went.
      y: what the network says then.
      area: under the curve.
    """

    x: np.ndarray
    y: np.ndarray
    area: float


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """A map over an image, and the question that it answers.

    Attributes:
      method: what the method is called on the page.
      question: in words, with `{answer}` and `{contrast}` where classes stand.
      values: `[height, width]`, of a clip `[frames, height, width]`; raw.
      contrast: the class that the answer is compared with; None for none.
      signed: whether 0 stands in the middle of the colours.
      group: `"contrast"` or `"other"`: where it stands on the page.
      facts: numbers of the map, by what they are called.
      standard_error: of each of `values`; None of a method that draws no samples.
      insertion: as its pixels come, the most important first; None if not asked.
      deletion: as they go.
    """

    method: str
    question: str
    values: np.ndarray
    contrast: int | None = None
    signed: bool = False
    group: str = "other"
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    standard_error: np.ndarray | None = None
    insertion: Curve | None = None
    deletion: Curve | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image, what the network says of it, and maps of why.

    Attributes:
      name: of the file, or the number in the dataset.
      image: `[height, width, 1 or 3]`, of a clip `[frames, height, width, 1 or 3]`;
        uint8, as the network takes it.
      probabilities: `[classes]`.
      target: the class that the maps are about.
      label: the true class; None where it is not known.
      contrasts: the classes that it is compared with.
      maps: of the methods that were asked.
      arrays: what the image's file beside the page holds.
      notes: what a reader must know of it, a sentence each.
    """

    name: str
    image: np.ndarray
    probabilities: np.ndarray
    target: int
    label: int | None
    contrasts: tuple[int, ...]
    maps: tuple[Map, ...]
    arrays: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> int:
        """The class that the network answers."""
        return int(self.probabilities.argmax())


@dataclasses.dataclass(frozen=True, eq=False)
class Explanations:
    """What a page about explanations shows.

    Attributes:
      class_names: of the network.
      images: one after the other.
      representatives: class -> an image of it, `[height, width, 1 or 3]`, of a clip
        with its frames, uint8.
      methods: what a method is called -> what it is, and where it is from.
      run: how the maps came to be.
      notes: what was left out or taken for granted, a sentence each.
    """

    class_names: tuple[str, ...]
    images: tuple[ExplainedImage, ...]
    representatives: Mapping[int, np.ndarray]
    methods: Mapping[str, str]
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


class MistakeMaps(NamedTuple):
    """Maps of some wrong answers, for the page of a trust report.

    Attributes:
      numbers: `[mistakes]`, which examples they are.
      why: `[mistakes, height, width]`, "why this answer?"; of clips with their frames.
      rather: likewise, "why this answer, rather than the true class?".
      left_out: why there are none, in a sentence; empty where there are.
    """

    numbers: np.ndarray
    why: np.ndarray
    rather: np.ndarray
    left_out: str = ""


def still(image: np.ndarray) -> np.ndarray:
    """An image, or the middle frame of a clip: what can be shown."""
    return image[len(image) // 2] if image.ndim == 4 else image


def still_map(values: np.ndarray) -> np.ndarray:
    """A map, or that of the middle frame of a clip."""
    return values[len(values) // 2] if values.ndim == 3 else values
