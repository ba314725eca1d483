"""Clips of video: real digits that move, and which way they do is their class."""

import numpy as np

from trustjax import data

WAYS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def clips(count: int, *, frames: int = 6, size: int = 20, seed: int = 0):
    """`(clips [count, frames, size, size, 1] uint8, labels [count])`.

    A digit of 14x14 pixels, each the mean of four of MNIST's, moves by one pixel a
    frame from where it starts by chance.
    """
    images, _ = data.as_arrays(data.load("mnist5k", "train"))
    rng = np.random.default_rng(seed)
    drawn = images[rng.integers(0, len(images), count)].reshape(count, 14, 2, 14, 2)
    digits = drawn.mean(axis=(2, 4)).astype(np.uint8)
    labels = rng.integers(0, len(WAYS), count)
    made = np.zeros((count, frames, size, size, 1), np.uint8)
    room = size - 14
    for clip, digit, label in zip(made, digits, labels, strict=True):
        row, column = rng.integers(0, room + 1, 2)
        down, right = list(WAYS.values())[label]
        for time, frame in enumerate(clip):
            top = (row + time * down) % (room + 1)
            left = (column + time * right) % (room + 1)
            frame[top : top + 14, left : left + 14, 0] = digit
    return made, labels


def dataset(name: str, count: int, *, seed: int, split: str = "test") -> data.Dataset:
    """The same as a dataset."""
    made, labels = clips(count, seed=seed)
    return data.from_arrays(name, made, labels, tuple(WAYS), split=split)
