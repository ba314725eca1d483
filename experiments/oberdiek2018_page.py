"""Writes the tables of oberdiek2018.md from the numbers beside it.

    python -m experiments.oberdiek2018_page

Each table stands between two comments, `<!-- NAME of KNOWN -->` and `<!-- end -->`.
What the page says in words is written by hand.
"""

import json
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.oberdiek2018 import ALL, ERRORS
from trustjax import _files

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER / "oberdiek2018.md"
METRICS = {
    "auroc": "AUROC",
    "aupr_in": "AUPR-In",
    "aupr_out": "AUPR-Out",
    "balanced_accuracy": "balanced accuracy at the threshold of eq. 7",
}
SHORT = {
    ERRORS: "wrong",
    "normal_noise": "normal",
    "uniform_noise": "uniform",
    "fashion_mnist": "Fashion-MNIST",
    "mnist5k": "MNIST digits",
    "digits": "UCI digits",
    ALL: "all",
}
_MARK = re.compile(r"(<!-- (\w+) of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Numbers = Mapping[str, Any]


def numbers(known: str, folder: pathlib.Path = FOLDER / "numbers") -> Numbers:
    """What a study has found, from its JSON file."""
    return json.loads((folder / f"oberdiek2018_{known}.json").read_text())


def concepts(found: Numbers) -> tuple[str, ...]:
    """The columns of a table."""
    return (ERRORS, *found["study"]["unknowns"], ALL)


def per_cent(number: Mapping[str, float]) -> str:
    """A number with its ends at 95 %, in per cent."""
    value, low, high = (100 * number[part] for part in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def points(number: Mapping[str, float]) -> str:
    """A difference in points of a per cent; without ends that say nothing at all."""
    value, low, high = (100 * number[part] for part in ("value", "low", "high"))
    if high - low > 100:
        return f"{value:+.1f} (nothing is proven)"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    made = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in made) + "\n"


def heads_of(found: Numbers) -> list[str]:
    """Concepts, as the tables call them."""
    return [SHORT.get(concept, concept) for concept in concepts(found)]


def readable(judge: str) -> str:
    """`network paper uniform_noise+letters`: kind, features, what is known."""
    kind, *rest = judge.split(" ")
    if len(rest) != 2:
        return judge
    features, known = rest
    of = "" if features == "paper" else f", {features.replace('_', ' ')}"
    seen = known.replace("_noise", " noise").replace("+", ", ")
    names = {
        "glm": "GLM",
        "lasso": "LASSO",
        "elastic_net": "elastic net",
        "network_signed_log": "network of logarithms",
    }
    return f"{names.get(kind, kind)}{of}; knows {seen}"


def of_table(name: str) -> Callable[[Numbers], str]:
    """Tables 1, 2 and 3: every metric, every judge, every concept."""

    def made(found: Numbers) -> str:
        parts = []
        for metric, title in METRICS.items():
            rows = [
                [
                    readable(judge),
                    *(per_cent(of_judge[concept]) for concept in concepts(found)),
                ]
                for judge, of_judge in found[name][metric].items()
            ]
            parts.append(lines([title, *heads_of(found)], rows))
        return "\n".join(parts)

    return made


def layers(found: Numbers) -> str:
    """AUROC of the statistics of each layer, the mean over five statistics first."""
    names = found["judges"]["layers"]
    of_layer: dict[str, list[str]] = {}
    for name in names:
        of_layer.setdefault(name.split(" ")[0], []).append(name)
    rows = []
    for layer, own in of_layer.items():
        means, norms = [], []
        for concept in concepts(found):
            areas = found["areas"][concept]
            means.append(f"{100 * sum(areas[n]['value'] for n in own) / len(own):.1f}")
            norms.append(per_cent(areas[f"{layer} l2_norm"]))
        rows.append([f"{layer}, mean of five statistics", *means])
        rows.append([f"{layer}, Euclidean norm", *norms])
    return lines(["AUROC", *heads_of(found)], rows)


def areas_of(*groups: str) -> Callable[[Numbers], str]:
    """AUROC of the judges of some groups."""

    def made(found: Numbers) -> str:
        judges = [name for group in groups for name in found["judges"][group]]
        rows = [
            [
                readable(name),
                *(per_cent(found["areas"][c][name]) for c in concepts(found)),
            ]
            for name in dict.fromkeys(judges)
        ]
        return lines(["AUROC", *heads_of(found)], rows)

    return made


def best(found: Numbers) -> str:
    """Of each concept the best single score, the best combination, and the gap."""
    rows = []
    for concept in concepts(found):
        said = found["statements"][concept]
        areas = found["areas"][concept]
        single, combined = said["single"], said["combined"]
        rows.append(
            [
                SHORT.get(concept, concept),
                f"{single}: {per_cent(areas[single])}",
                f"{readable(combined)}: {per_cent(areas[combined])}",
                points(said["combined_less_single"]),
                "yes" if said["combined_is_better_than_every_single"] else "no",
            ]
        )
    heads = ["", "best single", "best combination", "difference, in one statement"]
    return lines([*heads, "better than every single"], rows)


def claims(found: Numbers) -> str:
    """Differences of two judges, each concept's in the one statement about all."""
    statements = found["statements"]
    rows = [
        [claim, *(points(statements[c]["claims"][claim]) for c in concepts(found))]
        for claim in statements[ERRORS]["claims"]
    ]
    return lines(["AUROC, in points", *heads_of(found)], rows)


def left_out(found: Numbers) -> str:
    """Meta-classifiers on the one concept that they have not seen."""
    rows = []
    for concept in found["study"]["unknowns"]:
        areas = found["areas"][concept]
        if "all other unknowns" not in areas:
            continue
        single = found["statements"][concept]["single"]
        rows.append(
            [
                SHORT.get(concept, concept),
                *(
                    per_cent(areas[name])
                    for name in (
                        "network paper none",
                        "network paper uniform_noise+letters",
                        "all other unknowns",
                        "Entropy",
                        single,
                    )
                ),
                points(
                    found["statements"][concept]["less_softmax"]["all other unknowns"]
                ),
            ]
        )
    heads = ["Unknown", "knows none", "knows noise and letters", "knows all others"]
    heads += ["entropy", "best single", "all others less softmax"]
    return lines(heads, rows)


TABLES: Mapping[str, Callable[[Numbers], str]] = {
    "table1": of_table("table1"),
    "table2": of_table("table2"),
    "table3": of_table("table3"),
    "layers": layers,
    "early_layers": areas_of("early_layers"),
    "scores": areas_of("scores"),
    "combinations": areas_of("combinations"),
    "artificial": areas_of("artificial"),
    "best": best,
    "claims": claims,
    "left_out": left_out,
}


def written(text: str, found: Mapping[str, Numbers]) -> str:
    """The page with its tables made anew.

    Args:
      text: the page.
      found: the numbers by known concept; the tables of others stay.
    """

    def table(match: re.Match[str]) -> str:
        begin, name, known, end = match.groups()
        if known not in found:
            return match[0]
        return f"{begin}{TABLES[name](found[known])}{end}"

    return _MARK.sub(table, text)


def main() -> None:
    """Writes the page."""
    found = {
        path.stem.removeprefix("oberdiek2018_"): json.loads(path.read_text())
        for path in (FOLDER / "numbers").glob("oberdiek2018_*.json")
    }
    text = written(PAGE.read_text(), found)
    with _files.written_whole(PAGE) as part:
        pathlib.Path(part).write_text(text)


if __name__ == "__main__":
    main()
