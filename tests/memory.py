"""What a test process keeps in memory, and when it lets go of it."""

import ctypes
import gc
import math
import pathlib
import resource

import pytest


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Lets go of a module's compiled programs: those of all take gigabytes.

    Where they have taken little they stay, for the next module needs many of the same.
    """
    yield
    if _grown(unknown=math.inf) > 0.4e9:
        _let_go()


@pytest.fixture(autouse=True)
def programs_in_memory():
    """Lets go of them within a module, too, where they have taken a gigabyte."""
    yield
    if _grown(unknown=0.0) > 1e9:
        _let_go()


def collected() -> None:
    """What is imported by now stays: the collector need not walk through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    _AFTER_THE_LAST[0] = _resident()


_STATM = pathlib.Path("/proc/self/statm")
_AFTER_THE_LAST = [0.0]
"""Bytes in memory after programs were last let go."""


def _let_go() -> None:
    import jax  # not before the tests have said how it is to start

    jax.clear_caches()
    gc.collect()
    # What the compiler gave back glibc keeps for it: gigabytes of the next program's.
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
    _AFTER_THE_LAST[0] = _resident()


def _grown(unknown: float) -> float:
    """By how many bytes since then; as is given where the system does not say."""
    return _resident() - _AFTER_THE_LAST[0] if _STATM.exists() else unknown


def _resident() -> float:
    """Bytes of this process in memory; 0 where the system does not say."""
    if not _STATM.exists():
        return 0.0
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
