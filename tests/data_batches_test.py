"""Batches: full-shape, exact over processes, resumable."""

import json

import numpy as np
import pytest

from trustjax import data
from trustjax.data import _batches


def numbered(records, shape=(4, 4, 1)):
    """A dataset whose images and labels tell which record they are."""
    numbers = np.arange(records)
    images = np.broadcast_to(
        numbers.reshape(-1, 1, 1, 1).astype(np.uint8), (records, *shape)
    )
    names = [str(number) for number in numbers]
    return data.from_arrays("numbered", images, numbers, names)


def read(dataset, batch_size, **options):
    return list(data.batches(dataset, batch_size, **options))


def record_numbers(batches):
    indices = [batch["index"][batch["mask"]] for batch in batches]
    return np.concatenate(indices).tolist() if indices else []


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(
    ("records", "batch_size"), [(11, 4), (12, 4), (9, 2), (2, 3), (7, 100), (1, 1)]
)
def test_every_record_once_on_every_process_count(
    records, batch_size, processes, shuffle
):
    dataset = numbered(records)
    shares = [
        read(
            dataset,
            batch_size,
            shuffle=shuffle,
            process_index=process,
            process_count=processes,
        )
        for process in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1
    batches = [batch for share in shares for batch in share]
    assert sorted(record_numbers(batches)) == list(range(records))
    for batch in batches:
        assert batch["image"].shape == (batch_size, 4, 4, 1)
        assert batch["image"].dtype == np.float32
        for key, dtype in (("label", np.int32), ("index", np.int32), ("mask", bool)):
            assert batch[key].shape == (batch_size,)
            assert batch[key].dtype == dtype
        mask = batch["mask"]
        np.testing.assert_array_equal(batch["label"][mask], batch["index"][mask])
        np.testing.assert_allclose(
            batch["image"][mask][:, 0, 0, 0], batch["index"][mask] / 255
        )
        assert not batch["image"][~mask].any()
        assert not batch["label"][~mask].any()
        assert (batch["index"][~mask] == -1).all()


def test_processes_read_their_blocks_of_each_batch():
    batches = read(numbered(8), 2, process_index=1, process_count=3)
    assert [batch["index"].tolist() for batch in batches] == [[2, 3], [-1, -1]]
    batches = read(numbered(9), 2, process_index=1, process_count=3)
    assert [batch["index"].tolist() for batch in batches] == [[2, 3], [8, -1]]


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("processes", [2, 3, 6])
def test_batches_of_all_processes_are_those_of_one(processes, fill):
    options = {"shuffle": True, "seed": 3, "num_epochs": 2, "fill": fill}
    alone = read(numbered(13), 6, **options)
    shares = [
        read(
            numbered(13),
            6 // processes,
            process_index=process,
            process_count=processes,
            **options,
        )
        for process in range(processes)
    ]
    for whole, *parts in zip(alone, *shares, strict=True):
        for key, value in whole.items():
            joined = np.concatenate([part[key] for part in parts])
            np.testing.assert_array_equal(joined, value)


def test_padding_is_filled_with_the_records_of_its_batch():
    *_, last = read(numbered(13), 5, fill=True)
    assert last["index"].tolist() == [10, 11, 12, 10, 11]
    assert last["mask"].tolist() == [True] * 3 + [False] * 2
    np.testing.assert_array_equal(last["label"], last["index"])
    np.testing.assert_allclose(last["image"][:, 0, 0, 0], last["index"] / 255)


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_epoch_is_whole(shuffle):
    batches = read(numbered(10), 4, shuffle=shuffle, num_epochs=3)
    assert len(batches) == 9
    epochs = [record_numbers(batches[start : start + 3]) for start in (0, 3, 6)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert (epochs[0] != epochs[1] != epochs[2]) == shuffle


def test_the_order_is_the_seeds():
    dataset = numbered(50)
    first, again, other = (
        record_numbers(read(dataset, 7, shuffle=True, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("after", [0, 1, 4, 7, 9])
def test_resumes_from_its_state(after):
    batches = data.batches(numbered(13), 4, shuffle=True, num_epochs=None, seed=5)
    iterator = iter(batches)
    for _ in range(after):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = [next(iterator) for _ in range(6)]
    resumed = iter(batches)
    resumed.set_state(state)
    for batch in expected:
        for key, value in next(resumed).items():
            np.testing.assert_array_equal(value, batch[key])


def test_no_records_no_batches():
    assert read(numbered(0), 4, shuffle=True) == []


def test_floating_images_are_not_scaled():
    images = np.full((2, 3, 3, 1), 0.5)
    dataset = data.from_arrays("grey", images, np.zeros(2, int), ["grey"])
    (batch,) = data.batches(dataset, 2)
    np.testing.assert_array_equal(batch["image"], np.float32(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"num_epochs": 0}, "num_epochs must be an integer >= 1, got 0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        (
            {"process_index": 2, "process_count": 2},
            r"process_index must be in \[0, 2\), got 2",
        ),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        data.batches(numbered(3), **{"batch_size": 2, **options})


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4)), [0, 1], "images must have shape"),
        (np.zeros((2, 4, 4, 1)), [0, 1, 1], "images must have shape"),
        (np.zeros((2, 4, 4, 1)), [0, 2], r"must be in \[0, 2\).* got 0 to 2"),
        (np.zeros((2, 4, 4, 1)), [-2, 0], r"must be in \[0, 2\).* got -2 to 0"),
        (np.full((2, 4, 4, 1), 1.5), [0, 1], r"uint8, or finite in \[0, 1\]"),
        (np.full((2, 4, 4, 1), np.nan), [0, 1], r"uint8, or finite in \[0, 1\]"),
        (np.full((2, 4, 4, 1), 255.0), [0, 1], "to 255.0: divide them by 255"),
        (np.zeros((2, 3, 32, 32), np.uint8), [0, 1], "give np.moveaxis"),
        (np.zeros((2, 4, 4, 1)), [0.7, 1.0], "0.7 in row 0 is not whole"),
        (np.zeros((2, 4, 4, 1)), ["a", "c"], "got 'c' in row 1; the classes are a, b"),
    ],
)
def test_arrays_that_are_no_dataset(images, labels, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays("bad", images, np.array(labels), ["a", "b"])


def test_a_list_of_images_and_labels_by_name_are_a_dataset():
    images = np.arange(32).astype(np.uint8).reshape(2, 4, 4, 1)
    named = data.from_arrays("two", list(images), np.array(["b", "a"]), ["a", "b"])
    plain = data.from_arrays("two", images, np.array([1, 0]), ["a", "b"])
    assert named.fingerprint == plain.fingerprint


def test_images_that_differ_in_size_are_named():
    images: list = [np.zeros((8, 8, 1)), np.zeros((9, 8, 1))]
    with pytest.raises(ValueError, match=r"differ in size: \(8, 8, 1\), \(9, 8, 1\)"):
        data.from_arrays("two", images, np.array([0, 1]), ["a", "b"])


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
@pytest.mark.parametrize(("records", "batch_size"), [(11, 5), (12, 4), (3, 5), (9, 1)])
def test_a_batch_of_all_processes_is_dealt_in_equal_blocks(
    records, batch_size, processes
):
    dataset = numbered(records)
    alone = read(dataset, batch_size, shuffle=True)
    shares = [
        read(
            dataset,
            batch_size,
            shuffle=True,
            of_all=True,
            process_index=process,
            process_count=processes,
        )
        for process in range(processes)
    ]
    each = -(-batch_size // processes)
    for whole, *parts in zip(alone, *shares, strict=True):
        assert {len(part["mask"]) for part in parts} == {each}
        assert record_numbers(parts) == record_numbers([whole])


@pytest.mark.parametrize(
    ("batch_size", "image_shape", "waiting"),
    [(256, (28, 28, 1), 8), (256, (224, 224, 3), 2), (32, (224, 224, 3), 8)],
)
def test_few_large_batches_wait(monkeypatch, batch_size, image_shape, waiting):
    monkeypatch.setattr(_batches.os, "cpu_count", lambda: 2)
    options = _batches._read_ahead(batch_size, image_shape)
    assert options.prefetch_buffer_size == waiting
    assert options.num_threads == 2
