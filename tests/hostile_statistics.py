"""The statistics of gradients as subjects of the battery of hostile values."""

import numpy as np

from tests.hostile import DTYPES, Argument, Kind, Subject
from trustjax import statistics

ANY_NUMBER = Kind(tuple(DTYPES), "")
GRADIENT = Argument(
    "gradient",
    "batch features",
    ANY_NUMBER,
    lambda generator, shape: 2 * generator.normal(size=shape),
)


def standardised(power):
    def moment(g):
        deviation = g - g.mean()
        if not np.isfinite(g).all() or not deviation.any():
            return np.nan
        unit = np.abs(deviation).max()
        deviation = deviation / unit
        return (deviation**power).mean() / (deviation**2).mean() ** (power / 2)

    return moment


def standard_deviation(g):
    if len(g) < 2 or not np.isfinite(g).all():
        return np.nan
    return g.std(ddof=1)


REFERENCES = {
    statistics.l1_norm: lambda g: np.abs(g).sum(),
    statistics.l2_norm: lambda g: np.sqrt((g**2).sum()),
    statistics.minimum: np.min,
    statistics.maximum: np.max,
    statistics.mean: np.mean,
    statistics.standard_deviation: standard_deviation,
    statistics.skewness: standardised(3),
    statistics.kurtosis: lambda g: standardised(4)(g) - 3,
}


def as_numbers(g):
    """Whole numbers count as the floats nearest to them."""
    if g.dtype.kind == "i":
        g = g.astype(f"f{g.dtype.itemsize}")
    return np.asarray(g, np.longdouble).ravel()


def subject_of(statistic):
    reference = REFERENCES[statistic]
    return Subject(
        statistic,
        (GRADIENT,),
        lambda g: reference(as_numbers(g)),
        nonempty=("batch", "features"),
        any_shape=True,
        calls=(statistic, statistics.moments),
    )


STATISTICS = {
    statistic.__name__: subject_of(statistic) for statistic in statistics.OF_MOMENTS
}
