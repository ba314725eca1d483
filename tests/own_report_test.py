"""A report on somebody's own images, whole, and what stops it at the command line."""

import contextlib
import json
import pathlib
import re
import sys

import numpy as np
import pytest
from PIL import Image

from trustjax import cli, data, pipeline

pytestmark = pytest.mark.usefixtures("without_type_checks")


@pytest.fixture
def error_of(monkeypatch, capsys, tmp_path):
    """What a command that must fail says, on its one line."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["trustjax", *map(str, arguments)])
        with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        line, advice = capsys.readouterr().err.splitlines()
        assert advice.startswith("(TRUSTJAX_TRACEBACK=1")
        return line

    return run


def write(folder, count, classes=("dark", "light"), size=(10, 12), seed=0):
    """Noise around a grey level for each class."""
    rng = np.random.default_rng(seed)
    for place, name in enumerate(classes):
        pathlib.Path(folder, name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            shape = [side + int(rng.integers(3)) for side in size]
            level = 60 + 120 * place + rng.integers(-50, 50, (*shape, 3))
            image = Image.fromarray(level.clip(0, 255).astype(np.uint8))
            image.save(pathlib.Path(folder, name, f"{seed}-{number}.png"))


def test_a_report_on_a_folder(tmp_path):
    for seed, (part, count) in enumerate({"train": 40, "val": 8, "test": 15}.items()):
        write(tmp_path / part, count, seed=seed)
    write(tmp_path / "test", 2, ["unknown"])
    (tmp_path / "test" / "dark" / "cut.png").write_bytes(b"\x89PNG")
    copied = (tmp_path / "train" / "dark" / "0-3.png").read_bytes()
    (tmp_path / "test" / "light" / "copy.png").write_bytes(copied)
    strangers = tmp_path / "strangers"
    write(strangers, 5, [""])
    config = pipeline.ReportConfig(
        dataset=f"folder:{tmp_path}",
        class_names=("light", "dark"),
        ignore_label=("unknown",),
        skip_unreadable=True,
        image_size=(8, 8),
        model="mlp",
        epochs=2,
        scores=("max_softmax",),
        gradient_group=None,
        out_of_distribution=(f"folder:{strangers}",),
        out=tmp_path / "report",
        checkpoints=tmp_path / "network",
    )
    made = pipeline.trust_report(config)
    run = json.loads((tmp_path / "report" / "metrics.json").read_text())["run"]
    assert made.assessment.num_examples == 31
    assert run["class_names"] == ["light", "dark"]
    assert run["test_images_in_training_set"] == "1, by file contents"
    assert list(made.assessment.out_of_distribution) == ["strangers"]
    for part in (
        "for the label unknown: 0 of train, 0 of validation, 2 of test",
        "1 of test (test/dark/cut.png)",
        "heights are from 10 to 12 pixels and widths from 12 to 14",
        "resized to 8x8",
        "1 of the 31 test images are also in the training set (the same file contents)"
        ", 1 of them with another label",
    ):
        assert sum(part in note for note in made.notes) == 1
        assert part in made.page.read_text()
    assert tuple(run["notes"]) == made.notes


def test_what_stops_a_report(error_of, tmp_path):
    write(tmp_path / "one", 30, ["alone"])
    assert "has 1 class (alone): a classifier needs two" in error_of(
        "report", "--dataset", f"folder:{tmp_path}/one"
    )
    write(tmp_path / "two", 10)
    named = ("report", "--dataset", f"folder:{tmp_path}/two")
    assert "vary in size: --image-size" in error_of(*named)
    assert re.search(
        r"the label 'dark', which is none of the 1 classes \(light\)",
        error_of(*named, "--class-names", "light"),
    )
    assert "there is no /nowhere" in error_of("report", "--dataset", "folder:/nowhere")
    (tmp_path / "empty").mkdir()
    assert "no class folders" in error_of(
        "report", "--dataset", f"folder:{tmp_path}/empty"
    )
    (tmp_path / "two" / "dark" / "0-0.png").write_bytes(b"no image")
    assert "dark/0-0.png cannot be read as an image" in error_of(*named)
    (tmp_path / "rows.csv").write_text("path,label\ntwo/light/0-1.png,a\ngone.png,b\n")
    assert re.search(
        r"rows.csv, line 3, names .*gone.png, which is not there",
        error_of("report", "--dataset", f"csv:{tmp_path}/rows.csv"),
    )
    assert "are for own data" in error_of("report", "--skip-unreadable")


def test_strangers_need_no_class_folders(tmp_path):
    write(tmp_path / "flat", 3, [""])
    flat = data.out_of_distribution(f"folder:{tmp_path}/flat", (8, 8, 1))
    assert len(flat) == 3
    assert flat.image_shape == (8, 8, 1)
    write(tmp_path / "classes", 3)
    assert len(data.out_of_distribution(f"folder:{tmp_path}/classes", (8, 8, 3))) == 6
    for part in ("train", "test"):
        write(tmp_path / "parts" / part, 2)
    assert len(data.out_of_distribution(f"folder:{tmp_path}/parts", (8, 8, 3))) == 4
