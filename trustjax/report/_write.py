"""The files of a page: the old ones or the new ones, whole."""

import json
import os
import pathlib
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trustjax import _files
from trustjax.assess import Assessment, NetworkComparison, Predictions, arrays_of
from trustjax.report import (
    _detect_json,
    _detect_page,
    _explain_page,
    _explain_sheet,
    _json,
    _network_page,
    _page,
    _trust_report,
)
from trustjax.report._detected import DetectionPage
from trustjax.report._explained import Explanations, MistakeMaps
from trustjax.typing import ProgressFn

_OURS = re.compile(
    r"(figures/[\w-]+\.svg|tables/[\w-]+\.csv|maps/[\w-]+\.npz|[\w-]+\.(npz|png))"
)

_Writer = Callable[[pathlib.Path], object]


def write(
    assessment: Assessment,
    predictions: Predictions,
    out: str | os.PathLike[str],
    *,
    mistakes: MistakeMaps | None = None,
    progress: ProgressFn | None = None,
) -> pathlib.Path:
    """Writes `index.html`, `metrics.json`, `scores.npz`, `figures/` and `tables/`.

    All files are written before the first takes the place of an old one, so that an
    error or a full disk leaves the old report as it was. `index.html` stands alone;
    the others hold its figures (SVG), its tables (CSV), every number on it and every
    example's outputs and scores. The same assessment gives the same bytes.

    Args:
      assessment: what `assess.assess` came to.
      predictions: what it was made from, for the images and the per-example file.
      out: the folder; made if it is missing. Files of an older page in it that the new
        one has not are taken away, all others are left alone.
      mistakes: maps of some wrong answers, drawn on the page and kept in
        `mistakes.npz`; None leaves the section out.
      progress: hears, as the task `"drawing"`, how many of the sections are done.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: if the folder cannot be made or written, or the disk is full.
    """
    page = _trust_report.rendered(assessment, predictions, mistakes, progress)
    beside = {"scores.npz": _arrays(arrays_of(predictions))}
    if mistakes is not None and len(mistakes.numbers):
        kept = {"example": mistakes.numbers, "why": mistakes.why}
        beside["mistakes.npz"] = _arrays({**kept, "rather": mistakes.rather})
    return _write(page, _json.of_assessment(assessment), pathlib.Path(out), beside)


def write_explanations(
    explained: Explanations,
    out: str | os.PathLike[str],
    *,
    progress: ProgressFn | None = None,
) -> pathlib.Path:
    """Writes explanations: `index.html`, `index.png`, `metrics.json` and `maps/`.

    All as `write` does it; `maps/` holds a file of each image, with its raw maps.

    Args:
      explained: what `trustjax explain` found.
      out: the folder, as `write` takes it.
      progress: as in `write`.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: if the folder cannot be made or written, or the disk is full.
    """
    page = _explain_page.rendered(explained, progress)
    picture = _explain_sheet.sheet(explained)
    beside: dict[str, _Writer] = {
        f"maps/{name}.npz": _arrays(image.arrays)
        for name, image in zip(
            file_names([image.name for image in explained.images]),
            explained.images,
            strict=True,
        )
    }
    beside["index.png"] = lambda path: path.write_bytes(picture)
    numbers = _json.of_explanations(explained)
    return _write(page, numbers, pathlib.Path(out), beside)


def file_names(names: Sequence[str]) -> list[str]:
    """Names of images as those of their files, all different.

    >>> file_names(["photos/a cat.png", "17"])
    ['000-a-cat', '001-17']
    """
    stems = (os.path.splitext(os.path.basename(name))[0] for name in names)
    return [
        f"{number:03}-{re.sub(r'[^A-Za-z0-9_-]+', '-', stem)[:40]}"
        for number, stem in enumerate(stems)
    ]


def write_comparison(
    compared: NetworkComparison,
    out: str | os.PathLike[str],
    *,
    run: Mapping[str, Any] = types.MappingProxyType({}),
    progress: ProgressFn | None = None,
) -> pathlib.Path:
    """Writes a comparison of networks: as `write`, without `scores.npz`.

    Args:
      compared: what `assess.compare` came to.
      out: the folder, as `write` takes it.
      run: how the comparison came to be; written to the page as it is.
      progress: as in `write`.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: if the folder cannot be made or written, or the disk is full.
    """
    page = _network_page.rendered(compared, run, progress)
    numbers = {**_json.of_networks(compared), "run": run}
    return _write(page, numbers, pathlib.Path(out), {})


def write_detection(
    found: DetectionPage,
    out: str | os.PathLike[str],
    *,
    save: Callable[[pathlib.Path], object],
    arrays: Mapping[str, np.ndarray],
    progress: ProgressFn | None = None,
) -> pathlib.Path:
    """Writes a page about a detector, with `detector.npz` and `columns.npz`.

    All as `write` does it.

    Args:
      found: what `trustjax detect` found.
      out: the folder, as `write` takes it.
      save: writes the detector to a path.
      arrays: what it was fitted and tested on, for `columns.npz`.
      progress: as in `write`.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: if the folder cannot be made or written, or the disk is full.
    """
    page = _detect_page.rendered(found, progress)
    beside: dict[str, _Writer] = {
        "detector.npz": save,
        "columns.npz": _arrays(arrays),
    }
    return _write(page, _detect_json.numbers(found), pathlib.Path(out), beside)


def _arrays(arrays: Mapping[str, np.ndarray]) -> _Writer:
    return lambda path: np.savez_compressed(path, allow_pickle=False, **arrays)


def _write(
    page: _page.Rendered,
    numbers: Mapping[str, object],
    folder: pathlib.Path,
    beside: Mapping[str, _Writer],
) -> pathlib.Path:
    files = [*beside, *sorted(page.files)]
    text = _json.to_text({**numbers, "files": files})
    names = [*files, "metrics.json", "index.html"]
    leaving = _files_of_the_page_in(folder)
    with _files.written_together(folder, names, leaving) as new:
        for name, write_to in beside.items():
            write_to(new / name)
        for name, content in page.files.items():
            (new / name).write_text(content, encoding="utf-8")
        (new / "metrics.json").write_text(text, encoding="utf-8")
        (new / "index.html").write_text(page.html, encoding="utf-8")
    return folder / "index.html"


def _files_of_the_page_in(folder: pathlib.Path) -> list[str]:
    """What an older page in the folder says lies beside it, if there is one."""
    try:
        listed = json.loads((folder / "metrics.json").read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # no page, or one that names no files: then none are known as its own
    return [name for name in listed if isinstance(name, str) and _OURS.fullmatch(name)]
