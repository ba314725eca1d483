"""Optional dependencies: imported where they are needed, missed with advice."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def required(extra: str) -> Iterator[None]:
    """Names the install command where an import in the block finds no package.

    >>> with required("data"):
    ...     import no_such_package
    Traceback (most recent call last):
    ModuleNotFoundError: no_such_package is not installed; run: pip install \
'trustjax[data]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("trustjax"):
            raise
        raise ModuleNotFoundError(
            f"{error.name} is not installed; run: pip install 'trustjax[{extra}]'",
            name=error.name,
        ) from error
