"""torch is not there where `make test` runs: what imports it is not looked at."""

import importlib.util

collect_ignore_glob = (
    [] if importlib.util.find_spec("torchax") else ["trustjax/bridge/_torch/_*.py"]
)
