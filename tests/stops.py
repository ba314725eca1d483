"""A report stopped at each of its stages: `python -m tests.stops`, in minutes.

Each stop must be one line and its exit code, and leave the old report or none; the
same command must then go on, and end with the bytes of a run that nobody stopped.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

COMMAND = [
    *(sys.executable, "-m", "trustjax", "report", "--dataset", "digits"),
    *("--model", "mlp", "--epochs", "3", "--out-of-distribution", "letters"),
]
STAGES = [
    # After how many seconds, or at which line of its progress; by which signal.
    (1.0, signal.SIGINT, 130),
    (4.0, signal.SIGTERM, 143),
    ("training", signal.SIGINT, 130),
    ("training", signal.SIGKILL, -9),
    ("scoring digits", signal.SIGINT, 130),
    ("scoring digits", signal.SIGKILL, -9),
    ("scoring letters", signal.SIGINT, 130),
    ("scoring letters 2250/2250", signal.SIGINT, 130),
]
NAMES = {"index.html", "metrics.json", "scores.npz"}


def started(folder):
    root = str(pathlib.Path(__file__).parents[1])
    return subprocess.Popen(
        COMMAND,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A script's background job would ignore Ctrl-C, and so would all it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def stopped(folder, moment, number):
    """The exit code of a report that is stopped then, and what it said."""
    process = started(folder)
    assert process.stderr is not None
    if isinstance(moment, float):
        threading.Timer(moment, process.send_signal, [number]).start()
    said = []
    for line in process.stderr:
        if isinstance(moment, str) and line.startswith(moment):
            process.send_signal(number)
            moment = 0
        said.append(line)
    process.communicate()
    lines = [
        line
        for line in said
        if not line.startswith(("training", "scoring", "assessing", "drawing"))
    ]
    return process.returncode, lines


def report_of(folder):
    report = folder / "reports" / "digits-mlp-0"
    files = [path for path in report.rglob("*") if path.is_file()]
    # Who is killed leaves the mark of a run behind, which then holds nobody off.
    files = [path for path in files if path.name != ".trustjax-run"]
    found = {path.relative_to(report): path.read_bytes() for path in files}
    names = {path.as_posix() for path in found}
    assert not names or names >= NAMES, names
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folders = [pathlib.Path(name, part) for part in ("stopped", "whole")]
        for folder in folders:
            folder.mkdir()
        for moment, number, code in STAGES:
            ended, lines = stopped(folders[0], moment, number)
            assert ended == code, (moment, ended, lines)
            assert len(lines) == (code > 0), (moment, lines)
            report_of(folders[0])
        for folder in folders:
            process = started(folder)
            _, errors = process.communicate()
            assert process.returncode == 0, errors
        ours, expected = map(report_of, folders)
        assert ours
        assert ours == expected
        assert not list(folders[0].glob("checkpoints/*/scoring/**/*.npz"))


if __name__ == "__main__":
    main()
