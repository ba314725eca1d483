"""What every test runs under: typed calls, strict ranks, eight CPU devices."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Before jax starts: the sharded batteries need a mesh of eight devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
from jaxtyping import install_import_hook

install_import_hook("trustjax", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
