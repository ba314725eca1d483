"""Which scores see that an image was attacked, and which still do if the attack knows?

    python -m experiments.adversarial_scores
    python -m experiments.adversarial_scores --smoke

AlRegib and Prabhushankar (WACV 2025 tutorial) count adversarial images among the
"negative interventions", and JPEG among the defences at inference. Here a network's
test images are attacked by FGSM and PGD at a sweep of radii; every score that one
network gives, with what is fitted on its training set, is asked to tell them from the
images as they were. Then each score is attacked itself: PGD until the answer is wrong
by a margin, and from there up the score (after Carlini and Wagner 2017, who broke ten
detectors so). Without that column the first says nothing. JPEG is asked as a defence,
and attacked through its decoder as if that were the identity (Athalye et al. 2018).

Networks and answers are kept under `checkpoints/adversarial_scores`: a run that was
stopped goes on where it was. Page: `adversarial_scores.md`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import adversarial_scores_jpeg as jpeg
from experiments import adversarial_scores_numbers as numbers
from experiments import adversarial_scores_page as page
from experiments.explanations_shared import in_pieces, kept
from experiments.shared import keep_programs, write_numbers
from trustjax import _progress, bridge, data, interventions, scores, scoring, train
from trustjax.ingredients import (
    KEY,
    LOGITS,
    NETWORK,
    STOCHASTIC_NETWORK,
    TRAINING_SET,
    Ingredient,
)

SCORES = scores.names(
    computable_from={NETWORK, STOCHASTIC_NETWORK, TRAINING_SET, KEY.name}
)
"""All but those of a trained oracle, a fitted detector and an ensemble of networks."""

STAND_INS = {"mc_dropout_variation_ratio": "mc_dropout"}
"""Scores without a gradient, and what is raised in their place."""

DEAR = tuple(
    name
    for name in SCORES
    if {need.name for need in scores.lookup(name).needs}
    & {
        "gradient_statistics",
        "gradient_alignments",
        "confounding_gradients",
        "class_gradients",
        "dropout_logits",
        "augmented_logits",
    }
)
"""Scores of gradients to the parameters and of many forward passes: an attack on one
takes as many minutes as on all others together. Not attacked unless asked for."""

PIECE = 250
"""Images at a time."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      datasets: name -> the radii of the attacks, in units of the image.
      model: a name of `models`.
      epochs: of its training, by dataset.
      fitted_on: what the states of scores are fitted on, by dataset.
      images: how many of the test images, the first ones.
      steps: of PGD.
      margin: how far, in logits, an attack on a score goes past the wrong answer
        before only the score counts.
      weights: of the score in such attacks; of all, each image keeps the best.
      qualities: of JPEG.
      scores: which are asked.
      not_attacked: those of them that are not attacked themselves.
      workdir: where networks and answers are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figures.
    """

    datasets: Mapping[str, tuple[float, ...]] = dataclasses.field(
        default_factory=lambda: {
            "mnist5k": (0.05, 0.1, 0.15, 0.2, 0.3),
            "fashion_mnist": (0.005, 0.01, 0.02, 0.04, 0.08),
        }
    )
    model: str = "cnn"
    epochs: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"mnist5k": 20, "fashion_mnist": 6}
    )
    fitted_on: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"mnist5k": "train", "fashion_mnist": "train[:10%]"}
    )
    images: int = 250
    steps: int = 10
    margin: float = 1.0
    weights: tuple[float, ...] = (0.3, 3.0)
    qualities: tuple[int, ...] = (10, 25, 50, 75, 95)
    scores: tuple[str, ...] = SCORES
    not_attacked: tuple[str, ...] = DEAR
    workdir: pathlib.Path = pathlib.Path("checkpoints/adversarial_scores")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def attacked(self) -> tuple[str, ...]:
        """The scores that are attacked themselves."""
        return tuple(name for name in self.scores if name not in self.not_attacked)

    @property
    def name(self) -> str:
        """Of the files of numbers and figures."""
        return "_".join(("adversarial_scores", *self.datasets))


STUDY = Study()
SMOKE = Study(
    datasets={"mnist5k": (0.05, 0.2)},
    epochs={"mnist5k": 3},
    images=60,
    steps=3,
    weights=(1.0,),
    qualities=(25, 75),
    scores=("max_softmax", "margin", "knn_distance"),
    workdir=pathlib.Path("checkpoints/adversarial_scores-smoke"),
    numbers=pathlib.Path("checkpoints/adversarial_scores-smoke/numbers"),
    figures=pathlib.Path("checkpoints/adversarial_scores-smoke/figures"),
)


class Network(NamedTuple):
    """A trained network, what is fitted beside it, and its images.

    Attributes:
      apply_fn: `(params, x) -> logits`.
      params: what it takes first.
      stochastic_apply_fn: the same with dropout on.
      given: what scores take beside the network: a key, and states that were fitted.
      x: `[images, height, width, channels]`, in [0, 1].
      labels: `[images]`.
      folder: where what is made of it is kept.
    """

    apply_fn: Any
    params: Any
    stochastic_apply_fn: Any
    given: Mapping[str, Any]
    x: np.ndarray
    labels: np.ndarray
    folder: pathlib.Path

    def ask(self, names: Sequence[Any], params: Any, given: Any, x: Any, index: Any):
        """`{name: [batch]}` of scores or ingredients, and the logits; pure."""
        return scoring.score_batch(
            [LOGITS, *names],
            self.apply_fn,
            params,
            x,
            index=index,
            stochastic_apply_fn=self.stochastic_apply_fn,
            given=given,
        )


def network(study: Study, dataset: str) -> Network:
    """A network, trained or loaded, with what its scores take fitted."""
    folder = study.workdir / dataset
    keep_programs(study.workdir)
    with _progress.reporter() as progress:
        model = train.fit(
            train.config_for(study.model, epochs=study.epochs[dataset]),
            data.load(dataset, "train"),
            data.load(dataset, "validation"),
            workdir=folder / "network",
            checkpoint_every=100,
            progress=progress,
        ).model
        apply_fn, params = bridge.from_nnx(model)
        stochastic_apply_fn, _ = bridge.stochastic_from_nnx(model)
        scorer = scoring.Scorer(
            study.scores,
            apply_fn,
            params,
            stochastic_apply_fn=stochastic_apply_fn,
            given={KEY.name: jax.random.key(0)},
        ).fit(
            data.batches(data.load(dataset, study.fitted_on[dataset]), 250),
            workdir=folder / "fitting",
            progress=progress,
        )
    images, labels = data.load(dataset, "test").source.take(range(study.images))
    x = np.asarray(images, np.float32) / 255
    return Network(
        apply_fn, params, stochastic_apply_fn, scorer.given, x, labels, folder
    )


def said_of(study: Study, asked: Network) -> Mapping[str, np.ndarray]:
    """What is said of the images as they are, and under attacks that know no score.

    Returns:
      `version|name` -> `[images, ...]`: the changed `x`, the `logits` and every score,
      of the versions `clean`, `FGSM 0.1`, `PGD 0.1`.
    """
    place = functools.partial(asked.folder.joinpath, _key(study))

    def changed() -> dict[str, np.ndarray]:
        attacks = {
            "FGSM": functools.partial(interventions.fgsm, asked.apply_fn),
            "PGD": functools.partial(
                interventions.pgd, asked.apply_fn, steps=study.steps
            ),
        }
        found = {"clean": asked.x}
        for name, attack in attacks.items():
            program = jax.jit(lambda p, x, y, e, a=attack: a(p, x, y, epsilon=e))
            for radius in study.datasets[asked.folder.name]:
                found[f"{name} {radius:g}"] = in_pieces(
                    lambda x, y, r=radius, of=program: of(asked.params, x, y, r),
                    asked.x,
                    asked.labels,
                    size=PIECE,
                )
        return found

    versions = kept(place("attacked.npz"), changed)

    @jax.jit
    def ask(params: Any, given: Any, x: Any, index: Any) -> Any:
        return asked.ask(study.scores, params, given, x, index)

    found: dict[str, np.ndarray] = {}
    for version, x in versions.items():
        said = kept(
            place("said", f"{version}.npz"),
            lambda x=x: in_pieces(
                functools.partial(ask, asked.params, asked.given),
                x,
                np.arange(len(x)),
                size=PIECE,
            ),
        )
        found |= {f"{version}|x": x}
        found |= {f"{version}|{name}": values for name, values in said.items()}
    return found


def adaptive(
    study: Study, asked: Network, said: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """What each score says of images that were changed to raise it as well.

    Of PGD without the score and with it at each weight, an image keeps the wrong answer
    that is trusted most.

    Returns:
      Score -> `fooled` and `value`, `[radii, images]`, and `moved`: the share of images
      at which what is raised has a gradient.
    """
    alike: dict[tuple[Ingredient, ...], list[str]] = {}
    for name in study.attacked:
        alike.setdefault(scores.lookup(name).needs, []).append(name)
    found: dict[str, dict[str, np.ndarray]] = {}
    # What takes long last.
    for needs, names in sorted(alike.items(), key=lambda row: len(row[0][0].cost)):
        file = "-".join(need.name for need in needs)
        made = kept(
            asked.folder / _key(study) / "adaptive" / f"{file}.npz",
            lambda names=names: _against(study, asked, said, names),
        )
        for key, values in made.items():
            name, _, part = key.partition("|")
            found.setdefault(name, {})[part] = values
    return found


def _against(
    study: Study, asked: Network, said: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Of scores that are made of the same: one program attacks them all."""
    rows = [scores.lookup(name) for name in names]
    # The attacker draws dropout masks of its own.
    states = (asked.given, {**asked.given, KEY.name: jax.random.key(1)})

    def raised(params: Any, given: Any, x: Any, index: Any, aim: _Aim) -> Any:
        made = asked.ask(rows[0].needs, params, given, x, index)
        needed = [made[need.name] for need in rows[0].needs]
        # Chosen, not weighed by 0: what is infinite elsewhere would make it NaN.
        value = jax.lax.switch(aim.place, [row.fn for row in rows], *needed)
        # Whatever powers of ten it spans.
        return jnp.arcsinh((value - aim.middle) / aim.unit)

    @jax.jit
    def slope(params: Any, given: Any, aim: _Aim, x: Any, index: Any) -> Any:
        of_sum = jax.grad(lambda x: jnp.sum(raised(params, given, x, index, aim)))
        return jnp.any(of_sum(x) != 0, axis=(1, 2, 3))

    @jax.jit
    def attacked(
        params: Any, states: Any, try_: Any, x: Any, y: Any, index: Any
    ) -> Any:
        (given, masks), (aim, radius, weight) = states, try_
        changed = interventions.pgd(
            asked.apply_fn,
            params,
            x,
            y,
            epsilon=radius,
            steps=study.steps,
            loss_fn=lambda z, y: jnp.minimum(
                -interventions.label_log_odds(z, y), study.margin
            ),
            also=lambda params, x: weight * raised(params, masks, x, index, aim),
        )
        return asked.ask(names, params, given, changed, index)

    index = np.arange(len(asked.x))
    found: dict[str, np.ndarray] = {}
    for name in names:
        aim = _aim(names, STAND_INS.get(name, name), said)
        best = []
        for radius in study.datasets[asked.folder.name]:
            plain = f"PGD {radius:g}|"
            tries = [(said[plain + LOGITS.name], said[plain + name])]
            for weight in study.weights:
                try_ = (aim, radius, weight)
                own = in_pieces(
                    functools.partial(attacked, asked.params, states, try_),
                    asked.x,
                    asked.labels,
                    index,
                    size=PIECE,
                )
                tries.append((own[LOGITS.name], own[name]))
            best.append(_best(tries, asked.labels))
        fooled, value = zip(*best, strict=True)
        found |= {f"{name}|fooled": np.stack(fooled), f"{name}|value": np.stack(value)}
        moved = in_pieces(
            functools.partial(slope, asked.params, states[1], aim),
            asked.x,
            index,
            size=PIECE,
        )
        found[f"{name}|moved"] = np.array(moved.mean())
    return found


class _Aim(NamedTuple):
    """Which of several scores is raised, and the unit that it is measured in."""

    place: int
    middle: float
    unit: float


def _aim(names: Sequence[str], name: str, said: Mapping[str, np.ndarray]) -> _Aim:
    clean = np.nan_to_num(said[f"clean|{name}"].astype(np.float64), posinf=1e30)
    middle = float(np.median(clean))
    return _Aim(
        list(names).index(name), middle, float(np.median(np.abs(clean - middle))) or 1.0
    )


def _best(
    tries: Sequence[tuple[np.ndarray, np.ndarray]], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which images some try fools the network on, and the most that is trusted.

    Args:
      tries: of each the logits and the score.
      labels: the true classes.
    """
    logits, values = (np.stack(parts) for parts in zip(*tries, strict=True))
    wrong = logits.argmax(axis=-1) != labels
    wrong &= np.isfinite(logits).all(axis=-1) & ~np.isnan(values)
    return wrong.any(axis=0), np.where(wrong, values, -np.inf).max(axis=0)


def _key(study: Study) -> str:
    """Names the answers of a setting."""
    return f"{study.images}-{study.steps}"


def main(
    study: tyro.conf.Suppress[Study] = STUDY,
    smoke: bool = False,
    only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Makes every number and the figures, prints the tables, writes the JSON file.

    Args:
      study: what is asked.
      smoke: go through all of it on little.
      only: those datasets of it, in files of their own; without any, all.
    """
    study = SMOKE if smoke else study
    if only:
        chosen = {name: study.datasets[name] for name in only}
        study = dataclasses.replace(study, datasets=chosen)
    found = {}
    for dataset in study.datasets:
        asked = network(study, dataset)
        said = said_of(study, asked)
        against = adaptive(study, asked, said)
        found[dataset] = numbers.of_dataset(
            study,
            dataset,
            asked.labels,
            said,
            against,
            jpeg.answers(study, asked, said, asked.folder / _key(study)),
        )
    made = {"study": numbers.of_study(study), "datasets": found}
    write_numbers(study.numbers / f"{study.name}.json", made)
    page.draw(study, made)
    print(page.tables(study, made))
    return made


if __name__ == "__main__":
    tyro.cli(main)
