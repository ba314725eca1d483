"""What a page about a detector is about."""

import dataclasses
import json
import pathlib

from trustjax import _validate, data, detectors, scores, statistics
from trustjax.pipeline._config import (
    ALL,
    STANDARD,
    NetworkConfig,
    PredictionsConfig,
    ReportConfig,
)
from trustjax.pipeline._explain_config import network_of_the_report_in

ERRORS = "errors"
PURVIEW = "purview"
KINDS = ("threshold", "lasso", "ridge", "elastic_net", "network")
"""The kinds of detectors that are tried where none are named."""

_STATISTICS = tuple(row.__name__ for row in statistics.DEFAULT)


@dataclasses.dataclass(frozen=True)
class DetectConfig(NetworkConfig):
    """What is detected, and from what; what `NetworkConfig` holds, and this.

    Attributes:
      what: `errors`, for wrong answers; or datasets of none of the classes, such as
        `letters`, `folder:PATH` or `npz:PATH`; or both.
      report: the folder of a report, to take its network and its dataset from; of a
        report on predictions, what it said.
      predictions: an `.npz` file of predictions, as `trustjax assess` takes it, in the
        place of a network.
      scores: names of scores that are columns: `standard`, those of one pass over the
        data, or `all`; those of a file of predictions are beside them.
      gradients: of which gradients statistics are columns: `tensor`, `layer`,
        `network`, `confounding`; none of a file of predictions.
      statistics: which statistics. The mean is left out where none are named: of a
        last layer under the cross entropy it is zero but for rounding.
      kinds: of detectors that are tried, of `detectors.KINDS`; the best on validation
        data is taken.
      fit_share: of the test split and of each dataset, what share the detector is
        fitted on; it is tested on the rest.
      out: the folder of the page; None for
        `detections/<dataset>-<model>-<seed>-<what>`.
      overwrite: whether the page may take the place of one of other settings.

    Raises:
      ValueError: if a name is unknown, naming those that exist, or a number is out of
        its range; if it is said twice which network is meant.
    """

    what: tuple[str, ...] = (ERRORS,)
    report: pathlib.Path | None = None
    predictions: pathlib.Path | None = None
    scores: tuple[str, ...] = (STANDARD,)
    gradients: tuple[str, ...] = ("layer",)
    statistics: tuple[str, ...] = tuple(n for n in _STATISTICS if n != "mean")
    kinds: tuple[str, ...] = KINDS
    fit_share: float = 0.5
    out: pathlib.Path | None = None
    overwrite: bool = False

    def __post_init__(self):
        super().__post_init__()
        _validate.open_fraction("fit_share", self.fit_share)
        if not self.what:
            raise ValueError(
                "say what to detect: errors, or datasets such as letters or folder:PATH"
            )
        if not self.scores and not (self.gradients and self.statistics):
            raise ValueError(
                "a detector needs columns: some --scores, or --gradients and "
                "--statistics"
            )
        for kind in self.gradients:
            _validate.choice("gradients", kind, detectors.GRADIENTS)
        for name in self.statistics:
            _validate.choice("statistics", name, _STATISTICS)
        if not self.kinds:
            raise ValueError(f"kinds must be some of {', '.join(detectors.KINDS)}")
        for kind in self.kinds:
            _validate.choice("kinds", kind, detectors.KINDS)
        for name in set(self.scores) - {STANDARD, ALL}:
            scores.lookup(name)
        if self.report is not None and self.predictions is not None:
            raise ValueError("give --report or --predictions, not both")
        if self.report is not None or self.predictions is not None:
            self._require_nothing_of_a_network()

    def _require_nothing_of_a_network(self) -> None:
        """Refuses what a report or a file says already."""
        given = "--report" if self.report is not None else "--predictions"
        defaults = {f.name: f.default for f in dataclasses.fields(NetworkConfig)}
        # How many are scored at a time, and the draws, are no matter of the network.
        for name in defaults.keys() - {"batch_size", "seed"}:
            if getattr(self, name) != defaults[name]:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} is said by {given}: leave one out")

    @property
    def others(self) -> tuple[str, ...]:
        """The datasets of none of the classes, each once."""
        return tuple(dict.fromkeys(name for name in self.what if name != ERRORS))

    @property
    def errors(self) -> bool:
        """Whether wrong answers are among what is detected."""
        return ERRORS in self.what

    @property
    def predictions_file(self) -> pathlib.Path | None:
        """The file that stands for a network; None where there is a network."""
        if self.report is not None and _is_of_predictions(self.report):
            return self.report / "scores.npz"
        return self.predictions

    @property
    def of_predictions(self) -> PredictionsConfig:
        """A report on the predictions, of the scores that are columns."""
        file = self.predictions_file
        assert file is not None, "asked where there is one"
        return PredictionsConfig(file, self.scores, seed=self.seed)

    @property
    def network_report(self) -> ReportConfig:
        """A report on the same network, of the scores that are columns."""
        names = [field.name for field in dataclasses.fields(NetworkConfig)]
        shared = {name: getattr(self, name) for name in names}
        if self.report is not None:
            kept = network_of_the_report_in(self.report)
            shared = {name: kept[name] for name in names}
            shared["batch_size"] = self.batch_size or shared["batch_size"]
        return ReportConfig(
            **shared,
            scores=self.scores,
            out_of_distribution=self.others,
            gradient_group=None,
        )

    @property
    def report_folder(self) -> pathlib.Path:
        """Where the page is written."""
        if self.out is not None:
            return self.out
        file = self.predictions_file
        if self.report is not None:
            name = self.report.resolve().name
        elif file is not None:
            name = file.stem
        else:
            network = self.network_report
            named = network.model is not None
            name = network.name if named else data.short_name(network.dataset)
        what = (data.short_name(n) if data.is_own(n) else n for n in self.what)
        return pathlib.Path("detections", "-".join([name, *what]).replace("/", "-"))


def _is_of_predictions(folder: pathlib.Path) -> bool:
    """Whether a report is on a file of predictions, with no network to ask.

    Raises:
      FileNotFoundError: if there is no report.
      ValueError: if its numbers cannot be read.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no report: it holds no metrics.json")
    try:
        return "predictions" in json.loads(path.read_text("utf-8"))["run"]["report"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: not the numbers of a report: {error!r}") from error
