"""The `trustjax` command."""

import contextlib
import dataclasses
import logging
import pathlib
import shlex
import sys
from typing import Annotated

from trustjax import _ending, _extras, _launch, _processes

with _extras.required("cli"):
    import tyro

from trustjax import _progress, assess, data, explain, models, pipeline, scores
from trustjax.typing import ProgressFn


@dataclasses.dataclass(frozen=True)
class ProcessOptions:
    """Several processes, on one machine or on many, that make one page together.

    Start the same command on each of them, in a folder that all of them see. Where the
    three facts are not given, those of the environment are taken
    (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID), or of the cluster:
    Slurm, Open MPI, Kubernetes, Cloud TPU.

    Attributes:
      distributed: whether this is one of several processes.
      coordinator: HOST:PORT of process 0, the port being free.
      num_processes: how many there are.
      process_id: the number of this one, from 0.
    """

    # `_launch.place` has read them before anything else was imported.
    distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


_ALONE = ProcessOptions()
_Options = Annotated[ProcessOptions, tyro.conf.arg(name="")]


def report_command(
    config: Annotated[pipeline.ReportConfig, tyro.conf.arg(name="")],
    processes: _Options = _ALONE,
) -> None:
    """Train or load a network and write a trust report about its test set."""
    del processes
    with _reporter() as progress:
        made = pipeline.trust_report(config, progress=progress, command=_command_line())
    _announce(made)


def assess_command(
    predictions: tyro.conf.Positional[pathlib.Path],
    *,
    scores: tuple[str, ...] = ("standard",),
    alpha: float = 1.0,
    beta: float = 1.0,
    out: pathlib.Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> None:
    """Write a trust report about predictions of any framework, without a model.

    Args:
      predictions: an .npz file of `logits` or `probabilities`, `labels`, and if there
        are any `class_names`, `score_<name>`, `images`, and of inputs of none of the
        classes `ood_<name>_logits` and `ood_<name>_score_<score>`. Probabilities that
        are called logits are taken as probabilities, with a note.
      scores: names of scores that the outputs determine; `standard` for all of them.
      alpha: of question-answer trust: how much more a confident right answer is worth
        than a hesitant one.
      beta: of question-answer trust: how much more a confident wrong answer costs than
        a hesitant one.
      out: the folder of the report; `reports/<file name>` if it is not given.
      overwrite: whether the report may take the place of one of other settings.
      seed: of the resampling behind the intervals.
    """
    config = pipeline.PredictionsConfig(
        predictions, scores, alpha, beta, out, overwrite, seed
    )
    with _progress.reporter() as progress:
        made = pipeline.predictions_report(
            config, progress=progress, command=_command_line()
        )
    _announce(made)


def compare_command(
    networks: tyro.conf.Positional[tuple[pathlib.Path, ...]],
    *,
    names: tuple[str, ...] = (),
    alpha: float = 1.0,
    beta: float = 1.0,
    out: pathlib.Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> None:
    """Write a page about several networks on the same test set.

    Args:
      networks: of each a report's folder, or an .npz file as `assess` takes it.
      names: of the networks on the page; those of their models or files if not given.
      alpha: of question-answer trust: how much more a confident right answer is worth
        than a hesitant one.
      beta: of question-answer trust: how much more a confident wrong answer costs than
        a hesitant one.
      out: the folder of the page; `reports/comparison` if it is not given.
      overwrite: whether the page may take the place of one of other settings.
      seed: of the draws behind the intervals.
    """
    config = pipeline.ComparisonConfig(
        networks, names, alpha, beta, out, overwrite, seed
    )
    with _progress.reporter() as progress:
        made = pipeline.comparison_report(
            config, progress=progress, command=_command_line()
        )
    for one in made.comparison.networks:
        _print_headline(one.assessment, prefix=f"{one.name}: ")
    print(f"comparison: {made.page}")


def convert_command(
    source: tyro.conf.Positional[str],
    destination: tyro.conf.Positional[pathlib.Path],
    *,
    model: str | None = None,
    num_classes: int | None = None,
    part: str | None = None,
    sha256: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write weights of any framework as .npz, .safetensors or a folder of Orbax.

    Args:
      source: .npz, .safetensors, .pth or .pt of PyTorch (nothing in it is run),
        .msgpack of Flax, a folder of Orbax, or hub:owner/repository/file@revision.
      destination: where to: .npz, .safetensors, or without a suffix a folder of Orbax.
      model: a name that `trustjax list` shows, whose weights they are, in its own names
        or those of torchvision or timm: checked, and written in its own.
      num_classes: of that network; the number that it is known for if not given.
      part: of the source, its keys joined by /, where it holds several networks.
      sha256: what the digest of the source must be.
      overwrite: whether the destination may take the place of weights.
    """
    config = pipeline.ConversionConfig(
        source, destination, model, num_classes, part, sha256, overwrite
    )
    made = pipeline.convert(config)
    for note in made.notes:
        print(note)
    print(f"weights: {made.destination}")


def oracle_command(
    config: Annotated[pipeline.OracleTrainingConfig, tyro.conf.arg(name="")],
    processes: _Options = _ALONE,
) -> None:
    """Train an oracle: a network that knows when another is right."""
    del processes
    with _reporter() as progress:
        made = pipeline.train_oracle(config, progress=progress)
    if not _processes.is_first():
        return
    for note in made.notes:
        print(f"note: {note}")
    best = max(epoch.validation_metric for epoch in made.oracle.history)
    print(
        f"accuracy of the network on what the oracle learnt from: {made.accuracy:.4f}"
    )
    print(f"validation {made.oracle.config.metric} of the oracle: {best:.4f}")
    print(f"oracle: {made.folder} (trustjax report --oracle {made.folder} ...)")


@dataclasses.dataclass(frozen=True)
class _ExplainOptions(pipeline.ExplainConfig):
    images: tyro.conf.Positional[tuple[pathlib.Path, ...]] = ()


def explain_command(
    config: Annotated[_ExplainOptions, tyro.conf.arg(name="")],
) -> None:
    """Write a page that says why a network answers as it does on some images."""
    with _progress.reporter() as progress:
        made = pipeline.explanations(config, progress=progress, command=_command_line())
    for note in made.notes:
        print(f"note: {note}")
    for image in made.explanations.images:
        names = made.explanations.class_names
        sure = image.probabilities.max()
        print(f"{image.name}: {names[image.answer]} ({sure:.4f})")
    print(f"explanations: {made.page}")


@dataclasses.dataclass(frozen=True)
class _DetectOptions(pipeline.DetectConfig):
    what: tyro.conf.Positional[tuple[str, ...]] = (pipeline.ERRORS,)


def detect_command(
    config: Annotated[_DetectOptions, tyro.conf.arg(name="")],
) -> None:
    """Fit a detector of errors, or of inputs of none of the classes, and test it."""
    with _progress.reporter() as progress:
        made = pipeline.detection(config, progress=progress, command=_command_line())
    for note in made.notes:
        print(f"note: {note}")
    found = made.detection
    for title in dict.fromkeys((found.detector, found.single)):
        auroc = found.numbers[title]["auroc"]
        print(f"{title}: AUROC {auroc.value:.4f}  [{auroc.low:.4f}, {auroc.high:.4f}]")
    told = "better than" if found.is_ahead else "worse than" if found.is_behind else ""
    print(f"beyond chance: {told or 'not told from'} the best single score")
    print(f"detector: {made.detector}" + (f" ({made.used})" if made.used else ""))
    print(f"page: {made.page}")


def list_command() -> None:
    """List the datasets that are here, the networks, scores and explanations."""
    print("Datasets:", ", ".join(data.names()), "and any name of tensorflow-datasets")
    print("Your own:", ", ".join(data.KINDS))
    print("Networks:", ", ".join(models.names()))
    print("Scores:")
    for name in scores.names():
        print(f"  {name:24} {scores.lookup(name).summary}")
    print("Explanations:")
    for name, method in explain.METHODS.items():
        print(f"  {name:24} {method.summary}")


def _reporter() -> contextlib.AbstractContextManager[ProgressFn]:
    """Shows the progress of all processes, in the first of them."""
    if _processes.is_first():
        return _progress.reporter()
    return contextlib.nullcontext(lambda task, done, total, facts, /: None)


def _command_line() -> str:
    return shlex.join(_launch.without_place(["trustjax", *sys.argv[1:]]))


def _announce(made: pipeline.Report) -> None:
    if not _processes.is_first():
        return
    for note in made.notes:
        print(f"note: {note}")
    _print_headline(made.assessment)
    print(f"report: {made.page}")


def _print_headline(assessment: assess.Assessment, prefix: str = "") -> None:
    for name in ("accuracy", "net_trust_score"):
        quantity = assessment.headline[name]
        print(f"{prefix}{name.replace('_', ' ')}: {quantity.value:.4f}", end="  ")
        print(f"[{quantity.low:.4f}, {quantity.high:.4f}]")


def run() -> None:
    """Runs the command line as it is in `sys.argv`."""
    # Orbax logs with a traceback what comes back as an error, too.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    tyro.extras.subcommand_cli_from_dict(
        {
            "report": report_command,
            "assess": assess_command,
            "evaluate": assess_command,
            "compare": compare_command,
            "explain": explain_command,
            "detect": detect_command,
            "convert": convert_command,
            "oracle": oracle_command,
            "list": list_command,
        },
        prog="trustjax",
        description="How much can we trust this prediction, and this network? On "
        "several machines, one line on each: trustjax report --distributed "
        "--coordinator HOST:PORT --num-processes N --process-id I",
    )


def main() -> None:
    """Runs the command line; what stops it is one line and an exit code."""
    with _ending.in_one_line():
        run()


if __name__ == "__main__":
    main()
