"""Rivals measured side by side."""

import time
from collections.abc import Callable
from typing import Any

import jax


def interleaved(
    rivals: dict[Any, Callable[[], Any]],
    rounds: int,
    *,
    repeats: int = 1,
    pause: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Any, list[float]]:
    """Seconds of each rival in each round, after one warm-up.

    The rivals take turns, so that a busy moment hits all of them: compare the minima.

    Args:
      rivals: the calls to measure, by name.
      rounds: how often each takes its turn.
      repeats: calls in one turn; many for calls of less than a millisecond.
      pause: seconds of rest before each turn, in which the threads that the rival
        before has left spinning fall asleep; for rivals with threads of their own.
      clock: `time.process_time` counts the work of all threads, on a busy machine.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in rivals}
    for round_ in range(rounds + 1):
        for name, run in rivals.items():
            time.sleep(pause)
            start = clock()
            for _ in range(repeats):
                jax.block_until_ready(run())
            if round_:
                seconds[name].append((clock() - start) / repeats)
    return seconds
