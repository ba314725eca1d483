"""Real images on the page, as small as they can be seen."""

import base64
import io
from typing import NamedTuple

import numpy as np

from trustjax import _extras
from trustjax.assess import Assessment, Predictions, all_scores

with _extras.required("report"):
    from PIL import Image

LARGEST = 128  # pixels: more is not seen at the size of a stamp
SMALL = 48  # up to this size, every pixel is kept as it is


class Picture(NamedTuple):
    """One image and what to say of it.

    Attributes:
      source: a data address.
      alternative: what a reader who cannot see it is told.
      answer: the class the network named.
      label: the true class.
      right: whether they agree.
      confidence: of the answer.
      score: the best score's value.
      pixelated: whether to show the pixels rather than to blur them.
    """

    source: str
    alternative: str
    answer: str
    label: str
    right: bool
    confidence: float
    score: float
    pixelated: bool


def pictures(
    assessed: Assessment, predictions: Predictions
) -> dict[str, tuple[Picture, ...]]:
    """The gallery: what it shows -> its pictures; empty where there are no images."""
    if predictions.images is None:
        return {}
    score = all_scores(predictions)[assessed.best]
    names = [c.name for c in assessed.classes]

    def picture(index: int) -> Picture:
        answer = names[predictions.predicted[index]]
        label = names[predictions.labels[index]]
        confidence = float(predictions.confidence[index])
        source, pixelated = data_address(predictions.image(index))
        return Picture(
            source=source,
            alternative=f"example {index}: answered {answer} with confidence "
            f"{confidence:.3f}, labelled {label}",
            answer=answer,
            label=label,
            right=bool(predictions.correct[index]),
            confidence=confidence,
            score=float(score[index]),
            pixelated=pixelated,
        )

    return {
        name: tuple(picture(int(index)) for index in indices)
        for name, indices in assessed.gallery.items()
        if len(indices)
    }


def data_address(image: np.ndarray) -> tuple[str, bool]:
    """An image as a data address, and whether its pixels are to be seen."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    small = max(picture.size) <= SMALL
    if small:
        picture.save(file, format="PNG", optimize=True)
    else:
        picture.thumbnail((LARGEST, LARGEST))
        picture.save(file, format="JPEG", quality=85)
    kind = "png" if small else "jpeg"
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind};base64,{data}", small
