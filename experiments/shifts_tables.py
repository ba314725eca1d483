"""The tables of the study `shifts`, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments import shifts_numbers


def of_page(study: Any, made: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the page, in Markdown."""
    rows, severities = made["summary"], ["0", *map(str, study.severities)]
    heads = ["none", *map(str, study.severities)]

    def lines(corner: str, heads: Sequence[str], body: Mapping[str, Any]) -> str:
        shown = [f"| {' | '.join([corner, *heads])} |", "|---" * (1 + len(heads)) + "|"]
        shown += [f"| {' | '.join([name, *row])} |" for name, row in body.items()]
        return "\n".join(shown)

    found = {
        "The network": lines(
            "mean over the kinds, by severity",
            heads,
            {
                f"{number.replace('_', ' ')}, over {over}": [
                    _cell(rows[s][number][f"over_{over}"]) for s in severities
                ]
                for number in shifts_numbers.OF_NETWORK
                for over in ("images", "kinds")
            },
        ),
        "Accuracy by kind": lines(
            "kind",
            heads[1:],
            {
                kind: [_cell(of[s]["accuracy"], 3) for s in severities[1:]]
                for kind, of in made["by_kind"].items()
            },
        ),
    }
    for number in shifts_numbers.OF_SCORE:
        best = {s: rows[s]["best"].get(number) for s in severities}
        found[number] = lines(
            "mean over the kinds",
            heads,
            {
                name: [
                    _cell(rows[s][name][number]["over_images"]) + _mark(best[s], name)
                    for s in severities
                ]
                for name in study.scores
            },
        )
    counted = made["setups"]
    found["On top by AUAC, and proven behind another"] = lines(
        f"of {counted['versions']}",
        ["on top, quantile grid", "behind, quantile grid", "on top, range grid"],
        {
            name: [
                str(counted["on_top"]["auac_quantile"][name]),
                str(counted["behind"][name]),
                str(counted["on_top"]["auac_range"][name]),
            ]
            for name in shifts_numbers.TUTORIAL
        },
    )
    errors = made["corruption_errors"]
    found[f"Corruption errors of {errors['network']}"] = lines(
        f"against {errors['reference']}",
        ["CE", "relative CE"],
        {
            kind: [
                _three(errors["corruption_error"][kind]),
                _three(errors["relative"][kind]),
            ]
            for kind in study.kinds
        }
        | {"mean": [_three(errors["mean"]), _three(errors["relative_mean"])]},
    )
    for what, own in made["adversaries"].items():
        title = f"{what}: {own['count']}, of which {study.judged} is right on "
        found[title + f"{100 * own['accuracy']:.1f} %"] = lines(
            "against other test images",
            ["AUDC, quantile", "AUDC, range", "AUROC"],
            {
                name: [
                    _cell(of) + _mark(own["best"].get(number), name)
                    for number, of in row.items()
                ]
                for name, row in own["scores"].items()
            },
        )
    return found


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(number: Mapping[str, float | None], digits: int = 3) -> str:
    if number["value"] is None or number["low"] is None:
        return "-" if number["value"] is None else f"{number['value']:.{digits}f}"
    value, low, high = (number[part] for part in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _mark(best: Mapping[str, Any] | None, name: str) -> str:
    """* for the largest, = for what is not told apart from the best."""
    if best is None:
        return ""
    if name == best["largest"]:
        return " *"
    return " =" if name in best["may_be"] else ""
