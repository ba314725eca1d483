"""The files of a report, each written whole or not at all."""

import os
import pathlib

import numpy as np

from trustjax import _files
from trustjax.assess import Assessment, Predictions
from trustjax.report import _json, _page


def write(
    assessment: Assessment, predictions: Predictions, out: str | os.PathLike[str]
) -> pathlib.Path:
    """Writes `metrics.json`, `scores.npz` and `index.html`.

    All three are made before the first is written, and the page comes last: a folder
    with a new page has its numbers beside it. `index.html` stands alone; the same
    assessment gives the same bytes.

    Args:
      assessment: what `assess.assess` found.
      predictions: what it was found from, for the images and the per-example file.
      out: the folder; made if it is missing.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: if the folder cannot be made or written.
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
    with _files.written_whole(folder / "scores.npz") as path:
        np.savez_compressed(path, allow_pickle=False, **arrays)
    for name, text in (("metrics.json", numbers), ("index.html", page)):
        with _files.written_whole(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return folder / "index.html"
