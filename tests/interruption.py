"""A run in a process of its own, killed at any moment."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time


def killed_run(code, folder):
    """Runs Python code until it has written a checkpoint into `folder`, and kills it.

    The code may import the tests' modules by their names; `sys.argv[1]` is the folder.
    """
    here = pathlib.Path(__file__).parent
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=environment
    )
    deadline = time.monotonic() + 240
    while not any(path.name.isdigit() for path in folder.iterdir()):
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(random.uniform(0.0, 1.0))  # any moment will do: in a step, in a save
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
