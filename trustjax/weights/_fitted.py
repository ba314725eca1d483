"""Arrays by name against what a network expects."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from trustjax.weights import _trees

_SHOWN = 8  # of each kind of difference
_COMPARED = 2000  # names in which the nearest is looked for
# No parameter of a network: counters of batches, and of random numbers.
_COUNTERS = (".num_batches_tracked", "/rngs/count", "/rngs/key", "rng/count", "rng/key")
_Arrays = Mapping[str, np.ndarray]


def fitted(
    arrays: _Arrays, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The arrays in the names and the order that a network expects, or what differs.

    Names may differ by what is around a network: the prefix of a wrapper that all
    have (`module.`, `_orig_mod.`), or the collections of Flax (`params/`,
    `batch_stats/`), on either side. Counters that are no parameters are left out.

    Args:
      arrays: by name, as `read` returns them.
      expected: the shape of each array of the network, by its name.

    Returns:
      One array for each of `expected`, by its name.

    Raises:
      ValueError: one that lists every array that is missing, unexpected or of another
        shape, with the nearest names.

    >>> fitted({"module.fc.weight": np.zeros(2)}, {"fc.weight": (2,)})
    {'fc.weight': array([0., 0.])}
    >>> fitted({"fc.wieght": np.zeros(2)}, {"fc.weight": (2,)})
    Traceback (most recent call last):
    ValueError: the weights are of another network
      missing, 1 of 1:
        fc.weight (2,), perhaps fc.wieght
      unexpected, 1 of 1:
        fc.wieght (2,)
    """
    readings = [
        {n: a for n, a in way.items() if n in expected or not n.endswith(_COUNTERS)}
        for way in _ways(arrays, expected)
    ]
    named = max(readings, key=lambda reading: len(reading.keys() & expected.keys()))
    missing = [name for name in expected if name not in named]
    unexpected = [name for name in named if name not in expected]
    misshaped = [
        name
        for name, shape in expected.items()
        if name in named and np.shape(named[name]) != tuple(shape)
    ]
    if not (missing or unexpected or misshaped):
        return {name: named[name] for name in expected}
    differences = [
        *_listed(
            "missing",
            missing,
            len(expected),
            lambda name: f"{name} {tuple(expected[name])}{_near(name, unexpected)}",
        ),
        *_listed(
            "unexpected",
            unexpected,
            len(named),
            lambda name: f"{name} {np.shape(named[name])}",
        ),
        *_listed(
            "of another shape",
            misshaped,
            len(expected),
            lambda name: (
                f"{name} must be {tuple(expected[name])}, got {np.shape(named[name])}"
            ),
        ),
    ]
    raise ValueError("\n".join(["the weights are of another network", *differences]))


def _ways(arrays: _Arrays, expected: Collection[str]) -> list[_Arrays]:
    """The arrays by the names that they may be meant by."""
    ways = [arrays, _trees.unwrapped(arrays), _without_collections(arrays)]
    for prefix in (_wrapper(expected), _scope(expected)):
        if prefix:
            ways += [{prefix + n: a for n, a in way.items()} for way in ways]
    return ways


def _wrapper(names: Collection[str]) -> str:
    """The prefix of wrappers that all names have; it may be empty."""
    for name, plain in zip(names, _trees.unwrapped(dict.fromkeys(names)), strict=True):
        return name.removesuffix(plain)
    return ""


def _scope(names: Collection[str]) -> str:
    """The first part of all names, `params/`, where they have one; else nothing."""
    first = {name.partition("/")[0] for name in names if "/" in name}
    alike = len(first) == 1 and all("/" in name for name in names)
    return f"{first.pop()}/" if alike else ""


def _without_collections(arrays: _Arrays) -> _Arrays:
    """The arrays of all collections together, as NNX names them."""
    parts = [name.partition("/") for name in arrays]
    plain = dict(zip((rest for *_, rest in parts), arrays.values(), strict=True))
    collected = all(first in _trees.COLLECTIONS for first, *_ in parts)
    return plain if collected and len(plain) == len(arrays) else arrays


def _listed(
    what: str, names: Sequence[str], of: int, line: Callable[[str], str]
) -> list[str]:
    if not names:
        return []
    shown = [f"    {line(name)}" for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        shown.append(f"    and {len(names) - _SHOWN} more")
    return [f"  {what}, {len(names)} of {of}:", *shown]


def _near(name: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, among[:_COMPARED], n=1)
    return f", perhaps {near[0]}" if near else ""
