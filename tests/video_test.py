"""Clips of video go where images go: data, batches, training, scoring, the page."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import moving_digits, small_networks
from trustjax import assess, data, passes, pipeline, scoring
from trustjax._questions import images as checked_images
from trustjax.report import _gallery


def test_batches_hold_every_clip_once_in_the_unit_interval():
    clips = moving_digits.dataset("moving", 5, seed=0)
    assert clips.fixed_shape == (6, 20, 20, 1)
    batches = list(data.batches(clips, 4))
    seen = np.concatenate([batch["index"][batch["mask"]] for batch in batches])
    assert sorted(seen.tolist()) == [0, 1, 2, 3, 4]
    for batch in batches:
        for clip, number in zip(batch["image"], batch["index"], strict=True):
            if number >= 0:
                expected = clips.source[int(number)]["image"] / np.float32(255)
                np.testing.assert_allclose(clip, expected, rtol=1e-6)
    stacked, labels = data.as_arrays(data.kept(clips))
    assert stacked.shape == (5, 6, 20, 20, 1)
    assert labels.shape == (5,)


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3, 6, 20, 20), 1), ((2, 6, 3, 20, 20), 2)]
)
def test_clips_with_channels_first_are_named_with_the_way(shape, axis):
    with pytest.raises(ValueError, match=rf"np\.moveaxis\(images, {axis}, -1\)"):
        data.from_arrays("mine", np.zeros(shape), np.zeros(2, int), ["a"])
    assert checked_images(np.moveaxis(np.zeros(shape), axis, -1)).shape[-1] == 3


@pytest.mark.parametrize("clips", [np.zeros((2, 6, 20, 20, 1)), np.zeros((2, 9, 7, 3))])
def test_clips_and_images_are_both_taken(clips):
    dataset = data.from_arrays("mine", clips, np.zeros(2, int), ["a"])
    assert dataset.image_shape == clips.shape[1:]


def test_each_frame_is_converted_and_a_still_image_is_repeated():
    clips = moving_digits.dataset("moving", 2, seed=0)
    converted = data.convert(clips, (6, 10, 12, 3))
    frames, _ = data.as_arrays(clips)
    frame = data.from_arrays("frame", frames[:, 4], np.zeros(2, int), ["a"])
    alone = data.convert(frame, (10, 12, 3))
    np.testing.assert_array_equal(
        converted.source[1]["image"][4], alone.source[1]["image"]
    )
    still = data.convert(frame, (6, 10, 12, 3)).source[1]["image"]
    np.testing.assert_array_equal(still, np.stack([alone.source[1]["image"]] * 6))
    for shape in [(5, 10, 12, 3), (10, 12, 3)]:
        with pytest.raises(ValueError, match="moving have 6 frames"):
            data.convert(clips, shape)


@pytest.mark.parametrize("name", ["letters", "uniform_noise"])
def test_sets_of_none_of_the_classes_come_as_clips(name):
    others = data.out_of_distribution(name, (3, 20, 20, 1), num_examples=4)
    assert others.image_shape == (3, 20, 20, 1)
    clip = others.source[0]["image"]
    assert (clip[0] == clip[1]).all() == (name == "letters")


def test_the_frames_of_a_clip_are_shifted_alike():
    clips = jnp.asarray(moving_digits.clips(8)[0] / 255, jnp.float32)
    shifted = passes.random_shift(clips, jax.random.key(0), 2)
    of_frame = passes.random_shift(clips[:, 3], jax.random.key(0), 2)
    np.testing.assert_array_equal(shifted[:, 3], of_frame)
    assert not np.array_equal(shifted, clips)


def test_scores_of_clips_are_scores_of_their_network():
    apply_fn, params, x = small_networks.network("r3d")
    asked = ["logits", "max_softmax", "gradient_l2_norm", "grad_norm"]
    labels = np.zeros(len(x), int)
    found = scoring.run(
        asked, apply_fn, params, scoring.batches(x, labels, batch_size=3)
    )
    expected = jax.jit(apply_fn)(params, x)
    np.testing.assert_allclose(found.values["logits"], expected, rtol=1e-4, atol=1e-5)
    assert all(found.values[name].shape[0] == len(x) for name in asked)


@pytest.mark.parametrize("kind", ["array", "by number"])
def test_the_page_shows_the_middle_frame(kind):
    clips, labels = moving_digits.clips(6, frames=5)
    logits = np.eye(4)[labels]
    images = clips if kind == "array" else list(clips)
    predictions = assess.Predictions(logits, labels, images=images)
    np.testing.assert_array_equal(predictions.image(2), clips[2, 2])
    with pytest.raises(ValueError, match="or with frames before the height"):
        assess.Predictions(logits, labels, images=clips[:3])


@pytest.mark.exhaustive
def test_a_report_on_clips(tmp_path):
    """Trained, scored and written: the network is chosen by the shape of the clips."""
    parts = {"train": 60, "validation": 20, "test": 30}
    made = {
        part: moving_digits.dataset("moving", count, seed=seed, split=part)
        for seed, (part, count) in enumerate(parts.items())
    }
    letters = data.out_of_distribution("letters", (6, 20, 20, 1), num_examples=20)
    config = pipeline.ReportConfig(
        dataset="moving",
        epochs=1,
        batch_size=20,
        out=tmp_path / "report",
        checkpoints=tmp_path / "checkpoints",
    )
    datasets = pipeline.Datasets(**made, others={"letters": letters})
    written = pipeline.report_on(datasets, config)
    page = written.page.read_text()
    assert "r3d_8" in page
    assert "stages/2/0/conv2" in page
    shown = [
        _gallery.data_address(clip[len(clip) // 2])[0]
        for clip in data.as_arrays(made["test"])[0]
    ]
    assert sum(address in page for address in shown) > 10
