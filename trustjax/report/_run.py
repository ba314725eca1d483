"""What was run, as groups of names and values."""

from collections.abc import Iterator, Mapping
from typing import Any


def groups(run: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was run, in groups: the plain entries first, then each nested mapping.

    The notes stand at the top of the page.
    """
    plain = {
        k: v for k, v in run.items() if not isinstance(v, Mapping) and k != "notes"
    }
    nested = {k: v for k, v in run.items() if isinstance(v, Mapping)}
    groups = [("", list(_flattened(plain)))]
    for name, values in nested.items():
        title = name.replace("_", " ").capitalize()
        groups.append((title, list(_flattened(values))))
    return [group for group in groups if group[1]]


def _flattened(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Yields (name in words, text) for every leaf of nested mappings."""
    for name, value in values.items():
        words = prefix + str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{words}, ")
        else:
            yield words, written(value)


def written(value: Any) -> str:
    """An entry of what was run, as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
