"""From images and a network to a page that says why it answers as it does."""

import os
import pathlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trustjax import _files, data, explain, report
from trustjax.pipeline import (
    _dataset,
    _explain_maps,
    _mistakes,
    _page,
    _provenance,
    _ready,
)
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._explain_config import (
    ExplainConfig,
    numbers_of,
)
from trustjax.pipeline._network import Network
from trustjax.pipeline._representatives import representatives
from trustjax.typing import ProgressFn

MOST_IMAGES = 100
CONTRASTS = 2  # classes that an answer is compared with, where none are named
_UNFINISHED = ".unfinished"
_FILES = "files"


class Explained(NamedTuple):
    """A finished page.

    Attributes:
      page: the path of `index.html`.
      explanations: what is on it.
      notes: what was left out or taken for granted, a sentence each.
    """

    page: pathlib.Path
    explanations: report.Explanations
    notes: tuple[str, ...]


class _Subject(NamedTuple):
    """What is asked, and about what.

    Attributes:
      network: as it takes images in [0, 1].
      images: those to be explained, in the network's size.
      names: of each of them.
      class_names: of the network.
      dataset: where images of its classes are; None for nowhere.
      notes: what was found on the way, a sentence each.
    """

    network: Network
    images: data.Dataset
    names: Sequence[str]
    class_names: tuple[str, ...]
    dataset: data.Dataset | None
    notes: tuple[str, ...]


def explanations(
    config: ExplainConfig, *, progress: ProgressFn | None = None, command: str = ""
) -> Explained:
    """Asks a network why, about each of some images, and writes the page.

    A run that was killed goes on where it stopped when it is started again: the maps
    of each image are kept whole or not at all, in `.unfinished` beside the page.

    Args:
      config: which images, which network, which methods.
      progress: hears how far each long task is.
      command: how a reader can make the page again; written on it.

    Returns:
      The page, and what is on it.

    Raises:
      ValueError: if a name is unknown, the nearest first; if the network does not take
        the images, or cannot be asked what is asked by name; if it answers NaN for all
        of them.
      FileExistsError: if the folder holds a page of other settings.
      OSError: if a file cannot be read, or the folder not be written.
    """
    of_network = config.network_report
    if not config.images or config.dataset:
        _dataset.require_known(of_network)
    with _page.place(config):
        return _explained(config, of_network, progress, command)


def _explained(
    config: ExplainConfig,
    of_network: ReportConfig,
    progress: ProgressFn | None,
    command: str,
) -> Explained:
    """The page, in a place that is held."""
    subject = _subject(config, of_network, progress)
    choices = _explain_maps.Choices(
        config.layer,
        config.grid,
        _mistakes.class_tokens(of_network)
        if config.class_tokens is None
        else config.class_tokens,
        _baseline(config.baseline),
        config.masks,
        config.curve_steps,
        of_network.examples_at_a_time(subject.images.fixed_shape),
        config.seed,
    )
    network = subject.network
    asker = _explain_maps.Asker(network.apply_fn, network.params, choices)
    methods, left_out = _askable(config, asker, subject)
    found, unanswered = _each(config, subject, asker, methods, progress)
    if not found:
        raise ValueError(
            "the network answers NaN or infinity for every image, such as "
            f"{unanswered[0]}: there is nothing to explain"
        )
    notes = (*subject.notes, *left_out, *_unanswered(unanswered))
    asked_about = {contrast for image in found for contrast in image.contrasts}
    made = report.Explanations(
        subject.class_names,
        tuple(found),
        _images_of(asked_about, config, subject, asker),
        {explain.METHODS[m].title: explain.METHODS[m].described for m in methods},
        _provenance.of_explanations(
            config, subject.network, subject.images, subject.dataset, notes, command
        ),
        notes,
    )
    page = report.write_explanations(made, config.report_folder, progress=progress)
    shutil.rmtree(config.report_folder / _UNFINISHED, ignore_errors=True)
    return Explained(page, made, notes)


def _subject(
    config: ExplainConfig, of_network: ReportConfig, progress: ProgressFn | None
) -> _Subject:
    files = None
    if config.images:
        files = data.from_files(
            config.images,
            skip_unreadable=config.skip_unreadable,
            progress=progress,
        )
    has_dataset = bool(config.dataset or config.report)

    def load() -> Datasets:
        if not has_dataset:
            assert files is not None, "without a dataset there are files"
            return Datasets(None, None, files, {_FILES: files})
        asked = _dataset.load(of_network, progress)
        return asked if files is None else asked._replace(others={_FILES: files})

    _, asked, network = _ready.ready(of_network, progress, load=load)
    test, images = asked.test, asked.others.get(_FILES)
    if images is not None and has_dataset:
        # Where the network takes any size, that of the dataset it is known by.
        images = data.convert(images, test.fixed_shape)
    if images is None:
        images = data.some(test, config.indices)
    _require_few(images)
    names = _short(data.file_names(images))
    if not names:
        names = [f"{data.short_name(test.name)} {n}" for n in config.indices]
    notes = (*network.notes, *_dataset.notes(asked), *images.notes)
    return _Subject(
        network,
        images,
        names,
        test.class_names,
        test if has_dataset else None,
        tuple(dict.fromkeys(notes)),
    )


def _short(paths: Sequence[str]) -> Sequence[str]:
    """The names of files without their folders, where these differ."""
    short = [os.path.basename(path) for path in paths]
    return short if len(set(short)) == len(short) else paths


def _require_few(images: data.Dataset) -> None:
    if len(images) > MOST_IMAGES:
        raise ValueError(
            f"a page shows at most {MOST_IMAGES} images, and these are "
            f"{len(images):,}: name some of them"
        )


def _each(
    config: ExplainConfig,
    subject: _Subject,
    asker: _explain_maps.Asker,
    methods: Sequence[str],
    progress: ProgressFn | None,
) -> tuple[list[report.ExplainedImage], list[str]]:
    """Every image with its maps; and the names of those without an answer."""
    folder = config.report_folder
    named = _named_classes(config, subject)
    files = report.file_names(subject.names)
    found, unanswered = [], []
    total = len(files) * len(methods)
    for number, (name, file) in enumerate(zip(subject.names, files, strict=True)):
        record = subject.images.source[number]
        image = _as_bytes(record["image"])
        x = _mistakes.as_floats(record["image"])
        logits = asker.logits(x[None])[0].astype(np.float64)
        if not np.isfinite(logits).all():
            unanswered.append(name)
            continue
        target, contrasts = _classes(logits, *named)
        identity = asker.identity(record["image"], target, contrasts)
        kept = (folder / part / f"{file}.npz" for part in (_UNFINISHED, "maps"))
        arrays = {"identity": np.array(identity), "image": image, "logits": logits}
        arrays |= {"target": np.array(target), "contrasts": np.array(contrasts)}
        arrays |= _found_again(kept, identity, methods)
        if missing := [method for method in methods if method not in arrays]:
            done = (number + 1) * len(methods) - len(missing)
            for place, method in enumerate(missing):
                _say(progress, done + place, total)
                arrays |= asker.maps(method, x, target, contrasts, number)
            with _files.written_whole(folder / _UNFINISHED / f"{file}.npz") as path:
                np.savez_compressed(path, allow_pickle=False, **arrays)
        _say(progress, (number + 1) * len(methods), total)
        label = int(record["label"])
        found.append(
            report.ExplainedImage(
                name,
                image,
                _probabilities(logits),
                target,
                None if label == data.NO_CLASS else label,
                contrasts,
                _explain_maps.in_words(arrays, methods, contrasts),
                arrays,
                _not_numbers(arrays, methods),
            )
        )
    return found, unanswered


def _say(progress: ProgressFn | None, done: int, total: int) -> None:
    if progress is not None:
        progress("explaining", done, total, {})


def _found_again(
    paths: Iterator[pathlib.Path], identity: str, methods: Sequence[str]
) -> dict[str, np.ndarray]:
    """What files hold of the methods' maps of the same image, network and choices."""
    found = {}
    for path in paths:
        arrays = _files.kept_arrays(path) or {}
        if str(arrays.get("identity")) == identity:
            of_methods = {n: a for n, a in arrays.items() if n.split(".")[0] in methods}
            found = {**of_methods, **found}
    return found


def _named_classes(
    config: ExplainConfig, subject: _Subject
) -> tuple[int | None, tuple[int, ...]]:
    """The classes that are asked about by name: the target, and the contrasts."""
    names = subject.class_names
    asked = [] if config.target is None else [config.target]
    target = numbers_of(asked, names, "the target")
    contrasts = numbers_of(config.contrasts, names, "the contrast")
    return (target[0] if target else None), tuple(contrasts)


def _classes(
    logits: np.ndarray, target: int | None, contrasts: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    """The class that is asked about, and those it is compared with."""
    order = np.argsort(-logits, kind="stable").tolist()
    asked = order[0] if target is None else target
    others = contrasts or tuple(order)
    chosen = tuple(c for c in others if c != asked)
    return asked, chosen if contrasts else chosen[:CONTRASTS]


def _askable(
    config: ExplainConfig, asker: _explain_maps.Asker, subject: _Subject
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods that the network can be asked, and why the others are left out.

    Raises:
      ValueError: if one that is asked for by name cannot be, or none can.
    """
    x = _mistakes.as_floats(subject.images.source[0]["image"])
    contrasts = len(config.contrasts) or min(CONTRASTS, len(subject.class_names) - 1)
    refused: dict[str, list[str]] = {}
    askable = []
    for name in config.method_names:
        reason = asker.refusal(name, x, contrasts)
        if reason is None:
            askable.append(name)
        elif name in config.methods:
            raise ValueError(f"{name}: {reason}")
        else:
            refused.setdefault(reason, []).append(explain.METHODS[name].title)
    notes = tuple(
        f"Left out: {', '.join(titles)}: {_mistakes.in_short(reason)}."
        for reason, titles in refused.items()
    )
    if not askable:
        raise ValueError(f"there is no method that can be asked. {' '.join(notes)}")
    return tuple(askable), notes


def _images_of(
    classes: Collection[int],
    config: ExplainConfig,
    subject: _Subject,
    asker: _explain_maps.Asker,
) -> dict[int, np.ndarray]:
    """An image of each class, where there is a dataset to take it from."""
    if subject.dataset is None:
        return {}

    def probabilities(images: np.ndarray) -> np.ndarray:
        # One at a time: the program for that is there.
        rows = [asker.logits(_mistakes.as_floats(image)[None])[0] for image in images]
        return np.stack([_probabilities(np.asarray(row, np.float64)) for row in rows])

    found = representatives(
        subject.dataset, classes, probabilities, without=config.indices
    )
    return {number: _as_bytes(image) for number, image in found.items()}


def _baseline(given: str | None) -> str | float | None:
    try:
        return None if given is None else float(given)
    except ValueError:
        return given


def _as_bytes(image: np.ndarray) -> np.ndarray:
    """As a page shows it."""
    if image.dtype == np.uint8:
        return image
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def _not_numbers(
    arrays: dict[str, np.ndarray], methods: Sequence[str]
) -> tuple[str, ...]:
    titles = _explain_maps.not_numbers(arrays, methods)
    if not titles:
        return ()
    return (f"Not a number somewhere in the map: {', '.join(titles)}.",)


def _unanswered(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    return (
        "Left out, for the network answers NaN or infinity: " + ", ".join(names) + ".",
    )
