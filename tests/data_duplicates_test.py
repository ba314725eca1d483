"""Images that are in the training set and in the test set."""

import numpy as np
import pytest
from PIL import Image

from trustjax import data


def random_bytes(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_images_of_training_are_found_in_the_test_set(tmp_path):
    images, labels = random_bytes(20, 4, 4, 1), np.arange(20) % 2
    train = data.from_arrays("t", images[:12], labels[:12], ["a", "b"])
    both = np.concatenate([images[10:], images[15:16]])  # 10 and 11 are in training
    test = data.from_arrays("t", both, np.array([1, *labels[11:], 1]), ["a", "b"])
    shared = data.shared_images(train, test)
    assert shared is not None
    assert shared.in_training.tolist() == [True, True, *[False] * 9]
    assert shared.relabelled.tolist() == [True, *[False] * 10]
    assert shared.repeated.tolist() == [*[False] * 10, True]
    assert shared.notes()[0].startswith(
        "2 of the 11 test images are also in the training set (the same pixels), 1 of"
    )


@pytest.mark.parametrize("size", [(2, 3), (80, 90)], ids=["in the head", "behind it"])
def test_files_of_training_are_found_in_the_test_set(tmp_path, size):
    images = random_bytes(4, *size)
    images[1:, size[0] // 2 :] = images[0, size[0] // 2 :]  # BMP begins below
    for part, numbers in (("train", [0, 1]), ("test", [1, 2, 3])):
        for number in numbers:
            folder = tmp_path / part / f"class {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).save(folder / f"{number}.bmp")
    (tmp_path / "train" / "class 0" / "3.bmp").write_bytes(
        (tmp_path / "test" / "class 1" / "3.bmp").read_bytes()
    )
    names = ("train+validation", "test")
    train, test = data.load_splits(f"folder:{tmp_path}", names)
    shared = data.shared_images(train, data.convert(test, (5, 5, 1)))
    assert shared is not None
    assert shared.compared == "file contents"
    # In the order of the folders: image 2, then 1 and 3.
    assert shared.in_training.tolist() == [False, True, True]
    assert shared.relabelled.tolist() == [False, False, True]


def test_a_stream_of_records_is_not_compared():
    class Stream:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise NotImplementedError

        take = __getitem__

    stream = data.Dataset("s", "test", Stream(), ("a",), (2, 2, 1), "f")
    assert data.shared_images(stream, stream) is None
