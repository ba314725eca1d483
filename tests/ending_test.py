"""A command that is stopped says so in one line and by its exit code."""

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from trustjax import _ending, train


@pytest.fixture(autouse=True)
def interruptions_are_heard():
    """Also where these tests run in the background of a shell, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(code):
    """What a process of its own says that runs a block of a command."""
    program = (
        "import os, signal, sys, time\n"
        "from trustjax import _ending\n"
        "with _ending.in_one_line():\n"
    ) + "".join(f"    {line}\n" for line in code.splitlines())
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("number", "said", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)],
)
def test_a_signal_is_one_line_and_its_exit_code(capsys, number, said, code):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    unwound = []

    @_ending.in_one_line()
    def command():
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            unwound.append(True)

    with pytest.raises(SystemExit) as stopped:
        command()
    assert stopped.value.code == code
    assert unwound
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trustjax: {said}; what was done is kept")
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    "swallowing",
    [
        # An exception in a destructor is printed and forgotten by Python.
        "class Resource:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(10)\n"
        "Resource()\n",
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(10)\n"
        "except KeyboardInterrupt:\n"
        "    raise ValueError('made of it by some package')\n",
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(10)\n"
        "except KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(10)\n",
    ],
    ids=["destructor", "another error", "second signal"],
)
def test_an_interruption_is_not_lost(swallowing):
    stopped = run(swallowing + "print('went on')")
    assert stopped.returncode == 130
    (line,) = stopped.stderr.splitlines()
    assert line.startswith("trustjax: interrupted")
    assert not stopped.stdout


def test_a_package_that_is_missing_is_one_line():
    program = (
        "import sys; sys.modules['tyro'] = None; from trustjax import __main__ as m"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{program}; m.main()"], capture_output=True, text=True
    )
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "trustjax: tyro is not installed; run: pip install 'trustjax[cli]'",
        "(TRUSTJAX_TRACEBACK=1 shows where it came from)",
    ]


def test_what_nobody_expects_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a fault"), _ending.in_one_line():
        raise RuntimeError("a fault")


def test_a_warning_of_the_library_is_one_line(capsys):
    with _ending.in_one_line(), warnings.catch_warnings():
        warnings.simplefilter("always", train.DamagedCheckpointWarning)
        warnings.warn("it is damaged", train.DamagedCheckpointWarning, stacklevel=1)
    assert capsys.readouterr().err == "trustjax: it is damaged\n"
