"""Every score of one trained network: failure prediction and out-of-distribution.

    python -m experiments.score_table --dataset mnist5k
    python -m experiments.score_table --dataset fashion_mnist

Makes the report of `trustjax report --scores all` with the same options, and prints its
scores as one table. In per cent, from the best AUROC to the worst, with intervals of
AUROC that hold together at 95 %: a score is marked = where no other is proven to be
better, in one statement about all pairs. The last columns are AUROC of telling the test
set from images of none of its classes.

Obtained, and the time it takes: README.md beside this file.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import tyro

from trustjax import _progress, assess, pipeline

METRICS = {
    "fpr_at_95_tpr": "FPR95",
    "aupr_error": "AUPR-Error",
    "aurc": "AURC",
    "auac_quantile": "AUAC quantile",
    "auac_range": "AUAC range",
}


def per_cent(quantity: assess.Quantity) -> str:
    """A number of the report; a dash where it is not defined."""
    return "-" if quantity.value is None else f"{100 * quantity.value:.2f}"


def table(
    found: Sequence[assess.ScoreAssessment],
    others: Mapping[str, Mapping[str, Mapping[str, assess.Quantity]]],
) -> str:
    """The scores of a report on its test set and on other data sets, in Markdown."""
    heads = ["Score", "AUROC", *METRICS.values(), *(f"from {name}" for name in others)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for place, score in enumerate(found):
        auroc = score.numbers["auroc"]
        limits = ", ".join(per_cent(assess.Quantity(x)) for x in auroc[1:3])
        mark = " =" if place and score.may_be_best else ""
        cells = [
            score.title,
            f"{per_cent(auroc)} [{limits}]{mark}",
            *(per_cent(score.numbers[name]) for name in METRICS),
            *(per_cent(of[score.name]["auroc"]) for of in others.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    config: Annotated[
        pipeline.ReportConfig, tyro.conf.arg(name="")
    ] = pipeline.ReportConfig(scores=("all",)),  # noqa: B008
) -> str:
    """Makes the report, or takes the network that is there, and prints the table."""
    command = shlex.join(["python", "-m", "experiments.score_table", *sys.argv[1:]])
    with _progress.reporter() as progress:
        made = pipeline.trust_report(config, progress=progress, command=command)
    found = made.assessment
    print(f"{found.num_examples} test examples, {found.num_errors} wrong answers\n")
    print(text := table(found.scores, found.out_of_distribution))
    return text


if __name__ == "__main__":
    tyro.cli(main)
