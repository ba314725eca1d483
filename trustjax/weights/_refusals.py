"""What is said of files that cannot be read."""

import contextlib
import logging
import os
from collections.abc import Iterator


def require_memory(where: str, size: int) -> None:
    """Refuses arrays that this machine could never hold.

    A damaged or hostile file may state any size; nothing is read before.

    Raises:
      ValueError: if `size` bytes are more than the machine's memory.

    >>> require_memory("a.npz", 2**60)
    Traceback (most recent call last):
    ValueError: a.npz: its arrays would take 1,152,921,505 GB, ...
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(
            f"{where}: its arrays would take {size / 1e9:,.0f} GB, more than the "
            f"memory of this machine ({memory / 1e9:,.0f} GB)"
        )


def reason(error: BaseException) -> str:
    """The first line of a message, cut if it is long."""
    line = f"{error}".strip().partition("\n")[0] or type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]} ..."


@contextlib.contextmanager
def about(where: str) -> Iterator[None]:
    """Puts the file's name before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keeps what a logger warns of to itself: it comes back as an error, too."""
    logger = logging.getLogger(name)
    level, _ = logger.level, logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
