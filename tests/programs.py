"""One program in the place of one for each operation: what is run for its numbers."""

from typing import Any

import jax


def jitted(fn, apply_fn, *args, **options) -> Any:
    """`fn(apply_fn, *args, **options)` under `jax.jit`; options are constants.

    Without it every operation is traced, lowered and compiled by itself, which takes
    most of a test's time where no program is kept from an earlier run.
    """
    return jax.jit(lambda *arrays: fn(apply_fn, *arrays, **options))(*args)
