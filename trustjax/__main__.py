"""`trustjax` and `python -m trustjax`: the command, from its first import on."""

import os
import sys

from trustjax import _ending


def main() -> None:
    """Runs the command line; a missing package or Ctrl-C is one line, here as well."""
    try:
        with _ending.in_one_line(unwind=False):
            from trustjax import cli
        with _ending.in_one_line():
            cli.run()
    except SystemExit as end:
        if end.code in _ending.STOPPED:
            # Python would wait for threads, and forget the code where the signal came
            # while it was executing a string, as dataclasses do.
            sys.stdout.flush()
            os._exit(int(end.code))
        raise


if __name__ == "__main__":
    main()
