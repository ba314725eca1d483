"""What several processes of a run do between them, seen from each of them in turn."""

import jax
import numpy as np
import pytest

from trustjax import _processes, scoring
from trustjax.pipeline import _network
from trustjax.train import _loop


@pytest.fixture
def as_process(monkeypatch):
    """Makes this process one of several."""

    def one_of(number, count):
        monkeypatch.setattr(jax, "process_index", lambda: number)
        monkeypatch.setattr(jax, "process_count", lambda: count)

    return one_of


@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 4, 5])
def test_dealt_batches_have_every_row_once(as_process, processes, batch_size):
    x = np.arange(22).reshape(11, 2)
    whole = scoring.batches(x, np.arange(11), batch_size=batch_size)
    found, lengths = [], set()
    for number in range(processes):
        as_process(number, processes)
        found.append(list(scoring.dealt(whole)))
        lengths |= {len(batch["mask"]) for batch in found[-1]}
    assert lengths == {-(-batch_size // processes)}
    for batch, *parts in zip(whole, *found, strict=True):
        for name in ("index", "image", "label"):
            rows = np.concatenate([part[name][part["mask"]] for part in parts])
            np.testing.assert_array_equal(rows, batch[name][batch["mask"]])


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_shares_together_are_the_whole(as_process, monkeypatch, processes, rows):
    squares = lambda some: {"square": np.arange(rows)[some] ** 2}
    asked = []
    for number in range(processes):
        as_process(number, processes)
        monkeypatch.setattr(_processes, "_each", lambda share: asked.append(share))
        monkeypatch.setattr(jax.tree, "map", lambda *_: None)
        _processes.in_shares(squares, rows)
    monkeypatch.undo()
    if processes == 1:
        assert not asked
        return
    as_process(0, processes)
    each = {"square": np.stack([share["square"] for share in asked])}
    monkeypatch.setattr(_processes, "_each", lambda _: each)
    found = _processes.in_shares(squares, rows)["square"]
    np.testing.assert_array_equal(found, np.arange(rows) ** 2)


def test_what_the_first_computes_is_what_all_have(as_process, monkeypatch):
    said = []
    computed = {"a": np.arange(3.0), "b": np.ones((2, 1), np.int32)}
    for number in range(2):
        as_process(number, 2)
        monkeypatch.setattr(
            _processes, "told", lambda text: said.append(text) or [said[0], ""]
        )
        found = _processes.of_first(lambda n=number: computed if n == 0 else {}["no"])
        assert found.keys() == computed.keys()
        for name, array in computed.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("processes", "each", "batch_size", "shares", "copies"),
    [
        (1, 4, 64, 4, 1),
        (2, 2, 64, 4, 1),
        (3, 2, 64, 2, 3),
        (6, 2, 64, 4, 3),
        (4, 2, 64, 8, 1),
        (2, 2, 7, 1, 2),
        (2, 3, 6, 6, 1),
    ],
)
def test_every_process_has_devices_of_a_mesh(
    processes, each, batch_size, shares, copies
):
    # Devices that are known by the number of their process.
    devices = np.repeat(np.arange(processes)[:, None], each, axis=1)
    taking_part = _network._shared_out(devices, batch_size)
    assert taking_part.shape == (shares, copies)
    assert batch_size % shares == 0
    # What a process takes of a batch lies together.
    for process in range(processes):
        rows = np.flatnonzero((taking_part == process).any(axis=1))
        assert rows.tolist() == list(range(rows[0], rows[-1] + 1))


def test_a_mesh_that_does_not_divide_a_batch_is_an_error():
    mesh = jax.make_mesh((4, 2), ("data", "copies"))
    assert _loop._Shares.of(12, mesh) == (12, 0, 1)
    with pytest.raises(ValueError, match="among 4 devices of the axis data, got 10"):
        _loop._Shares.of(10, mesh)
