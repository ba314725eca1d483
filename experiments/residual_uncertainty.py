"""What is left uncertain where an explanation chooses what a network sees.

    python -m experiments.residual_uncertainty
    python -m experiments.residual_uncertainty --smoke

AlRegib and Prabhushankar (WACV 2025 tutorial, slides 126 to 128): an explanation is an
intervention, the uncertainty of the prediction under it parts into V[E(y|S)] and
E(V[y|S]), and a good explanation has a first part of zero. The family of subsets S is
not defined there; here are four:

threshold   the image where the map is above t of its range, t = .1 to .9
share       the same with the tenth to nine tenths of the positions that are highest:
            as much of the image is left whatever the map
contrasts   the image under the contrast maps of VOICE, why P rather than Q for every Q
random      the image under masks of RISE, whatever the map

Maps that know nothing of the network stand beside the others. Network and answers are
kept under `checkpoints/residual_uncertainty`. Page: `residual_uncertainty.md`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments import explanations_shared
from experiments.explanations_shared import (
    Network,
    compared_means,
    in_pieces,
    kept,
    mean_interval,
)
from experiments.shared import write_numbers
from trustjax import explain, interventions, metrics, scores

STEPS = tuple(round(0.1 * step, 1) for step in range(1, 10))
FAMILIES = ("threshold", "share", "contrasts", "random")
PARTS = ("total", "between", "within")
NO_MAP = "no map"
CONTROLS = ("centred Gaussian", "noise")
BASELINE = "max softmax"

STUDY = explanations_shared.Study(
    networks=(("cnn", 6),),
    masks=300,
    workdir=pathlib.Path("checkpoints/residual_uncertainty"),
)
SMOKE = dataclasses.replace(
    explanations_shared.SMOKE,
    networks=(("cnn", 2),),
    images=40,
    workdir=pathlib.Path("checkpoints/residual_uncertainty_smoke"),
    numbers=pathlib.Path("checkpoints/residual_uncertainty_smoke/numbers"),
    figures=pathlib.Path("checkpoints/residual_uncertainty_smoke/figures"),
)

Maps = Callable[[Any, jax.Array], jax.Array]


def maps(study: explanations_shared.Study, network: Network) -> dict[str, Maps]:
    """`(params, x) -> [batch, height, width]` by the name of the method."""
    apply_fn, key = network.apply_fn, jax.random.key(0)
    rise = {"key": key, "masks": study.masks, "cells": 7, "centred": True}

    def gaussian(params: Any, x: jax.Array) -> jax.Array:
        y, z = (jnp.linspace(-1, 1, n) ** 2 for n in x.shape[1:3])
        map_ = jnp.exp(-2 * (y[:, None] + z[None]))
        return jnp.broadcast_to(map_, x.shape[:3])

    def noise(params: Any, x: jax.Array) -> jax.Array:
        return explain.random_masks(key, x.shape[0], x.shape[1:3], cells=7)

    return {
        "Grad-CAM": lambda params, x: explain.grad_cam(apply_fn, params, x),
        "LayerCAM": lambda params, x: explain.layer_cam(apply_fn, params, x),
        "saliency": lambda params, x: explain.over_channels(
            explain.saliency(apply_fn, params, x)
        ),
        "integrated gradients": lambda params, x: explain.over_channels(
            explain.integrated_gradients(apply_fn, params, x, steps=20).map, by="sum"
        ),
        "RISE, centred": lambda params, x: (
            explain.rise(apply_fn, params, x, **rise).map
        ),
        CONTROLS[0]: gaussian,
        CONTROLS[1]: noise,
    }


def masks_of(family: str, map_: jax.Array) -> jax.Array:
    """`[members, batch, height, width]` of a map, for the families that have one."""
    if family == "threshold":
        steps = jnp.array(STEPS).reshape(-1, 1, 1, 1)
        return (explain.normalized(map_)[None] >= steps).astype(jnp.float32)
    return interventions.highest_shares(map_, STEPS)


def answers(
    study: explanations_shared.Study, network: Network
) -> Mapping[str, np.ndarray]:
    """`family|map|part` -> `[images]`."""

    def ask() -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}

        def record(family: str, name: str, masks: Maps) -> None:
            @jax.jit
            def parts(x: jax.Array) -> dict[str, jax.Array]:
                asked = interventions.predictive_uncertainty_of(
                    network.apply_fn,
                    network.params,
                    x,
                    interventions.masked(masks(network.params, x)),
                )
                return {part: getattr(asked, part) for part in PARTS}

            made = in_pieces(parts, network.x, size=50)
            found.update({f"{family}|{name}|{part}": made[part] for part in PARTS})

        for name, map_of in maps(study, network).items():
            for family in ("threshold", "share"):
                record(
                    family,
                    name,
                    lambda params, x, of=map_of, family=family: masks_of(
                        family, of(params, x)
                    ),
                )
        for name, method in (("Grad-CAM", "grad_cam"), ("LayerCAM", "layer_cam")):
            record(
                "contrasts",
                name,
                lambda params, x, method=method: _contrasts(network, params, x, method),
            )
        record(
            "random",
            NO_MAP,
            lambda params, x: explain.random_masks(
                jax.random.key(1), study.masks, x.shape[1:3], cells=7
            )[:, None],
        )
        return found

    return kept(network.folder / f"answers_{study.images}.npz", ask)


def _contrasts(network: Network, params: Any, x: jax.Array, method: str) -> jax.Array:
    """The map of why P, rather than Q, for every other class Q, normalised."""
    logits = network.apply_fn(params, x)
    order = jnp.argsort(-logits, axis=-1)[:, 1:]
    found = explain.contrast_cam(
        network.apply_fn, params, x, contrast=order, method=method
    )
    return jnp.moveaxis(explain.normalized(found, leading=2), 1, 0)


def tells(
    study: explanations_shared.Study, network: Network, found: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """AUROC of less uncertainty for right answers, in one statement each family."""
    logits = jnp.asarray(network.logits)
    sure = scores.max_softmax(logits)
    said = {}
    for family in ("threshold", "share", "contrasts"):
        columns = {BASELINE: sure}
        for key, values in found.items():
            own, name, part = key.split("|")
            if own in (family, "random") and part != "total":
                columns[f"{name}, {part}"] = -jnp.asarray(values)
        compared = metrics.compare(
            columns,
            jnp.asarray(network.correct),
            level=study.level,
            key=jax.random.key(0),
            num_samples=study.num_samples,
        )
        baseline = compared.names.index(BASELINE)
        correct = jnp.asarray(network.correct)
        said[family] = {
            "auroc": {n: float(metrics.auroc(c, correct)) for n, c in columns.items()},
            "behind_max_softmax": [
                n for i, n in enumerate(compared.names) if compared.behind[i, baseline]
            ],
            "ahead_of_max_softmax": [
                n for i, n in enumerate(compared.names) if compared.behind[baseline, i]
            ],
        }
    return said


def numbers(
    study: explanations_shared.Study, network: Network, found: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Every number of the page."""
    means: dict[str, dict[str, Any]] = {}
    for key, values in found.items():
        family, name, part = key.split("|")
        own = mean_interval(study, values)
        means.setdefault(family, {}).setdefault(name, {})[part] = own
    compared = {}
    for family in ("threshold", "share"):
        columns = {
            key.split("|")[1]: values
            for key, values in found.items()
            if key.startswith(f"{family}|") and key.endswith("|between")
        }
        statement = compared_means(study, columns, higher_is_better=False)
        compared[family] = {
            "may_be_least": list(statement.may_be_best),
            "proven": [
                f"{a} is less than {b}"
                for i, b in enumerate(statement.names)
                for j, a in enumerate(statement.names)
                if statement.behind[i, j]
            ],
        }
    return {
        "network": {"name": network.name, "accuracy": float(network.correct.mean())},
        "images": len(network.labels),
        "means": means,
        "between_compared": compared,
        "right_from_wrong": tells(study, network, found),
    }


def draw(said: Mapping[str, Any], path: pathlib.Path) -> None:
    """Both parts of the uncertainty of each map, by family."""
    families = [family for family in FAMILIES if family in said["means"]]
    figure, axes = plt.subplots(
        1,
        len(families),
        figsize=(12, 3.2),
        sharey=False,
        layout="constrained",
        width_ratios=[len(said["means"][family]) + 0.6 for family in families],
    )
    for family, axis in zip(families, axes, strict=True):
        own = said["means"][family]
        names = list(own)
        between, within = (
            np.array([own[n][part]["value"] for n in names])
            for part in ("between", "within")
        )
        axis.bar(names, between, color="#c0392b", label="between, V[E(y|S)]")
        axis.bar(
            names, within, bottom=between, color="#b9cfe0", label="within, E(V[y|S])"
        )
        axis.set_title(family, fontsize=10)
        axis.tick_params(axis="x", rotation=60, labelsize=8)
        for label in axis.get_xticklabels():
            label.set_ha("right")
        axis.set_ylim(0, 0.9)
    axes[0].set_ylabel("Gini uncertainty, mean")
    axes[1].legend(frameon=False, fontsize=8, loc="upper center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(said: Mapping[str, Any]) -> str:
    """Both parts and the AUROC of each, by family and map, in Markdown."""
    lines = [
        "| Family | Map | V[E(y\\|S)] | E(V[y\\|S]) | AUROC of less of the first "
        "| of the second |",
        "|---" * 6 + "|",
    ]
    for family, own in said["means"].items():
        told = said["right_from_wrong"].get(family, said["right_from_wrong"]["share"])
        for name, parts in own.items():
            cells = [
                "{value:.3f} [{low:.3f}, {high:.3f}]".format(**parts[part])
                for part in ("between", "within")
            ]
            cells += [
                f"{100 * told['auroc'][f'{name}, {part}']:.1f}"
                for part in ("between", "within")
            ]
            lines.append(f"| {family} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    study: tyro.conf.Suppress[explanations_shared.Study] = STUDY, smoke: bool = False
) -> dict[str, Any]:
    """Makes every number and the figure, prints the table, writes the JSON file."""
    study = SMOKE if smoke else study
    network = explanations_shared.network(study, *study.networks[0]).first(study.images)
    found = answers(study, network)
    said = numbers(study, network, found)
    draw(said, study.figures / "residual_uncertainty.png")
    path = study.numbers / "residual_uncertainty.json"
    write_numbers(path, said)
    print(table(said))
    print(json.dumps(said["between_compared"], indent=1))
    print(json.dumps(said["right_from_wrong"], indent=1))
    print(f"numbers: {path}")
    return said


if __name__ == "__main__":
    tyro.cli(main)
