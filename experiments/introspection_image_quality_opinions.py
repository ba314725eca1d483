"""Sets of images with opinions: a folder and its table `opinions.csv`."""

import csv
import math
import pathlib
from typing import NamedTuple

import numpy as np


class Opinions(NamedTuple):
    """What people said of distorted images.

    Attributes:
      references: a file for each row.
      distorted: a file for each row.
      scores: `[rows]`, higher = better.
      deviations: of each score over the people, `[rows]`; None where not known.
    """

    references: list[pathlib.Path]
    distorted: list[pathlib.Path]
    scores: np.ndarray
    deviations: np.ndarray | None


_FEWEST_ROWS = 10


def read_opinions(folder: pathlib.Path) -> Opinions:
    """The opinions of a folder: its `opinions.csv`, with the names of its images.

    Raises:
      FileNotFoundError: if the table or an image is not there.
      ValueError: if a column is missing or unknown, a number is none, a deviation is
        negative, or there are fewer than 10 rows or 2 references, naming the line.
    """
    path = folder / "opinions.csv"
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        wanted = ["reference", "distorted", "score"]
        if sorted(columns) not in (sorted(wanted), sorted([*wanted, "deviation"])):
            raise ValueError(
                f"{path} must have the columns {', '.join(wanted)} and, if known, "
                f"deviation; got {', '.join(columns) or 'none'}"
            )
        rows = list(reader)
    images: dict[str, list[pathlib.Path]] = {"reference": [], "distorted": []}
    values: dict[str, list[float]] = {
        name: [] for name in columns if name not in images
    }
    for line, row in enumerate(rows, 2):
        for name, files in images.items():
            files.append(folder / (row[name] or ""))
            if not files[-1].is_file():
                raise FileNotFoundError(f"{path}, line {line}: no image {files[-1]}")
        for name, numbers in values.items():
            numbers.append(_number(row[name], name, f"{path}, line {line}"))
    references = set(images["reference"])
    if len(rows) < _FEWEST_ROWS or len(references) < 2:
        raise ValueError(
            f"{path} must have {_FEWEST_ROWS} rows and 2 references at least, got "
            f"{len(rows)} and {len(references)}"
        )
    deviations = values.get("deviation")
    return Opinions(
        images["reference"],
        images["distorted"],
        np.array(values["score"]),
        None if deviations is None else np.array(deviations),
    )


def _number(text: str | None, name: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name == "deviation" and value < 0):
        raise ValueError(f"{where}: {name} must be a finite number, got {text!r}")
    return value
