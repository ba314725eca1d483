"""A network of somebody's own Python code, by the name of its place."""

import contextlib
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def is_own(model: str) -> bool:
    """Whether a network is named by its place, `module:attribute`.

    >>> is_own("nets/small.py:make"), is_own("resnet18")
    (True, False)
    """
    return ":" in model


def short_name(model: str) -> str:
    """The name of a network for pages and folders: without the folders around it.

    >>> short_name("nets/small.py:make"), short_name("resnet18")
    ('small.make', 'resnet18')
    """
    place, _, attribute = model.rpartition(":")
    if not place:
        return model
    return f"{pathlib.Path(place).name.removesuffix('.py')}.{attribute}"


def found(model: str) -> Any:
    """What is at a place: an attribute of a module, or of a file of Python.

    A module is looked for in the working folder, too. A file may import its neighbours.

    Args:
      model: `"package.module:attribute"` or `"folder/file.py:attribute"`; an attribute
        of an attribute with dots.

    Raises:
      ValueError: if there is no such module, file or attribute, or its own code fails,
        saying how.

    >>> found("math:sqrt")(4)
    2.0
    >>> found("math:root")
    Traceback (most recent call last):
    ValueError: model math:root: math has no root
    """
    place, _, attribute = model.rpartition(":")
    if not place or not attribute:
        raise ValueError(
            f"model must be module:attribute or file.py:attribute, got {model!r}"
        )
    thing: Any = _module(place, model)
    where = place
    for name in attribute.split("."):
        if not hasattr(thing, name):
            raise ValueError(f"model {model}: {where} has no {name}")
        thing, where = getattr(thing, name), f"{where}.{name}"
    return thing


def _module(place: str, model: str) -> ModuleType:
    path = pathlib.Path(place)
    of_file = place.endswith(".py") or path.name != place
    if of_file and not path.is_file():
        raise ValueError(f"model {model}: there is no file {place}")
    if of_file and path.suffix != ".py":
        raise ValueError(f"model {model}: {place} is no file of Python (.py)")
    with _first_in_search(path.parent if of_file else pathlib.Path()):
        try:
            return _of_file(path) if of_file else importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and place.split(".")[0] == error.name:
                raise ValueError(
                    f"model {model}: there is no module {place}; a file is given by "
                    "its path, such as folder/file.py:make"
                ) from error
            raise ValueError(f"model {model}: {error}") from error
        except Exception as error:  # somebody's code may raise anything
            raise ValueError(
                f"model {model}: importing it failed: {type(error).__name__}: {error}"
            ) from error


def _of_file(path: pathlib.Path) -> ModuleType:
    """The module of a file, under its own name, as `python file.py` would import it."""
    specification = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert specification is not None, "it ends in .py, or is no Python"
    assert specification.loader is not None, "as above"
    module = importlib.util.module_from_spec(specification)
    # Dataclasses look their module up there. Another one of that name, in use, stays.
    there = sys.modules.setdefault(path.stem, module)
    try:
        specification.loader.exec_module(module)
    except BaseException:
        if there is module:
            del sys.modules[path.stem]
        raise
    return module


@contextlib.contextmanager
def _first_in_search(folder: pathlib.Path) -> Iterator[None]:
    """Looks for modules in a folder first, while this lasts."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
