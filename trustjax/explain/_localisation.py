"""Does a map point at the object? Asked of regions that somebody has drawn."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from trustjax import _inputs, _validate
from trustjax._numerics import at_least_float32, divide_no_nan

Regions = Bool[Array, "batch height width"] | Int[Array, "batch 4"]


def pointing_game(
    maps: Float[Array, "batch height width"],
    regions: Shaped[Array, "batch ..."],
    *,
    tolerance: float = 15.0,
) -> Float[Array, " batch"]:
    r"""Whether the largest value of a map lies in the region, or near to it.

    .. math:: \big|\{m \in M : \min_{r \in R} \lVert m - r \rVert_2 < \tau\}\big| / |M|

    with the places :math:`M` of the largest value, one as a rule, and the region
    :math:`R`. `pointing_accuracy` averages it over classes.

    Args:
      maps: one map for each image.
      regions: where the object is: a mask `[batch, height, width]`, or a box
        `[batch, 4]` of whole numbers: top, left, bottom and right, of which the last
        two are the first row and column outside of it.
      tolerance: :math:`\tau` in pixels; the distance must be smaller.

    Returns:
      1 for a hit, 0 for a miss; between them only where the largest value stands in
      several places. Higher is better.

    Raises:
      ValueError: if the shapes do not fit, or `tolerance` is not positive.

    =========================  ==================================================
    Edge case                  Value
    =========================  ==================================================
    several largest values     the share of them that hit; torch takes the first
    a constant map             the share of the image that is near enough
    an empty region            0
    a map with a NaN           NaN
    =========================  ==================================================

    >>> maps = jnp.zeros((1, 4, 4)).at[0, 1, 1].set(3.0)
    >>> boxes = jnp.array([[2, 0, 4, 4]])
    >>> print(pointing_game(maps, boxes, tolerance=1.0))
    [0.]
    >>> print(pointing_game(maps, boxes, tolerance=1.5))
    [1.]

    References:
      Zhang et al. 2018 (doi:10.1007/s11263-017-1059-x), with the 15 pixels and the
      strict comparison of TorchRay. Others let the tolerance in, or grow a box by it.
    """
    maps = at_least_float32(_inputs.floats("maps", maps, "batch height width"))
    _validate.positive("tolerance", tolerance)
    near = _near(_as_masks(regions, maps), tolerance)
    largest = maps == jnp.max(maps, axis=(1, 2), keepdims=True)
    hits = jnp.sum(largest & near, axis=(1, 2)) / jnp.sum(largest, axis=(1, 2))
    return jnp.where(jnp.isnan(maps).any((1, 2)), jnp.nan, hits).astype(maps.dtype)


def pointing_accuracy(
    hits: Float[Array, " batch"], classes: Int[Array, " batch"], num_classes: int
) -> Float[Array, ""]:
    r"""The mean over classes of the share of hits.

    Args:
      hits: what `pointing_game` gives for each pair of an image and a class in it.
      classes: the class of each.
      num_classes: how many there are.

    Returns:
      A number in [0, 1], higher is better; NaN if there is no example.

    Raises:
      ValueError: if the lengths differ, or `num_classes` is not positive.

    A class without an example is left out of the mean; TorchRay counts it as a miss.

    >>> hits = jnp.array([1.0, 0.0, 1.0])
    >>> print(pointing_accuracy(hits, jnp.array([0, 0, 2]), 4))
    0.75

    References:
      Zhang et al. 2018 (doi:10.1007/s11263-017-1059-x), section 4.1.
    """
    hits = at_least_float32(_inputs.floats("hits", hits, "batch"))
    classes = _inputs.whole_numbers("classes", classes, "batch")
    _validate.count("num_classes", num_classes)
    _validate.same_length(hits=hits, classes=classes)
    _validate.classes("classes", classes, num_classes)
    of_class = jax.nn.one_hot(classes, num_classes, axis=0, dtype=bool)
    count = jnp.sum(of_class, axis=1)
    share = divide_no_nan(jnp.sum(hits[None], axis=1, where=of_class), count)
    return jnp.sum(share) / jnp.sum(count > 0)


def energy_in_box(
    maps: Float[Array, "batch height width"], regions: Shaped[Array, "batch ..."]
) -> Float[Array, " batch"]:
    r"""The share of a map's positive part that lies in the region.

    .. math:: \sum_{l \in R} \max(0, E_l) \,/\, \sum_l \max(0, E_l)

    Args:
      maps: one map for each image.
      regions: as in `pointing_game`.

    Returns:
      A share in [0, 1], higher is better. A large region is easy to meet: a constant
      map has the region's share of the image.

    Raises:
      ValueError: if the shapes do not fit.

    =========================  =====
    Edge case                  Value
    =========================  =====
    no positive value          0
    an empty region            0
    a map with a NaN           NaN
    =========================  =====

    >>> maps, boxes = jnp.array([[[3.0, -1.0, -1.0]]]), jnp.array([[0, 0, 1, 1]])
    >>> print(energy_in_box(maps, boxes))
    [1.]

    References:
      Wang et al. 2020 (Score-CAM, arXiv:1910.01279), section 4.3. The authors' helper
      takes the axes of the box the other way round, and gives NaN for a zero map.
    """
    maps = at_least_float32(_inputs.floats("maps", maps, "batch height width"))
    masks = _as_masks(regions, maps)
    positive = jnp.maximum(maps, 0)  # of a NaN it is NaN
    # A unit in which no sum overflows.
    largest = jnp.max(positive, axis=(1, 2), keepdims=True)
    energy = divide_no_nan(positive, largest)
    inside = jnp.sum(jnp.where(masks, energy, 0), axis=(1, 2))
    share = divide_no_nan(inside, jnp.sum(energy, axis=(1, 2)))
    return jnp.where(jnp.isnan(maps).any((1, 2)), jnp.nan, share)


def _as_masks(regions: jax.Array, maps: jax.Array) -> jax.Array:
    """Regions as masks of the shape of the maps."""
    regions = _inputs.array("regions", regions)
    if regions.shape == maps.shape:
        _validate.binary("regions", regions)
        return regions.astype(bool)
    if regions.shape != (maps.shape[0], 4):
        raise ValueError(
            f"regions must be masks {maps.shape} or boxes {(maps.shape[0], 4)}, "
            f"got {regions.shape}"
        )
    _validate.integers("regions", regions)
    top, left, bottom, right = (edge[:, None] for edge in jnp.unstack(regions, axis=1))
    row, column = (jnp.arange(size)[None] for size in maps.shape[1:])
    rows = (row >= top) & (row < bottom)
    columns = (column >= left) & (column < right)
    return rows[:, :, None] & columns[:, None]


def _near(masks: jax.Array, tolerance: float) -> jax.Array:
    """Whether each pixel is nearer than `tolerance` to one of the mask."""
    reach = [min(int(np.ceil(tolerance)) - 1, size - 1) for size in masks.shape[1:]]
    row, column = (np.arange(-most, most + 1) for most in reach)
    disc = (row[:, None] ** 2 + column**2 < tolerance**2).astype(np.float32)
    counted = jax.lax.conv_general_dilated(
        masks.astype(jnp.float32)[..., None],
        jnp.asarray(disc)[..., None, None],
        window_strides=(1, 1),
        padding=[(most, most) for most in reach],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return counted[..., 0] > 0.5  # a whole number of pixels
