"""Files are whole or not there, and no file of the user's is touched."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.full_disk import files_of_at_most
from trustjax import _files

NAMES = ("scores.npz", "metrics.json", "index.html")


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def write(folder, text, sizes=(1, 1, 1)):
    with _files.written_together(folder, NAMES) as new:
        for name, size in zip(NAMES, sizes, strict=True):
            (new / name).write_text(text * size)


def test_holding_a_folder_leaves_every_file_of_it(tmp_path):
    (tmp_path / "writable").write_text("the user's")
    with _files.held(tmp_path):
        assert len(contents(tmp_path)) == 2
    assert contents(tmp_path) == {"writable": "the user's"}


HOLDER = """
import sys
from trustjax import _files
with _files.held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder until it hears a line, or is killed."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_another_run_holds_is_refused(tmp_path, holder):
    message = f"another run, process {holder.pid}, is writing in the folder {tmp_path}:"
    with pytest.raises(BlockingIOError, match=message), _files.held(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with _files.held(tmp_path):  # a kill gives it back
        assert contents(tmp_path) == {".trustjax-run": str(os.getpid())}
    assert contents(tmp_path) == {}


def test_a_folder_that_another_run_holds_can_be_waited_for(tmp_path, holder):
    heard = []

    def let_go(said):
        heard.append(said)
        holder.communicate("\n")

    with _files.held(tmp_path, wait=let_go):
        assert contents(tmp_path) == {".trustjax-run": str(os.getpid())}
    (said,) = heard
    assert said.endswith(f"is writing in the folder {tmp_path}: waiting for its end")


def test_many_that_wait_hold_a_folder_one_after_another(tmp_path):
    inside, most = [], []

    def hold():
        for _ in range(20):
            with _files.held(tmp_path, wait=lambda said: None):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("full_at", [0, 1, 2])
def test_a_full_disk_leaves_the_old_set_and_all_else(tmp_path, full_at):
    write(tmp_path, "old")
    (tmp_path / "notes.txt").write_text("the user's")
    before = contents(tmp_path)
    sizes = [1, 1, 1]
    sizes[full_at] = 100_000
    with (
        files_of_at_most(4096),
        pytest.raises(OSError, match=f"cannot write in the folder {tmp_path}: "),
    ):
        write(tmp_path, "new", sizes)
    assert contents(tmp_path) == before
    write(tmp_path, "new", sizes)
    assert contents(tmp_path).keys() == before.keys()


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path):
    path = tmp_path / "kept.npz"
    path.write_text("old")
    with (
        files_of_at_most(4096),
        pytest.raises(OSError, match=f"cannot write {path}: "),
        _files.written_whole(path) as temporary,
    ):
        np.savez(temporary, zeros=np.zeros(10_000))
    assert contents(tmp_path) == {"kept.npz": "old"}


class Killed(BaseException):
    """Nothing in the library catches it: what it leaves is what a kill leaves."""


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_set_that_a_kill_left_half_in_place_is_finished_first(tmp_path, moved):
    write(tmp_path, "old")
    replace, calls = os.replace, []

    def killed(*paths):
        if len(calls) == moved:
            raise Killed
        calls.append(paths)
        replace(*paths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            write(tmp_path, "new")
    with pytest.raises(RuntimeError), _files.written_together(tmp_path, NAMES):
        raise RuntimeError("the next one fails")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "new")


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    write(tmp_path, "old")
    (tmp_path / ".trustjax-new").mkdir()
    (tmp_path / ".trustjax-new" / "index.html").write_text("ne")
    write(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "new")


def test_an_interruption_between_two_files_ends_with_the_new_set(tmp_path, monkeypatch):
    write(tmp_path, "old")
    replace, calls = os.replace, []

    def interrupted(*paths):
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "new")


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything(tmp_path):
    (tmp_path / "metrics.json").mkdir()
    (tmp_path / "metrics.json" / "mine").write_text("the user's")
    with pytest.raises(OSError, match=r"metrics\.json is a folder"):
        write(tmp_path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def everything(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_nested(folder, text, names, leaving=()):
    with _files.written_together(folder, names, leaving) as new:
        for name in names:
            (new / name).write_text(text)


def test_files_in_folders_change_together_and_those_that_leave_go(tmp_path):
    write_nested(tmp_path, "old", ["a/b/1.txt", "a/2.txt", "3.txt"])
    (tmp_path / "a" / "notes.txt").write_text("the user's")
    write_nested(tmp_path, "new", ["a/2.txt", "4.txt"], ["a/b/1.txt", "a/2.txt"])
    assert everything(tmp_path) == {
        "a/2.txt": "new",
        "4.txt": "new",
        "3.txt": "old",
        "a/notes.txt": "the user's",
    }


@pytest.mark.parametrize("moved", [0, 1])
def test_what_leaves_is_gone_after_a_kill_too(tmp_path, moved):
    write_nested(tmp_path, "old", ["a/1.txt", "a/2.txt", "3.txt"])
    replace, calls = os.replace, []

    def killed(*paths):
        if len(calls) == moved:
            raise Killed
        calls.append(paths)
        replace(*paths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            write_nested(tmp_path, "new", ["a/2.txt", "3.txt"], ["a/1.txt"])
    write_nested(tmp_path, "newer", ["4.txt"])
    assert everything(tmp_path) == {"a/2.txt": "new", "3.txt": "new", "4.txt": "newer"}


def test_a_failure_takes_nothing_away(tmp_path):
    write_nested(tmp_path, "old", ["a/1.txt", "a/2.txt"])
    with (
        pytest.raises(RuntimeError),
        _files.written_together(tmp_path, ["a/2.txt"], ["a/1.txt"]),
    ):
        raise RuntimeError
    assert everything(tmp_path) == {"a/1.txt": "old", "a/2.txt": "old"}


def test_a_file_in_the_place_of_a_folder_is_refused_before_anything(tmp_path):
    (tmp_path / "a").write_text("the user's")
    with pytest.raises(OSError, match=r"/a is no folder"):
        write_nested(tmp_path, "new", ["a/1.txt"])
    assert everything(tmp_path) == {"a": "the user's"}


def test_files_are_readable_as_usual(tmp_path):
    write(tmp_path, "new")
    umask = os.umask(0)
    os.umask(umask)
    rights = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert rights == {0o666 & ~umask}
