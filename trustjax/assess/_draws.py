"""Random draws of errors that several numbers of one data set have together."""

import numpy as np


def normal_errors(covariance: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
    """Draws of how far several numbers are off together.

    Args:
      covariance: `[numbers, numbers]`, of the errors.
      num_samples: how many draws.
      seed: of the draws.

    Returns:
      `[num_samples, numbers]`, normal with mean 0.
    """
    variances, directions = np.linalg.eigh(covariance)
    factors = directions * np.sqrt(np.maximum(variances, 0))
    size = len(covariance)
    normal = np.random.default_rng(seed).standard_normal((num_samples, size))
    return normal @ factors.T


def errors_of_influences(
    influences: np.ndarray, num_samples: int, seed: int
) -> np.ndarray:
    """Draws of how far numbers are off that are means of influences.

    Args:
      influences: `[examples, numbers]`: how much each example moves each number, in
        units of its share of the data; a column sums to 0, or is NaN.
      num_samples: how many draws.
      seed: of the draws.

    Returns:
      `[num_samples, numbers]`; NaN for a number of NaN influences.
    """
    known = ~np.isnan(influences).any(axis=0)
    of_known = influences[:, known]
    covariance = of_known.T @ of_known / len(influences) ** 2
    errors = np.full((num_samples, influences.shape[1]), np.nan)
    errors[:, known] = normal_errors(covariance, num_samples, seed)
    return errors
