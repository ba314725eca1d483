"""Which of a network's classes are those of a dataset."""

import difflib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trustjax import data

_SHOWN = 8


class Known(NamedTuple):
    """What is known of the names of a network's classes.

    Attributes:
      names: one for each class; none where they are not known.
      ids: other names, one for each class; or none.
      certain: whether these are the network's, and not only likely to be: then they
        are taken where the dataset's all agree with them, and not otherwise.
    """

    names: Sequence[str] = ()
    ids: Sequence[str] = ()
    certain: bool = True

    def lookup(self) -> dict[str, list[int]]:
        """The classes of each name, without regard to case, spaces and dashes."""
        found: dict[str, list[int]] = {}
        for names in (self.names, self.ids):
            for number, name in enumerate(names):
                found.setdefault(_plain(name), []).append(number)
        return found


NOT_KNOWN = Known()


def placed(
    dataset: data.Dataset,
    num_classes: int,
    known: Known,
    class_map: pathlib.Path | None,
) -> tuple[data.Dataset, tuple[str, ...]]:
    """A dataset under the numbers and the names of a network's classes.

    ======================================  ========================================
    The classes of the dataset              Those of the network
    ======================================  ========================================
    are all in a class map                  as it says, by name or number
    are all names of the network's classes  found by name
    are as many as the network's            one after the other
    are all numbers below the network's     those of the numbers
    are none: nobody has labelled them      none; the names of the network's, if known
    are anything else                       refused
    ======================================  ========================================

    A network may have many classes that the dataset has not.

    Args:
      dataset: records of some classes.
      num_classes: of the network.
      known: the names of its classes.
      class_map: a JSON file, class of the dataset -> class of the network.

    Returns:
      The dataset, and sentences on what was found.

    Raises:
      ValueError: if a class has no place, naming those that have none and what to do.
    """
    own, names, lookup = dataset.class_names, known.names, known.lookup()
    if not own:
        names = names if known.certain else ()
        of_network = _names(names, num_classes, (), ())
        return data.relabelled(dataset, [], of_network), ()
    agree = bool(lookup) and all(_plain(name) in lookup for name in own)
    if not agree and not known.certain:
        names, lookup = (), {}
    if class_map is not None:
        numbers = _mapped(own, num_classes, lookup, class_map)
        said = f"The classes of {dataset.name} are those that {class_map} says."
    elif agree:
        numbers = [_only(name, lookup[_plain(name)], names) for name in own]
        said = f"The {_count(own)} of {dataset.name} were found by name among the "
        said += f"{num_classes:,} of the network."
    elif len(own) == num_classes:
        return dataset, ()
    elif all(name.isdecimal() and int(name) < num_classes for name in own):
        numbers = [int(name) for name in own]
        said = f"The {_count(own)} of {dataset.name} were taken as numbers of the "
        said += f"{num_classes:,} classes of the network."
    else:
        unknown = [name for name in own if _plain(name) not in lookup]
        near = _listed([name + _near(name, lookup) for name in unknown])
        which = f"; {near} is no name of one" if lookup else ""
        raise ValueError(
            f"{dataset.name} has {_count(own)} ({_listed(own)}), the network "
            f"{num_classes:,}{which}: give --class-map FILE.json, {{class of the "
            "dataset: name or number of one of the network}"
        )
    placed = data.relabelled(dataset, numbers, _names(names, num_classes, own, numbers))
    return placed, (said,)


def _near(name: str, lookup: Mapping[str, Sequence[int]]) -> str:
    near = difflib.get_close_matches(_plain(name), lookup, n=1)
    return f" (perhaps {near[0]})" if near else ""


def _mapped(
    own: Sequence[str],
    num_classes: int,
    lookup: Mapping[str, Sequence[int]],
    class_map: pathlib.Path,
) -> list[int]:
    """The number that a class map gives each class."""
    try:
        given = json.loads(class_map.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{class_map}: no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(
            f"{class_map}: must be an object {{class of the dataset: class of the "
            f"network}}, got {type(given).__name__}"
        )
    if missing := [name for name in own if name not in given]:
        raise ValueError(
            f"{class_map}: has no class for {_listed(missing)}; it has "
            f"{_listed(list(given))}"
        )
    return [_number(given[name], num_classes, lookup, class_map) for name in own]


def _number(
    value: Any,
    num_classes: int,
    lookup: Mapping[str, Sequence[int]],
    class_map: pathlib.Path,
) -> int:
    if isinstance(value, str) and _plain(value) in lookup:
        return _only(value, lookup[_plain(value)], ())
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if type(number) is int and 0 <= number < num_classes:
        return number
    names = "a name or " if lookup else ""
    raise ValueError(
        f"{class_map}: {value!r} is no class of the network: {names}a number in "
        f"[0, {num_classes}) is"
    )


def _only(name: str, found: Sequence[int], names: Sequence[str]) -> int:
    """The one class of that name."""
    if len(found) > 1:
        listed = ", ".join(
            f"{number} ({names[number]})" if names else str(number) for number in found
        )
        raise ValueError(
            f"{name!r} is the name of several classes of the network, {listed}: give "
            "the number, by --class-map"
        )
    return found[0]


def _names(
    names: Sequence[str], num_classes: int, own: Sequence[str], numbers: Sequence[int]
) -> list[str]:
    """The network's names; where they are not known, the dataset's and numbers."""
    if names:
        return list(names)
    of_class = dict(zip(numbers, own, strict=True))
    return [of_class.get(number, str(number)) for number in range(num_classes)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _count(names: Sequence[str]) -> str:
    return "1 class" if len(names) == 1 else f"{len(names):,} classes"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
