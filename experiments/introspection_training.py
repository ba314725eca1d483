"""Do introspective gradients become sparse and robust as a network learns?

    python -m experiments.introspection_training
    python -m experiments.introspection_training --smoke

Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425; the tutorial,
part 2): "for a well-trained network, the gradients are sparse and informative", and
"for a well-trained network, the gradients are robust". Neither is given a number there.
Here, after some epochs of training:

sparse   Hoyer's sparseness of the gradient in the last layer, 0 if all of its numbers
         are as large, 1 if one alone is not zero; of the loss that the slides write
         (cross entropy towards each class in turn) and of this library's default
robust   the cosine of the gradients of a test image with and without Gaussian noise,
         beside that of the embeddings and of the probabilities, of which the gradients
         are made

Measurements of each network are kept under `checkpoints/introspection_training`.
Page: `introspection_training.md`.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from flax import nnx

from experiments.explanations_shared import kept
from experiments.shared import keep_programs, published, t_interval
from trustjax import bridge, data, introspection, models, train

LEVEL = 0.95
"""The chance that not one statement of the page is false."""

CROSS_ENTROPY = "towards each class, cross entropy"
ALL_ONES = "towards all ones, squared error"
FEATURES: Mapping[str, Mapping[str, Any]] = {
    CROSS_ENTROPY: {"loss": "cross_entropy", "target": "each_class"},
    ALL_ONES: {},
}
EMBEDDING = "embedding"
PROBABILITIES = "probabilities"
COMPARED = (*FEATURES, EMBEDDING, PROBABILITIES)
"""What has a cosine under noise."""

PAIRS = tuple(itertools.product(FEATURES, (EMBEDDING, PROBABILITIES)))
"""Whose cosines are compared at the end of training."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is asked.

    Attributes:
      datasets: names that `data.load` takes.
      model: a name of `models`, a network without running statistics.
      after: how many epochs have gone where it is measured.
      seeds: how many networks of each dataset.
      training: how many of the training images, the first ones.
      images: how many of the test images, the first ones.
      severities: of the noise.
      workdir: where measurements are kept.
      numbers: the folder of the JSON file.
      figures: the folder of the figure.
    """

    datasets: tuple[str, ...] = ("mnist5k", "fashion_mnist")
    model: str = "cnn"
    after: tuple[int, ...] = (0, 1, 2, 3, 5, 8, 12, 20, 30)
    seeds: int = 5
    training: int = 3000
    images: int = 1000
    severities: tuple[int, ...] = (1, 3, 5)
    workdir: pathlib.Path = pathlib.Path("checkpoints/introspection_training")
    numbers: pathlib.Path = pathlib.Path("experiments/numbers")
    figures: pathlib.Path = pathlib.Path("experiments/figures")

    @property
    def name(self) -> str:
        """Of its numbers and its figure."""
        return "introspection_training"

    @property
    def level(self) -> float:
        """Of each statement, so that all hold together."""
        return 1 - (1 - LEVEL) / (len(self.datasets) * len(statements(self)))


STUDY = Study()
_SMOKE = pathlib.Path("checkpoints/introspection_training_smoke")
SMOKE = Study(
    datasets=("mnist5k",),
    after=(0, 1, 3),
    seeds=2,
    training=600,
    images=60,
    severities=(1, 5),
    workdir=_SMOKE,
    numbers=_SMOKE / "numbers",
    figures=_SMOKE / "figures",
)

Measured = Mapping[str, np.ndarray]
"""Name of a number -> `[epochs]` of one network; the mean over its test images."""


def sparseness(features: introspection.Features) -> jax.Array:
    r"""Hoyer's sparseness, :math:`(\sqrt n - |r|_1 / |r|_2) / (\sqrt n - 1)`.

    Returns:
      `[batch]`, or `[batch, asked]`; NaN where the features are zero.
    """
    root = (features.change.shape[-1] * features.embedding.shape[-1]) ** 0.5
    norms = [introspection.norm(features, order=order) for order in (1, 2)]
    return (root - norms[0] / norms[1]) / (root - 1)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Of the rows of two arrays, flattened, `[batch]`."""
    a, b = (rows.reshape(len(rows), -1) for rows in (a, b))
    lengths = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return jnp.sum(a * b, axis=-1) / lengths


def cosine_of_features(
    a: introspection.Features, b: introspection.Features
) -> jax.Array:
    """The same of the outer products, of all classes that are asked, `[batch]`."""
    return cosine(a.change, b.change) * cosine(a.embedding, b.embedding)


def measure(apply_fn: Any, params: Any, clean: jax.Array, noisy: jax.Array) -> Any:
    """Every number of a network but its accuracy: means over the images.

    Args:
      apply_fn: the network.
      params: its weights.
      clean: test images, `[images, ...]`.
      noisy: the same with noise, `[severities, images, ...]`.
    """

    def asked(x: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        logits = apply_fn(params, x)
        found = {
            name: introspection.features_of(apply_fn, params, x, **options)
            for name, options in FEATURES.items()
        }
        return found, logits

    of_clean, logits = asked(clean)
    answers = jnp.argmax(logits, axis=-1)
    others = answers[:, None] != jnp.arange(logits.shape[-1])[None]
    towards_others = sparseness(of_clean[CROSS_ENTROPY])
    made = {
        f"sparseness|{CROSS_ENTROPY}": jnp.mean(towards_others, where=others),
        f"sparseness|{ALL_ONES}": jnp.mean(sparseness(of_clean[ALL_ONES])),
        # Of the change of the logits alone, without what the embedding is.
        "sparseness of the change": jnp.mean(_of_change(of_clean), where=others),
        "confidence": jnp.mean(jnp.max(jax.nn.softmax(logits), axis=-1)),
    }

    def under(x: jax.Array) -> dict[str, jax.Array]:
        of_noisy, of_logits = asked(x)
        cosines = {
            name: cosine_of_features(of_clean[name], of_noisy[name])
            for name in FEATURES
        }
        embeddings = [own[ALL_ONES].embedding for own in (of_clean, of_noisy)]
        cosines[EMBEDDING] = cosine(*embeddings)
        cosines[PROBABILITIES] = cosine(*map(jax.nn.softmax, (logits, of_logits)))
        kept = jnp.argmax(of_logits, axis=-1) == answers
        means = {f"cosine|{name}": jnp.mean(own) for name, own in cosines.items()}
        means |= {
            f"cosine, answer changed|{name}": jnp.mean(own, where=~kept)
            for name, own in cosines.items()
        }
        return {**means, "answer kept": jnp.mean(kept)}

    return made, jax.lax.map(under, noisy)


def _of_change(of_clean: Mapping[str, introspection.Features]) -> jax.Array:
    change = of_clean[CROSS_ENTROPY].change
    ones = jnp.ones((len(change), 1), change.dtype)
    return sparseness(introspection.Features(change, ones))


def measured(study: Study, dataset: str, seed: int) -> Measured:
    """What is measured of one network as it learns, made or read."""

    def make() -> dict[str, np.ndarray]:
        config = train.config_for(study.model, epochs=study.after[-1], seed=seed)
        training = data.load(dataset, f"train[:{study.training}]")
        test = data.load(dataset, f"test[:{study.images}]")
        clean, labels = data.as_arrays(test)
        noisy = [
            data.as_arrays(data.corrupted(test, "gaussian_noise", severity=s))[0]
            for s in study.severities
        ]
        clean, noisy = (jnp.float32(x) / 255 for x in (clean, np.stack(noisy)))
        steps = -(-len(training) // config.batch_size)
        model = models.create(
            study.model,
            num_classes=training.num_classes,
            image_shape=training.fixed_shape,
            rngs=nnx.Rngs(seed),
        )
        model.eval()  # the step trains a copy, with its dropout
        apply_fn, _ = bridge.from_nnx(model)
        state, step = train.make_train_step(model, config, steps_per_epoch=steps)
        numbers = jax.jit(lambda params: measure(apply_fn, params, clean, noisy))
        accuracy = jax.jit(
            lambda params: jnp.mean(jnp.argmax(apply_fn(params, clean), -1) == labels)
        )
        batches = iter(
            data.batches(
                training,
                config.batch_size,
                shuffle=True,
                seed=seed,
                num_epochs=config.epochs,
            )
        )
        found: dict[str, list[Any]] = {}
        for epoch in range(config.epochs + 1):
            if epoch in study.after:
                of_clean, of_noisy = jax.device_get(numbers(state.params))
                said = {**of_clean, "accuracy": float(accuracy(state.params))}
                for place, severity in enumerate(study.severities):
                    said |= {f"{k}|{severity}": v[place] for k, v in of_noisy.items()}
                for name, value in said.items():
                    found.setdefault(name, []).append(value)
            if epoch < config.epochs:
                for batch in itertools.islice(batches, steps):
                    state = step(state, batch, 1.0)
        return {name: np.array(values) for name, values in found.items()}

    name = f"{study.model}-{study.training}-{study.images}-{seed}"
    epochs = "_".join(map(str, study.after))
    return kept(study.workdir / dataset / f"{name}-{epochs}.npz", make)


def statements(study: Study) -> dict[str, tuple[str, str, int, int]]:
    """Sentence -> the two numbers of it, and where in training each is taken.

    Each says that the first is larger than the second.
    """
    rises = {
        f"sparser after training, {name}": (
            f"sparseness|{name}",
            f"sparseness|{name}",
            -1,
            0,
        )
        for name in FEATURES
    }
    steadier = {
        f"steadier after training, severity {severity}, {name}": (
            f"cosine|{name}|{severity}",
            f"cosine|{name}|{severity}",
            -1,
            0,
        )
        for name in FEATURES
        for severity in study.severities
    }
    than = {
        f"steadier than {other} after training, severity {severity}, {name}": (
            f"cosine|{name}|{severity}",
            f"cosine|{other}|{severity}",
            -1,
            -1,
        )
        for name, other in PAIRS
        for severity in study.severities
    }
    return {**rises, **steadier, **than}


def numbers(study: Study, found: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Every number of the page: of each dataset the means over its networks."""
    said = {}
    for dataset, networks in found.items():
        curves = {
            name: [
                t_interval([one[name][place] for one in networks], LEVEL)
                for place in range(len(study.after))
            ]
            for name in networks[0]
            # An average of nothing where no answer has changed.
            if all(np.isfinite(one[name]).all() for one in networks)
        }
        compared = {}
        for sentence, (first, second, there, here) in statements(study).items():
            less = [one[first][there] - one[second][here] for one in networks]
            compared[sentence] = t_interval(less, study.level)
        said[dataset] = {"curves": curves, "differences": compared}
    return {
        "after": list(study.after),
        "seeds": study.seeds,
        "training": study.training,
        "images": study.images,
        "level_of_each_difference": study.level,
        "datasets": said,
    }


_COLOURS = dict(
    zip(COMPARED, ("#c0392b", "#e59866", "#2c6e9b", "#7f8c8d"), strict=True)
)


def draw(study: Study, said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Sparseness and cosines against epochs, by dataset."""
    figure, axes = plt.subplots(
        len(study.datasets),
        1 + len(study.severities),
        figsize=(3.1 * (1 + len(study.severities)), 2.7 * len(study.datasets)),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )

    def line(axis: Any, curve: Sequence[Mapping[str, float]], name: str) -> None:
        value, low, high = ([p[k] for p in curve] for k in ("value", "low", "high"))
        axis.plot(study.after, value, color=_COLOURS[name], label=name, marker=".")
        axis.fill_between(study.after, low, high, color=_COLOURS[name], alpha=0.15)

    for row, dataset in zip(axes, study.datasets, strict=True):
        curves = said["datasets"][dataset]["curves"]
        for name in FEATURES:
            line(row[0], curves[f"sparseness|{name}"], name)
        row[0].set_ylabel(f"{dataset}\nHoyer sparseness", fontsize=9)
        row[0].set_title("without noise", fontsize=10)
        for axis, severity in zip(row[1:], study.severities, strict=True):
            for name in COMPARED:
                line(axis, curves[f"cosine|{name}|{severity}"], name)
            axis.set_title(f"Gaussian noise, severity {severity}", fontsize=10)
            axis.set_ylim(0.4, 1.03)
        row[1].set_ylabel("cosine with and without noise", fontsize=9)
        for axis in row:
            axis.set_xscale("symlog", linthresh=1)
            shown = [n for n in study.after if n in (0, 1, 3, 8, 12, 30)]
            axis.set_xticks(shown, [str(n) for n in shown])
            axis.minorticks_off()
    for axis in axes[-1]:
        axis.set_xlabel("epochs of training", fontsize=9)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(study: Study, said: Mapping[str, Any]) -> str:
    """Curves and differences in Markdown."""
    places = [0, study.after.index(1), -1]
    lines = []
    for dataset, own in said["datasets"].items():
        titles = " | ".join(f"after epoch {study.after[place]}" for place in places)
        lines += [f"| {dataset} | {titles} |", "|---" * 4 + "|"]
        for name, curve in own["curves"].items():
            cells = [
                "{value:.3f} [{low:.3f}, {high:.3f}]".format(**curve[p]) for p in places
            ]
            lines.append(f"| {name.replace('|', ', ')} | {' | '.join(cells)} |")
        lines += ["", f"| {dataset}, difference | |", "|---|---|"]
        for sentence, one in own["differences"].items():
            proven = " *" if one["low"] > 0 or one["high"] < 0 else ""
            cell = "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**one)
            lines.append(f"| {sentence} | {cell}{proven} |")
        lines.append("")
    return "\n".join(lines)


def main(
    study: tyro.conf.Suppress[Study] = STUDY, smoke: bool = False
) -> dict[str, Any]:
    """Makes every number and the figure, prints the tables, writes the JSON file."""
    study = SMOKE if smoke else study
    keep_programs(study.workdir)
    found = {
        dataset: [measured(study, dataset, seed) for seed in range(study.seeds)]
        for dataset in study.datasets
    }
    said = numbers(study, found)
    print(tables(study, said))
    return published(study, said, functools.partial(draw, study))


if __name__ == "__main__":
    tyro.cli(main)
