"""How the cost of gradient statistics grows with the batch, the width and the image.

Run `python -m benchmarks.growth`. The network is that of Oberdiek et al. 2018 with
padded convolutions, so that small images fit, and 16 filters times `width`. One thing
grows at a time; the statistics of every example's gradient are measured beside one
ordinary gradient of the mean loss, best of the rounds. Writes `figures/growth.png`.
"""

import itertools
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from jax import lax
from matplotlib import pyplot as plt

from benchmarks._timing import interleaved
from trustjax import gradients, losses

FIGURE = pathlib.Path(__file__).parent / "figures" / "growth.png"
ROUNDS = 10
STATISTICS = "statistics of each example's gradient"
ORDINARY = "one gradient of the mean loss"


class Setting(NamedTuple):
    """What the cost depends on; the sizes from which one grows at a time."""

    batch: int = 64
    width: int = 1
    image: int = 32


SWEEPS = {
    "batch": [16, 32, 64, 128, 256, 512, 1024],
    "width": [1, 2, 4, 8],
    "image": [16, 32, 64, 128],
}


def network(setting: Setting) -> tuple[Callable[..., jax.Array], Any]:
    """Three padded 3x3 convolutions, two max pools and a dense layer."""
    filters, classes = 16 * setting.width, 10
    shapes = {
        "conv1": (3, 3, 1, filters),
        "conv2": (3, 3, filters, filters),
        "conv3": (3, 3, filters, filters),
        "dense": ((setting.image // 4) ** 2 * filters, classes),
    }
    params = {
        name: {
            "kernel": jax.random.normal(key, shape) * math.prod(shape[:-1]) ** -0.5,
            "bias": jnp.zeros(shape[-1]),
        }
        for key, (name, shape) in zip(
            jax.random.split(jax.random.key(0), len(shapes)),
            shapes.items(),
            strict=True,
        )
    }

    def conv(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(
            x, layer["kernel"], (1, 1), "SAME", dimension_numbers=layout
        )
        return jax.nn.leaky_relu(y + layer["bias"], 0.1)

    def pool(x: jax.Array) -> jax.Array:
        window = (1, 2, 2, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        x = pool(conv(params["conv1"], x))
        x = conv(params["conv3"], pool(conv(params["conv2"], x)))
        dense = params["dense"]
        return x.reshape(len(x), -1) @ dense["kernel"] + dense["bias"]

    return apply_fn, params


def programs(setting: Setting) -> dict[tuple[Setting, str], Callable[[], Any]]:
    """Both ways to spend a backward pass, jitted, with their arguments."""
    apply_fn, params = network(setting)
    shape = (setting.batch, setting.image, setting.image, 1)
    x = jax.random.normal(jax.random.key(1), shape)

    def mean_loss(params: Any, x: jax.Array) -> jax.Array:
        return losses.predicted_cross_entropy(apply_fn(params, x)).mean()

    ordinary = jax.jit(jax.grad(mean_loss))
    statistics = jax.jit(lambda p, x: gradients.gradient_statistics(apply_fn, p, x))
    return {
        (setting, STATISTICS): lambda: statistics(params, x),
        (setting, ORDINARY): lambda: ordinary(params, x),
    }


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The power of the size that the seconds grow with, over the upper half."""
    half = len(sizes) // 2
    return np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0]


def draw(sweeps: dict[str, dict[str, list[float]]]) -> None:
    """One panel for each sweep, on one scale of milliseconds."""
    plt.rcParams |= {"font.size": 11, "axes.titlesize": 12}
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}
    figure, panels = plt.subplots(
        1, 3, figsize=(11, 4.8), sharey=True, layout="constrained"
    )
    titles = {
        "batch": "more examples\n(32x32 pixels, 16 filters)",
        "width": "wider layers\n(64 examples, 32x32 pixels)",
        "image": "larger images\n(64 examples, 16 filters)",
    }
    labels = {
        "batch": "examples",
        "width": "filters in a layer",
        "image": "pixels along each side",
    }
    guides = {
        "batch": (1, "linear"),
        "width": (1, "linear"),
        "image": (2, "as the pixels"),
    }
    for panel, (name, curves) in zip(panels, sweeps.items(), strict=True):
        sizes = np.array(SWEEPS[name], float)
        power, guide = guides[name]
        start = 1e3 * curves[STATISTICS][0] / 2
        grown = start * (sizes / sizes[0]) ** power
        panel.plot(sizes, grown, ":", color="grey")
        panel.annotate(
            guide,
            (sizes[1], grown[1]),
            (6, -12),
            textcoords="offset points",
            color="grey",
        )
        for (label, seconds), style in zip(
            curves.items(), ("o-#1f5fa8", "s-#c4622d"), strict=True
        ):
            panel.plot(
                sizes, 1e3 * np.array(seconds), style[:2], color=style[2:], label=label
            )
        panel.set(xscale="log", yscale="log", xlabel=labels[name], title=titles[name])
        filters = 16 if name == "width" else 1
        panel.set_xticks(sizes, [f"{filters * size:.0f}" for size in sizes])
        panel.minorticks_off()
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    panels[0].set_yticks(ticks, [str(tick) for tick in ticks])
    panels[0].set_ylabel("milliseconds, 2 CPU cores")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, ncols=2, loc="outside upper center")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=120)


def main() -> None:
    settings = {
        name: [Setting()._replace(**{name: size}) for size in sizes]
        for name, sizes in SWEEPS.items()
    }
    rivals: dict[Any, Callable[[], Any]] = {}
    for setting in itertools.chain(*settings.values()):
        rivals |= programs(setting)
    # All take turns: a busy minute of the machine must not bend a curve.
    best = {key: min(s) for key, s in interleaved(rivals, ROUNDS).items()}
    sweeps = {
        name: {key: [best[s, key] for s in chosen] for key in (STATISTICS, ORDINARY)}
        for name, chosen in settings.items()
    }
    for name, curves in sweeps.items():
        print(f"\n{name:>8}{'statistics, ms':>18}{'gradient, ms':>18}{'ratio':>8}")
        for size, ours, ordinary in zip(SWEEPS[name], *curves.values(), strict=True):
            print(
                f"{size:8}{1e3 * ours:18.1f}{1e3 * ordinary:18.1f}"
                f"{ours / ordinary:8.2f}"
            )
        powers = [exponent(SWEEPS[name], curve) for curve in curves.values()]
        print(f"   power{powers[0]:18.2f}{powers[1]:18.2f}")
    draw(sweeps)
    print(f"\nfigure: {FIGURE}")


if __name__ == "__main__":
    main()
