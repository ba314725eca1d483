"""`trustjax convert`: weights of one framework for others, and of the hub."""

import hashlib
import pathlib
import sys

import numpy as np
import pytest
from flax import nnx

from trustjax import cli, models, pipeline, weights
from trustjax.models import _weights

TORCH = pathlib.Path(__file__).parent / "golden" / "torch"


def convert(source, destination, **options):
    return pipeline.convert(
        pipeline.ConversionConfig(str(source), destination, **options)
    )


def network(name, num_classes):
    row = models.known(name)
    return models.create(
        name,
        num_classes=num_classes,
        image_shape=row.image_shape,
        rngs=nnx.Rngs(0),
    )


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_checkpoint_of_pytorch_becomes_a_file_of_arrays(tmp_path):
    made = convert(TORCH / "checkpoint.pth", tmp_path / "a.safetensors")
    assert made.destination == tmp_path / "a.safetensors"
    taken, found = made.notes
    assert taken.startswith("the weights are its state_dict; left out: epoch")
    assert found.startswith("found 20 arrays of 131 numbers (float32, float16, bfloat")
    assert found.endswith("): plain, transposed, offset, ...")
    original = weights.read(TORCH / "checkpoint.pth")
    assert_same(weights.read(tmp_path / "a.safetensors"), original)


@pytest.mark.exhaustive
def test_a_twin_becomes_the_librarys_own(tmp_path):
    own = models.arrays(network("resnet18_cifar", 7))
    row = models.known("resnet18_cifar")
    assert row.torch_names is not None
    twin = {
        _weights.torch_name(path, row.torch_names): np.transpose(
            array,
            _weights._TORCH_ORDER[array.ndim] if path.endswith("kernel") else None,
        )
        for path, array in own.items()
        if array.ndim != 1
    } | {
        _weights.torch_name(path, row.torch_names): array
        for path, array in own.items()
        if array.ndim == 1
    }
    counted = {**twin, "bn1.num_batches_tracked": np.asarray(3)}
    weights.write(tmp_path / "twin.safetensors", counted)
    made = convert(
        tmp_path / "twin.safetensors",
        tmp_path / "own",
        model="resnet18_cifar",
        num_classes=7,
    )
    assert made.notes[-1].startswith(f"as resnet18_cifar: {len(own)} arrays")
    assert_same(weights.read(tmp_path / "own"), own)
    again = convert(
        tmp_path / "own", tmp_path / "own.npz", model="resnet18_cifar", num_classes=7
    )
    assert_same(weights.read(again.destination), own)


def test_weights_of_another_network_write_nothing(tmp_path):
    weights.write(tmp_path / "mlp.npz", models.arrays(network("mlp", 10)))
    with pytest.raises(ValueError, match=r"mlp\.npz: the weights are of another"):
        convert(tmp_path / "mlp.npz", tmp_path / "cnn.npz", model="cnn")
    with pytest.raises(ValueError, match=r"dense/bias must .*\(7,\), got \(10,\)"):
        convert(tmp_path / "mlp.npz", tmp_path / "a", model="mlp", num_classes=7)
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.npz"]


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a"])
def test_what_is_there_stays_unless_it_may_go(tmp_path, name):
    convert(TORCH / "row.pth", tmp_path / "first.safetensors")
    source = tmp_path / "second.npz"
    weights.write(source, {"a": np.ones(3)})
    weights.write(tmp_path / name, {"b": np.ones(2)})
    with pytest.raises(FileExistsError, match="is there; overwrite replaces it"):
        convert(source, tmp_path / name)
    assert list(weights.read(tmp_path / name)) == ["b"]
    convert(source, tmp_path / name, overwrite=True)
    assert list(weights.read(tmp_path / name)) == ["a"]
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="something else; it stays"):
        convert(TORCH / "row.pth", tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_bad_choices_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"model must be one of .*cnn"):
        convert("nowhere.npz", tmp_path / "a", model="resnet19")
    with pytest.raises(ValueError, match="give its name as model"):
        convert("nowhere.npz", tmp_path / "a", num_classes=3)
    with pytest.raises(ValueError, match=r"got .*a\.pth"):
        convert("nowhere.npz", tmp_path / "a.pth")


def test_the_command_says_what_it_found(tmp_path, monkeypatch, capsys):
    source, destination = TORCH / "recent.pt", tmp_path / "a.safetensors"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    options = ["--sha256", digest]
    command = ["trustjax", "convert", str(source), str(destination), *options]
    monkeypatch.setattr(sys, "argv", command)
    cli.main()
    assert capsys.readouterr().out.splitlines() == [
        "found 2 arrays of 6 numbers (uint16, float8_e4m3fn): uint16, float8",
        f"weights: {destination}",
    ]
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "is there; overwrite replaces it" in capsys.readouterr().err


def test_a_report_wants_the_weights_that_were_named(tmp_path):
    weights.write(tmp_path / "mlp.npz", models.arrays(network("mlp", 10)))
    config = pipeline.ReportConfig(
        dataset="mnist5k",
        model="mlp",
        weights=str(tmp_path / "mlp.npz"),
        weights_sha256="0" * 64,
        out=tmp_path / "out",
    )
    with pytest.raises(ValueError, match=r"mlp\.npz: its SHA-256 is .* expected 0000"):
        pipeline.trust_report(config)
    assert not list((tmp_path / "out").iterdir())


# The hub, whose downloader is replaced: tests download nothing.

errors = pytest.importorskip("huggingface_hub.errors", reason="needs the extra hub")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What was asked of the hub, and what it answers."""
    asked = []
    weights.write(tmp_path / "cached.npz", {"a": np.ones(2)})
    answer = {"value": str(tmp_path / "cached.npz")}

    def download(repository, file, *, revision):
        asked.append((repository, file, revision))
        if isinstance(answer["value"], Exception):
            raise answer["value"]
        return answer["value"]

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked, answer


def test_a_file_of_the_hub_is_read_at_its_revision(hub):
    asked, answer = hub
    digest = hashlib.sha256(pathlib.Path(answer["value"]).read_bytes()).hexdigest()
    address = "hub:timm/resnet18.a1_in1k/sub/model.safetensors@v1.0"
    assert list(weights.read(address, sha256=digest)) == ["a"]
    assert list(weights.read("hub:owner/name/model.npz")) == ["a"]
    assert asked == [
        ("timm/resnet18.a1_in1k", "sub/model.safetensors", "v1.0"),
        ("owner/name", "model.npz", None),
    ]
    with pytest.raises(ValueError, match="its SHA-256 is"):
        weights.read(address, sha256="0" * 64)


@pytest.mark.parametrize(
    "error",
    [
        errors.LocalEntryNotFoundError("offline"),
        ConnectionError("offline"),
        TimeoutError("offline"),
    ],
)
def test_without_the_internet_that_is_said(hub, error):
    _, answer = hub
    answer["value"] = error
    with pytest.raises(ConnectionError, match=r"hub:a/b/c: the hub cannot .*offline"):
        weights.read("hub:a/b/c")


def test_a_file_that_the_hub_has_not(hub):
    _, answer = hub
    answer["value"] = errors.EntryNotFoundError("404: no such entry")
    with pytest.raises(ValueError, match="hub:a/b/c: 404: no such entry"):
        weights.read("hub:a/b/c")


@pytest.mark.parametrize("address", ["hub:a", "hub:a/b", "hub:a/b/c@", "hub:/b/c"])
def test_what_is_no_address_is_refused(hub, address):
    asked, _ = hub
    with pytest.raises(ValueError, match="expected hub:owner/repository/file"):
        weights.read(address)
    assert asked == []
