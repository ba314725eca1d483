"""A map that is an average over random samples, and how sure it is."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
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

    def is_sure(self, until: float, *, fewest: int, axes_of_map: int) -> jax.Array:
        """Of which images the error of each map is small beside what it shows.

        The root mean square of the standard error over a map, the last axes, is then at
        most `until` times its standard deviation, and there are `fewest` samples.
        """
        axes = tuple(range(-axes_of_map, 0))
        error = jnp.sqrt(jnp.mean(self.standard_error**2, axes))
        small = error <= until * jnp.std(self.map, axes)
        enough = self.samples >= fewest
        return enough & jnp.all(small.reshape(len(small), -1), axis=-1)


Sofar = TypeVar("Sofar")


def gathered(
    add: Callable[[Sofar, jax.Array, jax.Array], Sofar],
    nothing: Sofar,
    turns: int,
    none_done: jax.Array,
    is_sure: Callable[[Sofar], jax.Array] | None = None,
) -> Sofar:
    """The samples of all turns; or, of each image, of those until it is sure.

    Args:
      add: `(sofar, turn, done) -> sofar`: adds the samples of a turn, but for images
        that are done.
      nothing: what is gathered before the first turn.
      turns: how many there are at most.
      none_done: `[batch]`, False, sharded as the images are.
      is_sure: which images need no more; None to take all turns, which alone has
        derivatives in reverse mode.
    """
    if is_sure is None:
        step = lambda turn, sofar: add(sofar, turn, none_done)
        return jax.lax.fori_loop(0, turns, step, nothing)

    def goes_on(state: tuple) -> jax.Array:
        turn, _, done = state
        return (turn < turns) & ~jnp.all(done)

    def step_until(state: tuple) -> tuple:
        turn, sofar, done = state
        sofar = add(sofar, turn, done)
        return turn + 1, sofar, done | is_sure(sofar)

    return jax.lax.while_loop(goes_on, step_until, (0, nothing, none_done))[1]
