"""What studies share: numbers in a file, programs that are kept, a t interval."""

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from scipy import stats

from trustjax import _files

Numbers = TypeVar("Numbers")


def write_numbers(path: pathlib.Path, numbers: Any) -> None:
    """The JSON file of a study, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _files.written_whole(path) as part:
        part.write_text(json.dumps(numbers, indent=1) + "\n")


class Named(Protocol):
    """A study that says where its numbers and its figure go, and under which name."""

    @property
    def name(self) -> str:
        """Of both files, without a suffix."""
        ...

    @property
    def numbers(self) -> pathlib.Path:
        """A folder."""
        ...

    @property
    def figures(self) -> pathlib.Path:
        """A folder."""
        ...


def published(
    study: Named, said: Numbers, draw: Callable[[Numbers, pathlib.Path], None]
) -> Numbers:
    """The numbers of a study, which are drawn and written on the way."""
    draw(said, study.figures / f"{study.name}.png")
    path = study.numbers / f"{study.name}.json"
    write_numbers(path, said)
    print(f"numbers: {path}")
    return said


def keep_programs(workdir: pathlib.Path) -> None:
    """What is compiled stays beside a study's networks, which are much alike.

    Where JAX was given a place for programs, as for all tests, it keeps that.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = (workdir / "compiled").absolute()
        jax.config.update("jax_compilation_cache_dir", str(cache))


def t_interval(values: Sequence[float] | np.ndarray, level: float) -> dict[str, float]:
    """The mean of numbers that are drawn alike, and Student's interval of it."""
    mean, freedom = float(np.mean(values)), len(values) - 1
    width = float(stats.t.ppf((1 + level) / 2, freedom) * stats.sem(values))
    return {"value": mean, "low": mean - width, "high": mean + width}
