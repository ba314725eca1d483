"""Rivals measured side by side."""

import time
from collections.abc import Callable
from typing import Any

import jax


def interleaved(
    rivals: dict[Any, Callable[[], Any]], rounds: int
) -> dict[Any, list[float]]:
    """Seconds of each rival in each round, after one warm-up.

    The rivals take turns, so that a busy moment hits all of them: compare the minima.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in rivals}
    for round_ in range(rounds + 1):
        for name, run in rivals.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds
