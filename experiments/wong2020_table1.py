r"""Wong et al. 2020, table 1: accuracy and trust of four networks on one test set.

    python -m experiments.wong2020_table1
    python -m experiments.wong2020_table1 --study imagenet2012 --weights \
        mobilenetv1_100=FILE shufflenet_v2_x1_0=FILE mobilenet_v2=FILE resnet50=FILE

Makes a report of every network (`trustjax report`), compares them (`trustjax compare`)
and prints the paper's table beside this one, with intervals, and what can be said of
the question that it raises: does the most accurate network deserve the most trust?

The networks there are MobileNet-V1, ShuffleNet-V2, MobileNet-V2 and ResNet-50, and the
questions 2,500 images of ImageNet: the study `imagenet2012`, for whoever has the images
and the published weights; it has not been run. The one that is run here is of this
library's small networks on Fashion-MNIST. Two of them stop early, so that all four fit
into an hour of two busy cores.

Obtained, and the time it takes: README.md beside this file.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Mapping
from typing import NamedTuple

import tyro

from trustjax import _progress, assess, models, pipeline


class Row(NamedTuple):
    """A row of the paper's table."""

    network: str
    net_trust_score: float
    accuracy: float
    confidence_when_right: float
    confidence_when_wrong: float
    parameters: float


PAPER = (
    Row("MobileNet-V1", 0.713, 0.645, 0.839, 0.515, 3.26e6),
    Row("ShuffleNet-V2", 0.723, 0.661, 0.839, 0.502, 1.32e6),
    Row("MobileNet-V2", 0.739, 0.687, 0.845, 0.493, 2.29e6),
    Row("ResNet-50", 0.776, 0.756, 0.887, 0.565, 23.65e6),
)


@dataclasses.dataclass(frozen=True)
class Study:
    """Which networks are compared.

    Attributes:
      dataset: a name that `data.load` takes.
      networks: (name of `models`, the most epochs; None for its own default).
      trained: whether they are trained here, or come with weights of their own.
      train_split: what they learn from.
      validation_split: what decides when they have learned enough.
      test_split: what they are compared on.
    """

    dataset: str
    networks: tuple[tuple[str, int | None], ...]
    trained: bool = True
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"


STUDIES = {
    "fashion_mnist": Study(
        "fashion_mnist",
        (("mlp", None), ("cnn", None), ("vit_micro", 3), ("resnet8", 2)),
    ),
    "imagenet2012": Study(  # the first 2,500: which ones the paper took is not said
        "imagenet2012",
        (
            ("mobilenetv1_100", None),
            ("shufflenet_v2_x1_0", None),
            ("mobilenet_v2", None),
            ("resnet50", None),
        ),
        trained=False,
        test_split="validation[:2500]",
    ),
}


def missing(study: Study, weights: Mapping[str, str]) -> list[str]:
    """The networks of a study whose weights are needed, and not given."""
    if study.trained:
        return []
    return [name for name, _ in study.networks if name not in weights]


def table(found: assess.NetworkComparison) -> str:
    """The paper's columns, in Markdown, with intervals.

    A number is marked * where it is the best, = where it is not distinguishable from
    that, in one statement about all numbers of all networks.
    """
    columns = {
        "net_trust_score": "NetTrustScore",
        "accuracy": "Right %",
        "confidence_when_right": "Confidence when right",
        "confidence_when_wrong": "when wrong",
        "confidence_gap": "gap",
        "calibration_error": "Calibration error",
        "best_auroc": "AUROC of the best score",
    }
    heads = ["Network", *columns.values(), "Weights (M)"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one in found.networks:
        cells = [_cell(found, one, name) for name in columns]
        cells[-1] += f", {one.assessment.scores[0].title}"
        size = one.num_parameters
        weights = "-" if size is None else f"{size / 1e6:.3f}"
        lines.append(f"| {' | '.join([one.name, *cells, weights])} |")
    return "\n".join(lines)


def _cell(
    found: assess.NetworkComparison, one: assess.NetworkAssessment, name: str
) -> str:
    quantity, statement = one.numbers[name], found.statements[name]
    if quantity.value is None or quantity.low is None or quantity.high is None:
        return "-"
    scale, digits = (100, 2) if name == "accuracy" else (1, 3)
    value, low, high = (
        f"{scale * end:.{digits}f}"
        for end in (quantity.value, quantity.low, quantity.high)
    )
    near = one.name in statement.may_be_best and not statement.reason
    mark = " *" if one.name == statement.best else " =" if near else ""
    return f"{value} [{low}, {high}]{mark}"


def answer(found: assess.NetworkComparison) -> str:
    """Whether accuracy and trust order the networks alike, pair by pair."""
    accuracy, trust = (
        found.statements[name] for name in ("accuracy", "net_trust_score")
    )
    sentences = [
        f"The most accurate is {accuracy.best}, the highest NetTrustScore that of "
        f"{trust.best}."
    ]
    for one in found.names:
        for other in found.names:
            row, column = (found.names.index(name) for name in (one, other))
            right = float(accuracy.differences[row, column])
            trusted = float(trust.differences[row, column])
            if right > 0 > trusted:
                proven = accuracy.behind[column, row], trust.behind[row, column]
                how = " and ".join(
                    "more than chance" if sure else "what may be chance"
                    for sure in proven
                )
                sentences.append(
                    f"{one} is right more often than {other}, and trusted less: by "
                    f"{how}."
                )
    if len(sentences) == 1:
        sentences.append("Accuracy and NetTrustScore order the networks alike.")
    return " ".join(sentences)


def main(
    study: str = "fashion_mnist",
    *,
    weights: tuple[str, ...] = (),
    workdir: pathlib.Path = pathlib.Path("reports/wong2020"),
) -> assess.NetworkComparison:
    """Makes the reports, compares them, and prints the table.

    Args:
      study: a name of `STUDIES`.
      weights: `network=FILE`, of networks that are not trained here.
      workdir: where the reports and their comparison are written.
    """
    chosen = STUDIES[study]
    files = dict(given.split("=", 1) for given in weights)
    if lacking := missing(chosen, files):
        published = (f"{n}={models.known(n).published[0].file}" for n in lacking)
        raise ValueError(
            f"{study} takes weights of {', '.join(lacking)}: give --weights "
            f"{' '.join(published)}, or others"
        )
    command = shlex.join(["python", "-m", "experiments.wong2020_table1", *sys.argv[1:]])
    with _progress.reporter() as progress:
        folders = tuple(
            pipeline.trust_report(
                pipeline.ReportConfig(
                    dataset=chosen.dataset,
                    train_split=chosen.train_split,
                    validation_split=chosen.validation_split,
                    test_split=chosen.test_split,
                    model=model,
                    weights=files.get(model),
                    epochs=epochs,
                    scores=("max_softmax",),  # the page adds those of the outputs
                    out_of_distribution=(),
                    gradient_group=None,
                    out=workdir / study / model,
                ),
                progress=progress,
                command=command,
            ).page.parent
            for model, epochs in chosen.networks
        )
        made = pipeline.comparison_report(
            pipeline.ComparisonConfig(folders, out=workdir / study),
            progress=progress,
            command=command,
        )
    print("The paper, on ImageNet:\n")
    print("| Network | NetTrustScore | Right % | when right | when wrong | (M) |")
    print("|---|---|---|---|---|---|")
    for row in PAPER:
        print(
            f"| {row.network} | {row.net_trust_score} | {100 * row.accuracy:.1f} | "
            f"{row.confidence_when_right} | {row.confidence_when_wrong} | "
            f"{row.parameters / 1e6:.2f} |"
        )
    print(f"\nHere, on {chosen.dataset}:\n\n{table(made.comparison)}\n")
    print(answer(made.comparison))
    print(f"page: {made.page}")
    return made.comparison


if __name__ == "__main__":
    tyro.cli(main)
