"""torch is not there where `make test` runs: what imports it is not looked at."""

import importlib.util

_OF_TORCH = ["trustjax/bridge/_torch/_[!_]*.py", "tests/torch_networks.py"]

collect_ignore_glob = [] if importlib.util.find_spec("torchax") else _OF_TORCH
