"""What the scores say of test images that were changed against the network."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _processes, assess, data, gradients, interventions, scoring
from trustjax.pipeline import _mistakes, _shifts
from trustjax.pipeline._attack_options import AttackOptions
from trustjax.typing import ApplyFn, Params, ProgressFn

_TASK = "attacking"


def scored(
    options: AttackOptions,
    test: data.Dataset,
    network: tuple[ApplyFn, Params],
    ask: Callable[[np.ndarray, np.ndarray], _shifts.Answers],
    *,
    unchanged: _shifts.Answers,
    batch_size: int,
    folder: pathlib.Path,
    progress: ProgressFn | None,
) -> assess.Attacked | None:
    """Attacks the first test images; a killed run goes on with the next radius.

    Args:
      options: which attacks.
      test: the test set as the network takes it.
      network: what is attacked.
      ask: says what the network and its scores say of images and their labels.
      unchanged: the same of the test set, as `_shifts.scored` takes it.
      batch_size: images at a time.
      folder: where finished radii are kept, until all are.
      progress: hears how many images are done, of those of all radii.

    Returns:
      What was said; None where nothing is asked.

    Raises:
      ValueError: if images are not in [0, 1].
    """
    if not options.radii:
        return None
    count = min(options.images, len(test))
    images, labels = test.source.take(range(count))
    images = _mistakes.as_floats(np.asarray(images))
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"--attacks.radii of {test.name}: images must be in [0, 1], got "
            f"{images.min():g} to {images.max():g}"
        )
    attack = _program(network, options.steps)
    paths = [folder / f"{radius:g}.npz" for radius in options.radii]
    versions, total = {}, count * len(options.radii)
    for number, (radius, path) in enumerate(zip(options.radii, paths, strict=True), 1):
        of = (dict(unchanged._asdict()), test.fingerprint, count, options.steps, radius)
        origin = scoring.fingerprint(of)
        said = _shifts.kept(path, origin)
        if said is None:
            attacking = functools.partial(attack, radius=radius)

            def attacked(some: slice, attacking=attacking) -> jax.Array:
                of = jnp.asarray(images[some]), jnp.asarray(labels[some])
                size = min(batch_size, len(of[0]))
                return gradients.in_microbatches(attacking, size=size)(network[1], *of)

            changed = _processes.in_shares(attacked, count)
            said = _shifts.reduced(ask(np.asarray(changed), labels))
            _shifts.keep(path, origin, said)
        versions[radius] = said
        if progress is not None:
            progress(_TASK, number * count, total, {})
    _shifts.drop(paths)
    return assess.Attacked(np.arange(count), versions)


def _program(network: tuple[ApplyFn, Params], steps: int) -> Callable[..., jax.Array]:
    """`(params, x, labels, radius) -> attacked x`, compiled once for all radii."""

    @jax.jit
    def attack(params: Params, x: Any, labels: Any, radius: Any) -> jax.Array:
        return interventions.pgd(
            network[0], params, x, labels, epsilon=radius, steps=steps
        )

    return attack
