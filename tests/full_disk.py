"""A disk that is full, without one."""

import contextlib
import resource


@contextlib.contextmanager
def files_of_at_most(size):
    """As on a full disk: a write beyond `size` bytes fails, in the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
