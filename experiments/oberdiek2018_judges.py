"""Who judges an answer: a single column with its sign, or a meta-classifier of many."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning

from experiments.oberdiek2018 import Study
from experiments.oberdiek2018_columns import SCORES, Populations
from experiments.oberdiek2018_resampled import Judged
from trustjax import _files, detectors, metrics, scoring

TRUST = {
    "l1_norm": -1.0,
    "l2_norm": -1.0,
    "minimum": 1.0,
    "maximum": -1.0,
    "standard_deviation": -1.0,
}
"""The sign that makes a statistic of a gradient a trust.

The paper leaves mean, skewness and kurtosis to meta-classifiers, as no threshold suits
them.
"""
TABLE1 = {
    "Softmax baseline": ("max_softmax", 1.0),
    "Entropy": ("negative_entropy", 1.0),
    "Absolute norm": ("network/network/l1_norm", TRUST["l1_norm"]),
    "Euclidean norm": ("network/network/l2_norm", TRUST["l2_norm"]),
    "Minimum": ("network/network/minimum", TRUST["minimum"]),
    "Maximum": ("network/network/maximum", TRUST["maximum"]),
    "Standard deviation": (
        "network/network/standard_deviation",
        TRUST["standard_deviation"],
    ),
}
ENTROPY = "negative_entropy"
GRADIENTS = ("layer", "network")
STRENGTHS = (3e-2, 1e-2, 3e-3, 1e-3)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    kind: {"strengths": STRENGTHS} for kind in ("lasso", "ridge", "elastic_net")
}
"""Fewer strengths than `detectors` tries by itself: the study fits hundreds."""


class Judgements(NamedTuple):
    """What one judge says, by re-split and by training of it.

    Attributes:
      trust: `[re-splits][trainings]`, by population `[images]`.
      thresholds: `[re-splits][trainings]`: trust from here on, chosen on validation
        images.
    """

    trust: list[list[Judged]]
    thresholds: list[list[float]]


@dataclasses.dataclass(frozen=True)
class Meta:
    """A meta-classifier.

    Attributes:
      kind: one of `detectors.KINDS`.
      features: a name of `features`.
      known: the unknown concepts of which it has seen some images, as wrong answers.
      seeds: how often it is trained.
      transform: of the columns, as `detectors.fit` takes it.
    """

    kind: str
    features: str = "paper"
    known: tuple[str, ...] = ()
    seeds: int = 1
    transform: str = "none"

    @property
    def name(self) -> str:
        """In tables and files."""
        kind = (
            self.kind if self.transform == "none" else f"{self.kind}_{self.transform}"
        )
        return " ".join((kind, self.features, "+".join(self.known) or "none"))


def features(found: Populations, name: str) -> tuple[str, ...]:
    """The columns of a set of features.

    `paper`: all gradient statistics by layer and of the network, and the entropy;
    `last_layer`, `last_two_layers`: those of layers near the softmax; `gradients`,
    `scores`, `activations`: what they say; `scores+gradients` and `everything`.
    """
    of_gradients = [n for n in found.names if n.split("/")[0] in GRADIENTS]
    of_layers = [n for n in of_gradients if n.startswith("layer/")]
    layers = list(dict.fromkeys(n.split("/")[1] for n in of_layers))
    of_scores = [n for n in SCORES if n in found.names]
    of_activations = [n for n in found.names if n.startswith("activation/")]

    def of(*some: str) -> list[str]:
        return [n for n in of_layers if n.split("/")[1] in some]

    sets: Mapping[str, Sequence[str]] = {
        "paper": [*of_gradients, ENTROPY],
        "last_layer": [*of(layers[-1]), ENTROPY],
        "last_two_layers": [*of(*layers[-2:]), ENTROPY],
        "gradients": of_gradients,
        "scores": of_scores,
        "activations": of_activations,
        "scores+gradients": [*of_scores, *of_gradients],
        "everything": [*of_scores, *of_gradients, *of_activations],
    }
    return tuple(dict.fromkeys(sets[name]))


def layers(found: Populations) -> tuple[str, ...]:
    """From the input to the softmax."""
    names = (n.split("/")[1] for n in found.names if n.startswith("layer/"))
    return tuple(dict.fromkeys(names))


def single(found: Sequence[Populations], column: str, sign: float) -> Judgements:
    """A column as a judge, with the balanced threshold of eq. 7."""
    trust, thresholds = [], []
    for one in found:
        own = {name: sign * columns[column] for name, columns in one.columns.items()}
        trust.append([own])
        thresholds.append([balanced(own["validation"], one.correct["validation"])])
    return Judgements(trust, thresholds)


def balanced(trust: np.ndarray, right: np.ndarray) -> float:
    """The threshold of eq. 7."""
    return float(metrics.balanced_threshold(trust, right).threshold)


def trained(study: Study, found: Sequence[Populations], meta: Meta) -> Judgements:
    """A meta-classifier as a judge: trained once for each re-split and seed, or read.

    Its threshold is the balanced one of what it was trained on.
    """
    trust, thresholds = [], []
    for number, one in enumerate(found):
        columns, right = training_rows(one, meta)
        options = {**OPTIONS.get(meta.kind, {}), "transform": meta.transform}
        of_resplit, of_thresholds = [], []
        for seed in range(meta.seeds):
            folder = study.folder(number) / "judged"
            digest = scoring.fingerprint((columns, right, options))[:12]
            path = folder / f"{meta.name.replace(' ', '_')}-{seed}-{digest}.npz"
            if not path.is_file():
                with warnings.catch_warnings():
                    # Without a penalty, of columns that say the same, the regression
                    # has no end: it is stopped, as the paper's was.
                    warnings.simplefilter("ignore", LinAlgWarning)
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    fitted = detectors.fit(
                        meta.kind, columns, right, seed=seed, **options
                    )
                said = _of_populations(fitted, one)
                folder.mkdir(parents=True, exist_ok=True)
                with _files.written_whole(path) as part:
                    arrays = {**said, "threshold": np.array(fitted.threshold)}
                    np.savez(part, **arrays)  # pyright: ignore[reportArgumentType]
            with np.load(path) as arrays:
                said = dict(arrays)
            of_thresholds.append(float(said.pop("threshold")))
            of_resplit.append(said)
        trust.append(of_resplit)
        thresholds.append(of_thresholds)
    return Judgements(trust, thresholds)


def _of_populations(
    fitted: detectors.Detector, found: Populations
) -> dict[str, np.ndarray]:
    """What a detector says of every population, asked once for all of them."""
    together = {
        name: np.concatenate([own[name] for own in found.columns.values()])
        for name in fitted.names
    }
    ends = np.cumsum([len(labels) for labels in found.labels.values()])
    said = np.asarray(detectors.score(fitted, together))
    return dict(zip(found.columns, np.split(said, ends[:-1]), strict=True))


def training_rows(
    found: Populations, meta: Meta
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What a meta-classifier learns from: validation images, and some unknown ones."""
    right = found.correct["validation"]
    rows = {"validation": np.ones(len(right), bool)} | {
        name: found.roles[name] == 1 for name in meta.known
    }
    columns = {
        key: np.concatenate(
            [found.columns[name][key][own] for name, own in rows.items()]
        )
        for key in features(found, meta.features)
    }
    unknown = sum(int(rows[name].sum()) for name in meta.known)
    right = np.concatenate([right, np.zeros(unknown, bool)])
    return detectors.usable(columns).columns, right
