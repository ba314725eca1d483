"""A command without JAX that several processes run: `python -m tests.launch_process`.

`report DEED... --distributed ...`: each process does what its deed says.
"""

import os
import signal
import sys
import time

from trustjax import _ending, _launch


def main():
    part = _launch.part()
    if part is None:
        place = _launch.place(sys.argv)
        assert place is not None
        with _ending.in_one_line():
            sys.exit(_launch.run(place))
    _launch.speak_for(part)
    os.write(1, b"noise of C++\n")
    os.write(2, b"more of it\n")
    sys.stdout.write(f"begun as {part.place.number} of {part.place.count}\n")
    deed = sys.argv[2 + part.place.number]
    if deed == "work":
        time.sleep(60)
    elif deed == "abort":
        os.abort()
    elif deed == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stdout.write("deaf\n")
        time.sleep(60)
    elif deed == "fail":
        _ending.say("trustjax: a reason")
        os._exit(2)
    else:
        assert deed == "end"


if __name__ == "__main__":
    main()
