"""What a report is about: the choices that its numbers depend on, and where it goes."""

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Collection, Iterable, Sequence

from trustjax import (
    _validate,
    data,
    detectors,
    gradients,
    ingredients,
    models,
    preprocessing,
    scores,
)
from trustjax.ingredients import (
    KEY,
    LOGITS,
    NETWORK,
    STOCHASTIC_NETWORK,
    TRAINING_SET,
)
from trustjax.pipeline import _own
from trustjax.pipeline._attack_options import NO_ATTACKS, AttackOptions
from trustjax.pipeline._intervention_options import (
    NO_INTERVENTIONS,
    InterventionOptions,
)
from trustjax.pipeline._second_stage_options import PRESET, SecondStageOptions

STANDARD, ALL = "standard", "all"
_PREFERRED_MODEL = "cnn"
_MODEL_OF_ANY_IMAGE = "mlp"
_NUMBERS_AT_A_TIME = 16 * 224 * 224 * 3
_MODEL_OF_ANY_CLIP = "r3d_8"

_MANY_CLASSES = 100
"""Up to so many, a score may ask a network about each of them unbidden."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network is asked, and about which data: what all roads from a name share.

    Attributes:
      dataset: a name that `data.load` takes: `folder:PATH` of class folders, or one of
        `data.names()`.
      class_names: of own data, in the order of the labels; if none are given, those of
        the training set: numbers by size, else as Python sorts strings.
      ignore_label: labels whose records are left out: as they are written, or names or
        numbers of classes.
      skip_unreadable: of own data: whether files that are no whole images are left out
        and counted; else the first of them is an error.
      split_seed: of own data: of the division of what is not divided.
      image_size: height and width that all images are resized to, their aspect ratio
        not kept; None for their own.
      train_split: what the network learns from.
      validation_split: what decides when it has learned enough; for a dataset without
        one, take a part of the training set: `"train[90%:]"`.
      test_split: what the report is on.
      model: a name of `models.names()`, or the place of your own network,
        `module:attribute` or `file.py:attribute` (`bridge.from_object` says what may be
        there); None for `cnn`, or for `mlp` where the images are too small for it.
      weights: of the network, a file or folder that `weights.read` takes; nothing is
        trained then, nor where the network is your own. None trains a named network.
      weights_sha256: what the digest of that file must be, in hexadecimal.
      weights_part: the part of that file that is meant, where it holds several
        networks, such as `ema_state_dict`; its keys joined by `/`.
      preprocessing: what becomes of an image before such a network sees it, as
        `preprocessing.parse` takes it; None for what belongs to the weights.
      head: which output of the network is meant, where it returns several.
      class_map: a JSON file, name of a class of the dataset -> name or number of one of
        the network; None where the names agree, or there are as many classes.
      replace_head: refused, saying what to do where the network has other classes.
      checkpoints: the folder of the network; None for
        `checkpoints/<dataset>-<model>-<seed>`. A network that is finished there is
        loaded, and one that is not is trained on.
      epochs: the most passes over the training set; None for the model's own default.
      batch_size: examples scored at a time, over all devices of all processes; None
        for 256, and fewer of large images (16 of 224x224 in colour): the gradients of
        each example take memory.
      seed: of training, and of the resampling behind the intervals.
      data_dir: the folder of prepared datasets; None for the default.

    Raises:
      ValueError: if a name is unknown, naming those that exist, or a number is out of
        its range.
    """

    dataset: str = "mnist5k"
    class_names: tuple[str, ...] = ()
    ignore_label: tuple[str, ...] = ()
    skip_unreadable: bool = False
    split_seed: int = 0
    image_size: tuple[int, int] | None = None
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    model: str | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    weights_part: str | None = None
    preprocessing: str | None = None
    head: str | None = None
    class_map: pathlib.Path | None = None
    replace_head: bool = False
    checkpoints: pathlib.Path | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    data_dir: pathlib.Path | None = None

    def __post_init__(self):
        if self.batch_size is not None:
            _validate.count("batch_size", self.batch_size)
        if self.model is not None:
            own = _own.is_own(self.model)
            if self.model.endswith(".py"):
                raise ValueError(
                    f"model {self.model}: say what in that file is the network, as "
                    f"{self.model}:make"
                )
            if not own:
                _validate.choice("model", self.model, models.names())
        self._require_brought()

    def _require_brought(self) -> None:
        """Refuses what is of a network that is brought, where none is."""
        if self.preprocessing is not None:
            preprocessing.parse(self.preprocessing)
        if self.replace_head:
            raise ValueError(
                "--replace-head: a report trains no new last layer for given weights. "
                "Train one (models.pretrained gives the network) and give it as "
                "--model file.py:make; or --class-map says which classes of the "
                "network are those of the dataset"
            )
        for name in ("weights_sha256", "weights_part"):
            if self.weights is None and getattr(self, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is of --weights: give it")
        if self.weights is not None and self.model is None:
            raise ValueError("--weights are of a network: name it, as --model resnet50")
        if not self.brings_network:
            for name in ("preprocessing", "head", "class_map"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"--{name.replace('_', '-')} is of a network that is brought: "
                        "give --weights too, or --model file.py:make"
                    )

    @property
    def brings_network(self) -> bool:
        """Whether the network comes with its weights, so that nothing is trained."""
        own = self.model is not None and _own.is_own(self.model)
        return own or self.weights is not None

    @property
    def network(self) -> str:
        """The name of the network.

        Raises:
          ValueError: before the images have decided which it is.
        """
        if self.model is None:
            raise ValueError("model is not chosen yet: config.for_images(image_shape)")
        return _own.short_name(self.model)

    @property
    def name(self) -> str:
        """Names the dataset, the network and the seed, for folders."""
        return f"{data.short_name(self.dataset)}-{self.network}-{self.seed}"

    @property
    def checkpoint_folder(self) -> pathlib.Path:
        """Where the network is kept."""
        return self.checkpoints or pathlib.Path("checkpoints", self.name)


@dataclasses.dataclass(frozen=True)
class ReportConfig(NetworkConfig):
    """What a report on a network is about; what `NetworkConfig` holds, and this.

    Attributes:
      scores: names of registered scores; `standard`, those of one pass over the test
        set; or `all` that one trained network offers: also those of neighbours in the
        training set, of dropout masks and of shifted inputs.
      introspective: whether the page is on two stages: the network, and a second stage
        that is trained on its introspective features (`introspection.fit`) and answers
        in its place.
      second_stage: what that second stage is.
      oracle: the folder of a trained oracle (`oracles.fit`), to score beside the
        others under the name `oracle`; None for none.
      detector: the file of a detector (`trustjax detect`, `detectors.save`), to score
        beside the others under the name `detector`; None for none.
      out_of_distribution: datasets of none of the classes, scored beside the test set.
      corruptions: kinds of corruption that the test images are scored under as well,
        as `data.corruptions_named` takes them: names, or `common`, the fifteen of
        ImageNet-C, `validation`, four more, or `all`. Each kind and severity costs as
        much as the test set. They need the extra `corruptions`.
      severities: of the corruptions, from 1, mild, to 5.
      attacks: which attacks the first test images are scored under as well.
      interventions: which explanations the first test images are masked by, to see
        what that leaves uncertain, what is enough for the answer and what is needed.
      membership: whether training images are scored as well, as many as there are test
        images, to see which score tells them apart.
      gradient_group: how the gradient statistics pool parameters, `"tensor"`,
        `"layer"` or `"network"`; None leaves them out.
      alpha: of question-answer trust: how much more a confident right answer is worth
        than a hesitant one; 0 for all alike.
      beta: of question-answer trust: how much more a confident wrong answer costs than
        a hesitant one.
      out: the folder of the report; None for `reports/<dataset>-<model>-<seed>`.
      overwrite: whether the report may take the place of one of other settings.

    Raises:
      ValueError: if a name is unknown, naming those that exist, or a number is out of
        its range.
    """

    scores: tuple[str, ...] = (STANDARD,)
    introspective: bool = False
    second_stage: SecondStageOptions = PRESET
    oracle: pathlib.Path | None = None
    detector: pathlib.Path | None = None
    out_of_distribution: tuple[str, ...] = ("letters", "uniform_noise")
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = data.SEVERITIES
    attacks: AttackOptions = NO_ATTACKS
    interventions: InterventionOptions = NO_INTERVENTIONS
    membership: bool = False
    gradient_group: str | None = "layer"
    alpha: float = 1.0
    beta: float = 1.0
    out: pathlib.Path | None = None
    overwrite: bool = False

    def __post_init__(self):
        super().__post_init__()
        _validate.not_negative("alpha", self.alpha)
        _validate.not_negative("beta", self.beta)
        if self.gradient_group is not None:
            _validate.choice("gradient_group", self.gradient_group, gradients.GROUPINGS)
        data.corruptions_named(self.corruptions)
        wrong = [s for s in self.severities if s not in data.SEVERITIES]
        if wrong or not self.severities:
            known = ", ".join(map(str, data.SEVERITIES))
            raise ValueError(
                f"severities must be some of {known}, got {self.severities}"
            )
        _require_registered(self.scores)
        brought = (
            (self.oracle, scores.ORACLE_OUTPUT, "--oracle, a trained oracle's folder"),
            (self.detector, scores.DETECTOR_OUTPUT, "--detector, a fitted one's file"),
        )
        for given, _, option in brought:
            if self.introspective and given is not None:
                raise ValueError(
                    f"{option.partition(',')[0]} is of the first stage alone, "
                    "--introspective answers by two: give one of them"
                )
        if self.second_stage != PRESET and not self.introspective:
            raise ValueError("--second-stage is of --introspective: give it too")
        for name in set(self.scores) - {STANDARD, ALL}:
            for given, output, option in brought:
                if given is None and output.name in _lacking(name, ()):
                    raise ValueError(f"the score {name} needs {option}")
        if self.model is not None:
            own = _own.is_own(self.model)
            # Whether a network of one's own has dropout is known when it is loaded.
            self.require_offered(self.offers(own or models.has_dropout(self.model)))

    def require_offered(self, offers: Collection[str]) -> None:
        """Refuses scores that are asked for by name and cannot be made of what is here.

        Raises:
          ValueError: naming what is missing, and the scores that can.
        """
        output = self.detector_output
        if output is not None and (missing := ingredients.missing(output, offers)):
            raise ValueError(
                f"the detector in {self.detector} needs {', '.join(missing)}, and one "
                f"{self.network} alone does not give them"
            )
        for name in set(self.scores) - {STANDARD, ALL}:
            if missing := _lacking(name, offers):
                offered = ", ".join(scores.names(computable_from=offers))
                raise ValueError(
                    f"the score {name} needs {', '.join(missing)}, and one "
                    f"{self.network} alone does not give them; it offers {offered}"
                )

    def for_images(self, image_shape: tuple[int, ...]) -> "ReportConfig":
        """The same about a network that is named and takes such images.

        Raises:
          ValueError: if the network that was asked for does not, naming those that do.
        """
        if self.brings_network:
            return self
        if self.model is not None:
            models.require_images(self.model, image_shape)
            return self
        taking = models.taking(image_shape)
        preferred = (_PREFERRED_MODEL, _MODEL_OF_ANY_IMAGE, _MODEL_OF_ANY_CLIP)
        chosen = next((name for name in preferred if name in taking), None)
        return dataclasses.replace(self, model=chosen)

    def offers(self, dropout: bool, training_set: bool = True) -> frozenset[str]:
        """What scores can be made of here, at whatever cost.

        Args:
          dropout: whether the network can be asked with dropout on.
          training_set: whether there is one.
        """
        offered = self._of_one_pass.union(
            [KEY.name],
            [STOCHASTIC_NETWORK] if dropout else [],
            [TRAINING_SET] if training_set else [],
        )
        output = self.detector_output
        if output is None or ingredients.missing(output, offered):
            return offered
        return offered | {output.name}

    @property
    def _of_one_pass(self) -> frozenset[str]:
        oracle = [] if self.oracle is None else [scores.ORACLE_OUTPUT.name]
        return frozenset({NETWORK, *oracle})

    @functools.cached_property
    def fitted_detector(self) -> detectors.Detector | None:
        """The detector in the file; None for none."""
        return None if self.detector is None else detectors.load(self.detector)

    @functools.cached_property
    def detector_output(self) -> ingredients.Ingredient | None:
        """What a detector makes of a batch; None for none."""
        if self.fitted_detector is None:
            return None
        (output,) = self.fitted_detector.ingredients()
        return output

    def examples_at_a_time(self, image_shape: tuple[int, ...]) -> int:
        """How many images of a shape are scored at a time."""
        if self.batch_size is not None:
            return self.batch_size
        fitting = _NUMBERS_AT_A_TIME // math.prod(image_shape)
        return min(256, 2 ** max(0, fitting.bit_length() - 1))

    def score_names(self, offers: Collection[str]) -> tuple[str, ...]:
        """The scores that can be made of what is here, each once."""
        # A detector is asked for where it is given, whatever its columns cost.
        own = [] if self.detector is None else [scores.detector.__name__]
        sets = {STANDARD: self._of_one_pass, ALL: offers}
        return expanded([*self.scores, *own], sets)

    @property
    def second_stage_folder(self) -> pathlib.Path:
        """Where the second stage is kept."""
        there = self.checkpoint_folder
        return there.with_name(f"{there.name}-introspective")

    def asks_training_set(self) -> bool:
        """Whether a score is fitted on the training set, or that itself is asked."""
        if self.membership:
            return True
        without = self.offers(dropout=True, training_set=False)
        return any(
            _lacking(name, without)
            for name in self.score_names({*without, TRAINING_SET})
        )

    @property
    def report_folder(self) -> pathlib.Path:
        """Where the report is written."""
        stages = "-introspective" if self.introspective else ""
        return self.out or pathlib.Path("reports", f"{self.name}{stages}")


@dataclasses.dataclass(frozen=True)
class PredictionsConfig:
    """What a report on predictions of any framework is about.

    Attributes:
      predictions: an `.npz` file, as `assess.read_predictions` reads it.
      scores: names of registered scores that the outputs determine; `standard` or
        `all` for all of those. The scores in the file are beside them.
      alpha: as in `ReportConfig`.
      beta: as in `ReportConfig`.
      out: the folder of the report; None for `reports/<file name>`.
      overwrite: whether the report may take the place of one of other settings.
      seed: of the resampling behind the intervals.

    Raises:
      ValueError: if a name is unknown, naming those that exist, or a number is out of
        its range.
    """

    predictions: pathlib.Path
    scores: tuple[str, ...] = (STANDARD,)
    alpha: float = 1.0
    beta: float = 1.0
    out: pathlib.Path | None = None
    overwrite: bool = False
    seed: int = 0

    def __post_init__(self):
        _validate.not_negative("alpha", self.alpha)
        _validate.not_negative("beta", self.beta)
        _require_registered(self.scores)
        offered = scores.names(computable_from={LOGITS.name})
        for name in set(self.scores) - {STANDARD, ALL, *offered}:
            needs = ", ".join(_lacking(name, {LOGITS.name}))
            raise ValueError(
                f"the score {name} needs {needs}, which predictions do not give; they "
                f"offer {', '.join(offered)}"
            )

    @property
    def report_folder(self) -> pathlib.Path:
        """Where the report is written."""
        return self.out or pathlib.Path("reports", self.predictions.stem)


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """What a page about several networks on one test set is about.

    Attributes:
      networks: of each a report's folder, or an `.npz` file that
        `assess.read_predictions` reads; two at least.
      names: of the networks on the page. If none are given, that of the model where a
        report says so, else that of the file; where two would be the same, the path.
      alpha: as in `ReportConfig`.
      beta: as in `ReportConfig`.
      out: the folder of the page; None for `reports/comparison`.
      overwrite: whether the page may take the place of one of other settings.
      seed: of the draws behind the intervals.

    Raises:
      ValueError: if there are fewer than two networks, or not as many names; if a
        number is out of its range.
    """

    networks: tuple[pathlib.Path, ...]
    names: tuple[str, ...] = ()
    alpha: float = 1.0
    beta: float = 1.0
    out: pathlib.Path | None = None
    overwrite: bool = False
    seed: int = 0

    def __post_init__(self):
        _validate.not_negative("alpha", self.alpha)
        _validate.not_negative("beta", self.beta)
        if len(self.networks) < 2:
            raise ValueError(
                f"it takes two networks to compare, got {len(self.networks)}"
            )
        if self.names and len(self.names) != len(self.networks):
            raise ValueError(
                f"there are {len(self.names)} names for {len(self.networks)} networks"
            )

    @property
    def report_folder(self) -> pathlib.Path:
        """Where the page is written."""
        return self.out or pathlib.Path("reports", "comparison")


def expanded(asked: Iterable[str], sets: dict[str, Collection[str]]) -> tuple[str, ...]:
    """The scores that are asked for, each once.

    Args:
      asked: names of scores, and of sets of them.
      sets: name of a set -> what its scores can be made of.
    """
    named = (
        scores.names(computable_from=sets[name]) if name in sets else (name,)
        for name in asked
    )
    return tuple(dict.fromkeys(itertools.chain.from_iterable(named)))


def in_reach(
    names: Sequence[str], asked: Sequence[str], num_classes: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scores without those of a set that cost much for each of many classes.

    Args:
      names: of scores.
      asked: those of them that were asked for by name, and others.
      num_classes: of the network.

    Returns:
      The scores, and a sentence on those that are left out, if there are any.
    """
    if num_classes <= _MANY_CLASSES:
        return tuple(names), ()
    lost = [
        name
        for name in names
        if name not in asked and scores.lookup(name).for_each_class
    ]
    if not lost:
        return tuple(names), ()
    note = (
        f"Left out: {', '.join(lost)}, for each takes a backward pass to each of "
        f"{num_classes:,} classes; --scores takes them by name."
    )
    return tuple(name for name in names if name not in lost), (note,)


def _lacking(name: str, available: Collection[str]) -> list[str]:
    """The ingredients of a score that cannot be made of what is there."""
    needs = scores.lookup(name).needs
    return [need.name for need in needs if ingredients.missing(need, available)]


def _require_registered(names: Iterable[str]) -> None:
    for name in set(names) - {STANDARD, ALL}:
        scores.lookup(name)
