"""Tables and arrays of somebody's own: rows, classes, and what is wrong with them."""

import csv
import gzip
import json
import pathlib
import struct

import numpy as np
import pytest
from PIL import Image

from trustjax import data

pytestmark = pytest.mark.usefixtures("without_type_checks")
SPLITS = ("train", "validation", "test")


@pytest.fixture
def pictures(tmp_path):
    """Six images; the grey level of an image is its number."""
    for number in range(6):
        image = np.full((2, 3), number, np.uint8)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    return tmp_path


def table(folder, columns, rows):
    path = pathlib.Path(folder, "table.csv")
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return f"csv:{path}"


def lines(folder, records):
    path = pathlib.Path(folder, "table.jsonl")
    path.write_text("\n".join(map(json.dumps, records)) + "\n\n")
    return f"jsonl:{path}"


def labels_by_level(dataset):
    images, labels = data.as_arrays(dataset)
    return dict(zip(images[:, 0, 0, 0].tolist(), labels.tolist(), strict=True))


def test_columns_are_found_by_their_names(pictures):
    rows = [["cat", "x", "0.png"], ["dog", "y", pictures / "1.png"]]
    name = table(pictures, ["label", "more", "path"], rows)
    dataset = data.load(name, "all")
    assert dataset.class_names == ("cat", "dog")
    assert labels_by_level(dataset) == {0: 0, 1: 1}


def test_json_lines_may_number_the_classes(pictures):
    records = [
        {"file_name": "0.png", "label": 2},
        {"file_name": "1.png", "label": 0},
    ]
    name = lines(pictures, records)
    by_text = data.load(name, "all")
    assert by_text.class_names == ("0", "2")
    named = data.load(name, "all", class_names=["ant", "bee", "cat"])
    assert labels_by_level(named) == {0: 2, 1: 0}
    kept = data.load(
        name, "all", class_names=["ant", "bee", "cat"], ignore_labels=["ant"]
    )
    assert labels_by_level(kept) == {0: 2}


def test_a_column_divides_the_rows(pictures):
    parts = ["train", "train", "val", "test", "test", "test"]
    rows = [[f"{n}.png", "ab"[n % 2], part] for n, part in enumerate(parts)]
    name = table(pictures, ["path", "label", "split"], rows)
    assert [len(of) for of in data.load_splits(name, SPLITS)] == [2, 1, 3]
    rows[0][2] = "trian"
    with pytest.raises(ValueError, match=r"line 2: the split 'trian' is none of train"):
        data.load(table(pictures, ["path", "label", "split"], rows))
    rows[0][2] = ""
    with pytest.raises(ValueError, match="line 2, names no split, and other rows do"):
        data.load(table(pictures, ["path", "label", "split"], rows))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_for_each_part_divides_too(pictures, kind):
    for part, numbers in (("train", "012"), ("val", "3"), ("test", "45")):
        path = pictures / f"{part}.{kind}"
        if kind == "csv":
            rows = [f"{n}.png,{'ab'[int(n) % 2]}" for n in numbers]
            path.write_text("\n".join(["path,label", *rows]))
        else:
            rows = [{"path": f"{n}.png", "label": "ab"[int(n) % 2]} for n in numbers]
            path.write_text("\n".join(map(json.dumps, rows)))
    loaded = data.load_splits(f"{kind}:{pictures}", SPLITS)
    assert list(map(labels_by_level, loaded)) == [
        {0: 0, 1: 1, 2: 0},
        {3: 1},
        {4: 0, 5: 1},
    ]
    (pictures / f"Validation.{kind}").write_text(path.read_text())
    with pytest.raises(ValueError, match="two files for validation"):
        data.load(f"{kind}:{pictures}")
    (pictures / "none").mkdir()
    with pytest.raises(ValueError, match="without a file train"):
        data.load(f"{kind}:{pictures}/none")


def test_classes_are_those_of_training(pictures):
    rows = [["0.png", "a", "train"], ["1.png", "b", "train"], ["2.png", "c", "test"]]
    name = table(pictures, ["path", "label", "split"], rows)
    with pytest.raises(ValueError, match=r"line 4, has the label 'c', which is none"):
        data.load(name, "test")


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (["path", "label"], [], "has no rows"),
        (["file", "label"], [["0.png", "a"]], "line 2: there is no path or file_name"),
        (["path", "label"], [["0.png", ""]], "line 2: no label is given"),
        (["path", "label"], [["0.png"]], "line 2: no label is given"),
        (["path", "label"], [["0.png", "a", "b"]], "line 2: it has more values than"),
        (
            ["path", "label"],
            [["0.png", "a"], ["7.png", "b"]],
            r"line 3, names .*7.png, which is not there \(1 such file\)",
        ),
    ],
)
def test_a_wrong_table_is_refused_by_its_line(pictures, columns, rows, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        data.load(table(pictures, columns, rows), "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "0.png", "label": 1.5}', "line 1: the label 1.5 is neither"),
        ('{"path": "0.png", "label": true}', "line 1: the label True is neither"),
        ('{"path": 7, "label": 1}', "line 1: the path 7 is no text"),
        ('\n["0.png", 1]', "line 2: no JSON object"),
        ('{"path": "0.png"', "line 1: no JSON:"),
    ],
)
def test_wrong_json_lines_are_refused_by_their_line(pictures, text, message):
    (pictures / "table.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        data.load(f"jsonl:{pictures}/table.jsonl", "all")


def test_a_missing_file_of_a_table_may_be_left_out(pictures):
    name = table(pictures, ["path", "label"], [["0.png", "a"], ["7.png", "b"]])
    dataset = data.load(name, "all", skip_unreadable=True)
    assert len(dataset) == 1
    assert dataset.notes[-1] == "Left out as no readable images: 1 of all (7.png)."


def npz(folder, **arrays):
    path = pathlib.Path(folder, "arrays.npz")
    np.savez(path, **arrays)
    return f"npz:{path}"


def random_bytes(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("images", "expected", "note"),
    [
        (random_bytes(4, 8, 9, 3), lambda x: x, ""),
        (random_bytes(4, 8, 9), lambda x: x[..., None], ""),
        (
            random_bytes(4, 3, 8, 9),
            lambda x: np.moveaxis(x, 1, -1),
            "channels first, [4, 3, 8, 9], and were moved last",
        ),
        (random_bytes(4, 8, 9, 1) / 255, lambda x: x, ""),
        (
            random_bytes(4, 8, 9, 1).astype(np.float32),
            lambda x: x.astype(np.uint8),
            "whole numbers up to 255 as float32, and taken as bytes",
        ),
        (
            random_bytes(4, 8, 9, 1).astype(np.int64),
            lambda x: x.astype(np.uint8),
            "whole numbers up to 255 as int64, and taken as bytes",
        ),
        (
            np.arange(4 * 72).astype(np.uint16).reshape(4, 8, 9, 1) * 227,
            lambda x: np.round(x / 257).astype(np.uint8),
            "numbers of 16 bits, and were divided by 257",
        ),
        (
            random_bytes(4, 8, 9, 1) > 99,
            lambda x: np.where(x, 255, 0).astype(np.uint8),
            "true or false, and were taken as white and black",
        ),
    ],
    ids=["nhwc", "nhw", "nchw", "floats", "float255", "int64", "uint16", "bool"],
)
def test_arrays_are_found_out_by_their_shape_and_type(tmp_path, images, expected, note):
    dataset = data.load(npz(tmp_path, image=images, label=[0, 1, 1, 2]), "all")
    found, labels = data.as_arrays(dataset)
    np.testing.assert_array_equal(found, expected(images))
    assert labels.tolist() == [0, 1, 1, 2]
    assert dataset.class_names == ("0", "1", "2")
    assert (note in " ".join(dataset.notes)) if note else not dataset.notes


def test_pairs_of_parts_and_names_in_the_file(tmp_path):
    images, labels = random_bytes(6, 4, 4, 1), np.array([0, 1, 0, 1, 0, 1])
    name = npz(
        tmp_path,
        x_train=images[:3],
        y_train=labels[:3, None],
        x_test=images[3:],
        y_test=labels[3:, None],
        class_names=["owl", "cat"],
    )
    test = data.load(name, "test")
    assert test.class_names == ("owl", "cat")
    assert data.as_arrays(test)[1].tolist() == [1, 0, 1]


def test_a_file_of_arrays_for_each_part(tmp_path):
    images = random_bytes(6, 4, 4, 1)
    np.savez(tmp_path / "train.npz", image=images[:4], label=[0, 1, 2, 0])
    np.savez(tmp_path / "test.npz", images=images[4:], labels=[2, 1])
    test = data.load(f"npz:{tmp_path}", "test")
    assert test.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(data.as_arrays(test)[0], images[4:])


def test_labels_may_be_names(tmp_path):
    name = npz(tmp_path, images=random_bytes(3, 4, 4, 1), labels=["owl", "cat", "owl"])
    dataset = data.load(name, "all")
    assert dataset.class_names == ("cat", "owl")
    assert data.as_arrays(dataset)[1].tolist() == [1, 0, 1]


def test_shares_of_arrays_are_by_pixels(tmp_path):
    images = random_bytes(200, 4, 4, 1)
    images[100:] = images[:100]  # every image twice, each pair in one share
    name = npz(tmp_path, image=images, label=np.arange(200) % 2)
    splits = [data.as_arrays(of)[0] for of in data.load_splits(name, SPLITS)]
    assert sum(map(len, splits)) == 200
    contents = [{image.tobytes() for image in of} for of in splits]
    assert all(
        2 * len(held) == len(of) for held, of in zip(contents, splits, strict=True)
    )
    assert not contents[0] & contents[2]


@pytest.mark.parametrize("ignored", [255, "255", -1])
def test_ignored_numbers_are_no_classes(tmp_path, ignored):
    labels = np.array([0, 1, int(ignored), 1])
    name = npz(tmp_path, image=random_bytes(4, 4, 4, 1), label=labels)
    dataset = data.load(name, "all", ignore_labels=[ignored])
    assert dataset.class_names == ("0", "1")
    assert data.as_arrays(dataset)[1].tolist() == [0, 1, 1]
    assert f"Left out, as asked, for the label {ignored}: 1 of all." in dataset.notes
    if int(ignored) < 0:
        with pytest.raises(ValueError, match=r"record 2 of .* has the label '-1'"):
            data.load(name, "all")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros((2, 4, 4, 1))}, "must hold image and label"),
        ({"image": np.zeros((2, 4)), "label": [0, 1]}, "images must have shape"),
        ({"image": np.zeros((2, 4, 4, 4)), "label": [0, 1]}, "1 channel or 3"),
        ({"image": np.zeros((2, 4, 4, 1)), "label": [0]}, "2 images, and labels of"),
        ({"image": np.zeros((2, 4, 4)), "label": [0.5, 1]}, "is not whole"),
        ({"image": np.full((2, 4, 4), 2.5), "label": [0, 1]}, "finite in .0, 1"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        data.load(npz(tmp_path, **arrays), "all")


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_idx_files_of_any_dataset(tmp_path):
    images = random_bytes(6, 5, 4)
    labels = np.arange(6, dtype=np.uint8) % 3
    for prefix, some in (
        ("kuzushiji-train", slice(4)),
        ("kuzushiji-test", slice(4, 6)),
    ):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images[some])
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels[some])
    found, found_labels = data.as_arrays(data.load(f"idx:{tmp_path}", "test"))
    np.testing.assert_array_equal(found[..., 0], images[4:])
    assert found_labels.tolist() == [1, 2]
    one = tmp_path / "kuzushiji-train-images-idx3-ubyte.gz"
    assert len(data.load(f"idx:{one}", "all")) == 4
    one.write_bytes(one.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated or damaged"):
        data.load(f"idx:{tmp_path}")
    (tmp_path / "kuzushiji-train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="there is no file of labels"):
        data.load(f"idx:{one}")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="has no IDX files"):
        data.load(f"idx:{tmp_path}/nothing")


def test_labels_of_a_named_dataset_may_be_ignored():
    whole = data.load("digits")
    some = data.load("digits", ignore_labels=[3, "9"])
    images, labels = data.as_arrays(whole)
    kept = ~np.isin(labels, [3, 9])
    np.testing.assert_array_equal(data.as_arrays(some)[0], images[kept])
    assert some.class_names == whole.class_names
    assert some.fingerprint != whole.fingerprint
    assert some.notes == (
        "Left out, as asked, for the label 3: 55 of test.",
        "Left out, as asked, for the label 9: 54 of test.",
    )
    shared = data.shared_images(whole, some)
    assert shared is not None
    assert shared.in_training.all()
    with pytest.raises(ValueError, match="no class of digits is called 'ten'"):
        data.load("digits", ignore_labels=["ten"])


def test_options_are_of_own_data():
    with pytest.raises(ValueError, match=r"are for own data .*, not for digits"):
        data.load("digits", class_names=["a", "b"])
    with pytest.raises(ValueError, match="class_names must differ, and 'a'"):
        data.load("digits", class_names=["a", "a"])
