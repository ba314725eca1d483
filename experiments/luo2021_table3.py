"""Table 3 and table A1 of Luo et al. 2021: oracles on domains they have not seen.

    python -m experiments.luo2021_table3

The test set under the 15 corruptions of ImageNet-C, under adversarial images made for
the classifier (FGSM, PGD, and a grey-scale analogue of the functional colour attack of
Laidlaw and Feizi 2019: one curve of tones for the whole image), and as its negative, in
the place of the paper's style transfer. AUC, TPR and TNR in per cent, means over seeds.

The oracles are those of table 1, trained here if they are not there yet.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import luo2021
from trustjax import data, oracles
from trustjax.typing import ApplyFn, Params

CONFIG = luo2021.Pair()
_TONES = 9


def main(
    pair: luo2021.Pair = CONFIG,
    rows: Sequence[str] = tuple(luo2021.LOSSES),
    kinds: Sequence[str] = data.CORRUPTIONS,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
) -> dict[tuple[str, str], np.ndarray]:
    """Prints the table; returns (domain, loss) -> the means of `luo2021.COLUMNS`."""
    trained = luo2021.Trained(pair)
    num_classes = trained.sets["test"].num_classes
    networks = {
        name: [trained.oracle(name, seed) for seed in pair.seeds] for name in rows
    }
    print("| Domain | Right % | Loss | AUC | TPR | TNR |\n|---|---|---|---|---|---|")
    table = {}
    for dataset in domains(trained, kinds, severities):
        correct = oracles.outcomes(trained.apply_fn, trained.params, dataset).correct
        for name, seeds in networks.items():
            thresholds = luo2021.oracle_thresholds(name, num_classes)
            values = [
                luo2021.row(trained.outputs(oracle, dataset), correct, thresholds)
                for oracle in seeds
            ]
            table[dataset.name, name] = mean = np.mean(values, axis=0)
            cells = " | ".join(f"{value:.2f}" for value in mean[3:])
            print(f"| {dataset.name} | {correct.mean():.2%} | {name} | {cells} |")
    return table


def domains(
    trained: luo2021.Trained, kinds: Sequence[str], severities: Sequence[int]
) -> Iterator[data.Dataset]:
    """The test set, changed in each way."""
    test = trained.sets["test"]
    images, labels = data.as_arrays(test)
    x, y = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels)

    def changed(name: str, images: jax.Array | np.ndarray) -> data.Dataset:
        return data.from_arrays(name, np.asarray(images), labels, test.class_names)

    yield changed("negative", 1 - x)
    for name, attack in ATTACKS.items():
        yield changed(name, attack(trained.apply_fn, trained.params, x, y))
    for kind in kinds:
        for severity in severities:
            corrupted, _ = data.as_arrays(data.corrupted(test, kind, severity=severity))
            yield changed(f"{kind} {severity}", corrupted)


def ascend(
    apply_fn: ApplyFn,
    params: Params,
    labels: jax.Array,
    images_of: Callable[[jax.Array], jax.Array],
    change: jax.Array,
    *,
    epsilon: float,
    steps: int,
) -> jax.Array:
    """Signed gradient ascent of the classifier's loss over a bounded change."""

    @jax.jit
    def step(change: jax.Array) -> jax.Array:
        def loss(change: jax.Array) -> jax.Array:
            log_p = jax.nn.log_softmax(apply_fn(params, images_of(change)))
            return -jnp.take_along_axis(log_p, labels[:, None], axis=1).sum()

        size = epsilon if steps == 1 else 2.5 * epsilon / steps
        moved = change + size * jnp.sign(jax.grad(loss)(change))
        return jnp.clip(moved, -epsilon, epsilon)

    for _ in range(steps):
        change = step(change)
    return images_of(change)


def fgsm(apply_fn, params, x, labels, *, epsilon: float = 0.1) -> jax.Array:
    """One step for each pixel (Goodfellow et al. 2015)."""
    return pgd(apply_fn, params, x, labels, epsilon=epsilon, steps=1)


def pgd(apply_fn, params, x, labels, *, epsilon=0.1, steps: int = 10) -> jax.Array:
    """Several steps for each pixel (Madry et al. 2018)."""
    images_of = lambda change: jnp.clip(x + change, 0, 1)
    return ascend(
        apply_fn,
        params,
        labels,
        images_of,
        jnp.zeros_like(x),
        epsilon=epsilon,
        steps=steps,
    )


def tones(apply_fn, params, x, labels, *, epsilon=0.2, steps: int = 10) -> jax.Array:
    """A curve of tones for each image: pixels of one tone all change alike."""
    knots = jnp.linspace(0, 1, _TONES)

    def images_of(change: jax.Array) -> jax.Array:
        along = lambda image, curve: image + jnp.interp(image, knots, curve)
        return jnp.clip(jax.vmap(along)(x, change), 0, 1)

    start = jnp.zeros((len(x), _TONES))
    return ascend(
        apply_fn, params, labels, images_of, start, epsilon=epsilon, steps=steps
    )


ATTACKS = {"FGSM": fgsm, "PGD": pgd, "functional": tones}


if __name__ == "__main__":
    tyro.cli(main)
