r"""AugMix: images mixed with chains of simple changes, and answers that agree on them.

.. math:: x' = m x + (1 - m) \sum_i w_i \, c_i(x), \qquad
          w \sim \mathrm{Dirichlet}(\alpha), \quad m \sim \mathrm{Beta}(\alpha, \alpha)

Each chain :math:`c_i` is one to three operations on bytes. An operation is a table of
256 tones, which a change of place follows: one lookup and one interpolation, whichever
it is.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _numerics, _validate
from trustjax._meshes import in_auto_axes
from trustjax.train._step import TrainBatch

TONAL = ("autocontrast", "equalize", "posterize", "solarize")
SPATIAL = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*TONAL, *SPATIAL)
"""Those that none of the corruptions of ImageNet-C is made of."""

DEEPEST = 3
"""Operations of the longest chain, where the depth is drawn."""

VIEWS = 3
"""What the loss compares: the image and two mixtures."""

_TONES = 256


class Chains(NamedTuple):
    """All that is drawn for one image.

    Attributes:
      blend: :math:`m`, the share of the image itself.
      weights: `[width]`, :math:`w`.
      depths: `[width]`, how many operations of each chain are done.
      operations: `[width, depth]`, numbers of `OPERATIONS`.
      levels: `[width, depth]`, how much of each, in [0.1, severity].
      signs: `[width, depth]`, 1 or -1, of what has a direction.
    """

    blend: jax.Array
    weights: jax.Array
    depths: jax.Array
    operations: jax.Array
    levels: jax.Array
    signs: jax.Array


def augmix(
    images: Float[Array, "batch height width channels"],
    key: jax.Array,
    *,
    severity: float = 3.0,
    width: int = 3,
    depth: int | None = None,
    alpha: float = 1.0,
) -> Float[Array, "batch height width channels"]:
    r"""Each image mixed with chains of operations on it, as `make_train_step` takes it.

    The operations are autocontrast, equalising, posterising, solarising, rotation,
    shears and translations, those that overlap with no corruption of ImageNet-C. They
    are Pillow's, on bytes; zeros come in at the edges.

    Args:
      images: in [0, 1], grey or of any channels.
      key: where all is drawn from, for each image by its number in the batch.
      severity: of the operations, from 0.1 to 10; the level of each is drawn evenly
        from 0.1 up to this. At 10, rotations reach 30 degrees and translations a third
        of a side.
      width: chains of each image.
      depth: operations of each chain; None to draw one to three.
      alpha: :math:`\alpha` of the Dirichlet and the Beta distribution.

    Returns:
      Images of the same shape and dtype, in [0, 1].

    Raises:
      ValueError: if the images are not `[batch, height, width, channels]`, or a number
        is out of its range.
      TypeError: if the images are not floating point.

    ==================================  =====================================
    Edge case                           Value
    ==================================  =====================================
    an image of one tone                autocontrast and equalising leave it
    beyond [0, 1]                       the chains take the nearest tone
    severity 10, posterised to no bit   black, as Pillow has it
    ==================================  =====================================

    >>> augmix(jnp.ones((2, 8, 8, 1)), jax.random.key(0)).shape
    (2, 8, 8, 1)

    References:
      Hendrycks et al. 2020 (arXiv:1912.02781), algorithm 1. Their code weighs the image
      by 1 - m, which is drawn alike where both parameters of Beta are one number.
    """
    images = _checked(images)
    _check(severity, width, depth, alpha)
    mixed = functools.partial(
        _mixed_batch, severity=severity, width=width, depth=depth, alpha=alpha
    )
    return in_auto_axes(mixed, images, key, batch=images)


def augmix_views(
    images: Float[Array, "batch height width channels"],
    key: jax.Array,
    **options: Any,
) -> Float[Array, "views height width channels"]:
    """Each image and, behind it, two mixtures of it: what `augmix_loss` compares.

    Args:
      images: as in `augmix`.
      key: as in `augmix`.
      **options: as `augmix` takes them.

    Returns:
      Three times as many images: an image, its two mixtures, the next image.

    Raises:
      ValueError: as `augmix`.
      TypeError: as `augmix`.

    >>> views = augmix_views(jnp.ones((2, 8, 8, 1)), jax.random.key(0))
    >>> views.shape
    (6, 8, 8, 1)
    """
    images = _checked(images)
    mixtures = [augmix(images, own, **options) for own in jax.random.split(key)]
    # Side by side, so that a sharded batch stays where it is.
    of_batch = lambda *views: jnp.stack(views, axis=1).reshape(-1, *images.shape[1:])
    return in_auto_axes(of_batch, images, *mixtures, batch=images)


def augmix_loss(
    logits: Float[Array, "views classes"], batch: TrainBatch, *, weight: float = 12.0
) -> Float[Array, " batch"]:
    r"""Cross entropy of the image, and how far the answers to its mixtures are from it.

    .. math:: -\log p_y + \lambda \, \tfrac13
              \sum_{q \in \{p, p', p''\}} \mathrm{KL}(q \,\|\, \bar p), \qquad
              \bar p = \tfrac13 (p + p' + p'')

    `train.fit(..., augment_fn=augmix_views, loss_fn=augmix_loss)` is AugMix as its
    authors train; `augment_fn=augmix` alone has no such loss.

    Args:
      logits: of `augmix_views`.
      batch: `label`, `[batch]`, and what else there is.
      weight: :math:`\lambda`, of the Jensen-Shannon divergence.

    Returns:
      The loss of each image, in [0, inf).

    Raises:
      ValueError: if the logits are not three for each label, or `weight` is negative.

    >>> alike = jnp.zeros((3, 2))
    >>> print(augmix_loss(alike, {"label": jnp.array([0])}).round(4))
    [0.6931]

    References:
      Hendrycks et al. 2020 (arXiv:1912.02781), section 3; :math:`\lambda = 12` in
      their code.
    """
    _validate.not_negative("weight", weight)
    logits = _inputs.logits(logits)
    labels = _inputs.whole_numbers("label", batch["label"], "batch")
    if logits.shape[0] != VIEWS * labels.shape[0]:
        raise ValueError(
            f"logits must be {VIEWS} for each of {labels.shape[0]} labels, as those of "
            f"augmix_views are, got {logits.shape[0]}"
        )

    def of_batch(logits: jax.Array, labels: jax.Array) -> jax.Array:
        z = _numerics.at_least_float32(logits)
        log_p = _numerics.log_softmax(z).reshape(-1, VIEWS, z.shape[-1])
        log_mean = jax.nn.logsumexp(log_p, axis=1, keepdims=True) - math.log(VIEWS)
        apart = jnp.sum(jnp.exp(log_p) * (log_p - log_mean), axis=(1, 2)) / VIEWS
        of_label = jnp.take_along_axis(log_p[:, 0], labels[:, None], axis=1)[:, 0]
        return weight * apart - of_label

    return in_auto_axes(of_batch, logits, labels, batch=labels)


def _checked(images: Any) -> jax.Array:
    images = _inputs.array("images", images)
    _validate.floating("images", images)
    _validate.rank("images", images, "batch height width channels")
    return images


def _check(severity: float, width: int, depth: int | None, alpha: float) -> None:
    if not 0.1 <= severity <= 10:
        raise ValueError(f"severity must be in [0.1, 10], got {severity}")
    _validate.count("width", width)
    if depth is not None:
        _validate.count("depth", depth)
    _validate.positive("alpha", alpha)


def _mixed_batch(images: jax.Array, key: jax.Array, **options: Any) -> jax.Array:
    def of_one(image: jax.Array, number: jax.Array) -> jax.Array:
        return mixed(image, drawn(jax.random.fold_in(key, number), **options))

    return jax.vmap(of_one)(images, jnp.arange(images.shape[0]))


def drawn(
    key: jax.Array, *, severity: float, width: int, depth: int | None, alpha: float
) -> Chains:
    """What is done to one image; see `augmix`."""
    of_blend, of_weights, of_depths, of_operations, of_levels, of_signs = (
        jax.random.split(key, 6)
    )
    most = DEEPEST if depth is None else depth
    shape = (width, most)
    return Chains(
        blend=jax.random.beta(of_blend, alpha, alpha),
        weights=jax.random.dirichlet(of_weights, jnp.full(width, alpha)),
        depths=(
            jax.random.randint(of_depths, (width,), 1, DEEPEST + 1)
            if depth is None
            else jnp.full(width, depth)
        ),
        operations=jax.random.randint(of_operations, shape, 0, len(OPERATIONS)),
        levels=jax.random.uniform(of_levels, shape, minval=0.1, maxval=severity),
        signs=jax.random.rademacher(of_signs, shape, jnp.float32),
    )


def mixed(image: jax.Array, chains: Chains) -> jax.Array:
    """One image, `[height, width, channels]`, and what its chains make of it."""
    wide = _numerics.at_least_float32(image)
    tones = jnp.round(jnp.clip(wide, 0, 1) * (_TONES - 1)).astype(jnp.int32)

    def chain(depth: jax.Array, *steps: jax.Array) -> jax.Array:
        def step(tones: jax.Array, one: tuple) -> tuple[jax.Array, None]:
            number, *own = one
            return jnp.where(number < depth, operated(tones, *own), tones), None

        numbers = jnp.arange(steps[0].shape[0])
        return jax.lax.scan(step, tones, (numbers, *steps))[0]

    ends = jax.vmap(chain)(
        chains.depths, chains.operations, chains.levels, chains.signs
    )
    mixture = jnp.einsum("w,w...->...", chains.weights, ends / (_TONES - 1))
    return (chains.blend * wide + (1 - chains.blend) * mixture).astype(image.dtype)


def operated(
    tones: jax.Array, operation: jax.Array, level: jax.Array, sign: jax.Array
) -> jax.Array:
    """One operation on one image of bytes; `operation` is a number of `OPERATIONS`."""
    spatial = operation - len(TONAL)
    # Each kind has one that leaves all as it is, in the place of the other kind.
    tables = jax.vmap(_tables, in_axes=(-1, None))(tones, level)
    table = tables[:, jnp.minimum(operation, len(TONAL))]
    toned = jax.vmap(jnp.take, in_axes=(0, -1), out_axes=-1)(table, tones)
    matrices = _matrices(level, sign, *tones.shape[:2])
    return _moved(toned, matrices[jnp.maximum(spatial + 1, 0)])


def _tables(tones: jax.Array, level: jax.Array) -> jax.Array:
    """What each tonal operation makes of every tone of a channel, `[5, 256]`."""
    tone = jnp.arange(_TONES)
    counts = jnp.zeros(_TONES, jnp.int32).at[tones.reshape(-1)].add(1)
    low = jnp.argmax(counts > 0)
    high = _TONES - 1 - jnp.argmax(counts[::-1] > 0)

    stretched = (tone - low) * (_TONES - 1) // jnp.maximum(high - low, 1)
    contrasted = jnp.clip(stretched, 0, _TONES - 1)
    step = (tones.size - counts[high]) // (_TONES - 1)
    before = jnp.cumsum(counts) - counts
    equal = jnp.minimum((step // 2 + before) // jnp.maximum(step, 1), _TONES - 1)
    lost_bits = 4 + (level * 4 / 10).astype(int)
    threshold = _TONES - (level * _TONES / 10).astype(int)
    return jnp.stack(
        [
            jnp.where(high > low, contrasted, tone),
            jnp.where(step > 0, equal, tone),
            (tone >> lost_bits) << lost_bits,
            jnp.where(tone < threshold, tone, _TONES - 1 - tone),
            tone,
        ]
    )


def _matrices(level: jax.Array, sign: jax.Array, height: int, width: int) -> jax.Array:
    """From where in an image each spatial operation takes a place, `[6, 2, 3]`."""
    angle = -sign * jnp.floor(level * 3) * math.pi / 180
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    shear = sign * level * 0.03
    over, down = (sign * jnp.floor(level * side / 30) for side in (width, height))
    middle_x, middle_y = width / 2, height / 2
    zero, one = jnp.zeros(()), jnp.ones(())
    rows = [
        (one, zero, zero, zero, one, zero),
        (
            *(cos, sin, middle_x - cos * middle_x - sin * middle_y),
            *(-sin, cos, middle_y + sin * middle_x - cos * middle_y),
        ),
        (one, shear, zero, zero, one, zero),
        (one, zero, zero, shear, one, zero),
        (one, zero, over, zero, one, zero),
        (one, zero, zero, zero, one, down),
    ]
    return jnp.stack([jnp.stack(row) for row in rows]).reshape(-1, 2, 3)


def _moved(tones: jax.Array, matrix: jax.Array) -> jax.Array:
    """The image at other places, interpolated; 0 where these lie outside."""
    height, width = tones.shape[:2]
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    places = jnp.stack([x + 0.5, y + 0.5, jnp.ones_like(x, float)])
    from_x, from_y = jnp.einsum(
        "ij,j...->i...", matrix, places, precision=jax.lax.Precision.HIGHEST
    )
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    left, top = jnp.floor(from_x - 0.5), jnp.floor(from_y - 0.5)
    along_x, along_y = from_x - 0.5 - left, from_y - 0.5 - top
    columns, rows = (
        [jnp.clip(first.astype(int) + add, 0, size - 1) for add in (0, 1)]
        for first, size in ((left, width), (top, height))
    )

    def row(number: int) -> jax.Array:
        start, end = (tones[rows[number], column] for column in columns)
        return start + along_x[..., None] * (end - start)

    above, below = row(0), row(1)
    found = jnp.round(above + along_y[..., None] * (below - above))
    return jnp.where(inside[..., None], found, 0).astype(tones.dtype)
