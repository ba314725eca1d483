"""A command that several processes run together, each watched by the one that began it.

The process that a user starts does not run JAX itself. It meets the others, starts the
same command once more as a process of its own, and watches over it: a signal, or the
end of another process, is heard also while JAX waits in a collective, and what the C++
below JAX says of it, pages of it, becomes one line.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from trustjax import _ending, _meeting

GAINING = ("report", "oracle")
"""The commands whose work is divided among processes; others would do it twice."""

ENDED_WITH_ANOTHER = 3
"""The exit code where another process of the run has ended."""

_PART = "TRUSTJAX_PART"
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_END = 5.0
# Of a process that has been aborted, to hear whether it was for another that has gone.
_SECONDS_TO_HEAR = 1.0
# Of a process whose own end may come with that of another, to say why itself.
_SECONDS_TO_SAY = 1.0
# Of one whose collective has failed: longer than it takes that it is ended for another.
_SECONDS_OF_PATIENCE = 4.0
_SECONDS_IN_JAX = 600
_SECONDS_OF_A_WEEK = 7 * 24 * 3600
_AGREED = ("jax", "jaxlib", "numpy", "trustjax")


class Place(NamedTuple):
    """A process among those of a run.

    Attributes:
      coordinator: `host:port`, where process 0 listens.
      count: of the processes.
      number: of this one, in [0, count).
      devices: numbers of the devices that it may use; None for all.
    """

    coordinator: str
    count: int
    number: int
    devices: list[int] | None = None


class Part(NamedTuple):
    """What a process is told by the one that began it.

    Attributes:
      place: among the others.
      out: file descriptor of the standard output.
      err: file descriptor of the standard error.
      began: file descriptor that is readable once the other has ended.
    """

    place: Place
    out: int
    err: int
    began: int


def place(argv: Sequence[str]) -> Place | None:
    """Where a command line says that this process is; None where it runs alone.

    Each of the three facts is taken from the command line, else from the environment
    (`JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`), else from the
    cluster, if it is one that `jax.distributed.initialize` knows.

    Args:
      argv: the words of the command line, that of the program first.

    Raises:
      ValueError: if a fact is missing or no number, or the command gains nothing.

    >>> line = "trustjax report --distributed --coordinator a:1 --num-processes 2"
    >>> place([*line.split(), "--process-id", "1"])
    Place(coordinator='a:1', count=2, number=1, devices=None)
    """
    given, _ = _parsed(argv)
    if not given.distributed:
        for name in ("coordinator", "num_processes", "process_id"):
            if getattr(given, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} is of --distributed: give it too")
        return None
    command = next((word for word in argv[1:] if not word.startswith("-")), "")
    if command not in GAINING:
        raise ValueError(
            f"{command or 'the command'} works in one process: start it once, without "
            f"--distributed, which is of {' and '.join(GAINING)}"
        )
    coordinator = given.coordinator or _of("COORDINATOR_ADDRESS")
    count = _number("--num-processes", given.num_processes or _of("NUM_PROCESSES"))
    number = _number("--process-id", given.process_id or _of("PROCESS_ID"))
    devices = None
    if coordinator is None or count is None or number is None:
        coordinator, count, number, devices = _detected(coordinator, count, number)
    if count < 1 or not 0 <= number < count:
        raise ValueError(
            f"--process-id must be in [0, --num-processes), got {number} of {count}"
        )
    return Place(coordinator, count, number, devices) if count > 1 else None


def without_place(argv: Sequence[str]) -> list[str]:
    """A command line without what it says of several processes.

    >>> without_place(["trustjax", "report", "--distributed", "--process-id=1"])
    ['trustjax', 'report']
    """
    return [argv[0], *_parsed(argv)[1]]


def _parsed(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--num-processes", "--num_processes")
    parser.add_argument("--process-id", "--process_id")
    return parser.parse_known_args(argv[1:])


def _of(name: str) -> str | None:
    return os.environ.get(f"JAX_{name}")


def _number(option: str, given: str | None) -> int | None:
    if given is not None and not given.isdecimal():
        raise ValueError(f"{option} must be a whole number, got {given!r}")
    return None if given is None else int(given)


def _detected(
    coordinator: str | None, count: int | None, number: int | None
) -> tuple[str, int, int, list[int] | None]:
    """What is missing, as the cluster says it that this process runs in."""
    # Nothing public says where the coordinator is before it must be there.
    from jax._src.clusters import ClusterEnv

    found = ClusterEnv.auto_detect_unset_distributed_params(
        coordinator, count, number, None, None, int(_meeting.SECONDS_TO_REACH)
    )
    names = ("--coordinator HOST:PORT", "--num-processes N", "--process-id I")
    missing = [name for name, fact in zip(names, found, strict=False) if fact is None]
    if missing:
        raise ValueError(
            "--distributed: this is no cluster that says who is who (Slurm, Open MPI, "
            f"Kubernetes, Cloud TPU); give {', '.join(missing)}"
        )
    address, of_all, own, devices = found
    assert address is not None, "it is not missing"
    assert of_all is not None, "nor is this"
    assert own is not None, "nor is this"
    return address, of_all, own, None if devices is None else list(devices)


def run(place: Place) -> int:
    """Runs this command as one of several processes, and returns its exit code.

    | ended by | exit code |
    |---|---|
    | its own end | its own |
    | the end of another process | 3 |
    | a signal to it | as `_ending.in_one_line` says |
    | a signal to the process that it began | 128 + the signal |

    Raises:
      ValueError: if the processes are about to do different things.
      OSError: if they do not find each other.
    """
    with (
        _meeting.meet(place.coordinator, place.count, place.number, _facts()) as others,
        _begun(place) as (process, unsaid),
    ):
        try:
            code = _watched(process, others)
        except KeyboardInterrupt:
            others.tell(_meeting.End(place.number, "was stopped"))
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
            raise
        if code < 0:
            ended = signal.Signals(-code).name
            with tempfile.NamedTemporaryFile(
                prefix="trustjax-", suffix=".log", delete=False
            ) as kept:
                unsaid.seek(0)
                kept.write(unsaid.read())
            _ending.say(
                f"trustjax: the process was ended by {ended}: {kept.name} has its "
                "last words"
            )
            code = 128 - code
        how = "" if code == 0 else f"has ended with exit code {code}"
        if code != ENDED_WITH_ANOTHER:
            others.tell(_meeting.End(place.number, how))
        return code


def _facts() -> dict[str, str]:
    """What all processes of a run must agree on before they begin."""
    versions = {name: importlib.metadata.version(name) for name in _AGREED}
    command = shlex.join(without_place(sys.argv)[1:])
    return {"python": platform.python_version(), **versions, "the command": command}


def _watched(process: subprocess.Popen[bytes], others: _meeting.Meeting) -> int:
    """The exit code of a process, which another one's end ends."""
    end = None
    while end is None and process.poll() is None:
        end = others.news(_SECONDS_BETWEEN_LOOKS)
    if end is None and process.returncode < 0:
        # JAX aborts where the process that coordinates has gone.
        end = others.news(_SECONDS_TO_HEAR)
    if end is None:
        return process.returncode
    others.tell(end)
    # What ended the other may end this one as well, and it says why itself.
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process.wait(_SECONDS_TO_SAY) >= 0:
            return process.returncode
    process.kill()
    process.wait()
    _ending.say(
        f"trustjax: process {end.process} {end.how}, and so this one ends; what was "
        "done is kept, and the same command goes on from there"
    )
    return ENDED_WITH_ANOTHER


@contextlib.contextmanager
def _begun(place: Place) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """This command as a process that JAX runs in, and what that says unasked."""
    reading, writing = os.pipe()
    part = Part(place, sys.stdout.fileno(), sys.stderr.fileno(), reading)
    with tempfile.TemporaryFile(prefix="trustjax-") as unsaid:
        out, err = os.dup(part.out), os.dup(part.err)
        process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env={
                **os.environ,
                _PART: json.dumps([place, out, err, reading]),
                # It would take SIGTERM from Python, and do nothing about it.
                "JAX_ENABLE_PREEMPTION_SERVICE": "0",
            },
            stdout=unsaid,
            stderr=unsaid,
            pass_fds=(out, err, reading),
            # Ctrl-C is for the process that the user started.
            start_new_session=True,
        )
        for descriptor in (out, err, reading):
            os.close(descriptor)
        try:
            yield process, unsaid
        finally:
            process.kill()
            process.wait()
            os.close(writing)


def part() -> Part | None:
    """What this process is told by the one that began it; None where nobody did."""
    told = os.environ.pop(_PART, None)
    if told is None:
        return None
    where, out, err, began = json.loads(told)
    return Part(Place(*where), out, err, began)


def speak_for(part: Part) -> None:
    """Speaks where the one that began this process does, and ends when that ends."""
    sys.stdout = os.fdopen(part.out, "w", buffering=1)
    sys.stderr = os.fdopen(part.err, "w", buffering=1)

    def wait() -> None:
        os.read(part.began, 1)
        os._exit(ENDED_WITH_ANOTHER)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def together(place: Place) -> Iterator[None]:
    """Runs JAX with the other processes, which all come to the end of the block."""
    import jax

    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.number,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=_SECONDS_IN_JAX,
        # The others may be done long before the first has drawn the page.
        shutdown_timeout_seconds=_SECONDS_OF_A_WEEK,
    )
    try:
        yield
    except Exception:
        # Where a collective fails another has died, and this one is told so and ended.
        time.sleep(_SECONDS_OF_PATIENCE)
        raise
    jax.distributed.shutdown()
