"""What every test runs under: typed calls, strict ranks, eight CPU devices."""

import os
import pathlib

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

from tests import memory, typecheck

jaxtyping.install_import_hook("trustjax", f"{typecheck.__name__}.typechecked")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_finish():
    """What is imported by now stays."""
    memory.collected()


@pytest.fixture
def without_type_checks():
    """Bad input as a user gives it: the library's own errors, not beartype's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
