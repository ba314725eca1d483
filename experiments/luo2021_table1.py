"""Tables 1 and 2 of Luo et al. 2021: losses of an oracle, and scores without one.

    python -m experiments.luo2021_table1
    python -m experiments.luo2021_table1 --pair.dataset fashion_mnist

Every loss with three seeds; beside them max softmax (MCP), MC dropout, Trust Score,
GradTrust, and the gradient statistic that is best on the validation set. The paper's
table 1 is on ImageNet and its table 2 on MNIST and CIFAR-10: the rows are the same
here, the numbers are of other data and much smaller networks.

AUPR-Error ranks by distrust. The paper's code ranks by trust, for both kinds of
answers, so its column of table 1 cannot be compared.

`--pair.dataset cifar10 --pair.oracle resnet20 --pair.classifier resnet20` is table 2's
CIFAR-10: it needs the dataset's download and, for 15 oracles, an accelerator.
`--pair.dataset imagenet2012 --pair.classifier resnet18` is the nearest to table 1: it
needs the archives of ImageNet, prepared by hand as tensorflow-datasets says, pretrained
weights, and accelerators.

Expected and obtained numbers: README.md beside this file.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import luo2021
from trustjax import bridge, data, evaluate, gradients, metrics, models, scores

CONFIG = luo2021.Pair()
BASELINES = {
    "MCP": "max_softmax",
    "MC dropout": "mc_dropout",
    "Trust Score": "trust_score",
    "GradTrust": "grad_trust",
    "Gradient": "gradient_statistics",
}


def main(
    pair: luo2021.Pair = CONFIG,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    baselines: Sequence[str] = tuple(BASELINES),
) -> dict[str, np.ndarray]:
    """Prints the table; returns its rows, `[seeds, columns]` in per cent."""
    trained = luo2021.Trained(pair)
    num_classes = trained.sets["test"].num_classes
    accuracy, errors = trained.correct.mean(), np.sum(~trained.correct)
    print(f"<{pair.oracle}, {pair.classifier}> on {pair.dataset}, {accuracy:.2%} right")
    wrong = np.sum(~trained.outcomes("oracle").correct)
    print(f"{errors} errors to find on the test set, {wrong} to learn from")

    rows, z = {}, {}
    for loss in losses:
        thresholds = luo2021.oracle_thresholds(loss, num_classes)
        z[loss] = [trained.outputs(trained.oracle(loss, seed)) for seed in pair.seeds]
        rows[loss] = np.array(
            [luo2021.row(values, trained.correct, thresholds) for values in z[loss]]
        )
    others = baseline_scores(trained, baselines) if baselines else {}
    for name, values in others.items():
        thresholds = (0.5, 0.5) if name == "MCP" else None
        rows[name] = np.array([luo2021.row(values, trained.correct, thresholds)])
    print(luo2021.table(rows))

    if "SS" in z:
        rivals = {name: [values] for name, values in others.items()}
        for name, values in {**z, **rivals}.items():
            if name != "SS":
                print(
                    f"AUC of SS less {name}: {lead(z['SS'], values, trained.correct)}"
                )
    return rows


def baseline_scores(
    trained: luo2021.Trained, titles: Sequence[str]
) -> dict[str, np.ndarray]:
    """What scores without an oracle say of the test set."""
    split = models.split(trained.classifier, at="embedding")
    stochastic_fn, _ = bridge.stochastic_from_nnx(trained.classifier)
    ingredients = {
        **evaluate.INGREDIENTS,
        "dropout_logits": evaluate.dropout_logits(stochastic_fn, key=jax.random.key(0)),
    }
    given = {}

    def ask(part: str, names: Sequence[str]) -> evaluate.Results:
        batches = data.batches(trained.sets[part], 250)
        return evaluate.run(
            names, split, trained.params, batches, ingredients=ingredients, given=given
        )

    if "Trust Score" in titles:
        known = ask("oracle", ["features"])
        given["trust_score_state"] = scores.fit_trust_score(
            known.values["features"], known.labels
        )
    test = ask("test", [BASELINES[title] for title in titles]).values
    found = {title: test[BASELINES[title]] for title in titles}
    if "Gradient" in titles:
        validation = ask("validation", ["gradient_statistics"]).values
        place, sign, name = best_statistic(
            validation["gradient_statistics"], trained.outcomes("validation").correct
        )
        found[f"Gradient: {name}"] = sign * columns(found.pop("Gradient"))[:, place]
    return found


def columns(statistics: gradients.GradientStatistics) -> np.ndarray:
    """Every statistic of every group, `[examples, groups * statistics]`."""
    values = np.asarray(statistics.values)
    return values.reshape(len(values), -1)


def best_statistic(
    statistics: gradients.GradientStatistics, correct: np.ndarray
) -> tuple[int, float, str]:
    """The gradient statistic with the best AUC: its place, its sign, its name."""
    groups, names = statistics.groups, statistics.statistics
    areas = np.array(
        [
            metrics.auroc(jnp.asarray(column), jnp.asarray(correct))
            for column in columns(statistics).T
        ]
    )
    best = int(np.argmax(np.abs(areas - 0.5)))
    group, name = divmod(best, len(names))
    return best, float(np.sign(areas[best] - 0.5)), f"{groups[group]} {names[name]}"


def lead(ours: Sequence, theirs: Sequence, correct: np.ndarray) -> str:
    """How much larger the mean AUC of our runs is, with an interval of 95 %."""

    def difference(correct: jax.Array, *runs: jax.Array) -> jax.Array:
        areas = jnp.stack([metrics.auroc(run, correct) for run in runs])
        return 100 * (areas[: len(ours)].mean() - areas[len(ours) :].mean())

    arrays = [jnp.asarray(array) for array in (correct, *ours, *theirs)]
    interval = metrics.bootstrap(
        difference, arrays, key=jax.random.key(0), num_samples=500
    )
    value, low, high = (float(number) for number in interval)
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    tyro.cli(main)
