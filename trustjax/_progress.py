"""How far a long task is: a bar on a terminal, plain lines elsewhere."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from trustjax import _extras
from trustjax.typing import ProgressFn

_SECONDS_BETWEEN_LINES = 5.0


@contextlib.contextmanager
def reporter(stream: Any = None) -> Iterator[ProgressFn]:
    """Yields a callback for the `progress` argument of the long functions.

    Args:
      stream: the text stream to write to; standard error if None. On a terminal each
        task has a bar with the time that is left; elsewhere it has a line every five
        seconds and one at its end.

    >>> with reporter(sys.stdout) as progress:
    ...     progress("training", 1, 2, {})
    ...     progress("training", 2, 2, {"loss": 0.25})
    training 1/2
    training 2/2 loss 0.25
    """
    stream = stream or sys.stderr
    if stream.isatty():
        with _bars(stream) as progress:
            yield progress
    else:
        yield _Lines(stream)


class _Lines:
    """A line when a task starts, at intervals, and when it ends."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._written: dict[str, float] = {}

    def __call__(
        self, task: str, done: int, total: int | None, facts: Mapping[str, float], /
    ) -> None:
        now = time.monotonic()
        waited = now - self._written.get(task, -math.inf)
        if done != total and waited < _SECONDS_BETWEEN_LINES:
            return
        self._written[task] = now
        counted = f"{task} {done}" if total is None else f"{task} {done}/{total}"
        words = [counted, _described(facts)]
        self._stream.write(" ".join(filter(None, words)) + "\n")
        self._stream.flush()


@contextlib.contextmanager
def _bars(stream: Any) -> Iterator[ProgressFn]:
    with _extras.required("report"):
        import rich.console
        import rich.progress

    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[facts]}"),
    )
    tasks: dict[str, rich.progress.TaskID] = {}
    console = rich.console.Console(file=stream)
    with rich.progress.Progress(*columns, console=console) as bars:

        def progress(
            task: str, done: int, total: int | None, facts: Mapping[str, float], /
        ) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total, facts="")
            bars.update(
                tasks[task], completed=done, total=total, facts=_described(facts)
            )

        yield progress


def _described(facts: Mapping[str, float]) -> str:
    """`{"loss": 0.25, "epoch": 3}` as `loss 0.25 epoch 3`."""
    return " ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in facts.items()
    )
