"""The files of a report: the old ones or the new ones, whole."""

import os
import pathlib

import numpy as np

from trustjax import _files
from trustjax.assess import Assessment, Predictions
from trustjax.report import _json, _page

_NAMES = ("scores.npz", "metrics.json", "index.html")


def write(
    assessment: Assessment, predictions: Predictions, out: str | os.PathLike[str]
) -> pathlib.Path:
    """Writes `metrics.json`, `scores.npz` and `index.html`.

    All three are written before the first takes the place of an old one, so that an
    error or a full disk leaves the old report as it was. `index.html` stands alone;
    the same assessment gives the same bytes.

    Args:
      assessment: what `assess.assess` found.
      predictions: what it was found from, for the images and the per-example file.
      out: the folder; made if it is missing.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: if the folder cannot be made or written, or the disk is full.
    """
    folder = pathlib.Path(out)
    page = _page.render(assessment, predictions)
    numbers = _json.to_json(assessment)
    arrays = {
        predictions.outputs: predictions.logits
        if predictions.outputs == "logits"
        else predictions.probabilities,
        "labels": predictions.labels,
        "class_names": np.array(predictions.class_names),
        **{f"score_{name}": values for name, values in predictions.scores.items()},
    }
    with _files.written_together(folder, _NAMES) as new:
        np.savez_compressed(new / "scores.npz", allow_pickle=False, **arrays)
        (new / "metrics.json").write_text(numbers, encoding="utf-8")
        (new / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"
