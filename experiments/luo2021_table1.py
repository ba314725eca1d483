"""Tables 1 and 2 of Luo et al. 2021: losses of an oracle, and scores without one.

    python -m experiments.luo2021_table1
    python -m experiments.luo2021_table1 --pair.dataset fashion_mnist

Every loss with three seeds; beside them max softmax (MCP), MC dropout, Trust Score,
GradTrust, and the gradient statistic that is best on the validation set. The paper's
table 1 is on ImageNet and its table 2 on MNIST and CIFAR-10: the rows are the same
here, the numbers are of other data and much smaller networks.

AUPR-Error ranks by distrust. The paper's code ranks by trust, for both kinds of
answers, so its column of table 1 cannot be compared.

Expected and obtained numbers: README.md beside this file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import luo2021
from trustjax import bridge, data, gradients, metrics, scoring

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
    correct = luo2021.outcomes(pair, "test").correct
    to_learn_from = luo2021.outcomes(pair, "oracle").correct
    print(f"{pair} on {pair.dataset}, {correct.mean():.2%} right")
    print(
        f"{np.sum(~correct)} errors to find on the test set, {np.sum(~to_learn_from)} "
        f"to learn from on {len(to_learn_from)} images"
    )
    z = {loss: luo2021.outputs(pair, loss) for loss in losses}
    others = baseline_scores(pair, baselines) if baselines else {}
    runs = {**z, **{name: values[None] for name, values in others.items()}}
    rows = {
        name: np.array(
            [luo2021.row(run, correct, thresholds(pair, name)) for run in of]
        )
        for name, of in runs.items()
    }
    print(luo2021.table(rows))
    if "SS" in z:
        of_each = differences("SS", runs, correct, mean_auroc)
        ahead = [f"{name} {lead(*found)}" for name, found in of_each.items()]
        print(f"AUC of SS less that of: {'; '.join(ahead)}.")
    return rows


def thresholds(pair: luo2021.Pair, name: str) -> tuple[float, float] | None:
    """Where a row of the table trusts and distrusts; None where the paper does not."""
    if name in luo2021.LOSSES:
        return luo2021.oracle_thresholds(pair, name)
    return (0.5, 0.5) if name == "MCP" else None


def baseline_scores(pair: luo2021.Pair, titles: Sequence[str]) -> dict[str, np.ndarray]:
    """What scores without an oracle say of the test set, `[images]` each.

    MC dropout is left out where the classifier has no dropout.
    """
    classifier = luo2021.classifier(pair, pair.classifier)
    apply_fn, params = bridge.from_nnx(classifier)
    stochastic_fn = None
    if not bridge.has_dropout(classifier):
        titles = [title for title in titles if title != "MC dropout"]
    if "MC dropout" in titles:
        stochastic_fn, _ = bridge.stochastic_from_nnx(classifier)

    def batches(part: str) -> Iterable[Mapping[str, np.ndarray]]:
        return data.batches(luo2021.dataset(pair, part), 250)

    scorer = scoring.Scorer(
        [BASELINES[title] for title in titles],
        apply_fn,
        params,
        stochastic_apply_fn=stochastic_fn,
        given={"key": jax.random.key(0)},
    )
    test = scorer.fit(batches("oracle")).run(batches("test")).values
    found = {title: test[BASELINES[title]] for title in titles}
    if "Gradient" in titles:
        statistics = gradients.GRADIENT_STATISTICS
        validation = scoring.run([statistics], apply_fn, params, batches("validation"))
        place, sign, name = best_statistic(
            validation.values[statistics.name],
            luo2021.outcomes(pair, "validation").correct,
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


def differences(
    ours: str,
    runs: Mapping[str, np.ndarray],
    correct: np.ndarray,
    metric: Callable[..., jax.Array],
    level: float = 0.95,
    num_samples: int = 500,
) -> dict[str, tuple[float, float, float]]:
    """How much larger our metric is than each other's, and both ends, in per cent.

    The intervals hold together for all pairs of rows. They are of the images that were
    drawn, for the networks that were trained: of the seeds they know nothing.

    Args:
      ours: the name that the others are compared with.
      runs: `[seeds, images]` of each name.
      correct: whether the classifier was right.
      metric: `(runs [images, seeds], correct) -> []`.
      level: of all intervals together.
      num_samples: bootstrap samples.
    """
    found = metrics.compare(
        {name: of.T for name, of in runs.items()},
        correct,
        metric=metric,
        level=level,
        key=jax.random.key(0),
        num_samples=num_samples,
    )
    place = found.names.index(ours)
    numbers = (found.differences, found.low, found.high)
    columns = (100 * np.asarray(of[place], np.float64) for of in numbers)
    return {
        name: (value, low, high)
        for name, *(value, low, high) in zip(
            found.names, *map(np.ndarray.tolist, columns), strict=True
        )
        if name != ours
    }


def lead(value: float, low: float, high: float) -> str:
    """A difference and its interval."""
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def mean_auroc(
    runs: jax.Array, correct: jax.Array, *, weights: jax.Array | None = None
) -> jax.Array:
    """The mean over runs, `[images, runs]`."""
    of_run = lambda run: metrics.auroc(run, correct, weights=weights)
    return jnp.mean(jax.vmap(of_run, 1)(runs))


def mean_tnr(
    runs: jax.Array, correct: jax.Array, *, weights: jax.Array | None = None
) -> jax.Array:
    """The share of wrong answers below 0, a mean over runs, `[images, runs]`."""
    wrong = jnp.where(correct, 0.0, 1.0 if weights is None else weights)
    return jnp.sum(wrong[:, None] * (runs < 0)) / (jnp.sum(wrong) * runs.shape[1])


if __name__ == "__main__":
    tyro.cli(main)
