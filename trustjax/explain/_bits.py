"""How much is left of an image: in bits, in bytes, in likeness. On the host."""

import heapq
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trustjax._extras import required

CostFn = Callable[[np.ndarray, np.ndarray], float]
"""`(original, masked) -> number` of images in bytes, `[height, width, channels]`."""


def huffman_bits(pixels: np.ndarray) -> int:
    """The length of the bytes of an image in their own Huffman code, without its table.

    Args:
      pixels: bytes of any shape; the channels are pooled.

    Returns:
      The number of bits. Of one symbol it takes a bit each time.

    Raises:
      TypeError: if `pixels` are not bytes.
      ValueError: if there are none.

    >>> huffman_bits(np.frombuffer(b"aaaabbc", np.uint8))
    10
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"pixels must be uint8, got {pixels.dtype}")
    if not pixels.size:
        raise ValueError(f"pixels must hold at least one byte, got {pixels.shape}")
    weights = [count for count in np.bincount(pixels.ravel()).tolist() if count]
    if len(weights) == 1:
        return weights[0]
    # Each merge makes the codes below it a bit longer: the merged weights add up to
    # the length of all.
    heapq.heapify(weights)
    bits = 0
    while len(weights) > 1:
        merged = heapq.heappop(weights) + heapq.heappop(weights)
        bits += merged
        heapq.heappush(weights, merged)
    return bits


def png_bytes(pixels: np.ndarray) -> int:
    """The bytes of a grey or coloured image as a PNG file, header and all."""
    return _file_bytes(pixels, format="PNG", optimize=True)


def jpeg_bytes(pixels: np.ndarray) -> int:
    """The bytes of a grey or coloured image as a JPEG file of quality 75, likewise."""
    return _file_bytes(pixels, format="JPEG", quality=75)


def _file_bytes(pixels: np.ndarray, **options: Any) -> int:
    with required("explain"):
        from PIL import Image
    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got {pixels.shape}")
    grey = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    file = io.BytesIO()
    Image.fromarray(grey).save(file, **options)
    return len(file.getvalue())


def structural_similarity(original: np.ndarray, masked: np.ndarray) -> float:
    """SSIM of the two images with windows of 7x7: 1 where nothing is masked."""
    with required("explain"):
        from skimage import metrics
    likeness: Any = metrics.structural_similarity(original, masked, channel_axis=-1)
    return float(likeness)


def _share(size: Callable[[np.ndarray], int]) -> CostFn:
    return lambda original, masked: size(masked) / size(original)


COSTS: Mapping[str, CostFn] = {
    "huffman": _share(huffman_bits),
    "png": _share(png_bytes),
    "jpeg": _share(jpeg_bytes),
    "ssim": structural_similarity,
}
"""What the x axis of a structure-wise curve measures, by name."""
