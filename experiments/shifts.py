"""Corruptions and natural adversaries: what is left of accuracy, trust and scores.

    python -m experiments.shifts
    python -m experiments.shifts --study fashion_mnist_whole
    python -m experiments.shifts --study mnist5k
    python -m experiments.shifts --study imagenet --weights resnet50=FILE \
        efficientnet_lite0=FILE

The tutorial of AlRegib and Prabhushankar 2025 shows AUAC of five scores under 15
corruptions of 5 severities ("GradTrust is the top performing metric in all but two
setups"), and AUDC of natural adversaries against ordinary images; Luo et al. 2021 ask
oracles about the first. Here a network (`cnn`) is asked about its test set under each
corruption and severity: accuracy, NetTrustScore, calibration error, and of each score
AUROC and AUAC and AUFC on both grids, with bands over images and over the kinds of
corruption. Corruption errors (Hendrycks and Dietterich 2019) set a second network
(`resnet8`) against it. The natural adversaries are that network's surest errors; the
judged network's own are beside them, as a warning: max softmax loses on those by
construction.

Answers are kept version by version under `checkpoints/shifts`: a run that was stopped
goes on. `imagenet` reads ImageNet-C and ImageNet-A, prepared by tensorflow-datasets,
with published weights, by the same code; neither is here, and it has not been run.
Obtained, and the time it takes: shifts.md beside this file.
"""

import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tyro

from experiments import shifts_figures, shifts_numbers, shifts_tables
from experiments.shifts_numbers import TUTORIAL, Estimate, Said
from trustjax import _files, _progress, bridge, data, metrics, models, scoring, train
from trustjax.ingredients import LOGITS
from trustjax.typing import ApplyFn, Params


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked, of which networks and how many images.

    Attributes:
      name: of its files.
      dataset: a name that `data.load` takes.
      judged: the network whose scores are asked, a name of `models`.
      other: the network that it is compared with, and whose errors are adversaries.
      epochs: of training; None where the weights are given.
      test_split: what the networks are asked about.
      images: how many of these are corrupted, the first ones; None for all.
      kinds: of corruption.
      severities: of these.
      prepared: the name and the split of corrupted images that are prepared, with
        `{kind}` and `{severity}` in it; None to corrupt the test images here.
      adversaries: the name and the split of natural adversaries; None for the surest
        errors of the other network.
      most_adversaries: how many errors at most.
      scores: of the judged network; the first of them are the tutorial's.
      groups: of images, of the jackknife.
      batch_size: images at a time.
      workdir: where networks and answers are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figures.
    """

    name: str
    dataset: str
    judged: str = "cnn"
    other: str = "resnet8"
    epochs: tuple[int, int] | None = (6, 2)
    test_split: str = "test"
    images: int | None = None
    kinds: tuple[str, ...] = data.CORRUPTIONS
    severities: tuple[int, ...] = data.SEVERITIES
    prepared: tuple[str, str] | None = None
    adversaries: tuple[str, str] | None = None
    most_adversaries: int = 500
    scores: tuple[str, ...] = (
        *TUTORIAL,
        "negative_entropy",
        "grad_norm",
        "gradient_l2_norm",
    )
    groups: int = 40
    batch_size: int = 250
    workdir: pathlib.Path = pathlib.Path("checkpoints/shifts")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def level(self) -> float:
        """Of each family of statements, so that all of a page hold together.

        At each severity one for each metric of orders; one of all setups; two for each
        of two kinds of adversaries.
        """
        families = len(shifts_numbers.RANKED) * (len(self.severities) + 1) + 1 + 4
        return 1 - (1 - shifts_numbers.LEVEL) / families


STUDIES = {
    "fashion_mnist": Study("fashion_mnist", "fashion_mnist", images=1000),
    "fashion_mnist_whole": Study("fashion_mnist_whole", "fashion_mnist"),
    "mnist5k": Study("mnist5k", "mnist5k", epochs=(20, 6)),
    "imagenet": Study(
        "imagenet",
        "imagenet2012",
        judged="resnet50",
        other="efficientnet_lite0",
        epochs=None,
        test_split="validation",
        prepared=("imagenet2012_corrupted/{kind}_{severity}", "validation"),
        adversaries=("imagenet_a", "test"),
        batch_size=16,
    ),
}
SMOKE = dataclasses.replace(
    STUDIES["mnist5k"],
    name="smoke",
    epochs=(4, 1),
    test_split="test[:160]",
    images=60,
    kinds=("gaussian_noise", "contrast"),
    severities=(1, 5),
    scores=TUTORIAL,
    groups=10,
    batch_size=60,
)


class Network(NamedTuple):
    """A network that can be asked.

    Attributes:
      name: of `models`.
      apply_fn: `(params, x) -> logits`.
      params: what it takes first.
      folder: where its answers are kept.
    """

    name: str
    apply_fn: ApplyFn
    params: Params
    folder: pathlib.Path


def network(
    study: Study, name: str, epochs: int | None, weights: str | None
) -> Network:
    """A network, trained here or before, or with weights that are given."""
    folder = study.workdir / study.dataset
    if epochs is None:
        steps = models.preprocessing(name, weights)
        assert weights is not None, "`main` has refused"
        apply_fn, params = models.load(name, weights)
        digest = scoring.fingerprint(params)[:12]
        return Network(name, steps.normalized(apply_fn), params, folder / digest)
    with _progress.reporter() as progress:
        model = train.fit(
            train.config_for(name, epochs=epochs),
            data.load(study.dataset, "train"),
            data.load(study.dataset, "validation"),
            workdir=folder / f"{name}-{epochs}",
            checkpoint_every=100,
            progress=progress,
        ).model
    apply_fn, params = bridge.from_nnx(model)
    return Network(name, apply_fn, params, folder / f"answers-{name}-{epochs}")


def test_images(study: Study) -> data.Dataset:
    """The test set as the judged network takes it."""
    return _taken(study, data.load(study.dataset, study.test_split))


def version(study: Study, test: data.Dataset, kind: str, severity: int) -> data.Dataset:
    """The first test images under a corruption."""
    if study.prepared is None:
        return data.corrupted(_first(test, study.images), kind, severity=severity)
    name, split = study.prepared
    loaded = data.load(name.format(kind=kind, severity=severity), split)
    return _first(_taken(study, loaded), study.images)


def _taken(study: Study, dataset: data.Dataset) -> data.Dataset:
    """In the size that a published network takes; images of that size stay."""
    if study.epochs is not None:
        return dataset
    steps = models.preprocessing(study.judged)
    if dataset.image_shape[:2] == steps.size:
        steps = dataclasses.replace(steps, resize=None)
    return data.preprocessed(dataset, steps)


def _first(dataset: data.Dataset, count: int | None) -> data.Dataset:
    if count is None or count >= len(dataset):
        return dataset
    images, labels = dataset.source.take(range(count))
    return data.from_arrays(dataset.name, images, labels, dataset.class_names)


def ask(
    study: Study, asked: Network, dataset: data.Dataset, scores: Sequence[str], key: str
) -> Said:
    """What a network says of a dataset, kept in a file of that key."""
    path = asked.folder / f"{key}.npz"
    origin = scoring.fingerprint((dataset.fingerprint, list(scores), asked.params))
    arrays = _files.kept_arrays(path)
    if arrays is None or arrays["origin"] != origin:
        found = _scorer(asked.apply_fn, asked.params, tuple(scores)).run(
            data.batches(dataset, study.batch_size), workdir=asked.folder / "parts"
        )
        arrays = {name: found.values[name] for name in (LOGITS.name, *scores)}
        arrays |= {"origin": np.array(origin), "labels": found.labels}
        with _files.written_whole(path) as temporary:
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    return Said(
        arrays[LOGITS.name], arrays["labels"], {name: arrays[name] for name in scores}
    )


_SCORERS: dict[tuple[int, tuple[str, ...]], tuple[Any, scoring.Scorer]] = {}


def _scorer(
    apply_fn: ApplyFn, params: Params, scores: tuple[str, ...]
) -> scoring.Scorer:
    """One scorer, and so one program, for all versions."""
    place = (id(apply_fn), scores)
    if place not in _SCORERS:
        scorer = scoring.Scorer([LOGITS, *scores], apply_fn, params)
        _SCORERS[place] = (apply_fn, scorer)  # kept, so that its id is not another's
    return _SCORERS[place][1]


Versions = dict[str, dict[int, dict[str, Any]]]
"""Kind -> severity -> numbers, as `shifts_numbers.of_version` returns them."""


def shifted(
    study: Study, judged: Network, other: Network, test: data.Dataset
) -> tuple[dict[str, Any], Versions, dict[str, Any]]:
    """Numbers without corruption, of every version, and corruption errors."""
    first = _first(test, study.images)
    weights = shifts_numbers.masks(len(first), study.groups)
    clean = ask(study, judged, first, study.scores, "clean-first")
    clean_other = ask(study, other, first, (), "clean-first")
    found: Versions = {}
    errors: dict[str, list[list[float]]] = {"judged": [], "other": []}
    for kind in study.kinds:
        rates: dict[str, list[float]] = {"judged": [], "other": []}
        for severity in study.severities:
            start, key = time.monotonic(), f"{kind}-{severity}"
            dataset = version(study, test, kind, severity)
            # Read twice, and corrupted once.
            dataset = data.kept(dataset)
            said = ask(study, judged, dataset, study.scores, key)
            also = ask(study, other, dataset, (), key)
            numbers = shifts_numbers.of_version(said, weights)
            found.setdefault(kind, {})[severity] = numbers
            for which, answers in (("judged", said), ("other", also)):
                rates[which].append(float((answers.predicted != answers.labels).mean()))
            print(f"{key}: {time.monotonic() - start:.1f} s", flush=True)
        for which, of_kind in rates.items():
            errors[which].append(of_kind)
    rates_of = {which: np.array(of, np.float32) for which, of in errors.items()}
    wrong = [
        np.float32((answers.predicted != answers.labels).mean())
        for answers in (clean_other, clean)
    ]
    ratio = metrics.corruption_error(rates_of["other"], rates_of["judged"])
    added = metrics.relative_corruption_error(
        rates_of["other"], rates_of["judged"], *wrong
    )
    return (
        shifts_numbers.of_version(clean, weights),
        found,
        {
            "network": study.other,
            "reference": study.judged,
            "clean": dict(
                zip(("network", "reference"), map(float, wrong), strict=True)
            ),
            "corruption_error": dict(zip(study.kinds, ratio.tolist(), strict=True)),
            "relative": dict(zip(study.kinds, added.tolist(), strict=True)),
            "mean": float(ratio.mean()),
            "relative_mean": float(added.mean()),
        },
    )


def adversaries(
    study: Study, judged: Network, other: Network, test: data.Dataset
) -> dict[str, Any]:
    """How each score tells natural adversaries from the other test images.

    Returns:
      Whose errors they are -> how many, of each score AUDC on both grids and AUROC, and
      which is the best.
    """
    said = ask(study, judged, test, study.scores, "clean")
    if study.adversaries is not None:
        name, split = study.adversaries
        strange = ask(
            study, judged, _taken(study, data.load(name, split)), study.scores, name
        )
        chosen = {
            "natural adversaries": (_together(strange, said), len(strange.labels))
        }
        marked = {
            what: (both, np.arange(len(both.labels)) < count)
            for what, (both, count) in chosen.items()
        }
    else:
        others = ask(study, other, test, (), "clean")
        marked = {
            f"errors of {study.other}": (said, _surest_errors(study, others)),
            f"errors of {study.judged} itself": (said, _surest_errors(study, said)),
        }
    found: dict[str, Any] = {}
    for what, (own, where) in marked.items():
        numbers = shifts_numbers.detection(own.scores, where, study.groups)
        found[what] = {
            "count": int(where.sum()),
            "accuracy": float((own.predicted == own.labels)[where].mean()),
            "scores": numbers,
            "best": {
                number: shifts_numbers.best(
                    {name: of[number] for name, of in numbers.items()}, study.level
                )
                for number in ("audc_quantile", "auroc")
            },
        }
    return found


def _surest_errors(study: Study, said: Said) -> np.ndarray:
    """`[images]`: which are among the surest errors of those who said it."""
    wrong = np.flatnonzero(said.predicted != said.labels)
    surest = wrong[np.argsort(-said.confidence[wrong], kind="stable")]
    return np.isin(np.arange(len(said.labels)), surest[: study.most_adversaries])


def _together(one: Said, other: Said) -> Said:
    scores = {
        name: np.concatenate([values, other.scores[name]])
        for name, values in one.scores.items()
    }
    logits, labels = (
        np.concatenate([getattr(said, name) for said in (one, other)])
        for name in ("logits", "labels")
    )
    return Said(logits, labels, scores)


def summary(study: Study, clean: Mapping[str, Any], found: Versions) -> dict[str, Any]:
    """Means over the kinds by severity, with both intervals, and what is the best."""
    numbers = [(name, None) for name in shifts_numbers.OF_NETWORK]
    numbers += list(itertools.product(study.scores, shifts_numbers.OF_SCORE))
    by_severity = {
        0: [clean],
        **{s: [found[kind][s] for kind in study.kinds] for s in study.severities},
    }
    rows: dict[str, Any] = {}
    for severity, versions in by_severity.items():
        of_severity: dict[str, Any] = {"best": {}}
        for name, number in numbers:
            estimates = [_chosen(of, name, number) for of in versions]
            own = {
                "over_images": shifts_numbers.mean(estimates).interval(),
                "over_kinds": shifts_numbers.over_kinds(estimates),
            }
            place = of_severity if number is None else of_severity.setdefault(name, {})
            place[name if number is None else number] = own
        for number in shifts_numbers.RANKED:
            columns = {
                name: shifts_numbers.mean([_chosen(v, name, number) for v in versions])
                for name in study.scores
            }
            first = columns[study.scores[0]]
            for name, own in columns.items():
                gap = shifts_numbers.difference(own, first)
                of_severity[name][number]["less_first"] = gap
            of_severity["best"][number] = shifts_numbers.best(columns, study.level)
        rows[str(severity)] = of_severity
    return rows


def _chosen(numbers: Mapping[str, Any], name: str, number: str | None) -> Estimate:
    return numbers[name] if number is None else numbers[name][number]


def setups(study: Study, found: Versions) -> dict[str, Any]:
    """In how many setups each of the tutorial's scores is on top, by AUAC.

    Returns:
      Grid -> score -> in how many of all it is the largest; on the quantile grid also
      in how many it is proven to be behind another.
    """
    versions = [of for of_kind in found.values() for of in of_kind.values()]
    pairs = len(TUTORIAL) * (len(TUTORIAL) - 1) // 2
    level = 1 - (1 - study.level) / (len(versions) * pairs)
    on_top: dict[str, dict[str, int]] = {
        number: dict.fromkeys(TUTORIAL, 0) for number in ("auac_quantile", "auac_range")
    }
    behind: dict[str, int] = dict.fromkeys(TUTORIAL, 0)
    for numbers in versions:
        for number, counted in on_top.items():
            values = {n: np.nan_to_num(numbers[n][number].value) for n in TUTORIAL}
            counted[max(values, key=values.__getitem__)] += 1
        columns = {name: numbers[name]["auac_quantile"] for name in TUTORIAL}
        for name, own in columns.items():
            rivals = (of for rival, of in columns.items() if rival != name)
            behind[name] += any(own.behind(of, level) for of in rivals)
    return {"versions": len(versions), "on_top": on_top, "behind": behind}


def main(
    study: str = "fashion_mnist", *, weights: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Makes the numbers, the figures and the tables of a study, one of `STUDIES`.

    Args:
      study: its name.
      weights: `network=FILE`, of networks that are not trained here.
    """
    return run(STUDIES[study], dict(given.split("=", 1) for given in weights))


def run(study: Study, weights: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The numbers of a study; see `main`."""
    weights, names = weights or {}, (study.judged, study.other)
    missing = [name for name in names if study.epochs is None and name not in weights]
    if missing:
        raise ValueError(
            f"{study.name} takes published weights: give --weights "
            + " ".join(f"{name}=FILE" for name in missing)
        )
    start = time.monotonic()
    epochs = study.epochs or (None, None)
    judged, other = (
        network(study, name, of_name, weights.get(name))
        for name, of_name in zip(names, epochs, strict=True)
    )
    test = test_images(study)
    clean, found, errors = shifted(study, judged, other, test)
    made = {
        "study": study.name,
        "images": len(_first(test, study.images)),
        "summary": summary(study, clean, found),
        "setups": setups(study, found),
        "corruption_errors": errors,
        "adversaries": adversaries(study, judged, other, test),
        "by_kind": {
            kind: {str(s): numbers for s, numbers in of_kind.items()}
            for kind, of_kind in found.items()
        },
    }
    plain = _plain(made)
    study.numbers.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain, indent=1, allow_nan=False) + "\n"
    path = study.numbers / f"shifts_{study.name}.json"
    with _files.written_whole(path) as temporary:
        temporary.write_text(text)
    shifts_figures.draw(study, plain)
    for title, lines in shifts_tables.of_page(study, plain).items():
        print(f"\n{title}\n\n{lines}")
    print(f"\n{time.monotonic() - start:.0f} s")
    return plain


def _plain(value: Any) -> Any:
    """What JSON knows: estimates with their intervals, numbers to six digits."""
    if isinstance(value, Estimate):
        return _plain(value.interval())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.6g}")
    return value


if __name__ == "__main__":
    tyro.cli(main)
