"""Batches of one fixed shape: padded, masked, resumable, exact over processes."""

import math
import os

import jax
import numpy as np

from trustjax import _extras, _validate
from trustjax.data._dataset import Dataset, Source, require_one_size

with _extras.required("data"):
    import grain


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    num_epochs: int | None = 1,
    fill: bool = False,
    of_all: bool = False,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.IterDataset:
    """Batches of a dataset: every record once per epoch, every batch full-shape.

    A batch is a dict of NumPy arrays:

    ===========  ================================  ====================================
    Key          Shape and type                    What
    ===========  ================================  ====================================
    `"image"`    float32 `[batch_size, H, W, C]`   scaled to [0, 1]; 0 where padded
    `"label"`    int32 `[batch_size]`              0 where padded
    `"index"`    int32 `[batch_size]`              record number in the split; -1 padded
    `"mask"`     bool `[batch_size]`               `False` = padding
    ===========  ================================  ====================================

    Several processes deal each batch of all among them: of P x `batch_size` records,
    which are the same whatever P is, each reads the block of its own, in order. Every
    process yields the same number of batches, the last of them all padding if need be:
    a loop with collectives inside never waits for a missing batch.

    Args:
      dataset: what to read; its images must be of one size.
      batch_size: records per batch and process.
      shuffle: a new order in every epoch, the same for the same `seed`.
      seed: of the order.
      num_epochs: how often to go through the records; `None` for without end.
      fill: padding holds the batch's own records once more, in the place of zeros, with
        their labels and numbers; its mask is `False` all the same. For what looks at a
        whole batch, as BatchNorm does.
      of_all: `batch_size` is that of all processes together. They deal it in equal
        blocks, the last of which are padded where it does not divide: the records of a
        batch are the same for any number of processes.
      process_index: this process; `jax.process_index()` if `None`.
      process_count: how many share the reading; `jax.process_count()` if `None`.

    Returns:
      A `grain.IterDataset`. Its iterator has `get_state()`, a small dict that JSON
      and Orbax can store, and `set_state(state)`, which goes on from there exactly.

    Raises:
      ValueError: if a number is out of its range, or the images vary in size.

    ==========================================  ======================================
    Edge case                                   Value
    ==========================================  ======================================
    batch_size does not divide the records      the last batch is padded
    fewer records than processes                the others yield all-padding batches
    no records                                  no batches
    ==========================================  ======================================

    >>> images, labels = np.zeros((10, 8, 8, 1), np.uint8), np.zeros(10, int)
    >>> from trustjax.data import from_arrays
    >>> blank = from_arrays("blank", images, labels, ["nothing"])
    >>> [batch["mask"].sum().item() for batch in batches(blank, 4)]
    [4, 4, 2]
    """
    _validate.count("batch_size", batch_size)
    _validate.count("seed", seed, at_least=0)
    if num_epochs is not None:
        _validate.count("num_epochs", num_epochs)
    if process_index is None:
        process_index = jax.process_index()
    if process_count is None:
        process_count = jax.process_count()
    _validate.count("process_count", process_count)
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index must be in [0, {process_count}), got {process_index}"
        )
    require_one_size(dataset)

    records = len(dataset)
    together = batch_size if of_all else batch_size * process_count
    each = -(-together // process_count)
    padding = -records % together
    numbers = grain.MapDataset.range(records)
    if shuffle and records:
        numbers = numbers.seed(seed).shuffle()
    # Padding comes after the records, also when they are shuffled.
    numbers = grain.MapDataset.concatenate(
        [numbers, grain.MapDataset.range(records, records + padding)]
    )
    share = slice(process_index * each, (process_index + 1) * each)
    return (
        numbers.batch(together)
        .map(_Read(dataset.source, dataset.image_shape, share, fill))
        .repeat(num_epochs)
        .to_iter_dataset(_read_ahead(each, dataset.fixed_shape))
    )


_MOST_BYTES_AHEAD = 2**28


def _read_ahead(batch_size: int, image_shape: tuple[int, ...]) -> grain.ReadOptions:
    """How many batches are decoded while one is computed on.

    Decoding is what the threads are for: more of them than cores decode no faster. Each
    batch that waits takes memory, one of 256 ImageNet images 150 MB; grain itself would
    let 500 wait.
    """
    threads = min(8, os.cpu_count() or 1)
    batch_bytes = 4 * batch_size * math.prod(image_shape)
    waiting = min(8, max(threads, _MOST_BYTES_AHEAD // batch_bytes))
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=waiting)


class _Read:
    """A process's share of the record numbers of all, as a batch.

    A number past the last record is padding.
    """

    def __init__(self, source: Source, image_shape: tuple, share: slice, fill: bool):
        self._source = source
        self._image_shape = image_shape
        self._share = share
        self._fill = fill

    def __call__(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        # All shares are of one length, also where they are more than the batch.
        missing = max(0, self._share.stop - len(numbers))
        numbers = np.pad(numbers, (0, missing), constant_values=len(self._source))
        mask = numbers < len(self._source)
        if self._fill:
            # Of the batch of all processes: they see what one of them would see.
            numbers = np.where(mask, numbers, np.resize(numbers[mask], len(numbers)))
        numbers, mask = numbers[self._share], mask[self._share]
        read = numbers < len(self._source)
        image = np.zeros((len(numbers), *self._image_shape), np.float32)
        label = np.zeros(len(numbers), np.int32)
        if read.any():
            images, label[read] = self._source.take(numbers[read].tolist())
            image[read] = _scaled(images)
        index = np.where(read, numbers, -1).astype(np.int32)
        return {"image": image, "label": label, "index": index, "mask": mask}


def _scaled(images: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1]; floating images are there already."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    return images.astype(np.float32)
