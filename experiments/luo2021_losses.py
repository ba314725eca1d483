"""Figure 2b of Luo et al. 2021: the losses of an oracle as functions of its output z.

    python -m experiments.luo2021_losses

One panel for right answers of the classifier and one for wrong ones. The loss of the
true class probability also depends on that probability: 0.9 for the right answer here,
and 0.1 and 0.4 for the wrong one. The steep slope has the slopes of section 5 for
a transformer (1, 3) and a residual network (2, 5), with the signs of the authors' code.
"""

import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments import luo2021
from trustjax import losses

_Z = np.linspace(-6, 6, 481)

_STYLES = {
    "CE": ("tab:blue", "-"),
    "Focal, gamma 2": ("tab:orange", "-"),
    "TCP, p = 0.9": ("tab:green", "-"),
    "TCP, p = 0.1": ("tab:green", "-"),
    "TCP, p = 0.4": ("tab:green", "--"),
    "SS (1, 3)": ("tab:red", "-"),
    "SS (2, 5)": ("tab:red", "--"),
}

Curve = Callable[[jax.Array, bool], jax.Array]
"""`(z [n], whether the answer is right) -> [n]`."""


def steep(alpha_positive: float, alpha_negative: float) -> Curve:
    """The steep slope loss of these slopes."""
    return lambda z, right: losses.steep_slope_loss(
        z,
        jnp.full(z.shape, right),
        alpha_positive=alpha_positive,
        alpha_negative=alpha_negative,
    )


def probability(p: float) -> Curve:
    """The loss of a classifier that gives the true class this probability."""
    return lambda z, right: losses.true_class_probability_loss(z, jnp.full(z.shape, p))


def curves(right: bool) -> Mapping[str, Curve]:
    """The losses of one panel."""
    of_outcome = lambda loss: lambda z, right: loss(z, jnp.full(z.shape, right))
    probabilities = (0.9,) if right else (0.1, 0.4)
    return {
        "CE": of_outcome(losses.oracle_cross_entropy),
        "Focal, gamma 2": of_outcome(losses.oracle_focal_loss),
        **{f"TCP, p = {p:g}": probability(p) for p in probabilities},
        "SS (1, 3)": steep(1.0, 3.0),
        "SS (2, 5)": steep(2.0, 5.0),
    }


def main(figures: pathlib.Path = luo2021.FIGURES) -> dict[str, dict[str, float]]:
    """Draws the figure; prints and returns loss and slope at z = 0 of each curve."""
    canvas, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    print("| Answer | Loss | at z = 0 | slope there | least at z = |")
    print("|---|---|---|---|---|")
    found = {}
    for axis, right in zip(axes, (True, False), strict=True):
        answer = "right" if right else "wrong"
        for name, curve in curves(right).items():
            values = np.asarray(curve(jnp.asarray(_Z), right))
            colour, dashes = _STYLES[name]
            axis.plot(_Z, values, dashes, color=colour, label=name)
            whole = lambda z, curve=curve, right=right: curve(z[None], right)[0]
            zero = jnp.zeros(())
            least = _Z[np.argmin(values)]
            made = {
                "value": float(whole(zero)),
                "slope": float(jax.grad(whole)(zero)),
                "least_at": float(least)
                if abs(least) < _Z[-1]
                else np.copysign(np.inf, least),
            }
            found[f"{answer}, {name}"] = made
            print(f"| {answer} | {name} |", *map("{:.2f} |".format, made.values()))
        axis.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axis.set(
            title=f"the classifier is {answer}", xlabel="z", ylabel="loss", ylim=(0, 8)
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    luo2021.save(canvas, figures / "luo2021_losses.png")
    return found


if __name__ == "__main__":
    tyro.cli(main)
