"""A map that is an average over random samples, and how sure it is."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int


class Estimate(NamedTuple):
    """A map that is an average over random samples, such as masks or noise.

    Attributes:
      map: the average, `[batch, *positions]`, or `[batch, asked, *positions]` where
        several targets are asked for each image.
      standard_error: of each number of `map`, not negative: the standard deviation that
        the average itself has over other draws of as many samples.
      samples: how many samples each image was given, `[batch]`.
    """

    map: Float[Array, "batch ..."]
    standard_error: Float[Array, "batch ..."]
    samples: Int[Array, " batch"]
