"""From a file of weights of one framework to one that others read."""

import dataclasses
import os
import pathlib
from typing import NamedTuple

import numpy as np

from trustjax import _validate, models, weights


@dataclasses.dataclass(frozen=True)
class ConversionConfig:
    """What is converted into what.

    Attributes:
      source: what `weights.read` takes: a file or a folder of any framework, or
        `hub:owner/repository/file@revision`.
      destination: `.npz`, `.safetensors`, or without a suffix a folder of Orbax.
      model: a name of `models.names()`, whose weights they are: names and shapes are
        checked, and are the library's own afterwards, from those of torchvision or
        timm too; None leaves names and layout as they are.
      num_classes: of that network; None for the number that it is known for.
      part: of the source, where it holds several networks.
      sha256: what the digest of the source must be; None for any.
      overwrite: whether the destination may take the place of weights.

    Raises:
      ValueError: if the network is unknown, naming those that exist.
    """

    source: str | os.PathLike[str]
    destination: pathlib.Path
    model: str | None = None
    num_classes: int | None = None
    part: str | None = None
    sha256: str | None = None
    overwrite: bool = False

    def __post_init__(self):
        if self.model is not None:
            _validate.choice("model", self.model, models.names())
        elif self.num_classes is not None:
            raise ValueError("num_classes is of a network: give its name as model")


class Converted(NamedTuple):
    """What was written.

    Attributes:
      destination: where to.
      notes: what was found, and what became of it.
    """

    destination: pathlib.Path
    notes: tuple[str, ...]


def convert(config: ConversionConfig) -> Converted:
    """Reads weights of any framework, and writes them for others.

    Args:
      config: what is converted into what.

    Returns:
      Where it was written, and what was found.

    Raises:
      ValueError: as `weights.read`; if the weights are not of the network, naming all
        that differs.
      FileExistsError: if the destination is there, and is not to be replaced.
      OSError: if a file cannot be read or written.
    """
    weights.require_place(config.destination, overwrite=config.overwrite)
    found = weights.contents(config.source, part=config.part, sha256=config.sha256)
    arrays, notes = found.arrays, (*found.notes, f"found {_summary(found.arrays)}")
    if config.model is not None:
        try:
            model = models.pretrained(
                config.model, arrays, num_classes=config.num_classes
            )
        except ValueError as error:
            raise ValueError(f"{config.source}: {error}") from error
        arrays = models.arrays(model)
        notes += (f"as {config.model}: {_summary(arrays)}",)
    weights.write(config.destination, arrays, overwrite=config.overwrite)
    return Converted(config.destination, notes)


def _summary(arrays: dict[str, np.ndarray]) -> str:
    total = sum(array.size for array in arrays.values())
    types = dict.fromkeys(array.dtype.name for array in arrays.values())
    first = ", ".join(list(arrays)[:3]) + (", ..." if len(arrays) > 3 else "")
    return f"{len(arrays)} arrays of {total:,} numbers ({', '.join(types)}): {first}"
