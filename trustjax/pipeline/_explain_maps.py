"""The maps of one image: asked of the network, kept, found again, put into words."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from trustjax import _fingerprint, explain, report
from trustjax.typing import ApplyFn, Params


class Choices(NamedTuple):
    """What is asked about every image.

    Attributes:
      at: where the network is cut for class activation maps.
      grid: the rows and columns of tokens; None where they are found.
      class_tokens: how many tokens come before those of the image.
      baseline: what hides a pixel; None for each method's own.
      masks: how many random masks, or noisy images, a method draws.
      curve_steps: of insertion and deletion; 0 leaves their curves out.
      microbatch: how many images go through the network at once.
      seed: of the masks and of the noise.
    """

    at: Any
    grid: tuple[int, ...] | None
    class_tokens: int
    baseline: Any
    masks: int
    curve_steps: int
    microbatch: int
    seed: int


class Asker:
    """Asks a network why, one image at a time; each question is compiled once.

    Args:
      apply_fn: `(params, x) -> logits` of images in [0, 1].
      params: what it takes first.
      choices: what is asked.
    """

    def __init__(self, apply_fn: ApplyFn, params: Params, choices: Choices):
        self._params = params
        self._apply_fn = apply_fn
        self._choices = choices
        self._logits = jax.jit(apply_fn)
        self._of_params = _fingerprint.fingerprint(params)
        self._programs: dict[str, Any] = {}

    def logits(self, x: np.ndarray) -> np.ndarray:
        """What the network answers for a batch, on the host."""
        return np.asarray(self._logits(self._params, x))

    def identity(self, image: np.ndarray, target: int, contrasts: Sequence[int]) -> str:
        """A digest of all that the maps of an image depend on."""
        asked = repr((self._choices, target, tuple(contrasts))).encode()
        return _fingerprint.fingerprint(
            {
                "params": self._of_params.encode(),
                "image": image,
                "asked": np.frombuffer(asked, np.uint8),
            }
        )

    def refusal(self, method: str, x: np.ndarray, contrasts: int) -> str | None:
        """Why the network cannot be asked this about such an image; None if it can."""
        one, others = np.zeros(1, np.int32), np.zeros((1, contrasts), np.int32)
        try:
            # What is traced here is not traced again.
            self._asking(method).eval_shape(
                self._params, x[None], one, others, jax.random.key(0)
            )
        except (NotImplementedError, ValueError) as error:
            return str(error)
        return None

    def maps(
        self,
        method: str,
        x: np.ndarray,
        target: int,
        contrasts: Sequence[int],
        number: int,
    ) -> dict[str, np.ndarray]:
        """What one method says of one image: arrays by their names in its file.

        Args:
          method: a name of `explain.METHODS`.
          x: `[height, width, channels]`, in [0, 1].
          target: the class that is asked about.
          contrasts: those it is compared with.
          number: of the image, for the random numbers.
        """
        row = explain.METHODS[method]
        key = jax.random.fold_in(jax.random.key(self._choices.seed), number)
        asked = np.array([target], np.int32)
        others = np.array([contrasts], np.int32).reshape(1, -1)
        answer = self._asking(method)(self._params, x[None], asked, others, key)
        values = np.asarray(answer.map)[0]
        found = {method: values}
        if answer.standard_error is not None:
            found[f"{method}.standard_error"] = np.asarray(answer.standard_error)[0]
        for fact, value in answer.facts.items():
            found[f"{method}.{fact}"] = np.asarray(value)[0]
        if self._choices.curve_steps and row.ranks_pixels and np.isfinite(values).all():
            for name in _CURVES:
                curve = self._curve(name)(self._params, x[None], values[None], asked)
                found[f"{method}.{name}"] = np.stack([curve.x[0], curve.y[0]])
                found[f"{method}.{name}_area"] = np.asarray(curve.area)[0]
        return found

    def _asking(self, method: str) -> Any:
        choices = self._choices

        def ask(params, x, target, contrasts, key):
            question = explain.Question(
                self._apply_fn,
                params,
                x,
                target,
                contrasts,
                key,
                at=choices.at,
                grid=choices.grid,
                class_tokens=choices.class_tokens,
                baseline=choices.baseline,
                samples=choices.masks,
                microbatch=choices.microbatch,
            )
            return explain.METHODS[method].ask(question)

        return self._program(method, ask)

    def _curve(self, name: str) -> Any:
        choices = self._choices
        options = {} if choices.baseline is None else {"baseline": choices.baseline}

        def ask(params, x, maps, target):
            return _CURVES[name](
                self._apply_fn,
                params,
                x,
                maps,
                target=target,
                step=-(-math.prod(maps.shape[1:]) // choices.curve_steps),
                **options,
            )

        return self._program(name, ask)

    def _program(self, name: str, fn: Callable[..., Any]) -> Any:
        """The compiled function of that name: one for all images."""
        return self._programs.setdefault(name, jax.jit(fn))


_CURVES = {
    "insertion": explain.insertion_curve,
    "deletion": explain.deletion_curve,
}


def in_words(
    arrays: Mapping[str, np.ndarray], methods: Sequence[str], contrasts: Sequence[int]
) -> tuple[report.Map, ...]:
    """The maps that are in an image's file, as the page shows them."""
    maps = []
    for method in methods:
        row = explain.METHODS[method]
        values = arrays[method]
        error = arrays.get(f"{method}.standard_error")
        facts = {
            row.facts[fact]: float(arrays[f"{method}.{fact}"]) for fact in row.facts
        }
        if row.for_each_contrast:
            for place, contrast in enumerate(contrasts):
                maps.append(_map(row, values[place], contrast, facts))
            continue
        maps.append(
            dataclasses.replace(
                _map(row, values, None, facts),
                standard_error=error,
                insertion=_curve(arrays, f"{method}.insertion"),
                deletion=_curve(arrays, f"{method}.deletion"),
            )
        )
    return tuple(maps)


def not_numbers(
    arrays: Mapping[str, np.ndarray], methods: Sequence[str]
) -> tuple[str, ...]:
    """The titles of the methods whose map of an image has a NaN."""
    return tuple(
        explain.METHODS[method].title
        for method in methods
        if not np.isfinite(arrays[method]).all()
    )


def _map(
    row: explain.Method,
    values: np.ndarray,
    contrast: int | None,
    facts: Mapping[str, float],
) -> report.Map:
    return report.Map(
        method=row.title,
        question=row.question,
        values=values,
        contrast=contrast,
        signed=row.signed,
        group="contrast" if row.contrasts else "other",
        facts=facts,
    )


def _curve(arrays: Mapping[str, np.ndarray], name: str) -> report.Curve | None:
    if name not in arrays:
        return None
    x, y = arrays[name]
    return report.Curve(x, y, float(arrays[f"{name}_area"]))
