"""The files of the images that a table of one's own names."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monai_sf.datasets.same_names import choose_files
from monai_sf.datasets.texts import TEXT, Texts, changed
from monai_sf.datasets.tree import Tree
from monai_sf.files.naming import SUFFIXES, is_utf8

__all__ = ["Located", "is_image_name", "locate_images", "relative_name"]

_SUFFIX = re.compile(f"(?<=[^/])({'|'.join(map(re.escape, SUFFIXES))})\\Z", re.IGNORECASE)
_LONGEST = max(map(len, SUFFIXES)) + len("/x")
_DRIVE = re.compile("[A-Za-z]:[/\\\\]")


@dataclass(frozen=True)
class Located:
    """The files of images.

    Attributes:
        paths: Path of each name's file (N,), relative to the folder; null where there is none.
        notes: How files were found that are not at the named place.
    """

    paths: Texts
    notes: list[str]


def is_image_name(path: str) -> bool:
    """Return whether a file name has the ending of an image, as far as any reader here opens it."""
    return bool(_ending(path))


def _ending(path: str) -> str:
    """Return the ending of an image file, such as ``.nii.gz``; empty for any other."""
    found = _SUFFIX.search(path, max(0, len(path) - _LONGEST))
    return found[0] if found else ""


def relative_name(name: str, root: Path) -> str:
    """Return an image's name in a table as a path relative to the folder, with "/".

    Raises:
        ValueError: If it leads out of the folder or cannot be a path; says which.
    """
    if "\0" in name or not is_utf8(name):
        raise ValueError("has characters that no file name can have")
    if "\\" in name and "/" not in name:
        name = name.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name):
        for place in (os.path.abspath(root), os.path.realpath(root)):
            below = f"{place}/".replace(os.sep, "/")
            if name.startswith(below):
                return relative_name(name.removeprefix(below), root)
        raise ValueError("is an absolute path outside of dataset_dir")
    path = posixpath.normpath(name)
    if path == ".." or path.startswith("../"):
        raise ValueError("leads out of dataset_dir")
    if path == ".":
        raise ValueError("names no file")
    return path


def locate_images(tree: Tree, names: Texts) -> Located:
    """Find the file of each name.

    A name is a path below the folder, with "/". If nothing lies there, it is looked for in another letter
    case or Unicode form, with the ending of an image if the name has none, and then anywhere below the
    folder. Of several files the one closest to the name is taken, see
    :func:`monai_sf.datasets.same_names.choose_files`.

    Raises:
        AmbiguousImagesError: If several files match a name, and their content differs.
    """
    files = set(tree.files)
    there = changed(names, lambda name: name if name in files else None)
    if not there.null_count or not files:
        return Located(there, [])
    absent = pc.is_null(there)
    found: dict[str, str] = {}
    several: dict[str, tuple[str, ...]] = {}
    elsewhere: list[str] = []
    places = _places(tree.files)
    for name in pc.unique(names.filter(absent)).to_pylist():
        matching = _matching(name, places)
        if len(matching) == 1:
            found[name] = matching[0]
            elsewhere.append(name)
        elif matching:
            several[name] = matching
    chosen, notes = choose_files(tree.root, several, "")
    if elsewhere:
        first = "; ".join(f"{found[name]} for {name}" for name in elsewhere[:3])
        notes.append(
            f"{len(elsewhere)} images were found by name, in another letter case or folder than in the "
            f"table, or with an ending that it leaves out (first: {first})"
        )
    found |= chosen
    taken = changed(names.filter(absent), found.get).combine_chunks()
    paths = pc.replace_with_mask(there.combine_chunks(), absent.combine_chunks(), taken)
    return Located(pa.chunked_array([paths], TEXT), notes)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _places(files: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Files by their folded names, with and without the ending of an image."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in files:
        name = _folded(file.rsplit("/", 1)[-1])
        places[name].append(file)
        if ending := _ending(name):
            places[name.removesuffix(ending)].append(file)
    return places


def _matching(name: str, places: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    wanted = f"/{_folded(name)}"
    has_ending = bool(_ending(name))
    below, there = [], []
    for file in places.get(wanted.rsplit("/", 1)[-1], ()):
        path = f"/{_folded(file)}"
        if not has_ending and not path.endswith(wanted):
            path = path.removesuffix(_ending(path))
        if path == wanted:
            there.append(file)
        elif path.endswith(wanted):
            below.append(file)
    return tuple(there or below)
