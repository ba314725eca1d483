"""Training images with Gaussian noise on some of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _numerics, _validate
from trustjax._meshes import in_auto_axes


def gaussian_noise(
    images: Float[Array, "batch ..."],
    key: jax.Array,
    *,
    deviation: float = 0.5,
    share: float = 0.5,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Float[Array, "batch ..."]:
    r"""Images with noise on a share of them, as `make_train_step` takes it.

    .. math:: x' = \operatorname{clip}(x + b \, \sigma \, n), \qquad
              n \sim \mathcal N(0, I), \quad b \sim \mathrm{Bernoulli}(q)

    Args:
      images: what is made noisy.
      key: where all is drawn from, for each image by its number in the batch.
      deviation: :math:`\sigma`, in the units of the images.
      share: :math:`q`, the chance of an image to be made noisy.
      bounds: the least and the largest number that an image may hold.

    Returns:
      Images of the same shape and dtype, within `bounds`.

    Raises:
      ValueError: if `deviation` is negative, `share` is not in [0, 1] or `bounds` do
        not rise.
      TypeError: if the images are not floating point.

    >>> images = jnp.full((2, 4, 4, 1), 0.5)
    >>> bool((gaussian_noise(images, jax.random.key(0), share=0.0) == images).all())
    True

    References:
      Rusak et al. 2020 (arXiv:2001.06057): half of the images, with a deviation of 0.5.
    """
    images = _inputs.array("images", images)
    _validate.floating("images", images)
    _validate.not_negative("deviation", deviation)
    _validate.fraction("share", share)
    _validate.rising("bounds", bounds)

    def of_one(key: jax.Array, image: jax.Array, number: jax.Array) -> jax.Array:
        of_noise, of_chance = jax.random.split(jax.random.fold_in(key, number))
        wide = _numerics.at_least_float32(image)
        noise = deviation * jax.random.normal(of_noise, image.shape, wide.dtype)
        changed = wide + noise * jax.random.bernoulli(of_chance, share)
        return jnp.clip(changed, *bounds).astype(image.dtype)

    def of_batch(images: jax.Array, key: Any) -> jax.Array:
        numbers = jnp.arange(images.shape[0])
        return jax.vmap(of_one, in_axes=(None, 0, 0))(key, images, numbers)

    return in_auto_axes(of_batch, images, key, batch=images)
