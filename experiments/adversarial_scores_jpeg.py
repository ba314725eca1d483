"""JPEG between an attacked image and the network: what either undoes."""

import functools
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.explanations_shared import in_pieces, kept
from trustjax import interventions, losses

KINDS = ("PGD", "PGD through JPEG", "PGD on both")
"""Attacks: on the network, on what follows JPEG, and on both with one image."""


def recoded(x: np.ndarray, quality: int) -> np.ndarray:
    """Grey or RGB images in [0, 1], written as JPEG and read again."""
    whole = np.round(255 * np.asarray(x)).clip(0, 255).astype(np.uint8)
    read = []
    for image in whole:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            file, "JPEG", quality=quality
        )
        read.append(np.asarray(Image.open(file), np.float32).reshape(image.shape) / 255)
    return np.stack(read)


def through(apply_fn: Callable[..., Any], quality: int) -> Callable[..., Any]:
    """The network behind JPEG, whose derivative is taken for the identity's."""

    def behind(params: Any, x: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct(x.shape, jnp.float32)
        read = jax.pure_callback(
            functools.partial(recoded, quality=quality), shape, jax.lax.stop_gradient(x)
        )
        return apply_fn(params, x + jax.lax.stop_gradient(read - x))

    return behind


def answers(
    study: Any, asked: Any, said: Mapping[str, np.ndarray], folder: pathlib.Path
) -> Mapping[str, np.ndarray]:
    """Logits before and behind JPEG, `[images, classes]`.

    Returns:
      `quality|version|before` and `... |behind`; versions are `clean` and the kinds of
      attack with their radius.
    """
    return kept(folder / "jpeg.npz", lambda: _asked(study, asked, said))


def _asked(
    study: Any, asked: Any, said: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    logits = jax.jit(asked.apply_fn)
    found: dict[str, np.ndarray] = {}
    for quality in study.qualities:
        behind = through(asked.apply_fn, quality)
        versions = {"clean": said["clean|x"]}
        attacks = {
            KINDS[1]: functools.partial(interventions.pgd, behind),
            KINDS[2]: functools.partial(
                interventions.pgd,
                lambda params, x, behind=behind: jnp.concatenate(
                    [asked.apply_fn(params, x), behind(params, x)], axis=-1
                ),
                loss_fn=_loss_of_both,
            ),
        }
        programs = {
            kind: jax.jit(
                lambda p, x, y, e, a=attack: a(p, x, y, epsilon=e, steps=study.steps)
            )
            for kind, attack in attacks.items()
        }
        for radius in study.datasets[asked.folder.name]:
            versions[f"{KINDS[0]} {radius:g}"] = said[f"{KINDS[0]} {radius:g}|x"]
            for kind, program in programs.items():
                versions[f"{kind} {radius:g}"] = in_pieces(
                    lambda x, y, r=radius, of=program: of(asked.params, x, y, r),
                    asked.x,
                    asked.labels,
                    size=len(asked.x),
                )
        for version, x in versions.items():
            for where, seen in (("before", x), ("behind", recoded(x, quality))):
                found[f"{quality}|{version}|{where}"] = in_pieces(
                    functools.partial(logits, asked.params), seen
                )
    return found


def _loss_of_both(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The sum of the losses before and behind JPEG."""
    before, behind = jnp.split(logits, 2, axis=-1)
    return losses.cross_entropy(before, labels) + losses.cross_entropy(behind, labels)
