"""A report of several processes, killed ten times: `python -m tests.several`.

Each time one of the processes, or what it has begun, is killed at a random moment; the
others must end within a minute, in one line; and it goes on with one, two or three
processes. In the end the report has the numbers of a run that nobody killed.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from tests.meeting_test import free_port
from trustjax import _launch

COMMAND = [
    *(sys.executable, "-m", "trustjax", "report", "--dataset", "digits"),
    *("--model", "mlp", "--epochs", "8", "--out-of-distribution", "letters"),
    *("--scores", "max_softmax", "grad_trust", "--gradient-group", "None"),
    *("--batch-size", "60"),
]
STAGES = ["", "training", "scoring digits", "scoring letters", "assessing"]
KILLS = 10
MOST_SECONDS = 3.0  # after the first line of a stage


def started(folder, processes):
    """The processes of a report, of two devices each."""
    root = str(pathlib.Path(__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": root,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    port = free_port()
    together = [
        *("--distributed", "--coordinator", f"localhost:{port}"),
        *("--num-processes", str(processes), "--process-id"),
    ]
    return [
        subprocess.Popen(
            [*COMMAND, *([*together, str(number)] if processes > 1 else ())],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]


def begun_by(process):
    """What a process of a run has begun, which is where JAX runs; None for nothing."""
    listed = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(FileNotFoundError):
        children = listed.read_text().split()
        return int(children[0]) if children else None
    return None


def killed(folder, processes, stage, seconds, victim, child):
    """Whether a report ends before it is killed; what is said is looked at."""
    all_of_them = started(folder, processes)
    said = [[] for _ in all_of_them]
    reached = threading.Event()

    def listen(process, lines):
        for line in process.stderr:
            lines.append(line)
            if line.startswith(stage):
                reached.set()

    listeners = [
        threading.Thread(target=listen, args=pair)
        for pair in zip(all_of_them, said, strict=True)
    ]
    for listener in listeners:
        listener.start()
    if stage:
        while not reached.wait(0.1) and all_of_them[0].poll() is None:
            pass
    time.sleep(seconds)
    pid = all_of_them[victim].pid
    if child:
        pid = begun_by(all_of_them[victim]) or pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    codes = [process.wait(timeout=60) for process in all_of_them]
    assert time.monotonic() - began < 60
    for listener in listeners:
        listener.join()
    for number, (code, lines) in enumerate(zip(codes, said, strict=True)):
        ours = [line for line in lines if line.startswith("trustjax: ")]
        theirs = [line for line in lines if "Error" in line or "Traceback" in line]
        assert not theirs, lines
        if number != victim and code:
            assert code == _launch.ENDED_WITH_ANOTHER, (codes, said)
            assert len(ours) == 1, said
            assert f"process {victim} " in ours[0], said
    return not any(codes)


def numbers_of(folder):
    report = folder / "reports" / "digits-mlp-0"
    found = json.loads((report / "metrics.json").read_text())
    return found["headline"], dict(np.load(report / "scores.npz"))


def main() -> None:
    drawn = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        stopped, whole = (pathlib.Path(name, part) for part in ("stopped", "whole"))
        for folder in (stopped, whole):
            folder.mkdir()
        for kill in range(KILLS):
            processes = (2, 3, 2, 1)[kill % 4]
            moment = (drawn.choice(STAGES), drawn.uniform(0, MOST_SECONDS))
            victim = (drawn.randrange(processes), drawn.random() < 0.5)
            ended = killed(stopped, processes, *moment, *victim)
            sys.stderr.write(f"{processes} {moment} {victim} {ended}\n")
        for folder, processes in ((stopped, 3), (whole, 1)):
            of_all = started(folder, processes)
            for process in of_all:
                _, errors = process.communicate()
                assert process.returncode == 0, errors
        (ours, our_scores), (expected, scores) = map(numbers_of, (stopped, whole))
        for quantity, facts in expected.items():
            for fact, value in facts.items():
                if isinstance(value, float):
                    assert abs(ours[quantity][fact] - value) < 1e-4, (quantity, fact)
        assert our_scores.keys() == scores.keys()
        for array, values in scores.items():
            if values.dtype.kind == "f":
                # Learning makes more of the order of a sum.
                np.testing.assert_allclose(our_scores[array], values, 1e-3, 1e-3)
            else:
                np.testing.assert_array_equal(our_scores[array], values)
        assert not list(stopped.glob("checkpoints/*/scoring/**/*.npz"))


if __name__ == "__main__":
    main()
