"""What devices send each other, by the text of a compiled program."""

import re

COLLECTIVE = re.compile(
    r"\b(all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter)\b"
)
