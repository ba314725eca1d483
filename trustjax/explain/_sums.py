r"""The few sums over masks that RISE and SHAPE are made of.

With g = f - a the value of a masked image less a number near it, and mu = M - p, the
sums of :math:`g^i \mu^j` for i and j up to 2 are enough for the mean and the variance
of any product :math:`(f - \alpha)(M - \beta)`: for maps, centred maps, and the standard
errors of both. Their size does not depend on how many masks there are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trustjax.explain._estimate import Estimate


class Sums(NamedTuple):
    """Sums over masks, and what is made of them.

    Attributes:
      p: what is taken from the masks first.
      shift: a, what is taken from the values first, `[batch, asked]`.
      zeroth: the sums of 1, of g, and of its square, `[batch, 1 + 2 asked]`.
      first: of the same times mu, `[batch, 1 + 2 asked, positions]`.
      second: of the same times its square.
    """

    p: float | jax.Array
    shift: jax.Array
    zeroth: jax.Array
    first: jax.Array
    second: jax.Array

    @classmethod
    def of_none(cls, p: float, f0: jax.Array, positions: int) -> "Sums":
        """No masks yet, for as many values as `f0` has."""
        zeroth = jnp.zeros((f0.shape[0], 1 + 2 * f0.shape[1]), f0.dtype)
        maps = jnp.zeros((*zeroth.shape, positions), f0.dtype)
        return cls(p, jnp.zeros_like(f0), zeroth, maps, maps)

    def add(self, values: jax.Array, masks: jax.Array, counted: jax.Array) -> "Sums":
        """With more of them.

        Args:
          values: `[batch, masks, asked]`.
          masks: `[masks, positions]`.
          counted: `[batch, masks]`, which of them count.
        """
        weights = counted[..., None]
        many = jnp.maximum(counted.sum(1), 1)[:, None]
        near = jnp.sum(jnp.where(weights, values, 0), axis=1) / many
        # It cancels in all that is made of the sums, but for rounding.
        near = jax.lax.stop_gradient(near)
        shift = jnp.where(self.count == 0, near, self.shift)
        g = jnp.where(weights, values - shift[:, None], 0)
        powers = jnp.concatenate([weights.astype(g.dtype), g, g * g], axis=-1)
        mu = masks.astype(g.dtype) - self.p

        def weighed(of_masks: jax.Array) -> jax.Array:
            highest = jax.lax.Precision.HIGHEST
            return jnp.einsum("bmk,mp->bkp", powers, of_masks, precision=highest)

        return Sums(
            self.p,
            shift,
            self.zeroth + powers.sum(1),
            self.first + weighed(mu),
            self.second + weighed(mu * mu),
        )

    @property
    def count(self) -> jax.Array:
        """How many masks, `[batch, 1]`."""
        return self.zeroth[:, :1]

    @property
    def mean_value(self) -> jax.Array:
        """Of f, `[batch, asked, 1]`."""
        return self.shift[..., None] + self._mean(1, 0)

    @property
    def mean_mask(self) -> jax.Array:
        """Of M, `[batch, 1, positions]`."""
        return self.p + self._mean(0, 1)

    def product(self, alpha: Any, beta: Any) -> tuple[jax.Array, jax.Array]:
        r"""The mean of (f - alpha) (M - beta), and the standard error of that mean.

        Args:
          alpha: broadcasts to `[batch, asked, 1]`.
          beta: broadcasts to `[batch, 1, positions]`.
        """
        a, b = self.shift[..., None] - alpha, self.p - beta

        def of_power(i: int) -> tuple[jax.Array, jax.Array]:
            """Means of g^i (M - beta) and of g^i (M - beta)^2."""
            one, mu, square = (self._mean(i, j) for j in range(3))
            return b * one + mu, b * b * one + 2 * b * mu + square

        (one, one2), (g, g2), (_, square2) = map(of_power, range(3))
        mean = a * one + g
        of_square = a * a * one2 + 2 * a * g2 + square2
        variance = jnp.maximum(of_square - mean * mean, 0) / (self._counts - 1)
        # Its derivative where it is 0 would be infinite.
        above = variance > 0
        return mean, jnp.where(above, jnp.sqrt(jnp.where(above, variance, 1)), variance)

    def unbiased(self, covariance: jax.Array) -> jax.Array:
        """A covariance about the means of the sample itself, made unbiased."""
        return covariance * (self._counts / (self._counts - 1))

    def estimate(self, map_: jax.Array, standard_error: jax.Array) -> Estimate:
        """With the number of masks."""
        return Estimate(map_, standard_error, self.count[:, 0].astype(jnp.int32))

    @property
    def _counts(self) -> jax.Array:
        return self.count[..., None]

    def _mean(self, i: int, j: int) -> jax.Array:
        """Of g^i mu^j, `[batch, asked or 1, positions or 1]`."""
        asked = self.shift.shape[1]
        rows = slice(1 + (i - 1) * asked, 1 + i * asked) if i else slice(0, 1)
        sums = (self.zeroth[..., None], self.first, self.second)[j]
        return sums[:, rows] / self._counts
