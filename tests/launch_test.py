"""A command that several processes run: who is who, and how one ends with another."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.meeting_test import free_port
from trustjax import _launch
from trustjax._launch import Place

LINE = [
    *("trustjax", "report", "--distributed", "--coordinator", "host:1"),
    *("--num-processes", "4"),
]
ROOT = pathlib.Path(__file__).parents[1]
KEPT = "what was done is kept, and the same command goes on from there"


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    for name in os.environ:
        if name.startswith(("SLURM", "OMPI", "JAX_COORD", "JAX_PROC", "JAX_NUM_P")):
            monkeypatch.delenv(name)


def test_a_place_on_the_command_line():
    expected = Place("host:1", 4, 3)
    assert _launch.place([*LINE, "--process-id", "3"]) == expected
    assert _launch.place([*LINE, "--process_id=3"]) == expected
    assert _launch.place(["trustjax", "report", "--seed", "1"]) is None
    assert _launch.place([*LINE, "--process-id", "0", "--num-processes=1"]) is None


def test_a_place_in_the_environment(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "there:2")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    assert _launch.place(["trustjax", "oracle", "--distributed"]) == (
        Place("there:2", 2, 1)
    )
    # Nobody is one of several without a word.
    assert _launch.place(["trustjax", "oracle"]) is None


def test_a_place_in_a_cluster_that_jax_knows(monkeypatch):
    for name, value in {
        "SLURM_JOB_ID": "123456",
        "SLURM_STEP_NODELIST": "node[001-002]",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    place = _launch.place(["trustjax", "report", "--distributed"])
    assert place is not None
    assert re.fullmatch(r"node001:\d+", place.coordinator)
    assert place[1:] == (2, 1, [0])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("report --process-id 1", "--process-id is of --distributed: give it too"),
        ("report --coordinator a:1", "--coordinator is of --distributed"),
        ("assess x.npz --distributed", "assess works in one process: start it once"),
        ("explain --distributed", "explain works in one process"),
        ("--distributed", "the command works in one process"),
        ("report --distributed", "give --coordinator HOST:PORT, --num-processes N, -"),
        ("report --distributed --coordinator a:1", "give --num-processes N, --proc"),
        ("report --distributed --process-id two", "must be a whole number, got 'two'"),
    ],
)
def test_a_place_that_is_none(line, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        _launch.place(["trustjax", *line.split()])


def test_a_number_that_is_not_of_the_processes():
    with pytest.raises(ValueError, match=r"must be in \[0, --num-processes\), got 4"):
        _launch.place([*LINE, "--process-id", "4"])


class Processes:
    """Processes that have begun, and what they have said."""

    def __init__(self, *deeds):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        words = [
            *(sys.executable, "-m", "tests.launch_process", "report", *deeds),
            *("--distributed", "--coordinator", f"localhost:{free_port()}"),
            *("--num-processes", str(len(deeds)), "--process-id"),
        ]
        self.all = [
            subprocess.Popen(
                [*words, str(number)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(len(deeds))
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.all:
            process.kill()
            process.communicate()

    def begun(self):
        for process in self.all:
            assert process.stdout is not None
            assert "begun as" in process.stdout.readline()

    def ends(self):
        """Exit codes and what was said, by process; each within a minute."""
        said = [process.communicate(timeout=60) for process in self.all]
        return [
            (process.returncode, out, err)
            for process, (out, err) in zip(self.all, said, strict=True)
        ]


def test_all_come_to_their_end_and_the_noise_is_not_shown():
    with Processes("end", "end") as processes:
        assert processes.ends() == [(0, f"begun as {n} of 2\n", "") for n in (0, 1)]


@pytest.mark.parametrize("killed", [0, 2])
def test_a_killed_process_ends_the_others_in_one_line(killed):
    with Processes("work", "work", "work") as processes:
        processes.begun()
        processes.all[killed].kill()
        begun = time.monotonic()
        for number, (code, _, err) in enumerate(processes.ends()):
            if number == killed:
                assert (code, err) == (-signal.SIGKILL, "")
            else:
                assert code == _launch.ENDED_WITH_ANOTHER
                assert err == (
                    f"trustjax: process {killed} has died, or its machine has, and so "
                    f"this one ends; {KEPT}\n"
                )
        assert time.monotonic() - begun < 60


def test_an_error_is_said_by_the_process_that_has_it():
    with Processes("work", "fail") as processes:
        first, second = processes.ends()
    assert second[::2] == (2, "trustjax: a reason\n")
    assert first[0] == _launch.ENDED_WITH_ANOTHER
    assert first[2].startswith("trustjax: process 1 has ended with exit code 2, and")


def test_what_aborts_leaves_its_last_words_in_a_file():
    with Processes("abort", "work") as processes:
        first, second = processes.ends()
    assert first[0] == 128 + signal.SIGABRT
    (path,) = re.findall(r"ended by SIGABRT: (\S+) has its last words\n", first[2])
    assert pathlib.Path(path).read_text() == "noise of C++\nmore of it\n"
    pathlib.Path(path).unlink()
    assert "process 0 has ended with exit code 134" in second[2]


def test_what_aborts_for_another_has_gone_says_who():
    with Processes("fail", "abort") as processes:
        _, second = processes.ends()
    assert second[0] == _launch.ENDED_WITH_ANOTHER
    assert second[2].startswith("trustjax: process 0 has ended with exit code 2, and")


@pytest.mark.exhaustive
def test_a_signal_is_heard_where_nothing_listens(monkeypatch):
    with Processes("work", "deaf") as processes:
        processes.begun()
        out = processes.all[1].stdout
        assert out is not None
        assert out.readline() == "deaf\n"
        processes.all[1].terminate()
        first, second = processes.ends()
    assert second[0] == 128 + signal.SIGTERM
    assert second[2] == f"trustjax: terminated; {KEPT}\n"
    assert first[0] == _launch.ENDED_WITH_ANOTHER
    assert "process 1 was stopped, and so this one ends" in first[2]
