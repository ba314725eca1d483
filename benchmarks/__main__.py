"""Runs the benchmarks, each in a process of its own: `python -m benchmarks [name ...]`.

A benchmark is a module of this package with a `main()` that prints a table of ratios.
"""

import pathlib
import subprocess
import sys

TOPICS = sorted(
    path.stem
    for path in pathlib.Path(__file__).parent.glob("*.py")
    if not path.stem.startswith("_") and "def main(" in path.read_text()
)


def main() -> int:
    chosen = sys.argv[1:] or TOPICS
    unknown = sorted(set(chosen) - set(TOPICS))
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(TOPICS)}")
        return 2
    failed = []
    for topic in chosen:
        print(f"\n== {topic}", flush=True)
        run = subprocess.run([sys.executable, "-m", f"benchmarks.{topic}"], check=False)
        if run.returncode:
            failed.append(topic)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
