"""Measures of image quality: what a distorted image is beside its reference.

Each is higher where the distorted image is more like the reference. Of UNIQUE (Temel et
al. 2016) and of its gradient version (Prabhushankar and AlRegib 2023) the weights of
the authors' autoencoder are not part of their papers: here it is trained on patches of
photographs that are not scored.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from scipy import stats
from skimage import color, metrics

from experiments.explanations_shared import in_pieces
from trustjax import introspection, models
from trustjax.data._conversion import LUMA

Images = Sequence[np.ndarray] | np.ndarray
"""Of bytes, each `[height, width, 3]`."""

SIDE = 8
"""Of a patch, in pixels of the halved image."""

UNITS = 400
SUPPRESSED = 0.025
"""What is less is taken as 0."""

_RARE = 0.035
"""The mean activation that the autoencoder is trained to."""

_ZCA = 0.1
_POOLING = 10
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11  # pixels, of SSIM with Gaussian weights of deviation 1.5


# Fidelity: numbers of pixels.


def psnr(reference: np.ndarray, distorted: np.ndarray) -> float:
    """The peak signal-to-noise ratio of the greys, in decibels; infinite of equals."""
    of = metrics.peak_signal_noise_ratio
    return float(of(_grey(reference), _grey(distorted), data_range=255))


def ssim(reference: np.ndarray, distorted: np.ndarray) -> float:
    """Structural similarity of the greys (Wang et al. 2004), at most 1."""
    return _similarity(_grey(reference), _grey(distorted))


def ms_ssim(reference: np.ndarray, distorted: np.ndarray) -> float:
    r"""Structural similarity over five scales (Wang et al. 2003), in [0, 1].

    .. math:: \prod_{j < 5} c_j^{w_j} \cdot \text{SSIM}_5^{w_5}

    :math:`c_j` is SSIM without its comparison of luminance, at a scale of half the size
    of the one before. A mean that is negative counts as 0.

    Raises:
      ValueError: if the smaller side is less than 176 pixels: the window of 11 does not
        fit into the last scale.
    """
    x, y = _grey(reference), _grey(distorted)
    smallest = _WINDOW * 2 ** (len(_SCALES) - 1)
    if min(x.shape) < smallest:
        raise ValueError(
            f"MS-SSIM takes images of {smallest} pixels and more, got {x.shape}"
        )
    found = 1.0
    for scale, weight in enumerate(_SCALES, 1):
        if scale == len(_SCALES):
            own = _similarity(x, y)
        else:
            own = _similarity(x, y, K1=_NO_LUMINANCE)
            x, y = _halved_by_means(x), _halved_by_means(y)
        found *= max(own, 0.0) ** weight
    return found


_NO_LUMINANCE = 1e4
"""For `K1` of SSIM: means of the windows are nothing beside it, and compare as 1."""


def _similarity(x: np.ndarray, y: np.ndarray, **options: Any) -> float:
    found: Any = metrics.structural_similarity(
        x,
        y,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **options,
    )
    return float(found)


def _grey(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) @ LUMA


def _halved_by_means(x: np.ndarray) -> np.ndarray:
    height, width = (2 * (size // 2) for size in x.shape)
    return x[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


# UNIQUE: activations, and gradients, of an autoencoder of whitened patches.


class Autoencoder(NamedTuple):
    """One hidden layer of sigmoids, and a linear layer back.

    Attributes:
      encoder: `[units, patch]`.
      encoder_bias: `[units, 1]`.
      decoder: `[patch, units]`.
      decoder_bias: `[patch, 1]`.
    """

    encoder: Any
    encoder_bias: Any
    decoder: Any
    decoder_bias: Any

    def hidden(self, x: Any) -> Any:
        """The activations of patches `[patch, patches]`, `[units, patches]`."""
        return jax.nn.sigmoid(self.encoder @ x + self.encoder_bias)

    def restored(self, hidden: Any) -> Any:
        """The patches that activations stand for."""
        return self.decoder @ hidden + self.decoder_bias


def whitened_patches(image: np.ndarray, corners: np.ndarray | None = None) -> Any:
    """Whitened patches of an image of bytes, `[3 * 8 * 8, patches]`, luma first.

    The image is halved; of YCbCr, in [0, 1], Cb gives way to green. The mean patch is
    taken away, and the rest is whitened by the covariance of the image's own patches.

    Args:
      image: `[height, width, 3]`.
      corners: where the patches begin in the halved image, `[patches, 2]`; None for
        patches edge to edge.
    """
    height, width = image.shape[0] // 2, image.shape[1] // 2
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    rgb = np.asarray(small, np.float64) / 255
    channels = color.rgb2ycbcr(rgb) / 255
    channels[..., 1] = rgb[..., 1]
    windows = np.lib.stride_tricks.sliding_window_view(channels, (SIDE, SIDE), (0, 1))
    if corners is None:
        cut = windows[::SIDE, ::SIDE].reshape(-1, 3, SIDE, SIDE)
    else:
        cut = windows[corners[:, 0], corners[:, 1]]
    x = cut.reshape(len(cut), -1).T
    x = x - x.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(x @ x.T / x.shape[1])
    scaled = vectors / np.sqrt(np.maximum(values, 0) + _ZCA)
    return (scaled @ (vectors.T @ x)).astype(np.float32)


def trained_autoencoder(
    photographs: Sequence[np.ndarray],
    *,
    patches: int,
    steps: int,
    batch: int = 512,
    seed: int = 0,
) -> Autoencoder:
    r"""An autoencoder of patches of photographs.

    .. math::
      \tfrac 1 2 \overline{\| \hat x - x \|^2} + \tfrac \lambda 2 (\| W_1 \|^2 + \| W_2
      \|^2) + \beta \sum_u \text{KL}(\rho \,\|\, \overline{s_u})

    with :math:`\lambda = .003, \beta = 5, \rho = .035`. The first
    biases are those of units that are as rarely active.

    Args:
      photographs: images of bytes `[height, width, 3]`.
      patches: of each, at random places.
      steps: of Adam, whose rate falls from 3e-3 along a cosine.
      batch: patches in a step.
      seed: of places, weights and batches.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for image in photographs:
        room = np.array(image.shape[:2]) // 2 - SIDE + 1
        parts.append(whitened_patches(image, rng.integers(0, room, (patches, 2))))
    x = jnp.asarray(np.concatenate(parts, axis=1).T)
    width = x.shape[1]
    largest = np.sqrt(6 / (width + UNITS + 1))
    first = Autoencoder(
        jnp.asarray(rng.uniform(-largest, largest, (UNITS, width)), jnp.float32),
        jnp.full((UNITS, 1), np.log(_RARE / (1 - _RARE)), jnp.float32),
        jnp.asarray(rng.uniform(-largest, largest, (width, UNITS)), jnp.float32),
        jnp.zeros((width, 1)),
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    @jax.jit
    def fit(x: Any, start: Autoencoder, key: jax.Array) -> tuple[Autoencoder, Any]:
        def step(state: Any, key: jax.Array) -> tuple[Any, Any]:
            net, own = state
            rows = jax.random.randint(key, (batch,), 0, len(x))
            loss, gradient = jax.value_and_grad(_reconstruction_loss)(net, x[rows].T)
            updates, own = optimizer.update(gradient, own)
            return (optax.apply_updates(net, updates), own), loss

        keys = jax.random.split(key, steps)
        (net, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), keys)
        return net, losses

    net, losses = fit(x, first, jax.random.key(seed))
    if not np.isfinite(losses).all():
        raise FloatingPointError("the loss of the autoencoder is not finite")
    return Autoencoder(*map(np.asarray, net))


def _reconstruction_loss(net: Autoencoder, x: jax.Array) -> jax.Array:
    hidden = net.hidden(x)
    error = jnp.sum((net.restored(hidden) - x) ** 2, axis=0)
    mean = jnp.clip(jnp.mean(hidden, axis=1), 1e-6, 1 - 1e-6)
    rho = _RARE
    divergence = rho * jnp.log(rho / mean) + (1 - rho) * jnp.log((1 - rho) / (1 - mean))
    squares = jnp.sum(net.encoder**2) + jnp.sum(net.decoder**2)
    return jnp.mean(error) / 2 + 0.003 / 2 * squares + 5 * jnp.sum(divergence)


class Unique:
    """UNIQUE and its gradient version, of one reference.

    Args:
      net: an autoencoder that has not seen the reference.
      reference: an image of bytes.
    """

    def __init__(self, net: Autoencoder, reference: np.ndarray):
        self._net = net
        x = whitened_patches(reference)
        hidden = np.asarray(net.hidden(x))
        # The gradient of the reconstruction error in the decoder.
        self._gradient = (net.restored(hidden) - x) @ hidden.T / x.shape[1]
        self._weights = _unit_weights(self._gradient)
        self._activations = _ranks(_suppressed(hidden))
        self._responses = _ranks(self._of_gradient(x))

    def qualities(self, distorted: np.ndarray) -> tuple[float, float]:
        """By activations, and by gradients, each in [0, 1]."""
        x = whitened_patches(distorted)
        hidden = _suppressed(np.asarray(self._net.hidden(x)))
        return (
            _pooled(self._activations, _ranks(hidden)),
            _pooled(self._responses, _ranks(self._of_gradient(x))),
        )

    def _of_gradient(self, x: np.ndarray) -> np.ndarray:
        r"""Size and phase of :math:`\log(y / (1 - y)), y = G^\top x`, each weighted."""
        y = (self._gradient.T @ x).astype(np.complex128)
        u = np.log(y / (1 - y))
        both = [part * self._weights[:, None] for part in (np.abs(u), np.angle(u))]
        return _suppressed(np.concatenate(both))


def _unit_weights(gradient: np.ndarray) -> np.ndarray:
    """2 for a unit whose gradient towards the luma is peaked, else 1."""
    luma = gradient[: SIDE * SIDE]
    centred = luma - luma.mean()
    scaled = centred / centred.max(axis=1, keepdims=True)
    return np.where(stats.kurtosis(scaled, axis=0, fisher=False) > 3, 2.0, 1.0)


def _suppressed(values: np.ndarray) -> np.ndarray:
    return np.where(values < SUPPRESSED, 0, values)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of all values without their mean, and of unit length."""
    ranks = stats.rankdata(values.ravel())
    ranks -= ranks.mean()
    return ranks / np.linalg.norm(ranks)


def _pooled(one: np.ndarray, other: np.ndarray) -> float:
    """The tenth power of Spearman's correlation."""
    return float(abs(one @ other) ** _POOLING)


# A classifier: how far apart it has the two images.


class Classifier:
    """Distances of images in what EfficientNet-Lite0 makes of them.

    Args:
      weights: the file of its weights of ImageNet.
    """

    name = "efficientnet_lite0"

    def __init__(self, weights: str):
        apply_fn, params = models.load(self.name, weights)
        self._steps = models.preprocessing(self.name, weights)
        self._params = params
        normalized = self._steps.normalized(apply_fn)

        @jax.jit
        def asked(params: Any, x: Any) -> introspection.Features:
            return introspection.features_of(normalized, params, x / 255.0)

        self._asked = asked

    def features(self, images: Images) -> introspection.Features:
        """The introspective features of images of bytes, of any size."""
        x = np.stack([self._steps.on_host(image) for image in images])
        ask = functools.partial(self._asked, self._params)
        return introspection.Features(*in_pieces(ask, x, size=13))

    @staticmethod
    def qualities(
        references: introspection.Features, distorted: introspection.Features
    ) -> tuple[np.ndarray, np.ndarray]:
        """By introspective features and by the embedding: minus relative distances."""

        def apart(one: introspection.Features, other: introspection.Features):
            both = (
                introspection.Features(*(f[None] for f in own)) for own in (one, other)
            )
            return jnp.sqrt(introspection.squared_distances(*both)[0, 0])

        by_features = jax.vmap(apart)(references, distorted)
        h, others = (np.asarray(own.embedding) for own in (references, distorted))
        by_embedding = np.linalg.norm(h - others, axis=1) / np.linalg.norm(h, axis=1)
        return -np.asarray(by_features / introspection.norm(references)), -by_embedding
