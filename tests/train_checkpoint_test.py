"""Checkpoints that cannot be taken up: damaged, foreign, of another version."""

import dataclasses
import json
import shutil

import chex
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

import trustjax
from tests import full_disk
from tests.train_test import CONFIG, TRAIN, VALIDATION, params_of
from trustjax import train

# Where Orbax meets damage it closes its event loop, and readers that are still at work
# find it closed: an error in their threads, now and then, that nobody can catch.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def assert_same(result, expected):
    assert result.history == expected.history
    chex.assert_trees_all_equal(params_of(result), params_of(expected))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A finished run and its folder, with the checkpoints of steps 5 and 10."""
    folder = tmp_path_factory.mktemp("finished")
    config = dataclasses.replace(CONFIG, epochs=2)
    return folder, train.fit(
        config, TRAIN, VALIDATION, workdir=folder, checkpoint_every=5
    )


def cut(pattern):
    def damage(checkpoint):
        for path in checkpoint.glob(pattern):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def change_weights(checkpoint):
    """A byte that changed on the disk, which the format itself does not notice."""
    files = checkpoint.glob("state/ocdbt.process_0/d/*")
    path = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES = {
    "document": cut("document/metadata"),
    "description": cut("state/_METADATA"),
    "manifest": cut("state/manifest.ocdbt"),
    "arrays": cut("state/ocdbt.process_0/d/*"),
    "weights": change_weights,
    "no document": lambda checkpoint: shutil.rmtree(checkpoint / "document"),
    "no state": lambda checkpoint: shutil.rmtree(checkpoint / "state"),
    "nothing": lambda checkpoint: [*map(shutil.rmtree, checkpoint.glob("[ds]*"))],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_kept(
    tmp_path, two_checkpoints, damage
):
    folder = tmp_path / "run"
    shutil.copytree(two_checkpoints[0], folder)
    damage(folder / "10")
    before = contents(folder)
    message = f"{folder / '10'} is damaged .*going back to that of step 5"
    with pytest.warns(train.DamagedCheckpointWarning, match=message):
        assert train.load(folder).step == 5
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["weights", "no document"])
def test_a_run_goes_on_from_the_last_whole_checkpoint(
    tmp_path, two_checkpoints, damage
):
    folder = tmp_path / "run"
    original, finished = two_checkpoints
    shutil.copytree(original, folder)
    DAMAGES[damage](folder / "10")
    before = contents(folder)
    with pytest.warns(train.DamagedCheckpointWarning, match="kept as 10-damaged-1"):
        again = train.fit(
            finished.config, TRAIN, VALIDATION, workdir=folder, checkpoint_every=5
        )
    assert_same(again, finished)
    for name, content in before.items():
        step, _, rest = name.partition("/")
        kept = folder / (step if step == "5" else "10-damaged-1") / rest
        assert kept.read_bytes() == content
    assert train.load(folder).step == 10


def test_damaged_checkpoints_alone_are_an_error_and_stay(tmp_path, two_checkpoints):
    folder = tmp_path / "run"
    original, finished = two_checkpoints
    shutil.copytree(original, folder)
    for step in ("5", "10"):
        change_weights(folder / step)
    before = contents(folder)
    with pytest.raises(ValueError, match=f"no checkpoint in {folder} can be read: "):
        train.load(folder)
    with pytest.raises(ValueError, match=r"no checkpoint .* can be read"):
        train.fit(finished.config, TRAIN, VALIDATION, workdir=folder)
    assert contents(folder) == before


def orbax_checkpoint(arguments):
    def write(folder):
        with ocp.CheckpointManager(folder) as manager:
            manager.save(10, args=arguments)
            manager.wait_until_finished()

    return write


def photos(folder):
    (folder / "7").mkdir()
    (folder / "7" / "seven.png").write_text("the user's")


FOREIGN = {
    "state alone": orbax_checkpoint(
        ocp.args.StandardSave({"params": {"w": jnp.ones(3)}})
    ),
    "our entries": orbax_checkpoint(
        ocp.args.Composite(
            state=ocp.args.StandardSave({"w": jnp.ones(3)}),
            document=ocp.args.JsonSave({"note": 1}),
        )
    ),
    "photos": photos,
    "a file": lambda folder: (folder / "2024").write_text("the user's"),
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_what_trustjax_did_not_write_is_refused_and_stays(tmp_path, write):
    write(tmp_path)
    left_over = tmp_path / "3.orbax-checkpoint-tmp" / "default"
    left_over.mkdir(parents=True)
    before = contents(tmp_path)
    message = f"{tmp_path} holds no checkpoint of trustjax: .*another folder"
    with pytest.raises(ValueError, match=message):
        train.load(tmp_path)
    with pytest.raises(ValueError, match=message):
        train.fit(CONFIG, TRAIN, VALIDATION, workdir=tmp_path)
    assert contents(tmp_path) == before
    assert left_over.exists()


def test_a_checkpoint_of_another_version_is_named(tmp_path, two_checkpoints):
    folder = tmp_path / "run"
    original, finished = two_checkpoints
    shutil.copytree(original, folder)
    for path in folder.glob("*/document/metadata"):
        document = json.loads(path.read_text())
        document["identity"]["config"]["label_smoothing"] = 0.1
        document["trustjax"] = "9.0"
        path.write_text(json.dumps(document))
    message = (
        f"{folder} holds a checkpoint of trustjax 9.0, and trustjax "
        f"{trustjax.__version__} cannot take it up: .*'label_smoothing'"
    )
    with pytest.raises(ValueError, match=message):
        train.load(folder)
    with pytest.raises(ValueError, match=message):
        train.fit(finished.config, TRAIN, VALIDATION, workdir=folder)


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoints(
    tmp_path, two_checkpoints
):
    folder = tmp_path / "run"
    original, finished = two_checkpoints
    shutil.copytree(original, folder)
    shutil.rmtree(folder / "10")
    before = contents(folder)
    run = lambda: train.fit(
        finished.config, TRAIN, VALIDATION, workdir=folder, checkpoint_every=3
    )
    with (
        full_disk.files_of_at_most(4096),
        pytest.raises(OSError, match=f"cannot write the checkpoint {folder / '6'}: "),
    ):
        run()
    assert contents(folder) == before
    assert_same(run(), finished)
