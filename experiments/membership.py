"""Which trust score gives away what a network learned from?

    python -m experiments.membership
    python -m experiments.membership --smoke

The "negative interventions" of AlRegib and Prabhushankar (WACV 2025 tutorial), which
name membership inference and give no numbers. Networks alike are trained in one run,
each on a random half of the same images; the first ones are attacked in turn, and all
others are their shadows. Attacks: each trust score by itself, the loss (Yeom et al.
2018), a detector fitted on what shadows say (Shokri et al. 2017), and LiRA (Carlini et
al. 2022) on the odds of the label and on every score. Then what temperature scaling,
early stopping, weight decay and adversarial training do to them.

Answers of all networks are kept under `checkpoints/membership`: a run that was stopped
goes on where it was. Page: `membership.md`.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.explanations_shared import kept
from experiments.shared import t_interval, write_numbers
from trustjax import (
    bridge,
    data,
    detectors,
    gradients,
    interventions,
    losses,
    metrics,
    scores,
    scoring,
    statistics,
    train,
)
from trustjax.ingredients import LOGITS
from trustjax.interventions import Shadows

LEVEL = 0.95
"""The chance that not one comparison of the page is false."""

LEVEL_OF_EACH = 0.95
"""Of an interval that is no comparison: it holds by itself."""

SCORES = (
    "max_softmax",
    "negative_entropy",
    "margin",
    "max_logit",
    "energy",
    "gen",
    "grad_trust",
    "grad_norm",
    "gradient_l2_norm",
    "purview",
)
"""Trust scores that ask the network alone. None sees the label."""

BASELINE = "max_softmax"
ODDS = "odds of the label"
FIXED_RULE = "loss at most the mean training loss"
LABEL_GRADIENT = "gradient of the loss"
FALSE_POSITIVES = (0.01, 0.001)


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      datasets: their training sets are drawn from.
      records: how many images; each network learns from half of them.
      model: a name of `models`.
      networks: how many are trained.
      targets: how many of them are attacked, the first.
      epochs: of each.
      early: epochs where training is stopped early.
      weight_decay: where it is large.
      epsilon: of adversarial training, in units of the image.
      defences: those that are tried, of the names in `changes`.
      workdir: where answers are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    datasets: Sequence[str] = ("mnist5k", "fashion_mnist")
    records: int = 2000
    model: str = "mlp"
    networks: int = 24
    targets: int = 8
    epochs: int = 30
    early: int = 4
    weight_decay: float = 2.0
    epsilon: float = 0.1
    defences: Sequence[str] = (
        "none",
        "early stopping",
        "weight decay",
        "adversarial training",
    )
    workdir: pathlib.Path = pathlib.Path("checkpoints/membership")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    def folder(self, dataset: str) -> str:
        """Where the answers on a data set are kept, in `workdir`."""
        return dataset if self.model == "mlp" else f"{dataset}-{self.model}"

    @property
    def name(self) -> str:
        """Of the files of numbers and figures."""
        return "membership" if self.model == "mlp" else f"membership_{self.model}"


STUDY = Study()
SMOKE = Study(
    datasets=("mnist5k",),
    records=300,
    networks=8,
    targets=3,
    epochs=3,
    early=1,
    defences=("none", "adversarial training"),
    workdir=pathlib.Path("checkpoints/membership-smoke"),
    numbers=pathlib.Path("checkpoints/membership-smoke/numbers"),
    figures=pathlib.Path("checkpoints/membership-smoke/figures"),
)


def changes(study: Study) -> dict[str, dict[str, Any]]:
    """How the choices of the training are changed, by defence."""
    return {
        "none": {},
        "early stopping": {"epochs": study.early},
        "weight decay": {"weight_decay": study.weight_decay},
        "adversarial training": {},
    }


def answers(study: Study, dataset: str, defence: str) -> Mapping[str, np.ndarray]:
    """What every network says of every record: `[networks, records]` by score.

    Also `members`, `logits` `[networks, records, classes]`, `labels`, and `accuracy` of
    each network on the test set.
    """
    return kept(
        study.workdir / study.folder(dataset) / f"{defence.replace(' ', '_')}.npz",
        lambda: _asked(study, dataset, defence),
    )


def _asked(study: Study, dataset: str, defence: str) -> dict[str, np.ndarray]:
    images, labels = data.as_arrays(data.load(dataset, "train"))
    chosen = np.random.default_rng(0).permutation(len(images))[: study.records]
    names = data.load(dataset, "train").class_names
    records = data.from_arrays(dataset, images[chosen], labels[chosen], names)
    members = halves(study.networks, study.records)
    config = train.config_for(
        study.model,
        **{"epochs": study.epochs, "batch_size": 128} | changes(study)[defence],
    )
    many = train.fit_many(
        config,
        records,
        members,
        adversary_fn=(
            functools.partial(_attacked, epsilon=study.epsilon)
            if defence == "adversarial training"
            else None
        ),
    )
    if jax.tree.leaves(many.state.statistics):
        raise ValueError(
            f"{study.model} has running statistics: its networks are no one function "
            "of their parameters; take mlp or cnn"
        )
    x = jnp.asarray(images[chosen], jnp.float32) / 255
    y = jnp.asarray(labels[chosen])
    apply_fn, _ = bridge.from_nnx(many.model(0))  # one, so that it is compiled once
    said = [
        _of_network(apply_fn, bridge.from_nnx(many.model(n))[1], x, y)
        for n in range(len(many))
    ]
    test_images, test_labels = data.as_arrays(data.load(dataset, "test"))
    tested = many.logits(test_images[:2000].astype(np.float32) / 255)
    right = np.asarray(tested).argmax(-1) == test_labels[:2000]
    return {
        **{name: np.stack([one[name] for one in said]) for name in said[0]},
        "members": members,
        "labels": labels[chosen],
        "accuracy": right.mean(axis=1),
    }


def _attacked(network: Any, params: Any, images: Any, batch: Any, *, epsilon: float):
    return interventions.fgsm(network, params, images, batch["label"], epsilon=epsilon)


def halves(networks: int, records: int) -> np.ndarray:
    """Which records each network learns from: each is learned by half of them."""
    rng = np.random.default_rng(1)
    order = np.stack([rng.permutation(networks) for _ in range(records)], axis=1)
    return order < networks // 2


def _of_network(apply_fn: Any, params: Any, x: Any, y: Any) -> dict[str, np.ndarray]:
    """The scores of one network, and what it says of the true label."""
    found = scoring.run(
        [LOGITS, *SCORES],
        apply_fn,
        params,
        scoring.batches(np.asarray(x), np.asarray(y)),
    ).values
    towards_label = _gradient_of_loss(apply_fn, params, x, y)
    logits = found[LOGITS.name]
    return {
        **{name: found[name] for name in SCORES},
        "logits": logits,
        ODDS: np.asarray(interventions.label_log_odds(jnp.asarray(logits), y)),
        # A network that has learned an example pulls at it less.
        LABEL_GRADIENT: -np.asarray(towards_label),
    }


@functools.partial(jax.jit, static_argnums=0)
def _gradient_of_loss(apply_fn: Any, params: Any, x: Any, y: Any) -> jax.Array:
    found = gradients.gradient_statistics(
        apply_fn,
        params,
        x,
        loss_fn=losses.cross_entropy,
        loss_args=(y,),
        statistics=(statistics.l2_norm,),
        group="network",
    )
    return found.values[:, 0, 0]


Attack = Callable[[Mapping[str, np.ndarray], int], np.ndarray]
"""`(answers, target) -> [records]`, higher = member."""


def by_itself(column: str) -> Attack:
    """The number that the target gives."""
    return lambda said, target: said[column][target]


def by_lira(column: str, **options: Any) -> Attack:
    """How unusual that is among networks with and without the record."""

    def attack(said: Mapping[str, np.ndarray], target: int) -> np.ndarray:
        others = np.arange(len(said["members"])) != target
        # Heavy tails are no normal distribution: ranks within the record are nearer.
        values = _tamed(said[column])
        shadows = Shadows(
            jnp.asarray(values[others]), jnp.asarray(said["members"][others])
        )
        return np.asarray(
            interventions.lira(jnp.asarray(values[target]), shadows, **options)
        )

    return attack


def _tamed(values: np.ndarray) -> np.ndarray:
    """A monotone map under which no score has a range of many powers of ten."""
    finite = np.nan_to_num(values.astype(np.float64), posinf=1e30, neginf=-1e30)
    middle = np.median(finite)
    unit = np.median(np.abs(finite - middle)) or 1.0
    return np.arcsinh((finite - middle) / unit).astype(np.float32)


def by_shadows(said: Mapping[str, np.ndarray], target: int) -> np.ndarray:
    """A detector that learned from shadows which answers members get (Shokri)."""
    columns_of = jax.jit(interventions.attack_columns)
    y = jnp.asarray(said["labels"])
    of = lambda n: {
        name: np.asarray(column)
        for name, column in columns_of(jnp.asarray(said["logits"][n]), y).items()
    }
    shadows = [n for n in range(len(said["members"])) if n != target][:4]
    made = [of(n) for n in shadows]
    columns = {name: np.concatenate([one[name] for one in made]) for name in made[0]}
    inside = np.concatenate([said["members"][n] for n in shadows])
    attack = detectors.fit("network", detectors.usable(columns).columns, inside)
    own = of(target)
    return np.asarray(
        detectors.score(attack, {name: own[name] for name in attack.names})
    )


def attacks(columns: Collection[str] = (*SCORES, LABEL_GRADIENT)) -> dict[str, Attack]:
    """Those that the columns allow, by the name that the page gives them."""
    one_variance = {"fixed_variance": True}
    known = [name for name in SCORES if name in columns]
    of_gradient = LABEL_GRADIENT in columns
    return {
        f"loss ({ODDS})": by_itself(ODDS),
        **({LABEL_GRADIENT: by_itself(LABEL_GRADIENT)} if of_gradient else {}),
        **{scores.lookup(name).title: by_itself(name) for name in known},
        "shadow detector": by_shadows,
        "LiRA online": by_lira(ODDS),
        "LiRA online, fixed variance": by_lira(ODDS, fixed_variance=True),
        "LiRA offline": by_lira(ODDS, online=False),
        **{
            f"LiRA of {scores.lookup(name).title}": by_lira(name, **one_variance)
            for name in known
        },
        **(
            {f"LiRA of the {LABEL_GRADIENT}": by_lira(LABEL_GRADIENT, **one_variance)}
            if of_gradient
            else {}
        ),
    }


def fixed_rule(study: Study, said: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What Yeom's rule finds, whose threshold nobody chooses; means over targets."""
    found: dict[str, list[float]] = {}
    for logits, member in zip(
        said["logits"][: study.targets], said["members"][: study.targets], strict=True
    ):
        loss = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(said["labels"]))
        decided = interventions.below_mean_loss(loss, jnp.mean(loss[member]))
        one = interventions.membership_advantage(decided, jnp.asarray(member))
        for number, value in one._asdict().items():
            found.setdefault(number, []).append(float(value))
    return {
        number: t_interval(values, LEVEL_OF_EACH) for number, values in found.items()
    }


Columns = Mapping[str, Mapping[str, Sequence[float]]]
"""Attack -> number -> what it is on each target."""


def of_targets(study: Study, said: Mapping[str, np.ndarray]) -> Columns:
    """AUROC, balanced accuracy and TPR at small FPR of every attack and target."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, attack in attacks(said).items():
        columns: dict[str, list[float]] = {}
        for target in range(study.targets):
            value = np.nan_to_num(np.asarray(attack(said, target), np.float64))
            own = numbers_of(value, said["members"][target])
            for number, one in own.items():
                columns.setdefault(number, []).append(one)
        found[name] = columns
    return found


def judged(found: Columns) -> dict[str, dict[str, Any]]:
    """The mean of every number over targets, and the AUROC on each."""
    return {
        name: {
            **{number: _over(values) for number, values in columns.items()},
            "values": columns["auroc"],
        }
        for name, columns in found.items()
    }


def numbers_of(value: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """The numbers of one attack on one network.

    The threshold of the balanced accuracy is chosen on half of the records and judged
    on the others.
    """
    ranks = jnp.asarray(np.unique(value, return_inverse=True)[1].astype(np.int32))
    chosen = np.random.default_rng(2).random(len(value)) < 0.5
    threshold = metrics.balanced_threshold(
        ranks[chosen], jnp.asarray(member[chosen])
    ).threshold
    trusted = np.asarray(ranks >= threshold)[~chosen]
    inside = member[~chosen]
    balanced = (trusted[inside].mean() + (~trusted[~inside]).mean()) / 2
    truth = jnp.asarray(member)
    return {
        "auroc": float(metrics.auroc(ranks, truth)),
        "balanced accuracy": float(balanced),
        **{
            f"TPR at {_at(fpr)}": float(metrics.tpr_at_fpr(ranks, truth, fpr=fpr))
            for fpr in FALSE_POSITIVES
        },
    }


def _at(fpr: float) -> str:
    return f"FPR {fpr:.1%}"


def _over(values: Sequence[float]) -> dict[str, float]:
    """Mean over targets, and where the mean of such networks lies at 95 %."""
    found = t_interval(values, LEVEL_OF_EACH)
    low, high = max(0.0, found["low"]), min(1.0, found["high"])  # of shares
    return {"value": found["value"], "low": low, "high": high}


def exact(
    columns: Mapping[str, Sequence[float]], member: np.ndarray
) -> dict[str, dict[str, float]]:
    """TPR of an attack at each FPR on the first target, with exact intervals."""
    found, count = {}, int(member.sum())
    for fpr in FALSE_POSITIVES:
        share = columns[f"TPR at {_at(fpr)}"][0]
        limits = metrics.proportion_interval(round(share * count), count)
        ends = {"low": float(limits.low), "high": float(limits.high)}
        found[_at(fpr)] = {"value": share, **ends}
    return found


def less_baseline(study: Study, found: Columns) -> dict[str, dict[str, float]]:
    """AUROC of each score less that of max softmax, in one statement of the page.

    A paired t of the networks that are attacked, divided among all comparisons of all
    data sets.
    """
    titles = [scores.lookup(name).title for name in SCORES if name != BASELINE]
    titles = [LABEL_GRADIENT, f"loss ({ODDS})", *titles]
    own = np.array(found[scores.lookup(BASELINE).title]["auroc"])
    level = 1 - (1 - LEVEL) / len(titles) / len(study.datasets)
    return {
        title: t_interval(np.array(found[title]["auroc"]) - own, level)
        for title in titles
    }


def tempered(said: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same answers after temperature scaling on records that were not learned.

    Those of gradients are left out: they are of the network, whose weights are not
    kept.
    """
    logits, labels = said["logits"], jnp.asarray(said["labels"])
    changed = []
    for own, member in zip(logits, said["members"], strict=True):
        outside = np.flatnonzero(~member)
        temperature = metrics.fit_temperature(
            jnp.asarray(own[outside]), labels[outside]
        )
        changed.append(own / float(temperature))
    of_logits = [
        name
        for name in SCORES
        if {need.name for need in scores.lookup(name).needs} == {LOGITS.name}
    ]
    scored = {
        name: np.stack(
            [np.asarray(scores.lookup(name).fn(jnp.asarray(own))) for own in changed]
        )
        for name in of_logits
    }
    odds = [interventions.label_log_odds(jnp.asarray(own), labels) for own in changed]
    of_network = {name: said[name] for name in ("members", "labels", "accuracy")}
    return of_network | scored | {"logits": np.stack(changed), ODDS: np.stack(odds)}


def draw(found: Mapping[str, Mapping[str, np.ndarray]], path: pathlib.Path) -> None:
    """The ROC of four attacks on the first network of each data set, on log scales."""
    shown = [
        f"loss ({ODDS})",
        scores.lookup(BASELINE).title,
        "shadow detector",
        "LiRA online, fixed variance",
    ]
    figure, axes = plt.subplots(
        1,
        len(found),
        figsize=(4.3 * len(found), 4),
        layout="constrained",
        squeeze=False,
    )
    for (dataset, said), axis in zip(found.items(), axes[0], strict=True):
        member = said["members"][0]
        for name in shown:
            value = np.nan_to_num(np.asarray(attacks()[name](said, 0), np.float64))
            order = np.argsort(-value, kind="stable")
            ends = np.append(np.diff(value[order]) != 0, True)
            axis.loglog(
                np.cumsum(~member[order])[ends] / (~member).sum(),
                np.cumsum(member[order])[ends] / member.sum(),
                label=name,
                lw=1.3,
            )
        limits = np.array([1 / (~member).sum(), 1])
        axis.loglog(limits, limits, "k:", lw=0.8, label="chance")
        axis.set(xlim=limits, ylim=limits, title=dataset, xlabel="false positive rate")
    axes[0, 0].set_ylabel("true positive rate")
    axes[0, -1].legend(frameon=False, fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One data set in Markdown, in per cent, the largest AUROC first."""
    numbers = [n for n in next(iter(found.values())) if n != "values"]
    lines = [f"| Attack | {' | '.join(numbers)} |", "|---" * (1 + len(numbers)) + "|"]
    for name, own in sorted(found.items(), key=lambda row: -row[1]["auroc"]["value"]):
        cells = [
            "{value:.1f} [{low:.1f}, {high:.1f}]".format(
                **{end: 100 * v for end, v in own[number].items()}
            )
            for number in numbers
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    study: tyro.conf.Suppress[Study] = STUDY,
    smoke: bool = False,
    model: str | None = None,
) -> dict[str, Any]:
    """Makes every number and the figure, prints the tables, writes the JSON file.

    Args:
      study: what is asked.
      smoke: go through all of it on little.
      model: another network than that of the study, whose numbers and figure have its
        name.
    """
    study = SMOKE if smoke else study
    study = dataclasses.replace(study, model=model or study.model)
    said = {
        dataset: {name: answers(study, dataset, name) for name in study.defences}
        for dataset in study.datasets
    }
    figure = study.figures / f"{study.name}.png"
    draw({dataset: own["none"] for dataset, own in said.items()}, figure)
    found: dict[str, Any] = {}
    for dataset, of_defences in said.items():
        versions = {**of_defences, "temperature scaling": tempered(of_defences["none"])}
        columns = of_targets(study, of_defences["none"])
        undefended, member = judged(columns), of_defences["none"]["members"][0]
        found[dataset] = {
            "attacks": undefended,
            "exact": {name: exact(own, member) for name, own in columns.items()},
            "less_max_softmax": less_baseline(study, columns),
            "defences": {
                name: {
                    "accuracy": _over(own["accuracy"][: study.targets].tolist()),
                    "fixed_rule": fixed_rule(study, own),
                    "attacks": (
                        undefended if name == "none" else judged(of_targets(study, own))
                    ),
                }
                for name, own in versions.items()
            },
        }
        print(f"\n{dataset}\n\n{table(undefended)}\n")
        for name, own in found[dataset]["defences"].items():
            best = {a: v["auroc"]["value"] for a, v in own["attacks"].items()}
            print(name, own["accuracy"], {a: round(v, 4) for a, v in best.items()})
            print(FIXED_RULE, json.dumps(own["fixed_rule"]))
        print(json.dumps(found[dataset]["less_max_softmax"], indent=1))
    numbers = {
        "study": {
            "model": study.model,
            "records": study.records,
            "networks": study.networks,
            "targets": study.targets,
            "epochs": study.epochs,
            "early_epochs": study.early,
            "weight_decay": study.weight_decay,
            "epsilon": study.epsilon,
            "level_of_the_comparisons": LEVEL,
        },
        "datasets": found,
    }
    path = study.numbers / f"{study.name}.json"
    write_numbers(path, numbers)
    print(f"numbers: {path}")
    return numbers


if __name__ == "__main__":
    tyro.cli(main)
