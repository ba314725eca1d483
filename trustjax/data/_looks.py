"""What image files are, looked at before they are read: sizes, colours, damage."""

import concurrent.futures
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trustjax.data import _images
from trustjax.data._files import Files
from trustjax.data._parts import listed
from trustjax.typing import ProgressFn

_LOOKED_AT = 20_000
"""So many files are opened before they are read; of more, evenly many of all."""

_AT_A_TIME = 1024
_SHOWN = 3


class Looked(NamedTuple):
    """What files are.

    Attributes:
      split: what the files are called.
      count: of the files.
      looked_at: how many were opened.
      size: height and width that all have; None where they differ.
      smallest: the least height and the least width.
      largest: the greatest height and the greatest width.
      grey_ones: how many have no colours.
      traits: how many are read in a way that a reader should know.
      unreadable: numbers of the files that are no images.
      first_unreadable: the paths of the first of them.
    """

    split: str
    count: int
    looked_at: int
    size: tuple[int | None, int | None]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    grey_ones: int
    traits: Counter[str]
    unreadable: np.ndarray
    first_unreadable: list[str]

    @property
    def grey(self) -> bool:
        """Whether none has colours."""
        return self.grey_ones == self.looked_at - len(self.unreadable)


def notes(looks: Sequence[Looked], channels: int) -> tuple[str, ...]:
    """What a reader should know of the files of all splits, a sentence each.

    Args:
      looks: of the splits.
      channels: that their images are read with.
    """
    readable = sum(look.looked_at - len(look.unreadable) for look in looks)
    of = f"{readable:,} images"
    if any(look.looked_at < look.count for look in looks):
        of += f" looked at, of {sum(look.count for look in looks):,}"
    sentences = []
    if any(None in look.size for look in looks):
        low, narrow = np.min([look.smallest for look in looks], axis=0)
        high, wide = np.max([look.largest for look in looks], axis=0)
        sentences.append(
            f"The images differ in size: of {of}, heights are from {low} to {high} "
            f"pixels and widths from {narrow} to {wide}."
        )
    kinds = sum((look.traits for look in looks), Counter())
    if channels == 3:
        kinds += Counter({"grey, made RGB": sum(look.grey_ones for look in looks)})
    if kinds:
        counted = "; ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        sentences.append(f"Of {of}: {counted}.")
    if missing := [look for look in looks if len(look.unreadable)]:
        counted = ", ".join(f"{len(m.unreadable):,} of {m.split}" for m in missing)
        total = sum(len(look.unreadable) for look in missing)
        first = [path for look in missing for path in look.first_unreadable][:_SHOWN]
        sentences.append(
            f"Left out as no readable images: {counted} ({listed(first, total)})."
        )
    return tuple(sentences)


def look_at(
    files: Files, split: str, *, skip_unreadable: bool, progress: ProgressFn | None
) -> Looked:
    """Opens files; all of them, whole, if those that cannot be read are to be known.

    Raises:
      UnreadableImageError: if one cannot be read and is not to be skipped; if none can.
    """
    count = len(files)
    numbers = range(count)
    if count > _LOOKED_AT and not skip_unreadable:
        numbers = np.unique(np.linspace(0, count - 1, _LOOKED_AT).astype(int)).tolist()

    def one(number: int) -> _images.Look | _images.UnreadableImageError:
        try:
            return _images.look(files.path(number), whole=skip_unreadable)
        except _images.UnreadableImageError as error:
            return error

    sizes, traits, grey = np.zeros((len(numbers), 2), np.int64), Counter(), 0
    unreadable, first = [], []
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for begin in range(0, len(numbers), _AT_A_TIME):
            some = numbers[begin : begin + _AT_A_TIME]
            for place, look in enumerate(pool.map(one, some), begin):
                if isinstance(look, _images.UnreadableImageError):
                    if not skip_unreadable:
                        raise look
                    unreadable.append(numbers[place])
                    first = [*first, files.paths[numbers[place]]][:_SHOWN]
                    continue
                sizes[place] = look.height, look.width
                traits.update(look.traits)
                grey += look.grey
            done = begin + len(some)
            if progress and (done < len(numbers) or begin):
                progress(f"looking at {split}", done, len(numbers), {})
    seen = sizes[sizes[:, 0] > 0]
    if not len(seen):
        raise _images.UnreadableImageError(
            f"none of the {count:,} files of {split} can be read as an image, such as "
            f"{listed(first, limit=1)}"
        )
    smallest, largest = seen.min(axis=0).tolist(), seen.max(axis=0).tolist()
    return Looked(
        split=split,
        count=count,
        looked_at=len(numbers),
        size=tuple(smallest) if smallest == largest else (None, None),
        smallest=tuple(smallest),
        largest=tuple(largest),
        grey_ones=grey,
        traits=traits,
        unreadable=np.array(unreadable, np.int64),
        first_unreadable=first,
    )
