"""What holds for the doctests of the library as for the tests.

torch is not there where `make test` runs: what imports it is not looked at.
"""

import importlib.util

from tests.memory import programs_in_memory as programs_in_memory
from tests.memory import programs_of_one_module as programs_of_one_module

_OF_TORCH = ["trustjax/bridge/_torch/_[!_]*.py", "tests/torch_networks.py"]

collect_ignore_glob = [] if importlib.util.find_spec("torchax") else _OF_TORCH
