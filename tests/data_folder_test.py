"""Folders of images as people have them: which records, which classes, which pixels."""

import os
import pathlib
import types

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from trustjax import data
from trustjax.data import _files, _images, _looks

pytestmark = pytest.mark.usefixtures("without_type_checks")


def save(path, values, mode=None, **options):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, None if mode else np.uint8))
    (image.convert(mode) if mode else image).save(path, **options)


def grey(level, height=2, width=3):
    return np.full((height, width), level, np.uint8)


def make(root, folders, per_folder=1):
    """Image folders; the grey level of an image is the number of its folder."""
    for number, folder in enumerate(folders):
        for image in range(per_folder):
            save(pathlib.Path(root, folder, f"{image}.png"), grey(number))


def label_of(dataset, level):
    """The label of the records of this grey level."""
    images, labels = data.as_arrays(dataset)
    (label,) = set(labels[images[:, 0, 0, 0] == level].tolist())
    return label


def load(root, split="all", **options):
    return data.load(f"folder:{root}", split, **options)


def test_numbers_are_in_their_order_and_a_given_order_wins(tmp_path):
    make(tmp_path, map(str, range(12)))
    by_number = load(tmp_path)
    assert by_number.class_names == tuple(map(str, range(12)))
    assert label_of(by_number, 10) == 10
    by_string = load(tmp_path, class_names=sorted(map(str, range(12))))
    assert label_of(by_string, 10) == 2
    assert by_string.fingerprint != by_number.fingerprint


def test_a_test_set_takes_its_classes_from_training(tmp_path):
    angles = ["0", "180", "270", "90"]
    make(tmp_path / "train", angles)
    make(tmp_path / "test", ["0", "270", "90"])
    given = load(tmp_path, "test", class_names=angles)
    assert label_of(given, 2) == 3  # 90, as torchvision's ImageFolder has it
    by_number = load(tmp_path, "test")
    assert by_number.class_names == ("0", "90", "180", "270")
    assert label_of(by_number, 1) == 3  # 270


def test_an_unknown_class_in_the_test_set_is_named(tmp_path):
    make(tmp_path / "train", ["cat", "dog"])
    make(tmp_path / "test", ["cat", "cow"])
    with pytest.raises(ValueError, match=r"test/cow/0.png has the label 'cow', which "):
        load(tmp_path, "test")
    kept = load(tmp_path, "test", ignore_labels=["cow"])
    assert len(kept) == 1
    assert "Left out, as asked, for the label cow: 1 of test." in kept.notes


def test_a_given_class_that_has_no_folder_keeps_its_number(tmp_path):
    make(tmp_path, ["cat", "dog"])
    dataset = load(tmp_path, class_names=["ant", "cat", "dog"])
    assert (label_of(dataset, 0), label_of(dataset, 1)) == (1, 2)
    with pytest.raises(ValueError, match="'dog', which is none of the 2 classes"):
        load(tmp_path, class_names=["cat", "cow"])


def test_what_is_no_image_of_a_class_is_left_out_and_said(tmp_path):
    make(tmp_path, ["cat", "dog", ".ipynb_checkpoints", "__MACOSX"])
    save(tmp_path / "cat" / "._0.png", grey(9))
    save(tmp_path / "beside.png", grey(9))
    save(tmp_path / "dog" / "puppies" / "a.PNG", grey(1))
    (tmp_path / "empty").mkdir()
    for name in (".DS_Store", "cat/Thumbs.db", "cat/notes.txt"):
        (tmp_path / name).write_text("none")
    os.symlink(tmp_path / "cat" / "0.png", tmp_path / "cat" / "link.png")
    os.symlink(tmp_path / "gone.png", tmp_path / "cat" / "broken.png")
    os.symlink(tmp_path / "cat", tmp_path / "cat" / "again")
    dataset = load(tmp_path)
    assert dataset.class_names == ("cat", "dog", "empty")
    _, labels = data.as_arrays(dataset)
    assert np.bincount(labels, minlength=3).tolist() == [2, 2, 0]
    text = " ".join(dataset.notes)
    for said in (
        "5 hidden (.DS_Store, .ipynb_checkpoints, __MACOSX, ...)",
        "1 beside the class folders (beside.png)",
        "1 no images by their names (cat/notes.txt)",
        "1 links to nothing (cat/broken.png)",
        "1 links to a folder that they are in (cat/again)",
        "1 folder holds no image: empty.",
    ):
        assert said in text


def test_what_lies_beside_the_parts_is_said(tmp_path):
    for part in ("train", "val", "extra"):
        make(tmp_path / part, ["cat", "dog"])
    (tmp_path / "readme.md").write_text("none")
    train, validation = data.load_splits(f"folder:{tmp_path}", ("train", "validation"))
    assert (len(train), len(validation)) == (2, 2)
    assert train.notes == (
        f"In {tmp_path}, 2 entries were left out: 2 beside the folders of its parts "
        "(extra, readme.md).",
    )
    with pytest.raises(ValueError, match="takes --test-split validation --validation-"):
        load(tmp_path, "test")


def test_home_is_found(tmp_path, monkeypatch):
    make(tmp_path, ["cat", "dog"])
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    name = f"folder:~/{tmp_path.name}"
    assert len(data.load(name, "all")) == 2
    assert data.short_name(name) == tmp_path.name


def test_a_class_may_be_called_train(tmp_path):
    make(tmp_path, ["car", "train"])
    assert load(tmp_path).class_names == ("car", "train")


def files_of(dataset):
    return dataset.source.source.files


def test_shares_are_divided_by_the_path_alone(tmp_path):
    make(tmp_path, ["cat", "dog"], per_folder=100)
    splits = ("train", "validation", "test")

    def levels(**options):
        loaded = data.load_splits(f"folder:{tmp_path}", splits, **options)
        return [[files_of(of).paths[i] for i in range(len(of))] for of in loaded]

    before = levels()
    assert sum(map(len, before)) == 200
    assert len(set(before[0]) | set(before[1]) | set(before[2])) == 200
    assert [len(part) for part in before] == [124, 18, 58]  # on any machine
    save(tmp_path / "cat" / "new.png", grey(0))
    after = levels()
    for old, new in zip(before, after, strict=True):
        assert set(old) <= set(new)
    assert levels(split_seed=1) != after
    dataset = load(tmp_path, "train[:50%]+train[50%:]")
    assert len(dataset) == len(after[0])
    assert "divided by a hash" in load(tmp_path, "test").notes[0]
    with pytest.raises(ValueError, match="has no split 'text'"):
        load(tmp_path, "text")
    with pytest.raises(ValueError, match="no slice between"):
        load(tmp_path, "train[90%:10%]")


def test_validation_is_a_share_of_train_where_it_is_missing(tmp_path):
    make(tmp_path / "training", ["cat", "dog"], per_folder=50)
    make(tmp_path / "test", ["cat", "dog"], per_folder=2)
    names = ("train", "validation", "test")
    sizes = [len(of) for of in data.load_splits(f"folder:{tmp_path}", names)]
    assert sum(sizes[:2]) == 100
    assert 0 < sizes[1] < 25
    assert sizes[2] == 4


SIDEWAYS = Image.Exif()
SIDEWAYS[274] = 6
ALPHA = [[[255, 0, 0, 0], [0, 0, 255, 128]]]


@pytest.mark.parametrize(
    ("name", "make_image", "options", "pixels"),
    [
        (
            "sixteen.png",
            Image.fromarray(np.array([[0, 256], [32768, 65535]], np.uint16)),
            {},
            [[[0], [1]], [[128], [255]]],
        ),
        (
            "sixteen.tif",
            Image.fromarray(np.array([[0, 256], [32768, 65535]], np.uint16)),
            {},
            [[[0], [1]], [[128], [255]]],
        ),
        (
            "sideways.png",
            Image.fromarray(np.array([[40, 80, 120], [160, 200, 240]], np.uint8)),
            {"exif": SIDEWAYS},
            [[[160], [40]], [[200], [80]], [[240], [120]]],
        ),
        (
            "upright.png",
            Image.fromarray(np.array([[40, 80, 120], [160, 200, 240]], np.uint8)),
            {},
            [[[40], [80], [120]], [[160], [200], [240]]],
        ),
        (
            "alpha.png",
            Image.fromarray(np.array(ALPHA, np.uint8)),
            {},
            [[[255, 255, 255], [127, 127, 255]]],
        ),
        (
            "grey_alpha.png",
            Image.fromarray(np.array([[[0, 128], [9, 0]]], np.uint8)),
            {},
            [[[127], [255]]],
        ),
        (
            "one_bit.png",
            Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"),
            {},
            [[[0], [255]]],
        ),
        (
            "cmyk.tif",
            Image.new("CMYK", (1, 1), (0, 255, 255, 0)),
            {},
            [[[255, 0, 0]]],
        ),
        (
            "animated.gif",
            Image.new("L", (1, 1), 7),
            {"save_all": True, "append_images": [Image.new("L", (1, 1), 200)]},
            [[[7, 7, 7]]],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pixels(tmp_path, name, make_image, options, pixels):
    folder = tmp_path / "of"
    folder.mkdir()
    make_image.save(folder / name, **options)
    dataset = load(tmp_path)
    image = dataset.source[0]["image"]
    assert image.dtype == np.uint8
    assert image.shape == dataset.image_shape
    if name == "animated.gif":  # GIF has palettes only
        assert "1 animated, of which the first frame is taken" in dataset.notes[-1]
        assert abs(image.astype(int) - pixels).max() <= 1
    else:
        assert image.tolist() == pixels


def test_what_is_odd_about_a_file_is_no_reason_to_refuse_it(tmp_path):
    make(tmp_path, ["a"])
    damaged = PngImagePlugin.PngInfo()
    damaged.add_text("Raw profile type exif", "\nexif\n8\nno hexadecimal numbers")
    save(tmp_path / "a" / "exif.png", grey(7), pnginfo=damaged)
    first, second = Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 9)
    first.save(
        tmp_path / "a" / "of_a_telephone.mpo", save_all=True, append_images=[second]
    )
    os.rename(tmp_path / "a" / "of_a_telephone.mpo", tmp_path / "a" / "telephone.jpg")
    dataset = load(tmp_path)
    images, _ = data.as_arrays(dataset)
    assert sorted(set(images.ravel().tolist())) == [0, 7]
    assert dataset.notes == (
        "Of 3 images: 1 with EXIF that cannot be read, taken as upright.",
    )


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    make(tmp_path, ["a"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(data.UnreadableImageError, match="decompression bomb"):
        load(tmp_path)


def test_names_that_are_no_utf8(tmp_path):
    make(tmp_path, ["a"])
    odd = os.fsencode(tmp_path / "a") + b"/caf\xe9"
    (tmp_path / "a" / "0.png").rename(os.fsdecode(odd + b".png"))
    pathlib.Path(os.fsdecode(odd + b".txt")).write_text("none")
    dataset = load(tmp_path)
    assert dataset.source[0]["image"].shape == (2, 3, 1)
    assert dataset.notes[0].isprintable()
    assert r"a/caf\udce9.txt" in dataset.notes[0]
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(ValueError, match="is no UTF-8: rename it"):
        load(tmp_path)


def test_a_palette_is_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([1, 0])
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "palette.png")
    image.save(tmp_path / "a" / "seen_through.png", transparency=0)
    images, _ = data.as_arrays(load(tmp_path))
    assert images[0].tolist() == [[[0, 255, 0], [255, 0, 0]]]
    assert images[1].tolist() == [[[0, 255, 0], [255, 255, 255]]]


def test_sizes_and_colours_may_be_mixed(tmp_path):
    save(tmp_path / "a" / "small.png", grey(5, 8, 8))
    save(tmp_path / "a" / "large.jpg", np.full((9, 12, 3), 200))
    dataset = load(tmp_path)
    assert dataset.image_shape == (None, None, 3)
    text = " ".join(dataset.notes)
    assert "heights are from 8 to 9 pixels and widths from 8 to 12" in text
    assert "1 grey, made RGB" in text
    same = data.convert(dataset, (8, 8, 3))
    images, _ = data.as_arrays(same)
    assert images.shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match="vary in size"):
        data.as_arrays(dataset)


def test_splits_share_their_channels(tmp_path):
    save(tmp_path / "train" / "a" / "0.png", grey(5))
    save(tmp_path / "test" / "a" / "0.png", np.full((2, 3, 3), 9))
    names = ("train[:100%]", "test", "test")
    train, test, again = data.load_splits(f"folder:{tmp_path}", names)
    assert again is test
    assert train.image_shape == test.image_shape == (2, 3, 3)


def broken(tmp_path):
    make(tmp_path, ["cat", "dog"], per_folder=2)
    save(
        tmp_path / "dog" / "cut.jpg",
        np.random.default_rng(0).integers(0, 255, (2, 3, 3)),
    )
    jpeg = (tmp_path / "dog" / "cut.jpg").read_bytes()
    (tmp_path / "dog" / "cut.jpg").write_bytes(jpeg[:-20])
    (tmp_path / "cat" / "none.png").write_bytes(b"not an image")
    (tmp_path / "cat" / "nothing.png").write_bytes(b"")


def test_an_unreadable_file_stops_and_is_named(tmp_path):
    broken(tmp_path)
    with pytest.raises(
        data.UnreadableImageError,
        match=r"cat/none.png cannot be read as an image: .*--skip-unreadable leaves",
    ):
        load(tmp_path)


def test_unreadable_files_are_left_out_and_counted(tmp_path):
    broken(tmp_path)
    dataset = load(tmp_path, skip_unreadable=True)
    images, labels = data.as_arrays(dataset)
    assert len(images) == len(dataset) == 4
    assert labels.tolist() == [0, 0, 1, 1]
    assert dataset.notes[-1] == (
        "Left out as no readable images: 3 of all "
        "(cat/none.png, cat/nothing.png, dog/cut.jpg)."
    )
    for path in tmp_path.glob("*/[0-9].png"):
        path.unlink()
    with pytest.raises(ValueError, match="none of the 3 files"):
        load(tmp_path, skip_unreadable=True)


def test_a_cut_file_stops_the_reading_with_its_name(tmp_path):
    broken(tmp_path)
    for name in ("none.png", "nothing.png"):
        (tmp_path / "cat" / name).unlink()
    dataset = load(tmp_path)
    with pytest.raises(data.UnreadableImageError, match=r"dog/cut.jpg cannot be read"):
        list(data.batches(dataset, 8))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "has no class folders"),
        (["cat", "dog"], r"\(cat, dog\) hold no images"),
    ],
)
def test_a_folder_without_images_is_refused(tmp_path, folders, message):
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        data.require_known(f"folder:{tmp_path}/nowhere")


def test_two_folders_for_one_part_are_refused(tmp_path):
    for name in ("val", "valid", "train"):
        make(tmp_path / name, ["a", "b"])
    with pytest.raises(ValueError, match="two folders for validation: val and valid"):
        load(tmp_path, "test")


def test_of_many_files_some_are_looked_at_and_the_others_are_held_to_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_looks, "_LOOKED_AT", 2)
    make(tmp_path, ["a"], per_folder=3)
    save(tmp_path / "a" / "1.png", grey(0, 5, 5))
    dataset = load(tmp_path)
    assert dataset.image_shape == (2, 3, 1)
    with pytest.raises(
        ValueError, match=r"a/1.png is 5x5, and the images looked at are"
    ):
        data.as_arrays(dataset)
    save(tmp_path / "a" / "1.png", np.full((2, 3, 3), 9))
    with pytest.raises(data.UnreadableImageError, match=r"a/1.png .* has colours"):
        data.as_arrays(load(tmp_path))


def test_large_sets_are_known_by_their_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "_BYTES_HASHED", 0)
    for part in "ab":
        save(tmp_path / part / "0.bmp", grey(3))
    before = load(tmp_path).fingerprint
    save(tmp_path / "a" / "0.bmp", grey(4))
    assert load(tmp_path).fingerprint == before
    save(tmp_path / "a" / "0.bmp", grey(4, 3, 3))
    assert load(tmp_path, skip_unreadable=True).fingerprint != before


def test_an_image_is_decoded_once(tmp_path, monkeypatch):
    make(tmp_path, ["a", "b"], per_folder=3)
    decoded = []

    def decode(path, channels):
        decoded.append(path)
        return _images.decode(path, channels)

    monkeypatch.setattr(_files, "_images", types.SimpleNamespace(decode=decode))
    dataset = data.convert(load(tmp_path), (4, 4, 3))
    for _ in range(2):
        list(data.batches(dataset, 4))
    assert sorted(decoded) == sorted(map(str, tmp_path.glob("*/*.png")))
    floats = data.from_arrays("f", np.full((2, 2, 2, 1), 0.4), [0, 0], ["a"])
    smaller = data.kept(data.convert(floats, (1, 1, 1)))
    for _ in range(2):
        np.testing.assert_allclose(data.as_arrays(smaller)[0], 0.4, rtol=1e-6)


def test_paths_are_kept_compactly():
    names = [f"class {n % 7}/ä{n}.png" for n in range(1000)]
    paths = _files.Paths(names)
    assert [paths[number] for number in range(1000)] == names
    assert paths[-1] == names[-1]
    assert len(paths.some([3, 5])) == 2
    assert len(_files.Paths([])) == 0


def test_the_fingerprint_is_of_what_the_files_hold_and_not_of_their_place(tmp_path):
    for place in ("here", "there"):
        make(tmp_path / place, ["cat", "dog"])
    here, there = load(tmp_path / "here"), load(tmp_path / "there")
    assert here.fingerprint == there.fingerprint
    save(tmp_path / "there" / "cat" / "0.png", grey(3))
    assert load(tmp_path / "there").fingerprint != here.fingerprint


def test_files_and_folders_without_classes_are_images_in_the_order_given(tmp_path):
    make(tmp_path / "many", ["dog", "cat"])
    save(tmp_path / "one.png", grey(7, 4, 4))
    (tmp_path / "many" / "notes.txt").write_text("not an image")
    given = [tmp_path / "one.png", str(tmp_path / "many")]
    images = data.from_files(given)
    assert images.image_shape == (None, None, 1)
    assert images.class_names == ()
    names = [str(tmp_path / name) for name in ("one.png", "many/cat/0.png")]
    assert data.file_names(images)[:2] == tuple(names)
    levels = [images.source[n]["image"].max() for n in range(len(images))]
    assert levels == [7, 1, 0]
    assert "1 no images by their names" in images.notes[0]
    assert data.from_files([given[1]]).fingerprint != images.fingerprint
    save(tmp_path / "red.png", [[[255, 0, 0]]])
    colours = data.from_files([tmp_path / "red.png", tmp_path / "one.png"])
    assert colours.source[1]["image"].shape == (4, 4, 3)
    for path, said in [
        ("gone.png", "there is no file or folder .*gone.png"),
        ("empty", "empty: holds no images"),
        ("many/notes.txt", "notes.txt cannot be read as an image"),
    ]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises((FileNotFoundError, ValueError), match=said):
            data.from_files([tmp_path / path])
    skipped = data.from_files(
        [tmp_path / "many/notes.txt", tmp_path / "one.png"], skip_unreadable=True
    )
    assert len(skipped) == 1
    assert "Left out as no readable images" in skipped.notes[-1]


def test_the_names_of_files_follow_the_records(tmp_path):
    make(tmp_path, ["a", "b"], 2)
    kept = data.load(f"folder:{tmp_path}", "all", ignore_labels=["a"])
    assert [pathlib.Path(n).parent.name for n in data.file_names(kept)] == ["b", "b"]
    sized = data.convert(kept, (4, 4, 1))
    assert data.file_names(data.relabelled(sized, [1], ["b", "a"])) == (
        data.file_names(kept)
    )
    assert data.file_names(data.load("digits")) == ()
