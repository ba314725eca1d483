"""The authors' numbers. See tests/golden/README.md for where each file comes from."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden"


def load(name):
    """The arrays of one golden file, by their slash-separated names."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def params(arrays):
    """The `params/<layer>/<tensor>` arrays of a golden file as a nested dict."""
    tree = {}
    for path, value in arrays.items():
        if path.startswith("params/"):
            _, layer, tensor = path.split("/")
            tree.setdefault(layer, {})[tensor] = value
    return tree
