"""What a page of explanations is about."""

import dataclasses
import difflib
import json
import pathlib
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from trustjax import _validate, explain, scores
from trustjax.pipeline._config import NetworkConfig, ReportConfig

STANDARD, ALL = "standard", "all"
_LISTED = 20


@dataclasses.dataclass(frozen=True)
class ExplainConfig(NetworkConfig):
    """Which images are explained, and how; what `NetworkConfig` holds, and this.

    Attributes:
      dataset: as in a report; of images that lie in files only where the network is
        trained on it, or representatives of classes are taken from it; empty for none.
      images: image files, and folders of them.
      indices: numbers of records of the dataset's test split.
      report: the folder of a report, to take its network and its dataset from.
      methods: names of `explain.METHODS`; `standard`, those of a few passes; or `all`.
      target: the class that is asked about, by name or number; None for the answer.
      contrasts: the classes that it is compared with; those ranked next if none.
      layer: where the network is cut for class activation maps: `feature_map`, or a
        layer's name or a cut's number, as `transforms.split` takes it.
      grid: the rows and columns of a transformer's tokens, of a clip with the frames
        before them; found where there is one way to do it.
      class_tokens: how many tokens come before those of the image; None for what is
        known of a network of `models.names()`, else none.
      baseline: what hides a pixel: `mean`, `zero`, `blur`, `impute`, or a number; None
        for what each method takes by itself.
      masks: how many random masks or noisy images a method draws.
      curve_steps: of insertion and deletion; 0 leaves their curves out.
      out: the folder of the page; None for `explanations/<dataset>-<model>-<seed>`.
      overwrite: whether the page may take the place of one of other settings.

    Raises:
      ValueError: if a name is unknown, the nearest first, or what is to be explained is
        not said.
    """

    dataset: str = ""
    images: tuple[pathlib.Path, ...] = ()
    indices: tuple[int, ...] = ()
    report: pathlib.Path | None = None
    methods: tuple[str, ...] = (STANDARD,)
    target: str | None = None
    contrasts: tuple[str, ...] = ()
    layer: str = "feature_map"
    grid: tuple[int, ...] | None = None
    class_tokens: int | None = None
    baseline: str | None = None
    masks: int = 1000
    curve_steps: int = 32
    out: pathlib.Path | None = None
    overwrite: bool = False

    def __post_init__(self):
        super().__post_init__()
        _validate.count("masks", self.masks, at_least=2)
        _validate.count("curve_steps", self.curve_steps, at_least=0)
        for name in set(self.methods) - {STANDARD, ALL, *explain.METHODS}:
            offered = _nearest(name, [*explain.METHODS, STANDARD, ALL])
            raise ValueError(f"there is no method {name!r}; there are {offered}")
        if bool(self.images) == bool(self.indices):
            raise ValueError(
                "say what to explain: image files or a folder of them, or --indices of "
                "the records of a dataset" + (", not both" if self.images else "")
            )
        if self.report is not None:
            self._require_nothing_of_a_network()
        elif not self.dataset and (self.indices or not self.brings_network):
            raise ValueError(
                "say which network: --model with --weights, --dataset to train one on, "
                "or --report, the folder of a report"
                if self.images
                else "--indices are of records: give --dataset or --report"
            )

    def _require_nothing_of_a_network(self) -> None:
        """Refuses what the report says already."""
        defaults = {f.name: f.default for f in dataclasses.fields(ExplainConfig)}
        for field in dataclasses.fields(NetworkConfig):
            if getattr(self, field.name) != defaults[field.name]:
                name = field.name.replace("_", "-")
                raise ValueError(f"--{name} is said by --report: leave one out")

    @property
    def network_report(self) -> ReportConfig:
        """A report on the same network, of one score that costs nothing."""
        if self.report is not None:
            shared = network_of_the_report_in(self.report)
        else:
            names = (field.name for field in dataclasses.fields(NetworkConfig))
            shared = {name: getattr(self, name) for name in names}
        shared["dataset"] = shared["dataset"] or "images"
        return ReportConfig(
            **shared,
            scores=(scores.baseline().name,),
            out_of_distribution=(),
            gradient_group=None,
        )

    @property
    def method_names(self) -> tuple[str, ...]:
        """The methods that are asked for, each once."""
        sets = {
            STANDARD: [n for n, row in explain.METHODS.items() if row.standard],
            ALL: list(explain.METHODS),
        }
        named = (name for asked in self.methods for name in sets.get(asked, [asked]))
        return tuple(dict.fromkeys(named))

    @property
    def report_folder(self) -> pathlib.Path:
        """Where the page is written."""
        if self.out is not None:
            return self.out
        report = self.network_report
        name = report.name if report.model is not None else report.dataset
        return pathlib.Path("explanations", name.replace("/", "-"))


def sorted_by_likeness(name: str, names: Iterable[str]) -> list[str]:
    """Names, those first that are most like another.

    >>> sorted_by_likeness("gradcam", ["rise", "occlusion", "grad_cam"])
    ['grad_cam', 'rise', 'occlusion']
    """
    plain = name.casefold()

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, plain, other.casefold()).ratio()

    return sorted(names, key=lambda other: (-likeness(other), other))


def _nearest(name: str, names: Iterable[str]) -> str:
    """The same in one line, the first of them."""
    ordered = sorted_by_likeness(name, names)
    return ", ".join(ordered[:_LISTED]) + (", ..." if len(ordered) > _LISTED else "")


def numbers_of(
    asked: Iterable[str], class_names: Sequence[str], what: str
) -> list[int]:
    """The classes of names or numbers.

    Raises:
      ValueError: if one is no class, naming those that are, the nearest first.

    >>> numbers_of(["tabby", "0"], ["tiger cat", "tabby"], "contrast")
    [1, 0]
    """
    plain = [_plain(name) for name in class_names]
    found = []
    for name in asked:
        number = int(name) if name.isdecimal() else None
        if _plain(name) in plain:
            number = plain.index(_plain(name))
        if number is None or number >= len(class_names):
            raise ValueError(
                f"{what} {name!r} is no class of the network; those are "
                f"{_nearest(name, class_names)}"
                f" (or a number below {len(class_names):,})"
            )
        found.append(number)
    return found


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold()


def network_of_the_report_in(folder: pathlib.Path) -> dict[str, Any]:
    """The network and the dataset of a report, as its options were."""
    path = folder / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no report: it holds no metrics.json")
    try:
        kept = json.loads(path.read_text("utf-8"))["run"]["report"]
        names = [field.name for field in dataclasses.fields(NetworkConfig)]
        shared = {name: kept[name] for name in names}
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path}: not the numbers of a report on a network: {error!r}"
        ) from error
    if kept.get("introspective"):
        raise ValueError(
            f"{folder} is a report on two stages, and its options name the first "
            "alone: give both as --model file.py:make, where make returns apply_fn and "
            "params of introspection.load"
        )
    hints = typing.get_type_hints(NetworkConfig)
    return {name: _as_typed(value, hints[name]) for name, value in shared.items()}


def _as_typed(value: Any, hint: Any) -> Any:
    """A value of JSON as a config has it."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and pathlib.Path in typing.get_args(hint):
        return pathlib.Path(value)
    return value
