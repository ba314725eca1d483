"""A detector as one file, in which nothing is pickled."""

import os
import re

import numpy as np

from trustjax import _files, _npz, _validate
from trustjax.detectors._detector import KINDS, TRANSFORMS, Detector

_FORMAT = "trustjax detector 1"
_ARRAYS = ("centre", "scale", "unit", "threshold")
_TEXTS = ("format", "kind", "transform", "names")


def save(detector: Detector, path: str | os.PathLike[str]) -> None:
    """Writes a detector as an `.npz` file, whole or not at all.

    Args:
      detector: what `fit` returned.
      path: where to; its suffix is `.npz`. Its folder is made if it is missing.

    Raises:
      ValueError: if the suffix is another.
      OSError: if it cannot be written.

    >>> import tempfile
    >>> from trustjax import detectors
    >>> columns = {"margin": np.array([0.1, 0.2, 0.8, 0.9])}
    >>> fitted = detectors.fit("ridge", columns, np.array([0, 0, 1, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(fitted, f"{folder}/detector.npz")
    ...     load(f"{folder}/detector.npz").names
    ('margin',)
    """
    if not os.fspath(path).endswith(".npz"):
        raise ValueError(f"a detector is written as .npz, got {os.fspath(path)}")
    arrays = {name: np.asarray(getattr(detector, name)) for name in _ARRAYS}
    for number, (kernel, bias) in enumerate(detector.layers):
        arrays[f"kernel_{number}"] = np.asarray(kernel)
        arrays[f"bias_{number}"] = np.asarray(bias)
    texts = {
        "format": np.array(_FORMAT),
        "kind": np.array(detector.kind),
        "transform": np.array(detector.transform),
        "names": np.array(detector.names),
    }
    with _files.written_whole(path) as temporary:
        np.savez(temporary, allow_pickle=False, **texts, **arrays)


def load(path: str | os.PathLike[str]) -> Detector:
    """The detector in a file that `save` wrote.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged or holds no detector, naming what is wrong.
    """
    where = os.fspath(path)
    found = _npz.read(path)
    if str(found.get("format", "")) != _FORMAT:
        what = "another version of" if "format" in found else "no"
        raise ValueError(f"{where} holds {what} detector: trustjax detect writes one")
    numbers = sorted(
        int(match[1])
        for name in found
        if (match := re.fullmatch(r"kernel_(\d+)", name))
    )
    asked = {*_TEXTS, *_ARRAYS, "kernel_0", *(f"bias_{n}" for n in numbers)}
    if missing := sorted(asked - set(found)):
        raise ValueError(f"{where}: a detector without {', '.join(missing)}")
    kind, transform = str(found["kind"]), str(found["transform"])
    _validate.choice(f"{where}: kind", kind, KINDS)
    _validate.choice(f"{where}: transform", transform, TRANSFORMS)
    detector = Detector(
        layers=tuple((found[f"kernel_{n}"], found[f"bias_{n}"]) for n in numbers),
        **{name: found[name] for name in _ARRAYS},
        names=tuple(map(str, found["names"])),
        kind=kind,
        transform=transform,
    )
    _require_fitting(detector, where)
    return detector


def _require_fitting(detector: Detector, where: str) -> None:
    """Requires arrays whose shapes fit each other, and finite numbers."""
    width = len(detector.names)
    expected: list[tuple[str, tuple[int, ...], np.ndarray]] = [
        (name, () if name == "threshold" else (width,), getattr(detector, name))
        for name in _ARRAYS
    ]
    for number, (kernel, bias) in enumerate(detector.layers):
        last = number == len(detector.layers) - 1
        out = 1 if last or kernel.ndim != 2 else kernel.shape[1]
        expected += [
            (f"kernel_{number}", (width, out), kernel),
            (f"bias_{number}", (out,), bias),
        ]
        width = out
    for name, shape, array in expected:
        if array.shape != shape:
            raise ValueError(f"{where}: {name} must be {shape}, got {array.shape}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} must hold finite numbers")
