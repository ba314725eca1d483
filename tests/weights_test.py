"""Files of weights: of every framework, damaged, hostile, and of another network."""

import contextlib
import hashlib
import os
import pathlib
import pickle
import random
import re
import shutil
import struct
import zipfile

import jax
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx, serialization

from trustjax import weights

# Where Orbax meets damage it closes its event loop, and readers that are still at work
# find it closed: an error in their threads, now and then, that nobody can catch.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

TORCH = pathlib.Path(__file__).parent / "golden" / "torch"


def expected_of_torch():
    """What tests/golden/torch/make.py saved."""
    base = np.arange(24, dtype=np.float32)
    few = base[:3]
    return {
        "plain": base.reshape(4, 6),
        "transposed": base.reshape(4, 6).T,
        "offset": base[5:9],
        "stepped": base[1::3],
        "expanded": np.full((3, 4), 2, np.float32),
        "scalar": np.float32(3.5).reshape(()),
        "empty": np.zeros((0, 3), np.float32),
        "float16": few.astype(np.float16),
        "bfloat16": few.astype(ml_dtypes.bfloat16),
        "float64": few.astype(np.float64),
        "int64": few.astype(np.int64),
        "int32": few.astype(np.int32),
        "int16": few.astype(np.int16),
        "int8": -few.astype(np.int8),
        "uint8": few.astype(np.uint8),
        "bool": few > 1,
        "complex64": (base[:2] - 1j * base[:2]).astype(np.complex64),
        "parameter": few,
        "tagged": base[:2],
        "channels_last": base.reshape(1, 2, 3, 4),
    }


def assert_same(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype, name
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


# PyTorch's files.


@pytest.mark.parametrize("name", ["checkpoint.pth", "row.pth"])
def test_tensors_of_every_kind_are_those_that_were_saved(name):
    assert_same(weights.read(TORCH / name), expected_of_torch())


def test_a_checkpoint_says_what_of_it_was_taken():
    (note,) = weights.contents(TORCH / "checkpoint.pth").notes
    assert note == (
        "the weights are its state_dict; left out: epoch, optimizer, args, best"
    )


def test_another_part_can_be_asked_for():
    arrays = weights.read(TORCH / "checkpoint.pth", part="optimizer/state")
    np.testing.assert_allclose(arrays["0/exp_avg"], [[0.1, 0.1]])
    with pytest.raises(ValueError, match="it has no part ema: ema is none of args"):
        weights.read(TORCH / "checkpoint.pth", part="ema")


def test_recent_types_are_read():
    arrays = weights.read(TORCH / "recent.pt")
    assert arrays["uint16"].dtype == np.uint16
    assert arrays["float8"].dtype == ml_dtypes.float8_e4m3fn
    np.testing.assert_array_equal(arrays["float8"].astype(int), [0, 1, 2])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("module.pth", r"would run torch\.nn\.modules\.linear\.Linear.*state_dict\(\)"),
        ("sparse.pt", r"would run torch\._utils\._rebuild_sparse_tensor"),
        ("script.pt", r"TorchScript program; .*torch\.jit\.load"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_advice(name, said):
    with pytest.raises(ValueError, match=f"{name}.*{said}"):
        weights.read(TORCH / name)


# Hostile pickles. `{}` is a file that running them makes.


def _reduced(function, *arguments):
    class Hostile:
        def __reduce__(self):
            return function, arguments

    return Hostile()


def _opcodes(kind, command):
    text = f"S'{command}'\n".encode()
    long = struct.pack("<I", len(command)) + command.encode()
    return {
        "reduce": b"cos\nsystem\n(" + text + b"tR.",
        "inst": b"(" + text + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + text + b"o.",
        "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93X" + long + b"\x85R.",
        "obj_class": b"(csubprocess\nPopen\n(S'touch'\n"
        + text.replace(b"touch ", b"")
        + b"lo.",
        "build": b"ccollections\nOrderedDict\n)R}S'a'\n(cos\nsystem\n" + text + b"osb.",
        "popped": b"cos\nsystem\n(" + text + b"tR0N.",
    }[kind]


KINDS = ("reduce", "inst", "obj", "stack_global", "obj_class", "build", "popped")


def as_archive(path, pickled, **storages):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for key, numbers in storages.items():
            archive.writestr(f"archive/data/{key.strip('_')}", numbers)


def as_row(path, pickled, place=3):
    magic, protocol, system = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}
    parts = [pickle.dumps(part, 2) for part in (magic, protocol, system, {}, [])]
    parts[place] = pickled
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [as_archive, as_row])
def test_a_hostile_pickle_is_refused_by_name_and_nothing_runs(tmp_path, kind, form):
    trace, path = tmp_path / "ran", tmp_path / "weights.pth"
    hostile = _opcodes(kind, f"touch {trace}")
    made = pickle.loads(hostile)  # it is a real one
    if kind == "obj_class":
        made.wait()
    assert trace.exists()
    trace.unlink()
    form(path, hostile)
    name = "subprocess.Popen" if kind == "obj_class" else r"(os|posix)\.system"
    with pytest.raises(ValueError, match=f"would run {name}.*nothing of it was run"):
        weights.read(path)
    assert not trace.exists()


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_a_row_is_read_so(tmp_path, place):
    trace, path = tmp_path / "ran", tmp_path / "weights.pth"
    as_row(path, b"\x80\x02" + _opcodes("reduce", f"touch {trace}"), place)
    with pytest.raises(ValueError, match=r"would run os\.system"):
        weights.read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (eval, "open({!r}, 'w')"),
        (exec, "open({!r}, 'w')"),
        (open, None),
        (getattr, None),
        (__import__, "this"),
        (np.load, None),
        (os.popen, "touch {}"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_a_state_dict_hides_is_found(tmp_path, function, argument):
    trace, path = tmp_path / "ran", tmp_path / "weights.pth"
    argument = str(trace) if argument is None else argument.format(str(trace))
    hidden = {"state_dict": {"fc.weight": [{"a": (_reduced(function, argument),)}]}}
    as_archive(path, pickle.dumps(hidden, 2))
    with pytest.raises(ValueError, match=rf"would run \S*{function.__name__}"):
        weights.read(path)
    assert not trace.exists()


def test_a_storage_hides_nothing(tmp_path):
    trace, path = tmp_path / "ran", tmp_path / "weights.pth"
    hidden = _opcodes("reduce", f"touch {trace}")[:-1]
    as_archive(path, b"(S'storage'\nctorch\nFloatStorage\n" + hidden + b"tQ.")
    with pytest.raises(ValueError, match=r"would run os\.system"):
        weights.read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name",
    [
        "torch\nload",
        "torch.storage\n_load_from_bytes",
        "torch\nSize.__class__",
        "trustjax.weights\nread",
        "collections\nOrderedDict.fromkeys",
        "pickle\nloads",
    ],
)
def test_names_near_those_of_tensors_are_refused(tmp_path, name):
    as_archive(tmp_path / "a.pth", f"c{name}\n.".encode())
    with pytest.raises(ValueError, match="would run " + name.replace("\n", ".")):
        weights.read(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "name", ["argparse\nNamespace", "torch\nSize", "torch.nn.parameter\nParameter"]
)
def test_a_pickle_changes_nothing_that_outlives_it(tmp_path, name):
    as_archive(tmp_path / "a.pth", f"c{name}\n(N}}S'changed'\nI1\nstb.".encode())
    with pytest.raises(ValueError, match="not read as a file of PyTorch"):
        weights.read(tmp_path / "a.pth")


# Damaged files.


def tensor_pickle(shape, strides, *, length=4, offset=0):
    """The pickle of a state dict of one float32 tensor `w`, of storage 0."""
    numbers = lambda values: "(" + "".join(f"I{value}\n" for value in values) + "t"
    return (
        "(S'w'\nctorch._utils\n_rebuild_tensor_v2\n("
        f"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{length}\ntQ"
        f"I{offset}\n{numbers(shape)}{numbers(strides)}I00\nNtRd."
    ).encode()


NUMBERS = np.arange(4, dtype="<f4").tobytes()


def test_a_tensor_by_hand(tmp_path):
    as_archive(tmp_path / "a.pth", tensor_pickle((2, 2), (1, 2)), _0=NUMBERS)
    np.testing.assert_array_equal(
        weights.read(tmp_path / "a.pth")["w"], [[0, 2], [1, 3]]
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"shape": (5,), "strides": (1,)}, r"\(5,\) by \(1,\) reaches beyond the 4"),
        ({"shape": (2, 2), "strides": (1, 3)}, "reaches beyond the 4 numbers"),
        ({"shape": (4,), "strides": (1,), "offset": 1}, "reaches beyond the 4 numbers"),
        ({"shape": (4,), "strides": (1,), "length": 5}, "storage 0 is shorter"),
        ({"shape": (4,), "strides": (-1,)}, "it has -1 for a count"),
        ({"shape": (-4,), "strides": (1,)}, "it has -4 for a count"),
        ({"shape": (2, 2), "strides": (1,)}, r"a tensor of \(2, 2\) by \(1,\)"),
        ({"shape": (2**40, 2**40), "strides": (0, 0)}, "more than the memory of this"),
        ({"shape": (2**62,), "strides": (0,)}, "more than the memory of this machine"),
    ],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, asked, said):
    as_archive(tmp_path / "a.pth", tensor_pickle(**asked), _0=NUMBERS)
    with pytest.raises(ValueError, match=rf"a\.pth: .*{said}"):
        weights.read(tmp_path / "a.pth")


def test_a_missing_storage_is_named(tmp_path):
    as_archive(tmp_path / "a.pth", tensor_pickle((4,), (1,)), _1=NUMBERS)
    with pytest.raises(ValueError, match="no item named 'archive/data/0'"):
        weights.read(tmp_path / "a.pth")


def _laughing(depth):
    """A list that holds another ten times, which holds another ten times, ..."""
    return [_laughing(depth - 1)] * 10 if depth else [1]


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (b"\x80\x02Nr\xff\xff\xff\xff.", "it asks for a memo of 4294967295"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"abc.", "expected 46116860184"),
        (pickle.dumps(_laughing(30), 2), "without an end"),
        (b"}q\x00S'a'\nh\x00s.", "without an end"),
        (b"]q\x00h\x00a.", "without an end"),
        (b"I3\n.", "it holds a int, no arrays by name"),
        (b"}.", "it holds no array"),
        (b"}S'epoch'\nI3\ns.", "it holds no array"),
        (b"", "pickle exhausted"),
        (b"N", "pickle exhausted"),
    ],
)
def test_pickles_of_absurd_size_and_none(tmp_path, pickled, said):
    as_archive(tmp_path / "a.pth", pickled)
    with pytest.raises(ValueError, match=rf"a\.pth: .*{said}"):
        weights.read(tmp_path / "a.pth")


def test_archives_larger_than_themselves_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle((2**22,), (1,)))
        archive.writestr("archive/data/0", bytes(2**24))
    assert path.stat().st_size < 2**16
    with pytest.raises(ValueError, match=r"compressed, and torch\.save"):
        weights.read(path)
    as_archive(path, tensor_pickle((4,), (1,)), _0=4096 * NUMBERS)
    path.write_bytes(_doubled_directory(path.read_bytes()))
    with pytest.raises(ValueError, match=r"larger than itself|[Oo]verlap"):
        weights.read(path)


def _doubled_directory(archive):
    """An archive whose directory names each of its parts a hundred times."""
    *front, entries, size, start, _ = struct.unpack("<4s4H2LH", archive[-22:])
    directory = archive[start : start + size]
    end = struct.pack(
        "<4s4H2LH", *front[:-1], 100 * entries, 100 * entries, 100 * size, start, 0
    )
    return archive[:start] + 100 * directory + end


def test_a_compressed_npz_of_more_than_the_memory(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**20))
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1024}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    with pytest.raises(ValueError, match=r"a\.npz: its arrays would take 0 GB, more"):
        weights.read(tmp_path / "a.npz")


def few_arrays():
    return {
        "fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bias": np.ones(3),
    }


def as_msgpack(path, arrays):
    path.write_bytes(serialization.msgpack_serialize(arrays))


def whole_files(folder):
    """One good file of each kind that is a file."""
    for name in ("checkpoint.pth", "row.pth"):
        (folder / name).write_bytes((TORCH / name).read_bytes())
    for name in ("a.npz", "a.safetensors"):
        weights.write(folder / name, few_arrays())
    as_msgpack(folder / "a.msgpack", few_arrays())
    return sorted(folder.iterdir())


def test_every_cut_is_noticed(tmp_path):
    for path in whole_files(tmp_path):
        whole = path.read_bytes()
        for length in [*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=path.name):
                weights.read(path)


def test_flipped_bits_are_read_or_refused(tmp_path):
    draw = random.Random(0)
    for path in whole_files(tmp_path):
        whole = path.read_bytes()
        for _ in range(40):
            flipped = bytearray(whole)
            flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            with contextlib.suppress(ValueError):
                weights.read(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.safetensors",
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        ("a.pth", b"<!DOCTYPE html>", "a web page"),
        ("a.h5", b"\x89HDF\r\n", "HDF5"),
        ("a.pth", b"", "not read as a file of PyTorch"),
        ("a.pth", b"\0" * 257 + b"ustar\0", "a tar archive of PyTorch before 0.1.10"),
        ("a.onnx", b"\x08\x07\x12", "expected .npz, .safetensors"),
        ("a.pkl", pickle.dumps({"a": 1}), "a pickle, and not one of torch.save"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: .*{said}"):
        weights.read(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pth"):
        weights.read(tmp_path / "a.pth")


def test_the_digest_is_that_of_the_bytes(tmp_path):
    weights.write(tmp_path / "a.npz", few_arrays())
    digest = hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    assert weights.read(tmp_path / "a.npz", sha256=digest.upper())
    with pytest.raises(ValueError, match=f"its SHA-256 is {digest}, expected 00"):
        weights.read(tmp_path / "a.npz", sha256="00")


# NumPy, safetensors, msgpack.


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "nested/folder"])
def test_what_is_written_is_read(tmp_path, name):
    arrays = {
        "conv/kernel": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "conv/bias": np.arange(3, dtype=np.float16),
        "step/number": np.int32(7).reshape(()),
        "flags": np.array([True, False]),
    }
    weights.write(tmp_path / name, arrays)
    found = weights.read(tmp_path / name)
    assert_same(dict(sorted(found.items())), dict(sorted(arrays.items())))


@pytest.mark.parametrize("name", ["a.safetensors", "folder"])
def test_bfloat16_is_kept(tmp_path, name):
    arrays = {"a": np.arange(3).astype(ml_dtypes.bfloat16)}
    weights.write(tmp_path / name, arrays)
    assert_same(weights.read(tmp_path / name), arrays)


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    weights.write(tmp_path / "a.npz", few_arrays())
    before = (tmp_path / "a.npz").read_bytes()
    brain_floats = np.ones(2, ml_dtypes.bfloat16)
    with pytest.raises(ValueError, match=r"b is bfloat16, which \.npz cannot say"):
        weights.write(tmp_path / "a.npz", {"b": brain_floats}, overwrite=True)
    with pytest.raises(ValueError, match="c must hold numbers, got <U1"):
        weights.write(tmp_path / "a.safetensors", {"c": np.array(["x"])})
    with pytest.raises(ValueError, match=r"longdouble|float128"):
        weights.write(tmp_path / "a.safetensors", {"c": np.ones(2, np.longdouble)})
    with pytest.raises(ValueError, match=r"without a suffix\), got .*a\.pth"):
        weights.write(tmp_path / "a.pth", few_arrays())
    with pytest.raises(ValueError, match="a/b lies in what is an array of its own"):
        weights.write(tmp_path / "new", {"a": np.ones(1), "a/b": np.ones(1)})
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_msgpack_of_a_train_state(tmp_path):
    state = {
        "step": 7,
        "params": {"Dense_0": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}},
        "opt_state": {"0": {"mu": {"Dense_0": {"kernel": np.ones((2, 3))}}}},
        "batch_stats": {"BatchNorm_0": {"mean": np.ones(3)}},
    }
    as_msgpack(tmp_path / "a.msgpack", state)
    arrays, notes = weights.contents(tmp_path / "a.msgpack")
    assert sorted(arrays) == [
        "batch_stats/BatchNorm_0/mean",
        "params/Dense_0/bias",
        "params/Dense_0/kernel",
    ]
    assert notes == (
        "the weights are its params and batch_stats; left out: opt_state, step",
    )
    expected = {name.partition("/")[2]: array.shape for name, array in arrays.items()}
    assert list(weights.fitted(arrays, expected)) == list(expected)


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ({"model": {"a": 1.0}, "optimizer": {"b": 1.0}, "step": 3}, ["a"]),
        ({"state": {"params": {"a": 1.0}, "opt_state": {"b": 1.0}}}, ["a"]),
        ({"model": {"a": 1.0}, "head": {"b": 1.0}}, ["head/b", "model/a"]),
        ({"params": {"a": {"value": 1.0}}}, ["a"]),
        ({"layers": [{"a": 1.0}, {"a": 2.0}]}, ["layers/0/a", "layers/1/a"]),
        ({"state_dict": {"a": 1.0}, "ema": {"a": 2.0}}, ["a"]),
    ],
)
def test_where_the_network_is(tmp_path, tree, names):
    tree = jax.tree.map(lambda leaf: np.float32(leaf).reshape(1), tree)
    as_msgpack(tmp_path / "a.msgpack", tree)
    assert sorted(weights.read(tmp_path / "a.msgpack")) == names


def test_two_networks_in_one_file_must_be_told_apart(tmp_path):
    both = {"params": {"a": np.ones(1)}, "state_dict": {"b": np.ones(2)}}
    as_msgpack(tmp_path / "a.msgpack", both)
    with pytest.raises(
        ValueError, match=r"any of params, state_dict .* say which part"
    ):
        weights.read(tmp_path / "a.msgpack")
    assert list(weights.read(tmp_path / "a.msgpack", part="state_dict")) == ["b"]


# Orbax, of several trainers.


def saved(path, tree, **options):
    ocp.PyTreeCheckpointer(**options).save(path, tree)


def linen_variables():
    return {
        "params": {"fc": {"kernel": np.ones((2, 3), np.float32)}},
        "batch_stats": {"bn": {"mean": np.arange(3, dtype=np.float32)}},
    }


def managed(folder, steps, items, **options):
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, **options)
    with ocp.CheckpointManager(folder, options=options) as manager:
        for step in steps:
            manager.save(step, args=items(step))


@pytest.mark.parametrize("options", [{}, {"use_ocdbt": False}])
def test_a_folder_of_arrays(tmp_path, options):
    saved(tmp_path / "a", linen_variables(), **options)
    arrays, notes = weights.contents(tmp_path / "a")
    assert notes == ("the weights are its params and batch_stats",)
    np.testing.assert_array_equal(arrays["batch_stats/bn/mean"], [0, 1, 2])
    assert arrays["params/fc/kernel"].shape == (2, 3)


def test_an_nnx_state_and_its_counters(tmp_path):
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.fc = nnx.Linear(2, 3, rngs=rngs)
            self.bn = nnx.BatchNorm(3, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    state = nnx.state(Network(nnx.Rngs(0)))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.save(tmp_path / "plain", nnx.to_pure_dict(state))
    expected = {
        "fc/kernel": (2, 3),
        "fc/bias": (3,),
        **dict.fromkeys(["bn/scale", "bn/bias", "bn/mean", "bn/var"], (3,)),
    }
    for name in ("state", "plain"):
        arrays = weights.fitted(weights.read(tmp_path / name), expected)
        assert list(arrays) == list(expected)


def test_the_latest_step_of_a_train_state(tmp_path):
    def items(step):
        params = {"fc": {"kernel": jax.numpy.full(3, float(step))}}
        state = {
            "step": step,
            "params": params,
            "opt_state": optax.adam(0.1).init(params),
        }
        return ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"a": 1})
        )

    managed(tmp_path / "run", (9, 10), items)
    arrays, notes = weights.contents(tmp_path / "run")
    assert notes == (
        "step 10, the latest of 2",
        "the weights are its params; left out: opt_state, step",
    )
    assert_same(arrays, {"fc/kernel": np.full(3, 10, np.float32)})
    assert weights.read(tmp_path / "run" / "9")["fc/kernel"][0] == 9


def test_items_of_their_own_and_names_of_steps(tmp_path):
    def items(_):
        return ocp.args.Composite(
            params=ocp.args.PyTreeSave({"kernel": np.ones(2)}),
            opt_state=ocp.args.PyTreeSave({"mu": np.ones(2)}),
        )

    options = {"step_prefix": "ckpt", "step_format_fixed_length": 6}
    managed(tmp_path / "run", (7,), items, **options)
    arrays, notes = weights.contents(tmp_path / "run")
    assert list(arrays) == ["kernel"]
    assert notes[1] == "the weights are its params; left out: opt_state"
    moments = weights.read(tmp_path / "run" / "ckpt_000007", part="opt_state")
    assert list(moments) == ["mu"]


def test_a_single_item(tmp_path):
    managed(tmp_path, (1,), lambda _: ocp.args.StandardSave({"kernel": np.ones(2)}))
    assert list(weights.read(tmp_path)) == ["kernel"]


def test_a_list_of_trees_is_taken_by_numbers(tmp_path):
    saved(tmp_path / "a", [{"kernel": np.ones(2)}, {"kernel": np.zeros(2)}])
    assert list(weights.read(tmp_path / "a")) == ["0/kernel", "1/kernel"]
    assert weights.read(tmp_path / "a", part="1")["kernel"].tolist() == [0, 0]


def test_folders_of_something_else(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint of Orbax.*an empty folder"):
        weights.read(tmp_path)
    (tmp_path / "cats").mkdir()
    with pytest.raises(ValueError, match=r"no checkpoint of Orbax.*a folder of cats"):
        weights.read(tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path):
    tree = {"a": np.random.default_rng(0).normal(size=300), "b": np.ones(4)}
    saved(tmp_path / "whole", tree)
    files = [p for p in (tmp_path / "whole").rglob("*") if p.is_file()]
    refused = 0
    for number, path in enumerate(files):
        for keep in (0, 1 / 2):
            copy = tmp_path / f"copy{number}-{keep}"
            shutil.copytree(tmp_path / "whole", copy)
            place = copy / path.relative_to(tmp_path / "whole")
            content = place.read_bytes()
            place.write_bytes(content[: int(keep * len(content))])
            try:
                found = weights.read(copy)
            except ValueError as error:
                refused += 1
                assert str(copy) in str(error)  # noqa: PT017
            else:  # a file that says nothing of the arrays
                for name, array in tree.items():
                    np.testing.assert_array_equal(found[name], array)
    assert refused >= 4


def test_a_checkpoint_of_more_than_the_memory(tmp_path):
    saved(tmp_path / "a", {"w": np.zeros((2, 2), np.float32)}, use_ocdbt=False)
    described = tmp_path / "a" / "w" / ".zarray"
    described.write_text(
        re.sub(r'"shape":\[2,2\]', f'"shape":[2,{2**50}]', described.read_text())
    )
    with pytest.raises(ValueError, match="more than the memory of this machine"):
        weights.read(tmp_path / "a")


# Against a network.

EXPECTED = {"conv1.weight": (4, 3, 3, 3), "fc.weight": (10, 4), "fc.bias": (10,)}


def zeros(shapes):
    return {name: np.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("wrapper", ["module.", "model.", "module._orig_mod.", ""])
def test_wrappers_on_either_side(wrapper):
    wrapped = {wrapper + name: shape for name, shape in EXPECTED.items()}
    assert list(weights.fitted(zeros(wrapped), EXPECTED)) == list(EXPECTED)
    assert list(weights.fitted(zeros(EXPECTED), wrapped)) == list(wrapped)


@pytest.mark.parametrize("scope", ["params/", "model/"])
def test_scopes_on_either_side(scope):
    expected = {f"{scope}fc/kernel": (2, 3), f"{scope}fc/bias": (3,)}
    plain = {name.removeprefix(scope): shape for name, shape in expected.items()}
    assert list(weights.fitted(zeros(plain), expected)) == list(expected)
    assert list(weights.fitted(zeros(expected), expected)) == list(expected)


def test_counters_are_left_out_and_the_order_is_the_networks():
    given = zeros(dict(reversed(EXPECTED.items())))
    given["bn1.num_batches_tracked"] = np.asarray(3)
    assert list(weights.fitted(given, EXPECTED)) == list(EXPECTED)


def test_everything_that_differs_is_said_at_once():
    given = zeros({"conv1.wieght": (4, 3, 3, 3), "fc.weight": (10, 4), "fc.bias": (7,)})
    with pytest.raises(ValueError, match="the weights are of another") as error:
        weights.fitted(given, EXPECTED)
    assert str(error.value).splitlines() == [
        "the weights are of another network",
        "  missing, 1 of 3:",
        "    conv1.weight (4, 3, 3, 3), perhaps conv1.wieght",
        "  unexpected, 1 of 3:",
        "    conv1.wieght (4, 3, 3, 3)",
        "  of another shape, 1 of 3:",
        "    fc.bias must be (10,), got (7,)",
    ]


def test_long_lists_are_cut_and_counted():
    expected = {f"layers.{number}.weight": (2,) for number in range(3000)}
    given = zeros({f"blocks.{number}.w": (2,) for number in range(3000)})
    with pytest.raises(ValueError, match="missing, 3000 of 3000") as error:
        weights.fitted(given, expected)
    assert str(error.value).count("and 2992 more") == 2
    assert len(str(error.value).splitlines()) == 21
