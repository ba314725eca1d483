"""Parts of a dataset by name, and shares of them by a hash of each record."""

import hashlib
import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from trustjax.data._parts import ALL, listed

# As `data._builders.stratified` divides.
_SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.7), "test": (0.7, 1.0)}
_OF_TRAIN = {"train": (0.0, 0.9), "validation": (0.9, 1.0)}
_TERM = re.compile(r"(?P<name>\w+)(\[(?P<from>[\d.]+%)?:(?P<to>[\d.]+%)?\])?")


class Share(NamedTuple):
    """The records of a part whose hash lies between two numbers.

    Attributes:
      part: the name of the part.
      begin: in [0, 1].
      end: in [0, 1]; itself outside.
    """

    part: str
    begin: float
    end: float


def parse(split: str, parts: Collection[str], name: str) -> tuple[Share, ...]:
    """What a split is made of.

    ===============================  ===========================================
    Parts that are there             Splits
    ===============================  ===========================================
    `all` alone                      train 60 %, validation 10 %, test 30 %; all
    `train`, without `validation`    train 90 % and validation 10 % of it
    any other                        each as it is
    ===============================  ===========================================

    Args:
      split: names of splits with `+` between them, each with a slice of per cent if
        need be: `"train[90%:]"`.
      parts: names of the parts that are there.
      name: of the dataset, for errors.

    Raises:
      ValueError: if it is not so written, or names a split that is not there.

    >>> parse("train[50%:]+test", ["train", "test"], "mine")
    (Share(part='train', begin=0.45, end=0.9), Share(part='test', begin=0.0, end=1.0))
    """
    known = _splits(parts)
    shares = []
    for term in split.split("+"):
        match = _TERM.fullmatch(term.strip())
        share = known.get(match["name"]) if match else None
        if match is None or share is None:
            remedy = ""
            if split == "test" and {"train", "validation"} <= set(parts):
                remedy = (
                    "; a report on validation takes --test-split validation "
                    "--validation-split 'train[90%:]' --train-split 'train[:90%]'"
                )
            raise ValueError(
                f"{name} has no split {split!r}: it has {listed(known)}, and slices of "
                f"them such as 'train[90%:]'{remedy}"
            )
        low, high = _fraction(match["from"], 0.0), _fraction(match["to"], 1.0)
        if not 0 <= low < high <= 1:
            raise ValueError(f"{term!r} is no slice between 0% and 100%")
        length = share.end - share.begin
        end = share.end if high == 1 else share.begin + high * length
        shares.append(Share(share.part, share.begin + low * length, end))
    return tuple(shares)


def positions(count: int, key: Callable[[int], bytes], seed: int) -> np.ndarray:
    """Where each record of a part lies in [0, 1).

    A record is at the same place on every machine, and whatever else is in the part.

    Args:
      count: of the part's records.
      key: record number -> what is hashed.
      seed: another one, another division.
    """
    return np.fromiter((_hash(seed, key(n)) for n in range(count)), float, count)


def numbers(
    share: Share, count: int, positions: Callable[[], np.ndarray]
) -> np.ndarray:
    """The numbers of a part's records that are in a share of it, ascending.

    Args:
      share: which.
      count: of the part's records.
      positions: gives theirs; not asked where the share is the whole part.
    """
    if (share.begin, share.end) == (0, 1):
        return np.arange(count)
    found = positions()
    return np.flatnonzero((found >= share.begin) & (found < share.end))


def _splits(parts: Collection[str]) -> dict[str, Share]:
    whole = {part: Share(part, 0.0, 1.0) for part in parts}
    if ALL in parts:
        return whole | {split: Share(ALL, *ends) for split, ends in _SHARES.items()}
    if "train" in parts and "validation" not in parts:
        return whole | {s: Share("train", *ends) for s, ends in _OF_TRAIN.items()}
    return whole


def _fraction(percent: str | None, default: float) -> float:
    return default if percent is None else float(percent.rstrip("%")) / 100


def _hash(seed: int, key: bytes) -> float:
    """In [0, 1)."""
    digest = hashlib.sha256(b"%d\0%b" % (seed, key)).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
