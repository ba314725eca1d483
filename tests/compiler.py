"""How XLA compiles the tests' programs: eight devices, and quickly."""

import importlib.metadata

_QUICK = (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)


def flags(given: str) -> str:
    """The flags of a test run; those that are given win.

    The sharded batteries need a mesh of eight devices, and a suite of small programs
    that each run a few times spends its time in the compiler.
    """
    quick = [*_QUICK]
    if not given and importlib.metadata.version("jaxlib").startswith("0.10."):
        # Loops of an older kind compile in half the time; later versions have none.
        quick.append("--xla_cpu_use_fusion_emitters=false")
    return " ".join([*quick, given])
