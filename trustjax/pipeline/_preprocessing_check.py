"""Are images prepared as the network was trained? The labels say so.

A network that gets 0 to 255 where it learnt 0 to 1, or blue where it learnt red, still
answers, only worse. Here it is asked about some labelled images under each of the
well-known preparations, and another is proposed where it is right clearly more often.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax.pipeline import _answers
from trustjax.preprocessing import PRESETS, Preprocessing
from trustjax.typing import ApplyFn, Params

ERROR_RATE = 1e-3
"""Of a warning, over all preparations together, where none is better."""


class Better(NamedTuple):
    """A preparation of images under which a network is right more often.

    Attributes:
      steps: the preparation.
      what: in words, what differs.
      right: how many of the images it is right on.
      configured: how many it is right on as it is.
      count: of all images asked about.
    """

    steps: Preprocessing
    what: str
    right: int
    configured: int
    count: int

    def sentence(self) -> str:
        """What a reader should know of it."""
        return (
            f"The network is right on {self.right} of {self.count} images with "
            f"{self.what}, and on {self.configured} as they are prepared here: more "
            f"than chance explains. Was it trained so? Try --preprocessing "
            f'"{self.steps}".'
        )


def better(
    apply_fn: ApplyFn,
    params: Params,
    steps: Preprocessing,
    x: np.ndarray,
    labels: np.ndarray,
) -> Better | None:
    """The best of the other preparations, if it is right clearly more often.

    Two one-sided exact sign tests (McNemar's) must both say so at `ERROR_RATE` over the
    number of preparations: against the answers as configured, and against always
    answering the commonest label, which a network that has learnt nothing may do.

    Args:
      apply_fn: `(params, x) -> logits` of images as the network takes them.
      params: what it takes first.
      steps: what is done to images now.
      x: `[count, height, width, channels]`, in [0, 1] and in their size.
      labels: `[count]`.

    Returns:
      The preparation; None where none is better, or only by chance.
    """
    compiled = jax.jit(apply_fn)

    def right(prepared: Any) -> np.ndarray:
        answers = _answers.asked(compiled, params, np.asarray(prepared))
        return answers.argmax(axis=-1) == labels

    configured = right(steps.numbers(x))
    commonest = labels == np.bincount(labels).argmax()
    found = []
    others = list(_others(steps, x.shape[-1]))
    for what, other in others:
        prepared = other.numbers(x)
        if not _takes(apply_fn, params, prepared):
            continue
        answers = right(prepared)
        chance = max(_chance(answers, configured), _chance(answers, commonest))
        if chance * len(others) < ERROR_RATE:
            now, before = int(answers.sum()), int(configured.sum())
            found.append(Better(other, what, now, before, len(labels)))
    return max(found, key=lambda better: better.right, default=None)


def _others(steps: Preprocessing, channels: int) -> Iterator[tuple[str, Preprocessing]]:
    """What else people do to images, in words, without what comes to the same."""

    def as_of(preset: Preprocessing, **changes: Any) -> Preprocessing:
        numbers = {"mean": preset.mean, "std": preset.std, "range": preset.range}
        if channels != 3:
            numbers |= {
                name: (float(np.mean(numbers[name])),) for name in ("mean", "std")
            }
        return dataclasses.replace(steps, **numbers | changes)

    unit = PRESETS["unit"]
    proposals = [
        ("numbers in [0, 1]", as_of(unit)),
        ("numbers in [0, 255]", as_of(unit, range=(0.0, 255.0))),
        ("numbers in [-1, 1]", as_of(PRESETS["half"])),
        ("the mean and standard deviation of ImageNet", as_of(PRESETS["imagenet"])),
    ]
    if channels == 3:
        blue_first = dataclasses.replace(steps, bgr=not steps.bgr)
        order = "red first" if steps.bgr else "blue first"
        proposals.append((f"the channels {order}", blue_first))
    first = dataclasses.replace(steps, channels_first=not steps.channels_first)
    proposals.append(
        (f"the channels {'last' if steps.channels_first else 'first'}", first)
    )
    line = np.linspace(0, 1, 3 * channels, dtype=np.float32).reshape(1, 3, 1, channels)
    plain = dataclasses.replace(steps, size=None, resize=None)
    seen = [np.asarray(plain.numbers(line))]
    for what, other in proposals:
        numbers = np.asarray(
            dataclasses.replace(other, size=None, resize=None).numbers(line)
        )
        known = (n.shape == numbers.shape and np.allclose(n, numbers) for n in seen)
        if not any(known):
            seen.append(numbers)
            yield what, other


def _takes(apply_fn: ApplyFn, params: Params, x: Any) -> bool:
    """Whether a network takes arrays of that shape."""
    try:
        jax.eval_shape(apply_fn, params, x)
    except Exception:  # somebody's code may raise anything
        return False
    return True


def _chance(right: np.ndarray, other: np.ndarray) -> float:
    """Of so many more right answers, where each difference is a coin's."""
    won, lost = int((right & ~other).sum()), int((other & ~right).sum())
    total = won + lost
    ways = sum(math.comb(total, k) for k in range(won, total + 1))
    return ways / 2**total
