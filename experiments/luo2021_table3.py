"""Table 3 and table A1 of Luo et al. 2021: oracles on domains they have not seen.

    python -m experiments.luo2021_table3

Test images under the 15 corruptions of ImageNet-C, under adversarial images made for
the classifier (FGSM, PGD, and a grey-scale analogue of the functional colour attack of
Laidlaw and Feizi 2019: one curve of tones for the whole image), and as their negative,
in the place of the paper's style transfer. Two tables, in per cent: AUC, TPR and TNR,
and then FPR95 and both AUPR. For a corruption they are means over its severities, then
mean and standard deviation over the seeds. Max softmax of the classifier (MCP) stands
beside the oracles, which are those of table 1.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import luo2021
from trustjax import bridge, data, interventions

CONFIG = luo2021.Pair()
_TABLES = (("AUC", "TPR", "TNR"), ("FPR95", "AUPR-Error", "AUPR-Success"))


def main(
    pair: luo2021.Pair = CONFIG,
    losses: Sequence[str] = tuple(luo2021.LOSSES),
    kinds: Sequence[str] = data.CORRUPTIONS,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    images: int = 1000,
) -> dict[str, dict[str, np.ndarray]]:
    """Prints both tables; returns domain -> row -> `[seeds, luo2021.COLUMNS]`.

    Args:
      pair: whose oracles.
      losses: which of them.
      kinds: corruptions.
      severities: of the corruptions.
      images: how many of the test set, from its first.
    """
    whole = luo2021.dataset(pair, "test")
    kept = whole.source.take(range(images))
    test = data.from_arrays(pair.dataset, *kept, whole.class_names)
    names = [*losses, "MCP"]
    print(f"{pair} on {len(test)} test images")
    table, right = {}, {}
    for domain, versions in domains(pair, test, kinds, severities):
        accuracies, rows = zip(
            *(measured(pair, losses, dataset) for dataset in versions), strict=True
        )
        right[domain] = np.mean(accuracies)
        table[domain] = {
            name: np.mean([row[name] for row in rows], 0) for name in names
        }
    for first, second, third in _TABLES:
        print(f"\n{first} ({second} / {third}):\n")
        print("| Domain | Right % | " + " | ".join(names) + " |")
        print("|---" * (2 + len(names)) + "|")
        for domain, found in table.items():
            cells = [cell(found[name], first, second, third) for name in names]
            print(f"| {domain} | {right[domain]:.1%} | " + " | ".join(cells) + " |")
    return table


def cell(values: np.ndarray, first: str, second: str, third: str) -> str:
    """Three columns of `[seeds, columns]`, the first with its deviation."""
    chosen = [luo2021.COLUMNS.index(name) for name in (first, second, third)]
    leading = luo2021.cells(values[:, chosen[:1]], digits=1)[0]
    others = " / ".join(f"{values[:, place].mean():.0f}" for place in chosen[1:])
    return f"{leading} ({others})"


def measured(
    pair: luo2021.Pair, losses: Sequence[str], dataset: data.Dataset
) -> tuple[float, dict[str, np.ndarray]]:
    """The classifier's accuracy, and `[seeds, luo2021.COLUMNS]` of each row."""
    confidence, correct = luo2021.max_softmax(dataset, pair)
    rows = {
        loss: np.array(
            [
                luo2021.row(z, correct, luo2021.oracle_thresholds(pair, loss))
                for z in luo2021.outputs_on(dataset, pair, loss)
            ]
        )
        for loss in losses
    }
    mcp = luo2021.row(confidence, correct, (0.5, 0.5))
    return correct.mean(), {**rows, "MCP": np.array([mcp])}


def domains(
    pair: luo2021.Pair,
    test: data.Dataset,
    kinds: Sequence[str],
    severities: Sequence[int],
) -> Iterator[tuple[str, Iterator[data.Dataset]]]:
    """The test images as they are, and changed in each way."""
    images, labels = data.as_arrays(test)
    x, y = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels)
    apply_fn, params = bridge.from_nnx(luo2021.classifier(pair, pair.classifier))

    def changed(images: np.ndarray | jax.Array) -> data.Dataset:
        return data.from_arrays(
            pair.dataset, np.asarray(images), labels, test.class_names
        )

    yield "as they are", iter([test])
    yield "negative", iter([changed(1 - x)])
    for name, attack in ATTACKS.items():
        attacked = jax.jit(functools.partial(attack, apply_fn))(params, x, y)
        yield name, iter([changed(attacked)])
    for kind in kinds:
        versions = (data.corrupted(test, kind, severity=level) for level in severities)
        # Corrupted once, not each time that a network reads them.
        yield kind, (changed(data.as_arrays(version)[0]) for version in versions)


ATTACKS = {
    "FGSM": functools.partial(interventions.fgsm, epsilon=0.1),
    "PGD": functools.partial(interventions.pgd, epsilon=0.1),
    "functional": functools.partial(interventions.functional_attack, epsilon=0.2),
}


if __name__ == "__main__":
    tyro.cli(main)
