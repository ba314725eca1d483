"""Datasets that tensorflow-datasets knows and downloads."""

import difflib
import os
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np

from trustjax import _extras
from trustjax.data import _cache, _records, _tensorflow_files

with _extras.required("data"):
    import requests
    import tensorflow_datasets as tfds
    from PIL import Image


class NotHereError(Exception):
    """A dataset that is not to be had here: the base of the reasons."""


class UnknownDatasetError(NotHereError, ValueError):
    """No dataset has this name."""


class ManualDownloadError(NotHereError, FileNotFoundError):
    """The dataset's files must be fetched by hand, after agreeing to a licence."""


class UnreachableDatasetError(NotHereError, ConnectionError):
    """The dataset must be downloaded, and its server does not answer."""


def prepared(name: str, root: pathlib.Path) -> _cache.Builder:
    """Returns tfds' builder of this name, downloading and preparing its records.

    Raises:
      UnknownDatasetError: if tfds has no such dataset.
      UnreachableDatasetError: if it must be downloaded and cannot be.
      ImportError: if preparing it needs a package that is not installed.
    """

    def make_builder() -> _cache.Builder:
        builder = tfds.builder(
            name, data_dir=os.fspath(root), file_format="array_record"
        )
        _store_arrays_as_png(builder)
        return builder

    builder = make_builder()
    if not _cache.is_prepared(builder):
        _records.keys(builder.info, name)
        _require_files(builder, root)
    try:
        with _tensorflow_files.provided():
            return _cache.prepared(make_builder, root, quiet=False)
    except ImportError as error:
        raise ImportError(
            f"preparing {name} needs a package that is not installed ({error}). "
            "Prepare it where TensorFlow is, with file_format='array_record', and copy "
            f"the folder {name} into {root}: reading it needs no TensorFlow"
        ) from error
    except requests.exceptions.RequestException as error:
        raise UnreachableDatasetError(
            f"{name} must be downloaded, which failed: {error}."
        ) from error


def require_known(name: str, others: Collection[str] = ()) -> None:
    """Requires the name of a dataset, `set`, `set/config` or either with `:version`.

    Args:
      name: the name.
      others: names of datasets beside those of tfds, which may be meant.
    """
    base, _, config = name.partition(":")[0].partition("/")
    known = tfds.list_builders(with_community_datasets=False)
    if base not in known:
        similar = difflib.get_close_matches(base, {*known, *others})
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise UnknownDatasetError(
            f"neither trustjax nor tensorflow-datasets has a dataset {name!r}.{hint}"
        )
    configs = tfds.builder_cls(base).builder_configs
    if config and config not in configs:
        raise UnknownDatasetError(
            f"{base} has no config {config!r}: it has {', '.join(configs) or 'none'}."
        )


def _require_files(builder: _cache.Builder, root: pathlib.Path) -> None:
    """Fails at once where the files are not to be had: tfds retries for minutes.

    A proxy resolves names itself, and files downloaded before need no server; with
    either, tfds finds out.
    """
    if instructions := builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual = _cache.manual_folder(root)
        if not manual.is_dir() or not any(manual.iterdir()):
            raise ManualDownloadError(
                f"the files of {builder.name} must be put into {manual} by hand: "
                f"{' '.join(instructions.split())}"
            )
        return
    urls = builder.url_infos or ()
    hosts = sorted({urllib.parse.urlparse(url).netloc for url in urls})
    downloaded = any((root / "downloads").glob("*.INFO"))
    if not hosts or downloaded or urllib.request.getproxies():
        return
    if not any(map(_resolves, hosts)):
        raise UnreachableDatasetError(
            f"{builder.name} must be downloaded from {' or '.join(hosts)}, and no "
            "name server here knows that address: is there a network?"
        )


def _resolves(host: str) -> bool:
    """Whether a name server knows the host."""
    try:
        socket.getaddrinfo(host.partition(":")[0], None)
    except socket.gaierror:
        return False
    return True


def _store_arrays_as_png(builder: _cache.Builder) -> None:
    """Lets a builder that yields arrays for images prepare without TensorFlow.

    tfds encodes an array with TensorFlow, but a PIL image with PIL: the same PNG
    format, and the same pixels when read back.
    """
    images = [
        key
        for key, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    ]
    generate = builder._generate_examples  # the method that every builder defines

    def generate_with_pil(*args: Any, **kwargs: Any) -> Any:
        examples = generate(*args, **kwargs)
        # A Beam pipeline is not iterable; it brings its own encoder.
        return (
            _with_pil(examples, images) if isinstance(examples, Iterator) else examples
        )

    builder._generate_examples = generate_with_pil


def _with_pil(
    examples: Iterable[tuple[Any, dict[str, Any]]], images: list[str]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    for key, example in examples:
        arrays = {
            name: Image.fromarray(
                example[name].squeeze(-1)
                if example[name].shape[-1] == 1
                else example[name]
            )
            for name in images
            if isinstance(example[name], np.ndarray)
        }
        yield key, {**example, **arrays}
