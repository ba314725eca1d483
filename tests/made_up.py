"""Made-up predictions with the failings of real ones."""

import numpy as np

from trustjax.assess import Predictions, Quantity
from trustjax.statistics import GradientStatistics


def ends(quantity: Quantity) -> tuple[float, float, float]:
    """Lower end, value and upper end of a quantity that has them all."""
    assert quantity.value is not None
    assert quantity.low is not None
    assert quantity.high is not None
    return quantity.low, quantity.value, quantity.high


def predictions(count=300, num_classes=5, *, seed=0, full=True, **changes):
    """A network that is right on most examples and less sure where it is wrong."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=count)
    logits = generator.normal(size=(count, num_classes))
    ease = 4 * generator.random(count)
    logits[np.arange(count), labels] += ease
    gap = np.diff(np.sort(logits, axis=1)[:, -2:])[:, 0]
    scores = {
        "margin": gap,
        # Infinite where the softmax is one-hot in float32, as the real one.
        "grad_trust": np.where(gap > np.quantile(gap, 0.9), np.inf, np.exp(2 * gap)),
        "coin": generator.random(count),
    }
    arrays = {"logits": logits, "labels": labels, "scores": scores}
    if full:
        arrays |= {
            "images": generator.integers(256, size=(count, 12, 12), dtype=np.uint8),
            "gradient_statistics": GradientStatistics(
                values=np.exp(
                    generator.normal(size=(count, 3, 2)) - gap[:, None, None]
                ),
                groups=("conv0", "conv1", "dense"),
                statistics=("l2_norm", "standard_deviation"),
            ),
            "out_of_distribution": {
                "noise": {"margin": generator.random(200), "coin": np.zeros(200)}
            },
            "score_titles": {"grad_trust": "GradTrust"},
            "score_info": {"coin": "A <coin>, for comparison."},
            "run": {"dataset": "made_up", "seed": seed, "config": {"rate": np.nan}},
        }
    return Predictions(**{**arrays, **changes})
