"""Rivals measured side by side."""

import time
from collections.abc import Callable
from typing import Any

import jax


def interleaved(
    rivals: dict[Any, Callable[[], Any]], rounds: int, *, repeats: int = 1
) -> dict[Any, list[float]]:
    """Seconds of each rival in each round, after one warm-up.

    The rivals take turns, so that a busy moment hits all of them: compare the minima.
    Give calls of less than a millisecond many `repeats` in each turn: threads that the
    rival before has left spinning would slow the first.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in rivals}
    for round_ in range(rounds + 1):
        for name, run in rivals.items():
            start = time.perf_counter()
            for _ in range(repeats):
                jax.block_until_ready(run())
            if round_:
                seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds
