"""Files that are written whole or not at all, alone or several together."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

_BEING_WRITTEN, _COMPLETE = ".trustjax-new", ".trustjax-complete"
_LEAVING = ".trustjax-leaving"  # within a complete set: files that it replaces
_HELD = ".trustjax-run"  # holds the number of the process that works in the folder


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, which takes its place on success.

    A reader sees the old file or the new one, never a part; an error or a kill
    leaves the old file as it was.

    Args:
      path: the file to write. Its folder is made if it is missing.

    Yields:
      The path to write to, with the same suffix as `path`.

    Raises:
      OSError: if the folder cannot be made or written, naming the folder; if the
        file cannot be written, as on a full disk, naming the file.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_whole(f"{folder}/a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     print(pathlib.Path(folder, "a.txt").read_text(), len(os.listdir(folder)))
    whole 1
    """
    path = pathlib.Path(path)
    temporary = _temporary_file(path)
    try:
        with _naming(f"cannot write {path}"):
            yield temporary
            _publish(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def written_together(
    folder: str | os.PathLike[str], names: Sequence[str], leaving: Sequence[str] = ()
) -> Iterator[pathlib.Path]:
    """Yields a new folder, whose files take their places in `folder` on success.

    All are written before the first takes its place, so that an error or a full disk
    leaves the old ones as they were. They then take their places one after another,
    by renames: a kill just there leaves the rest to the next call, which finishes it
    before anything else. Other files of `folder` are left alone. Where two processes
    write into one folder, one waits for the other.

    Args:
      folder: where the files belong. It is made if it is missing.
      names: the files, in the order in which they take their places. They may lie in
        folders of their own, `"figures/a.svg"`, which are there in the new folder.
      leaving: files of an older set that the new one has not: taken away with it.

    Yields:
      The folder to write them to.

    Raises:
      OSError: if the folder cannot be made or written, or one of the names is a
        folder there; if a file cannot be written, as on a full disk.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_together(folder, ["a.txt", "b.txt"]) as new:
    ...         for name in ("a.txt", "b.txt"):
    ...             _ = (new / name).write_text("whole")
    ...     print(sorted(os.listdir(folder)))
    ['a.txt', 'b.txt']
    """
    folder = pathlib.Path(folder)
    with _locked(folder), _naming(f"cannot write in the folder {folder}"):
        complete, new = folder / _COMPLETE, folder / _BEING_WRITTEN
        _take_places(complete, names)
        if new.exists():
            shutil.rmtree(new)
        for name in names:
            if (folder / name).is_dir():
                raise OSError(f"{folder / name} is a folder")
            parent = (folder / name).parent
            if parent.exists() and not parent.is_dir():
                raise OSError(f"{parent} is no folder")
        new.mkdir()
        for name in names:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            yield new
            for name in names:
                _publish(new / name)
            (new / _LEAVING).write_text("\n".join(set(leaving).difference(names)))
            new.rename(complete)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        try:
            _take_places(complete, names)
        except KeyboardInterrupt:
            _take_places(complete, names)
            raise


def kept_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray] | None:
    """The arrays of an `.npz` file that was kept to save work.

    None where there is no file, or a damaged one: what it held is computed again.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "kept.npz")
    ...     print(kept_arrays(path))
    ...     np.savez(path, a=np.arange(3))
    ...     print(kept_arrays(path))
    ...     _ = path.write_bytes(path.read_bytes()[:-9])
    ...     print(kept_arrays(path))
    None
    {'a': array([0, 1, 2])}
    None
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file) as kept:
            return dict(kept)
    except (EOFError, ValueError, zipfile.BadZipFile):
        return None


def _temporary_file(path: pathlib.Path) -> pathlib.Path:
    """A new file beside `path`, hidden, under a name of its own."""
    with _naming(f"cannot write in the folder {path.parent}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
    os.close(handle)
    return pathlib.Path(name)


def _publish(path: pathlib.Path) -> None:
    """Gives a written file the usual rights, and waits until it is on the disk."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)  # mkstemp's 0600 would hide it from a server
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def _take_places(complete: pathlib.Path, names: Sequence[str]) -> None:
    """Moves what is left of a complete set to its places, and what it replaces away."""
    if not complete.exists():
        return
    leaving = complete / _LEAVING
    for name in leaving.read_text().splitlines() if leaving.exists() else ():
        (complete.parent / name).unlink(missing_ok=True)
    leaving.unlink(missing_ok=True)
    left = {
        str(path.relative_to(complete))
        for path in complete.rglob("*")
        if not path.is_dir()
    }
    for name in [*(n for n in names if n in left), *sorted(left.difference(names))]:
        place = complete.parent / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(complete / name, place)
    shutil.rmtree(complete)


@contextlib.contextmanager
def held(
    folder: str | os.PathLike[str], *, wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Holds the one right to work in a folder for long; a kill gives it back.

    Two runs beside each other would do all work twice, into the same files.

    Args:
      folder: is made if it is missing.
      wait: hears who holds it, and then it is waited for; None to refuse instead.

    Raises:
      BlockingIOError: if another run holds it, naming its process.
      OSError: if the folder cannot be made or written, naming it.

    >>> with tempfile.TemporaryDirectory() as folder, held(folder):
    ...     with held(folder):
    ...         pass
    Traceback (most recent call last):
    BlockingIOError: another run, process ..., is writing in the folder ...
    """
    folder = pathlib.Path(folder)
    path = folder / _HELD
    while True:
        with _naming(f"cannot write in the folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _is_free(handle, folder):
                process = os.pread(handle, 20, 0).decode() or "unknown"
                said = f"another run, process {process}, is writing in the folder"
                if wait is None:
                    raise BlockingIOError(
                        f"{said} {folder}: wait for its end, or choose another folder"
                    )
                wait(f"{said} {folder}: waiting for its end")
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Who held it has taken the file away, and another may have a new one.
            if _is_at(handle, path):
                os.truncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(handle)


def _is_free(handle: int, folder: pathlib.Path) -> bool:
    """Whether nobody holds an open file; if so it is held from now on."""
    with _naming(f"cannot hold the folder {folder}"):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_at(handle: int, path: pathlib.Path) -> bool:
    """Whether an open file is the one that is there."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the one right to write a set into a folder; a kill gives it back."""
    with _naming(f"cannot write in the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _naming(failed: str) -> Iterator[None]:
    """Says in an error of the file system what could not be done."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{failed}: {error}") from error
