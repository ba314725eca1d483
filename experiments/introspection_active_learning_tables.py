"""Names, the figure and the tables of `introspection_active_learning`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt

FEED_FORWARD, INTROSPECTIVE = "feed-forward", "introspective"
RANDOM, ALL = "random", "all five"
STRATEGIES = ("entropy", "least confidence", "margin", "BALD", "BADGE")
ASKED = {
    f"{strategy}, {by}": (strategy, by)
    for strategy in STRATEGIES
    for by in (FEED_FORWARD, INTROSPECTIVE)
}
"""What is chosen by, and whose answers it takes."""
ARMS = (RANDOM, *ASKED)
"""Ways of choosing records."""

NETWORKS = ("f", "H")
"""What is evaluated: the network, and the second stage that reads it."""
CLEAN, NOISY = "clean", "noisy"
TESTS = (CLEAN, NOISY)

PAIRS = (
    *(
        (f"{strategy}, {INTROSPECTIVE}", f"{strategy}, {FEED_FORWARD}", network)
        for network in NETWORKS
        for strategy in (*STRATEGIES, ALL)
    ),
    *((f"{strategy}, {FEED_FORWARD}", RANDOM, "f") for strategy in STRATEGIES),
)
"""What is compared: the first less the second, and which network is evaluated."""

PAPER = {
    "entropy": ((0.365, 0.365), (0.244, 0.258)),
    "least confidence": ((0.371, 0.373), (0.244, 0.264)),
    "margin": ((0.380, 0.381), (0.251, 0.265)),
    "BALD": ((0.393, 0.396), (0.265, 0.273)),
    "BADGE": ((0.388, 0.390), (0.250, 0.265)),
}
"""ResNet-18 on CIFAR-10: clean and noisy, each feed-forward and introspective."""

_COLORS: Mapping[str, str] = {
    "entropy": "#1f618d",
    "least confidence": "#c0392b",
    "margin": "#b7950b",
    "BALD": "#76448a",
    "BADGE": "#1e8449",
}


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Accuracy by round: each network, and each set of test images."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for row, network in zip(axes, NETWORKS, strict=True):
        for axis, test in zip(row, TESTS, strict=True):
            curve = lambda arm, key=f"{network}|{test}": said["curves"][arm][key]
            axis.plot(
                said["labelled"], curve(RANDOM), ":", color="#222222", label=RANDOM
            )
            for arm, (strategy, by) in ASKED.items():
                dashed = "--" if by == FEED_FORWARD else "-"
                axis.plot(
                    said["labelled"],
                    curve(arm),
                    dashed,
                    color=_COLORS[strategy],
                    lw=1.3,
                    label=arm,
                )
            axis.set_title(f"accuracy of {network}, {test} test images", fontsize=10)
            axis.grid(alpha=0.25)
    for axis in axes[1]:
        axis.set_xlabel("labelled records")
    axes[0, 0].legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(said: Mapping[str, Any]) -> str:
    """The paper's figures and ours, and the differences, in Markdown and per cent."""
    columns = [f"{network}|{test}" for network in NETWORKS for test in TESTS]
    head = [f"{column.replace('|', ', ')}" for column in columns]
    lines = [
        f"| chosen by | paper, clean | paper, noisy | {' | '.join(head)} |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for arm in (*ARMS, f"{ALL}, {FEED_FORWARD}", f"{ALL}, {INTROSPECTIVE}"):
        own = [_cell(said["means"][arm][column]) for column in columns]
        lines.append(f"| {arm} | {' | '.join([*_paper(arm), *own])} |")
    blocks = ["\n".join(lines)]
    lines = ["| points | evaluated | clean | noisy |", "|---|---|---|---|"]
    for one, other, network in PAIRS:
        cells = []
        for test in TESTS:
            ends = said["differences"][f"{one} less {other}|{network}|{test}"]
            proven = ends["low"] > 0 or ends["high"] < 0
            cells.append(_cell(ends, "+") + (" *" if proven else ""))
        lines.append(f"| {one} less {other} | {network} | {' | '.join(cells)} |")
    blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _paper(arm: str) -> list[str]:
    if arm not in ASKED:
        return ["", ""]
    strategy, by = ASKED[arm]
    column = (FEED_FORWARD, INTROSPECTIVE).index(by)
    return [f"{100 * pair[column]:.1f}" for pair in PAPER[strategy]]


def _cell(number: Mapping[str, Any], sign: str = "") -> str:
    value, low, high = (100 * number[part] for part in ("value", "low", "high"))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"
