"""Masking accuracy, insertion, deletion and structure-wise curves of every method.

A part of the study `explanations`, which runs it. Beside the explanations stand three
maps that know nothing of the network: noise, the edges of the image and a bump in its
middle. A measure that they do well by says little of explanations.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import skimage.filters

from experiments import explanations_shared as shared
from experiments.explanations_shared import Network, Study
from trustjax import explain, metrics

Maps = Mapping[str, np.ndarray]

RIVALS = ("random", "edges", "middle")
"""Maps that know nothing of the network."""

STRUCTURED = ("Grad-CAM", "Grad-CAM++", "CausalCAM", "RISE", *RIVALS)
"""The methods whose structure-wise curves are drawn: the paper's, and others."""

COSTS = ("huffman", "png", "saliency")

GAMES = {"deletion": "zero", "insertion": "mean"}
"""What stands for a pixel that is away in the structure-wise games."""

ACCURACY = 0.65
"""Where the tutorial reads its curves."""


def run(study: Study, networks: Sequence[Network]) -> dict[str, Any]:
    """Every number of the masks, printed as tables too."""
    found, curves = {}, {}
    for whole in networks:
        one = whole.first(study.images)
        maps = all_maps(study, one)
        numbers = played(study, one, maps)
        curves[one.name] = structure(one, maps)
        found[one.name] = {
            "constant_maps": {
                name: int((np.ptp(own, axis=(1, 2)) == 0).sum())
                for name, own in maps.items()
            },
            "games": assessed(study, numbers),
            "structure": bits_needed(study, curves[one.name]),
        }
        print(f"\n{one.name}: masks\n\n{table(found[one.name]['games'])}")
        print(f"\n{structure_table(found[one.name]['structure'])}")
        draw_maps(one, maps, study)
    draw_curves(curves, study)
    return found


def all_maps(study: Study, network: Network) -> Maps:
    """The maps of every method, `[images, height, width]`, each made once."""
    methods = {**of_gradients(), **of_masks(study), **rivals()}
    made: dict[str, np.ndarray] = {}
    for name, make in methods.items():
        masks = f"_{study.masks}" if name == "sampled" else ""
        path = network.folder / "maps" / f"{_slug(name)}{masks}_{len(network.x)}.npz"
        made |= shared.kept(path, functools.partial(make, network))
    return made


def of_channels(numbers: jax.Array) -> jax.Array:
    """One number for each pixel: the sum over its channels."""
    return jnp.sum(numbers, axis=-1)


GRADIENTS: Mapping[str, Callable[..., jax.Array]] = {
    "Grad-CAM": explain.grad_cam,
    "Grad-CAM++": explain.grad_cam_plus_plus,
    "HiResCAM": explain.hires_cam,
    "LayerCAM": explain.layer_cam,
    "ContrastCAM": explain.contrast_cam,
    "CausalCAM": lambda *a: explain.causal_cam(*a).causal,
    "gradient": lambda *a: of_channels(jnp.abs(explain.saliency(*a))),
    "input x gradient": lambda *a: of_channels(explain.input_times_gradient(*a)),
    "integrated gradients": lambda *a: of_channels(
        explain.integrated_gradients(*a).map
    ),
}
"""`(apply_fn, params, x) -> [images, height, width]`, by name; `gradient` without its
sign."""


def of_gradients() -> dict[str, Callable[[Network], Maps]]:
    """Methods that ask for gradients once, or along a way."""

    def made(network: Network, name: str) -> Maps:
        ask = jax.jit(functools.partial(GRADIENTS[name], network.apply_fn))
        compiled = functools.partial(ask, network.params)
        return {name: shared.in_pieces(compiled, network.x, size=100)}

    return {name: functools.partial(made, name=name) for name in GRADIENTS}


def of_masks(study: Study) -> dict[str, Callable[[Network], Maps]]:
    """RISE and SHAPE of the same masks, and others that ask many times."""

    def sampled(network: Network) -> Maps:
        def ask(params: Any, x: jax.Array) -> dict[str, jax.Array]:
            both = explain.rise_and_shape(
                network.apply_fn, params, x, key=jax.random.key(0), masks=study.masks
            )
            return {"RISE": both.rise.map, "SHAPE": both.shape.map}

        compiled = functools.partial(jax.jit(ask), network.params)
        return shared.in_pieces(compiled, network.x, size=25)

    def smooth(network: Network) -> Maps:
        def ask(params: Any, x: jax.Array) -> jax.Array:
            found = explain.smooth_grad(
                network.apply_fn, params, x, key=jax.random.key(1)
            )
            return of_channels(jnp.abs(found.map))

        compiled = functools.partial(jax.jit(ask), network.params)
        return {"SmoothGrad": shared.in_pieces(compiled, network.x, size=100)}

    def occluded(network: Network) -> Maps:
        def ask(params: Any, x: jax.Array) -> jax.Array:
            return explain.occlusion(network.apply_fn, params, x, window=5, stride=2)

        compiled = functools.partial(jax.jit(ask), network.params)
        return {"occlusion": shared.in_pieces(compiled, network.x, size=25)}

    return {"sampled": sampled, "SmoothGrad": smooth, "occlusion": occluded}


def rivals() -> dict[str, Callable[[Network], Maps]]:
    """Maps that know nothing of the network."""

    def noise(network: Network) -> Maps:
        drawn = np.random.default_rng(0).random(network.x.shape[:3], np.float32)
        return {"random": drawn}

    def edges(network: Network) -> Maps:
        grey = network.x.mean(axis=-1)
        return {"edges": np.stack([skimage.filters.sobel(image) for image in grey])}

    def middle(network: Network) -> Maps:
        height, width = network.x.shape[1:3]
        row, column = np.mgrid[:height, :width] + 0.5
        square = (row / height - 0.5) ** 2 + (column / width - 0.5) ** 2
        bump = np.exp(-square / (2 * 0.25**2)).astype(np.float32)
        return {"middle": np.broadcast_to(bump, network.x.shape[:3])}

    return {"random": noise, "edges": edges, "middle": middle}


def played(study: Study, network: Network, maps: Maps) -> dict[str, dict[str, Any]]:
    """The areas and right answers of each method for each image."""
    answer = network.apply_fn

    def play(params: Any, x: Any, labels: Any, own: Any) -> dict[str, Any]:
        mask = functools.partial(
            explain.masking_accuracy, answer, params, x, own, labels=labels
        )
        insertion, deletion = (
            fn(answer, params, x, own, microbatch=250).area
            for fn in (explain.insertion_curve, explain.deletion_curve)
        )
        drop = explain.average_drop(answer, params, x, own)
        return {
            "insertion": insertion,
            "deletion": deletion,
            "masking": mask().correct,
            "complexity": mask().complexity,
            "average drop": drop.drop,
        }

    compiled = functools.partial(jax.jit(play), network.params)
    numbers = {}
    for name, own in maps.items():
        path = network.folder / "games" / f"{_slug(name)}_{_of(study, network)}.npz"
        make = lambda own=own: shared.in_pieces(
            compiled, network.x, network.labels, np.asarray(own)
        )
        numbers[name] = dict(shared.kept(path, make))
    return numbers


MEASURES = {"insertion": True, "deletion": False, "masking": True}
"""The measures of one statement each, and whether higher is better."""


def assessed(study: Study, numbers: Mapping[str, Maps]) -> dict[str, Any]:
    """Means over images with intervals, and which method may be the best."""
    found: dict[str, Any] = {"means": {}, "best": {}, "may_be_best": {}, "rivals": {}}
    for name, own in numbers.items():
        found["means"][name] = {
            measure: shared.mean_interval(study, np.asarray(values))
            for measure, values in own.items()
        }
    for measure, higher in MEASURES.items():
        columns = {name: own[measure] for name, own in numbers.items()}
        compared = shared.compared_means(study, columns, higher_is_better=higher)
        found["best"][measure] = compared.best
        found["may_be_best"][measure] = list(compared.may_be_best)
        behind = np.asarray(compared.behind)
        # A rival that a method is not proven to be ahead of.
        found["rivals"][measure] = {
            rival: {
                "not_behind": [
                    name
                    for column, name in enumerate(compared.names)
                    if name not in RIVALS
                    and not behind[compared.names.index(rival), column]
                ],
                "ahead_of": [
                    name
                    for row, name in enumerate(compared.names)
                    if name not in RIVALS and behind[row, compared.names.index(rival)]
                ],
            }
            for rival in RIVALS
        }
        found.setdefault("differences", {})[measure] = {
            base: shared.differences(compared, base) for base in ("RISE", "Grad-CAM")
        }
    return found


def structure(network: Network, maps: Maps) -> dict[str, Any]:
    """The structure-wise curves, by game, cost and method."""
    answer = network.apply_fn
    found: dict[str, Any] = {}
    for game, baseline in GAMES.items():
        for cost in COSTS:
            for name in STRUCTURED:
                path = (
                    network.folder
                    / "structure"
                    / f"{game}_{cost}_{_slug(name)}_{len(network.x)}.npz"
                )

                def make(cost=cost, name=name, baseline=baseline) -> Maps:
                    curve = explain.structure_curve(
                        answer,
                        network.params,
                        jnp.asarray(network.x),
                        jnp.asarray(maps[name]),
                        labels=jnp.asarray(network.labels),
                        cost=cost,
                        baseline=baseline,
                    )
                    fields = ("left", "correct", "thresholds")
                    return {field: getattr(curve, field) for field in fields}

                arrays = shared.kept(path, make)
                curve = explain.structure_curve_of(
                    arrays["left"], arrays["correct"], arrays["thresholds"]
                )
                found.setdefault(game, {}).setdefault(cost, {})[name] = curve
    return found


def bits_needed(study: Study, curves: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of an image where a method reaches 65 %, and the areas.

    The samples are of images, the same ones for every method of a game.
    """
    found: dict[str, Any] = {}
    for game, by_cost in curves.items():
        for cost, by_name in by_cost.items():
            size = len(next(iter(by_name.values())).left)
            rows = np.random.default_rng(0).integers(0, size, (study.num_samples, size))
            needed = {name: curve.needed(ACCURACY) for name, curve in by_name.items()}
            # Of logarithms, whose differences are ratios.
            samples = np.log(
                [[needed_of(c, r) for c in by_name.values()] for r in rows]
            )
            compared = metrics.compare_resampled(
                {name: np.log(own) for name, own in needed.items()},
                samples,
                jnp.zeros(size),
                level=study.level,
                higher_is_better=False,
            )
            less = shared.differences(compared, "Grad-CAM")["CausalCAM"]
            found.setdefault(game, {})[cost] = {
                "needed": needed,
                "area": {name: curve.area for name, curve in by_name.items()},
                "best": compared.best,
                "may_be_best": list(compared.may_be_best),
                "fewer_than_grad_cam": {
                    "value": fewer(less["value"]),
                    "low": fewer(less["high"]),
                    "high": fewer(less["low"]),
                },
                "x": {name: curve.x.tolist() for name, curve in by_name.items()},
                "y": {name: curve.y.tolist() for name, curve in by_name.items()},
            }
    return found


def fewer(log_ratio: float) -> float:
    """By what share less is left, where the logarithm of the ratio is this."""
    with np.errstate(over="ignore"):  # of very few images an end is -inf
        return float(1 - np.exp(log_ratio))


def needed_of(curve: explain.StructureCurve, rows: np.ndarray) -> float:
    """What is left where a method reaches 65 % of a sample of the images."""
    return explain.structure_curve_of(
        curve.left[rows], curve.correct[rows], curve.thresholds
    ).needed(ACCURACY)


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_").replace("+", "p")


def _of(study: Study, network: Network) -> str:
    return f"{study.masks}_{len(network.x)}"


def table(found: Mapping[str, Any]) -> str:
    """A row for each method, the best insertion first."""
    heads = ["Method", "Insertion", "Deletion", "Masking accuracy", "Mean of the mask"]
    lines = [f"| {' | '.join([*heads, 'Average drop'])} |", "|---" * 6 + "|"]
    means = found["means"]
    for name in sorted(means, key=lambda n: -means[n]["insertion"]["value"]):
        cells = []
        for measure in (*MEASURES, "complexity", "average drop"):
            mark = ""
            if measure in MEASURES:
                may = name in found["may_be_best"][measure]
                best = name == found["best"][measure]
                mark = " *" if best else " =" if may else ""
            cells.append(shared.cell(means[name][measure]) + mark)
        title = f"*{name}*" if name in RIVALS else name
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def structure_table(found: Mapping[str, Any]) -> str:
    """What is left where a method reaches 65 %, by game and cost."""
    columns = [(game, cost) for game in found for cost in found[game]]
    heads = [f"{game}, {cost}" for game, cost in columns]
    lines = [f"| Method | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for name in STRUCTURED:
        cells = []
        for game, cost in columns:
            own = found[game][cost]
            best = name == own["best"]
            mark = " *" if best else " =" if name in own["may_be_best"] else ""
            cells.append(f"{own['needed'][name]:.3f}{mark}")
        title = f"*{name}*" if name in RIVALS else name
        lines.append(f"| {title} | {' | '.join(cells)} |")
    fewer = [
        shared.cell(found[game][cost]["fewer_than_grad_cam"]) for game, cost in columns
    ]
    lines.append(f"| CausalCAM, fewer than Grad-CAM | {' | '.join(fewer)} |")
    return "\n".join(lines)


_COLOURS = {
    "Grad-CAM": "tab:purple",
    "Grad-CAM++": "tab:green",
    "CausalCAM": "tab:red",
    "RISE": "tab:blue",
    "random": "0.6",
    "edges": "0.35",
    "middle": "black",
}
"""The colours of the tutorial's plot, where it has the method."""


def draw_curves(found: Mapping[str, Any], study: Study) -> None:
    """Accuracy over bits and over the saliency kept: a row for each network."""
    panels_of = [
        ("deletion", "huffman"),
        ("insertion", "huffman"),
        ("deletion", "saliency"),
    ]
    titles = {"huffman": "Huffman bits left", "saliency": "saliency kept"}
    canvas, panels = plt.subplots(
        len(found), 3, figsize=(12, 3.4 * len(found)), sharey=True, squeeze=False
    )
    for row, (network, curves) in zip(panels, found.items(), strict=True):
        for panel, (game, cost) in zip(row, panels_of, strict=True):
            for name, curve in curves[game][cost].items():
                style = "--" if name in RIVALS else "-"
                panel.plot(
                    curve.x,
                    curve.y,
                    style,
                    marker=".",
                    color=_COLOURS[name],
                    label=name,
                )
            panel.axhline(ACCURACY, color="0.8", linewidth=1, zorder=0)
            panel.set(title=f"{network}, {game}", xlabel=titles[cost])
        row[0].set(ylabel="right answers")
    panels[0, 0].legend(fontsize="small")
    canvas.tight_layout()
    shared.save(canvas, study, "structure")


def draw_maps(network: Network, maps: Maps, study: Study, images: int = 6) -> None:
    """The maps of the first image of some classes, a column for each method."""
    first = [int(np.argmax(network.labels == label)) for label in range(images)]
    canvas, panels = plt.subplots(
        images, 1 + len(maps), figsize=(1.05 * (1 + len(maps)), 1.15 * images)
    )
    for row, image in zip(panels, first, strict=True):
        row[0].imshow(network.x[image], cmap="gray", vmin=0, vmax=1)
        for panel, own in zip(row[1:], maps.values(), strict=True):
            unit = np.asarray(explain.normalized(jnp.asarray(own[image][None])))[0]
            panel.imshow(unit, cmap="viridis", vmin=0, vmax=1)
    for panel, name in zip(panels[0], ["image", *maps], strict=True):
        panel.set_title(name.replace(" gradient", "\ngradient"), fontsize=7)
    for panel in panels.ravel():
        panel.set_axis_off()
    canvas.subplots_adjust(0, 0, 1, 0.93, 0.05, 0.05)
    shared.save(canvas, study, f"maps_{network.name}")
