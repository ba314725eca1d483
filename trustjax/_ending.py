"""How a command ends: with one line and an exit code, whatever stopped it."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

_EXPECTED = (ValueError, OSError, ArithmeticError, ModuleNotFoundError)
_SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
STOPPED = tuple(128 + number for number in _SIGNALS)
"""The exit codes of a command that a signal has stopped."""


@contextlib.contextmanager
def in_one_line(*, unwind: bool = True, says_stop: bool = True) -> Iterator[None]:
    """Runs a command; what stops it is one line on standard error.

    | stopped by | exit code |
    |---|---|
    | an error in what was asked, or of the disk | 2 |
    | SIGINT: Ctrl-C | 130 |
    | SIGTERM | 143 |

    Signals unwind the program, so that files half written are taken away. Where
    something swallows the first one, or it is followed by a second, the process ends
    at once: all that it keeps on the disk is whole at every moment.

    Args:
      unwind: whether the first signal unwinds. An import of compiled packages that is
        interrupted aborts the process, so while they are imported it ends at once.
      says_stop: whether a stop by a signal is said; else the process that sent it on
        says so.
    """
    say_stopped = _say_stopped if says_stop else lambda received: None
    received: list[signal.Signals] = []

    def stop(number: int, _: Any) -> None:
        received.append(signal.Signals(number))
        if unwind and len(received) == 1:
            raise KeyboardInterrupt
        if len(received) == 1 + unwind:  # and not again while it ends
            say_stopped(received[0])
            os._exit(_code(received[0]))

    def swallowed(unraisable: Any) -> None:
        if received and isinstance(unraisable.exc_value, KeyboardInterrupt):
            say_stopped(received[0])
            os._exit(_code(received[0]))
        sys.__unraisablehook__(unraisable)

    with _handlers(stop, swallowed), _warnings_in_one_line():
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not received:
                received.append(signal.SIGINT)
            if received:  # whatever the interruption has become on its way
                first = received[0]
                received.extend([first, first])  # a second signal says nothing more
                say_stopped(first)
                sys.exit(_code(first))
            if not isinstance(error, _EXPECTED) or os.environ.get("TRUSTJAX_TRACEBACK"):
                raise
            say(f"trustjax: {error}")
            say("(TRUSTJAX_TRACEBACK=1 shows where it came from)")
            sys.exit(2)


def _code(received: signal.Signals) -> int:
    return 128 + received


def say(line: str) -> None:
    """Says a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def _say_stopped(received: signal.Signals) -> None:
    say(
        f"trustjax: {_SIGNALS[received]}; what was done is kept, and the same command "
        "goes on from there"
    )


@contextlib.contextmanager
def _handlers(stop: Any, swallowed: Any) -> Iterator[None]:
    """Handles signals within the block, where Python allows it and nobody else does."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            usual = (signal.default_int_handler, signal.SIG_DFL)
            if signal.getsignal(number) in usual:
                before[number] = signal.signal(number, stop)
    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Prints the library's own warnings without the line of code they came from."""
    show = warnings.showwarning

    def show_ours(message, category, *where) -> None:
        if category.__module__.startswith("trustjax"):
            say(f"trustjax: {message}")
        else:
            show(message, category, *where)

    warnings.showwarning = show_ours
    try:
        yield
    finally:
        warnings.showwarning = show
