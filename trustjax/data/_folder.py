"""A folder of class folders, with folders for its parts or without."""

import dataclasses
import functools
import os
from array import array
from collections.abc import Iterator

import numpy as np

from trustjax import _extras
from trustjax.data._files import Files, Paths
from trustjax.data._parts import ALL, PART_NAMES, LeftOut, Part, listed
from trustjax.typing import ProgressFn

with _extras.required("data"):
    from PIL import Image

_LITTER = ("@eaDir", "__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")
# Pillow opens these, by other programs or for no images.
_NO_IMAGES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")
_NO_FOLDER = ""
_FILES_BETWEEN_REPORTS = 10_000


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """A folder whose sub-folders are classes, or parts that hold the classes.

    A sub-folder is a part where it is called so (`train`, `val`, ...) and holds folders
    itself: a class may be called `train` too. Links are followed.

    Attributes:
      root: the folder.
      progress: hears how many files were found.
      unlabelled: whether images that lie in no class folder are records, too, where
        there are no class folders.
    """

    root: str
    progress: ProgressFn | None = None
    unlabelled: bool = False
    labels = "names"
    class_names = ()

    def __post_init__(self):
        if not os.path.isdir(self.root):
            raise FileNotFoundError(f"there is no folder {self.root}")

    @functools.cached_property
    def _folders(self) -> dict[str, str]:
        """Name of a part -> its folder, relative to the root."""
        found: dict[str, str] = {}
        for name in _folders_in(self.root):
            part = PART_NAMES.get(name.lower())
            if part is None or not _folders_in(os.path.join(self.root, name)):
                continue
            if part in found:
                raise ValueError(
                    f"{self.root} has two folders for {part}: {found[part]} and {name}"
                )
            found[part] = name
        return found or {ALL: ""}

    @property
    def parts(self) -> tuple[str, ...]:
        """Those that have folders; else `ALL`."""
        return tuple(self._folders)

    def written(self, part: str) -> tuple[str, ...]:
        """The names of the class folders, of empty ones too."""
        folder = os.path.join(self.root, self._folders[part])
        names = tuple(_folders_in(folder))
        for name in names:
            if not _is_utf8(name):
                raise ValueError(
                    f"the name of the class folder {listed([name])} in {folder} is no "
                    "UTF-8: rename it"
                )
        return (_NO_FOLDER,) if self.unlabelled and not names else names

    def read(self, part: str) -> Part:
        """Lists the files of a part.

        Raises:
          ValueError: if it has no class folders, or they hold no images.
        """
        folder = self._folders[part]
        where = os.path.join(self.root, folder) if folder else self.root
        names, left_out, labels = self.written(part), LeftOut(), array("i")
        for entry in _sorted_entries(where):
            if entry.name not in names and names != (_NO_FOLDER,):
                left_out.add(_reason(entry) or "beside the class folders", entry.name)
        if not names:
            raise ValueError(
                f"{where} has no class folders: images belong into a folder for each "
                "class, as cat/1.jpg and dog/2.jpg"
            )

        def paths() -> Iterator[str]:
            for label, name in enumerate(names):
                for path in images_in(self.root, _joined(folder, name), left_out):
                    labels.append(label)
                    if len(labels) % _FILES_BETWEEN_REPORTS == 0:
                        self._report(where, len(labels))
                    yield path

        files = Files(self.root, Paths(paths()))
        if not len(files):
            raise ValueError(
                f"the folders in {where} ({listed(names)}) hold no images; Pillow "
                "reads files that end in .png, .jpg, .webp, .tif and others"
            )
        if len(files) >= _FILES_BETWEEN_REPORTS:
            self._report(where, len(files), total=len(files))
        counts = np.bincount(labels, minlength=len(names))
        empty = [name for name, count in zip(names, counts, strict=True) if not count]
        notes = left_out.notes(where) + self._beside_parts()
        if empty:
            folders = "folder holds" if len(empty) == 1 else "folders hold"
            notes += (f"In {where}, {len(empty)} {folders} no image: {listed(empty)}.",)
        return Part(files, np.array(labels, np.int32), names, files.path, notes)

    def _beside_parts(self) -> tuple[str, ...]:
        """A sentence on what lies beside the folders of the parts."""
        left_out = LeftOut()
        if self.parts != (ALL,):
            for entry in _sorted_entries(self.root):
                if entry.name not in self._folders.values():
                    kind = _reason(entry) or "beside the folders of its parts"
                    left_out.add(kind, entry.name)
        return left_out.notes(self.root)

    def _report(self, where: str, done: int, total: int | None = None) -> None:
        if self.progress:
            self.progress(f"listing {where}", done, total, {})


@functools.cache
def _image_suffixes() -> frozenset[str]:
    """The endings of the files that Pillow reads by itself."""
    formats = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, kind in formats.items()
        if kind in Image.OPEN and kind not in _NO_IMAGES
    )


def _reason(entry: os.DirEntry[str]) -> str:
    """Why an entry is left out whatever it holds; nothing if it is not."""
    if entry.name.startswith(".") or entry.name in _LITTER:
        return "hidden"
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "links to nothing"
    return ""


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _folders_in(folder: str) -> list[str]:
    return [e.name for e in _sorted_entries(folder) if not _reason(e) and e.is_dir()]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _joined(folder: str, name: str) -> str:
    return "/".join(filter(None, (folder, name)))


def images_in(
    root: str, folder: str, left_out: LeftOut, above: tuple[str, ...] = ()
) -> Iterator[str]:
    """Paths of the images in a folder and the folders in it, relative to the root.

    Only the entries of one folder at a time are held.
    """
    here = os.path.realpath(os.path.join(root, folder))
    if here in above:
        left_out.add("links to a folder that they are in", folder)
        return
    for entry in _sorted_entries(os.path.join(root, folder)):
        path = _joined(folder, entry.name)
        if reason := _reason(entry):
            left_out.add(reason, path)
        elif entry.is_dir():
            yield from images_in(root, path, left_out, (*above, here))
        elif os.path.splitext(entry.name)[1].lower() in _image_suffixes():
            yield path
        else:
            left_out.add("no images by their names", path)
