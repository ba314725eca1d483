"""What a network said of its test images when they were attacked: checked."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trustjax.assess._shifted import Shifted, checked_version


class Attacked(NamedTuple):
    """What a network said of test images that were changed against it.

    Attributes:
      examples: `[attacked]`, the numbers of those that were.
      versions: radius of the attack -> what was said of these under it.
    """

    examples: np.ndarray
    versions: Mapping[float, Shifted]


def checked(
    attacked: Attacked | None, scores: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> Attacked | None:
    """Attacks that fit the test set, by rising radius.

    Args:
      attacked: what was said.
      scores: of the test set as it is.
      shape: of its logits.

    Raises:
      ValueError: naming the radius, and what is wrong under it.
    """
    if attacked is None:
        return None
    examples, (count, num_classes) = np.asarray(attacked.examples), shape
    whole = examples.ndim == 1 and examples.dtype.kind in "iu" and examples.size > 0
    if not whole or len(np.unique(examples)) < len(examples):
        raise ValueError(
            "attacked examples must be different integers of shape [attacked], one at "
            f"least, got {examples.dtype} of shape {examples.shape}"
        )
    if examples.min() < 0 or examples.max() >= count:
        raise ValueError(
            f"attacked examples must be in [0, {count}), got {examples.min()} to "
            f"{examples.max()}"
        )
    radii = sorted(attacked.versions)
    if not radii or not radii[0] > 0:
        raise ValueError(
            f"radii of attacks must be positive, and one there, got {radii}"
        )
    names = {tuple(version.scores) for version in attacked.versions.values()}
    if len(names) > 1:
        raise ValueError(f"attacks must have the same scores, got {sorted(names)}")
    if unknown := sorted(set(*names).difference(scores)):
        raise ValueError(f"attacks have scores that are not in scores: {unknown}")
    return Attacked(
        examples,
        {
            radius: checked_version(
                f"an attack of radius {radius:g}",
                attacked.versions[radius],
                (len(examples), num_classes),
            )
            for radius in radii
        },
    )
