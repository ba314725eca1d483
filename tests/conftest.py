"""What every test runs under: typed calls, strict ranks, eight CPU devices."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Prepared datasets stay from run to run, and out of the user's cache.
os.environ.setdefault(
    "TRUSTJAX_DATA",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "trustjax-data"),
)
# Before jax starts: the sharded batteries need a mesh of eight devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import jaxtyping
import pytest

from tests import typecheck

jaxtyping.install_import_hook("trustjax", f"{typecheck.__name__}.typechecked")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def without_type_checks():
    """Bad input as a user gives it: the library's own errors, not beartype's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
