"""What every test runs under: typed calls, strict ranks, eight CPU devices."""

import ctypes
import gc
import math
import os
import pathlib
import resource

from tests import compiler

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Prepared datasets stay from run to run, and out of the user's cache.
os.environ.setdefault(
    "TRUSTJAX_DATA",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "trustjax-data"),
)
# So does every program that XLA compiles, for all workers and their processes: a run
# spends its time in the compiler, whose programs are the same the next time.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "trustjax-programs"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Programs of one operation are made by the thousand: none needs to know its callers.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Before jax starts. `.ci/run` gives flags for the newest Python's tests.
os.environ["XLA_FLAGS"] = compiler.flags(os.environ.get("XLA_FLAGS", ""))

import jax
import jaxtyping
import pytest

from tests import typecheck

jaxtyping.install_import_hook("trustjax", f"{typecheck.__name__}.typechecked")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_finish():
    """What is imported by now stays: the collector need not walk through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    _AFTER_THE_LAST[0] = _resident()


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


_STATM = pathlib.Path("/proc/self/statm")
_AFTER_THE_LAST = [0.0]
"""Bytes in memory after programs were last let go."""


def _let_go() -> None:
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


@pytest.fixture
def without_type_checks():
    """Bad input as a user gives it: the library's own errors, not beartype's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
