"""Names that users gave, on a page: as they are, told apart, within their bounds.

A name may be in any script, hold signs that turn the direction of the text around it,
or be as long as a paragraph. On a page such a name is *marked*: put between the two
characters with which Unicode isolates a piece of text. Sentences and tables are made
of marked names as of any other, and the template turns them into elements.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from trustjax import _extras
from trustjax.assess import Assessment, NetworkComparison

with _extras.required("report"):
    import markupsafe

LONGEST = 32  # columns of a name in a table or a sentence
FIRST, LAST = "\u2068", "\u2069"  # first strong isolate, pop directional isolate
MARKED = re.compile(f"{FIRST}([^{LAST}]*){LAST}")
_ISOLATES = dict.fromkeys(map(ord, "\u2066\u2067\u2068\u2069"))


def cleaned(name: str) -> str:
    r"""The name with a box for what is no character, on one line, without isolates.

    >>> cleaned("a\n b\0 \ud800")
    'a b� �'
    """
    name = " ".join(name.translate(_ISOLATES).split())
    return "".join(
        "\ufffd" if unicodedata.category(character) in {"Cc", "Cs"} else character
        for character in name
    )


def width(text: str) -> int:
    """How many columns a text takes: Chinese characters two, accents none.

    >>> width("cat"), width("小猫"), width("e\u0301")
    (3, 4, 1)
    """
    return sum(
        0
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def shortened(names: Sequence[str], longest: int) -> list[str]:
    """Cleaned names of at most so many columns; different names stay different.

    A long name loses its end; where two would be the same then, both lose their
    middle; where they still would, they are numbered.

    >>> shortened(["sulphur-crested cockatoo", "cat"], 12)
    ['sulphur-cre…', 'cat']
    >>> shortened(["class of the first", "class of the second"], 10)
    ['class…irst', 'class…cond']
    >>> shortened(["a" * 30 + "b" + "a" * 30, "a" * 30 + "c" + "a" * 30], 10)
    ['aaa…aa (1)', 'aaa…aa (2)']
    """
    full = [cleaned(name) for name in names]
    short = [_without_end(name, longest) for name in full]
    ways = (
        lambda name, place: _without_middle(name, longest),
        lambda name, place: f"{_without_middle(name, longest - 4)} ({place})",
    )
    for way in ways:
        meant: dict[str, list[str]] = {}
        for name, text in dict(zip(full, short, strict=True)).items():
            meant.setdefault(text, []).append(name)
        short = [
            way(name, meant[text].index(name) + 1) if len(meant[text]) > 1 else text
            for name, text in zip(full, short, strict=True)
        ]
    return short


def _without_end(name: str, longest: int) -> str:
    if width(name) <= longest:
        return name
    return _first_columns(name, longest - 1) + "…"


def _without_middle(name: str, longest: int) -> str:
    if width(name) <= longest:
        return name
    head, tail = longest // 2, (longest - 1) // 2
    return f"{_first_columns(name, head)}…{_first_columns(name[::-1], tail)[::-1]}"


def _first_columns(name: str, columns: int) -> str:
    end = 0
    while end < len(name) and width(name[: end + 1]) <= columns:
        end += 1
    return name[:end]


def _is_plain(name: str) -> bool:
    """Whether a name can stand in a sentence or a narrow cell as it is."""
    return name.isascii() and name.isprintable() and "*" not in name


class Names:
    """The names of a page: each is marked once, and becomes an element there."""

    def __init__(self):
        self._full: dict[str, str] = {}

    def marked(self, names: Sequence[str]) -> list[str]:
        """Names of one kind, marked where they need it, short and told apart."""
        written = []
        for name, short in zip(names, shortened(names, LONGEST), strict=True):
            if short == name and _is_plain(name):
                written.append(name)
            else:
                self._full[short] = cleaned(name)
                written.append(f"{FIRST}{short}{LAST}")
        return written

    def markup(self, value: Any) -> Any:
        """Text for the inside of an element: each marked name one of its own."""
        if not isinstance(value, str) or isinstance(value, markupsafe.Markup):
            return value
        pieces = MARKED.split(value)
        return markupsafe.Markup("").join(
            self._element(piece) if i % 2 else piece for i, piece in enumerate(pieces)
        )

    def attribute(self, value: str) -> markupsafe.Markup:
        """Text for an attribute: each marked name whole."""
        whole = MARKED.sub(
            lambda found: f"{FIRST}{self._full.get(found[1], found[1])}{LAST}", value
        )
        return markupsafe.escape(whole)

    def plain(self, value: str) -> str:
        """Text for a file: each marked name whole, without marks."""
        return MARKED.sub(lambda found: self._full.get(found[1], found[1]), value)

    def _element(self, short: str) -> markupsafe.Markup:
        full = self._full.get(short, short)
        if full == short:
            return markupsafe.Markup("<bdi>{}</bdi>").format(short)
        return markupsafe.Markup('<bdi title="{}">{}</bdi>').format(full, short)


def of_assessment(names: Names, assessed: Assessment) -> Assessment:
    """The assessment with marked names where they need it, for words and tables."""
    titles = names.marked([score.title for score in assessed.scores])
    classes = names.marked([c.name for c in assessed.classes])
    others = dict(
        zip(
            assessed.out_of_distribution,
            names.marked(list(assessed.out_of_distribution)),
            strict=True,
        )
    )
    gradients = assessed.gradients
    if gradients is not None:
        groups = tuple(names.marked(gradients.groups))
        gradients = dataclasses.replace(gradients, groups=groups)
    return dataclasses.replace(
        assessed,
        scores=tuple(
            dataclasses.replace(score, title=title)
            for score, title in zip(assessed.scores, titles, strict=True)
        ),
        classes=_renamed(assessed.classes, classes),
        gradients=gradients,
        out_of_distribution={
            others[name]: numbers
            for name, numbers in assessed.out_of_distribution.items()
        },
        run=isolated(assessed.run),
    )


def of_comparison(names: Names, compared: NetworkComparison) -> NetworkComparison:
    """The comparison with marked names where they need it, for words and tables."""
    networks = tuple(names.marked(compared.names))
    classes = names.marked([c.name for c in compared.classes])
    return dataclasses.replace(
        compared,
        networks=tuple(
            dataclasses.replace(
                one,
                name=name,
                assessment=of_assessment(names, one.assessment),
                classes=_renamed(one.classes, classes),
            )
            for one, name in zip(compared.networks, networks, strict=True)
        ),
        statements={
            number: dataclasses.replace(statement, names=networks)
            for number, statement in compared.statements.items()
        },
        classes=_renamed(compared.classes, classes),
    )


def _renamed(of_classes: Sequence[Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(
        dataclasses.replace(c, name=name)
        for c, name in zip(of_classes, names, strict=True)
    )


def isolated(value: Any) -> Any:
    """What was run, with every text that is not plain marked; nothing is shortened."""
    if isinstance(value, Mapping):
        return {key: isolated(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [isolated(item) for item in value]
    if isinstance(value, str) and not _is_plain(value):
        return f"{FIRST}{cleaned(value)}{LAST}"
    return value
