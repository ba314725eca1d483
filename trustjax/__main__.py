"""`trustjax` and `python -m trustjax`: the command, from its first import on."""

import contextlib
import os
import sys

from trustjax import _ending, _launch


def main() -> None:
    """Runs the command line; a missing package or Ctrl-C is one line, here as well."""
    part = _launch.part()
    if part is not None:
        _launch.speak_for(part)
    try:
        with _ending.in_one_line(says_stop=part is None):
            place = _launch.place(sys.argv) if part is None else None
            if place is not None:
                sys.exit(_launch.run(place))
        with _ending.in_one_line(unwind=False, says_stop=part is None):
            from trustjax import cli
        together = _launch.together(part.place) if part else contextlib.nullcontext()
        with _ending.in_one_line(says_stop=part is None), together:
            cli.run()
    except SystemExit as end:
        # Python would wait for threads, and forget the code where the signal came
        # while it was executing a string, as dataclasses do; and JAX would wait for
        # processes that do not come to their end.
        if end.code in _ending.STOPPED or (part is not None and end.code):
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise
    except BaseException as error:
        if part is None:
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)


if __name__ == "__main__":
    main()
