"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator


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
      OSError: if the folder cannot be made or written, naming the folder.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_whole(f"{folder}/a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     print(pathlib.Path(folder, "a.txt").read_text(), len(os.listdir(folder)))
    whole 1
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
    except OSError as error:
        raise OSError(f"cannot write in the folder {path.parent}: {error}") from error
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 would hide it from a server
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Makes a folder, and a file in it that is taken away again.

    Long work asks this first, so as not to fail at its end.

    Raises:
      OSError: if the folder cannot be made or written, naming it.

    >>> require_writable("/dev/null/reports")
    Traceback (most recent call last):
    OSError: cannot write in the folder /dev/null/reports: ...
    """
    with written_whole(pathlib.Path(folder, "writable")) as temporary:
        temporary.touch()
    pathlib.Path(folder, "writable").unlink()
