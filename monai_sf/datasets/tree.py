"""One walk over a folder of downloads, and the files in it by name, wherever they lie."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TableFile", "Tree", "read_tree"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_MARKER_OF_PHANTOMS = "PHANTOM"


@dataclass(frozen=True)
class TableFile:
    """A table, or one inside of a zip file.

    Attributes:
        path: Of the file, relative to the tree's root.
        member: Its name inside of the zip file; None where it is a file of its own.
    """

    path: str
    member: str | None = None

    @property
    def name(self) -> str:
        """File name in lower case, without ``.gz``."""
        name = (self.member or self.path).rsplit("/", 1)[-1].lower()
        return name.removesuffix(".gz")

    @property
    def folder(self) -> str:
        """The folder it lies in, relative to the tree's root; empty for the root."""
        return self.path.rpartition("/")[0]

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path} ({self.member})"


@dataclass(frozen=True)
class Tree:
    """All files below a folder, by their path relative to it (with "/").

    Attributes:
        root: The folder.
        files: Sorted.
        tables: Files that may be tables, and the ones in zip files.
        outward: Links that lead out of the folder, which are not followed, and broken ones.
        unreadable: Zip files, and folders with a "/", that cannot be opened.
    """

    root: Path
    files: tuple[str, ...]
    tables: tuple[TableFile, ...]
    outward: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def is_phantom(self) -> bool:
        """Whether the folder, one below it or one above it is marked as one of made-up images."""
        return any(path.rsplit("/", 1)[-1] == _MARKER_OF_PHANTOMS for path in self.files) or any(
            (folder / _MARKER_OF_PHANTOMS).is_file() for folder in self.root.resolve().parents
        )

    def dicom_files(self) -> Iterator[str]:
        """Files that end with ``.dcm``, and those with no ending, or a number for it, that begin as DICOM."""
        for path in self.files:
            _, dot, ending = path.rpartition("/")[2].lower().rpartition(".")
            if ending == "dcm" or ((not dot or ending.isdigit()) and _begins_as_dicom(self.root / path)):
                yield path

    def find_images(self, names: Sequence[str], near: str) -> tuple[list[str | None], int]:
        """The image file of each name; neither letter case nor the kind of image file matters.

        Where several files have the name, the one that shares most of its folders with ``near`` is taken,
        then the one with the same ending, then that with the shortest path, then the first by alphabet.

        Args:
            names: The last parts of the paths, all with as many folders: ``train/p1/study1/view1.jpg``.
            near: Folder of the table that names them.

        Returns:
            A path, relative to the root, for each name, or None; and how many names had several files.
        """
        parts = names[0].count("/") + 1 if len(names) else 1
        first: dict[str, str] = {}
        several: dict[str, list[str]] = {}
        for path in self.files:
            stem, suffix = os.path.splitext(path.lower())
            if suffix not in IMAGE_SUFFIXES:
                continue
            key = stem if parts > stem.count("/") else "/".join(stem.rsplit("/", parts)[-parts:])
            if first.setdefault(key, path) != path:
                several.setdefault(key, [first[key]]).append(path)
        found: list[str | None] = []
        ambiguous = 0
        for name in names:
            key, suffix = os.path.splitext(name.lower())
            path_ = first.get(key)
            if key in several:
                ambiguous += 1
                path_ = min(
                    several[key],
                    key=lambda p: (-_shared(p, near), not p.lower().endswith(suffix), len(p), p),
                )
            found.append(path_)
        return found, ambiguous


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    # older files lack the 128 bytes before "DICM" and begin with a tag of group 2 or 8, element below 256
    return head[128:] == b"DICM" or (head[:2] in (b"\2\0", b"\b\0") and head[3:4] == b"\0")


def _shared(path: str, folder: str) -> int:
    count = 0
    for mine, other in zip(path.split("/"), folder.split("/"), strict=False):
        if mine != other:
            break
        count += 1
    return count


def read_tree(root: str | Path) -> Tree:
    """Walk over a folder once.

    Hidden files, and the ``__MACOSX`` folders of unpacked archives, are left out. A link is followed where
    it leads to a file inside of the folder.

    Raises:
        FileNotFoundError: If the folder is not there.
        NotADirectoryError: If it is a file.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"dataset_dir {root} is not there; give the folder with the downloaded files")
    if not root.is_dir():
        raise NotADirectoryError(f"dataset_dir {root} is not a folder; unpack it, or give its parent folder")
    files, outward, unreadable = _walk(root)
    files.sort()
    tables = [TableFile(path) for path in files if _may_be_table(path)]
    for path in files:
        if path.lower().endswith(".zip"):
            try:
                with zipfile.ZipFile(root / path) as archive:
                    names: Iterable[str] = archive.namelist()
            except (zipfile.BadZipFile, PermissionError):
                unreadable.append(path)
                continue
            tables += [
                TableFile(path, name)
                for name in names
                if _may_be_table(name) and not name.startswith("__MACOSX") and not name.endswith("/")
            ]
    return Tree(root, tuple(files), tuple(tables), tuple(sorted(outward)), tuple(unreadable))


def _may_be_table(path: str) -> bool:
    name = path.rsplit("/", 1)[-1].lower()
    return name.removesuffix(".gz").endswith((".csv", ".tab", ".tsv", ".xlsx")) or "." not in name


def _walk(root: Path) -> tuple[list[str], list[str], list[str]]:
    inside = os.path.realpath(root) + os.sep
    files: list[str] = []
    outward: list[str] = []
    closed: list[str] = []
    todo = [("", str(root))]
    while todo:
        prefix, folder = todo.pop()
        try:
            found = os.scandir(folder)
        except PermissionError:
            if not prefix:
                raise
            closed.append(prefix)  # such as lost+found
            continue
        with found as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_symlink():
                    goal = os.path.realpath(entry.path)
                    if not (goal + os.sep).startswith(inside) or not os.path.exists(goal):
                        outward.append(prefix + entry.name)
                    elif os.path.isfile(goal):  # folders inside are walked at their own place
                        files.append(prefix + entry.name)
                elif entry.is_dir():
                    todo.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    files.append(prefix + entry.name)
    return files, outward, closed
