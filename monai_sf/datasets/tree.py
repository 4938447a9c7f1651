"""One walk over a folder of downloads, and its files by name, in any layout."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from monai_sf.datasets.texts import TEXT, Texts, arrow_texts
from monai_sf.files.dicom import is_dicom
from monai_sf.files.naming import is_utf8, shown

__all__ = ["FoundImages", "TableFile", "Tree", "check_folder", "last_parts", "read_tree"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_MARKER_OF_PHANTOMS = "PHANTOM"
_SPECIAL = "entries are pipes, sockets or devices"
_NOT_UTF8 = "images have bytes in their paths that are not UTF-8, which no table can hold,"


@dataclass(frozen=True)
class TableFile:
    """A table, or one inside a zip file.

    Attributes:
        path: Of the file, relative to the tree's root.
        member: Its name inside the zip file; None for a plain file.
    """

    path: str
    member: str | None = None

    @property
    def name(self) -> str:
        """The file name in lower case, without ``.gz``."""
        name = (self.member or self.path).rsplit("/", 1)[-1].lower()
        return name.removesuffix(".gz")

    @property
    def folder(self) -> str:
        """The folder of the file, relative to the tree's root; empty for the root."""
        return self.path.rpartition("/")[0]

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path} ({self.member})"


@dataclass(frozen=True)
class Tree:
    """All files below a folder, by their path relative to it (with "/").

    Attributes:
        root: The folder.
        files: Sorted.
        tables: Files that may be tables, including those in zip files.
        links: Followed links out of the folder to their targets.
        left_out: Entries that are not in ``files`` to the reason: broken links or links to a folder above
            them, pipes, sockets and devices.
        unreadable: Zip files, and folders with a "/", that cannot be opened.
    """

    root: Path
    files: tuple[str, ...]
    tables: tuple[TableFile, ...]
    links: Mapping[str, str]
    left_out: Mapping[str, str]
    unreadable: tuple[str, ...]

    @property
    def is_phantom(self) -> bool:
        """Whether this folder, one above or below it, or one above a link's target is marked as a phantom."""
        above = set(self.root.resolve().parents)
        for goal in {os.path.dirname(goal) for goal in self.links.values()}:
            above |= {Path(goal), *Path(goal).parents}
        return any(path.rsplit("/", 1)[-1] == _MARKER_OF_PHANTOMS for path in self.files) or any(
            (folder / _MARKER_OF_PHANTOMS).is_file() for folder in above
        )

    def remarks(self) -> list[str]:
        """Return remarks on the walk, for the report."""
        remarks = []
        if self.links:
            first = shown("; ".join(f"{link} to {goal}" for link, goal in list(self.links.items())[:5]))
            remarks.append(
                f"{len(self.links)} links lead out of the folder and are followed (first: {first})"
            )
        for why in sorted(set(self.left_out.values())):
            paths = [path for path, own in self.left_out.items() if own == why]
            first = ", ".join(map(shown, paths[:5]))
            remarks.append(f"{len(paths)} {why} and are left out (first: {first})")
        if self.unreadable:
            first = ", ".join(self.unreadable[:5])
            remarks.append(f"{len(self.unreadable)} folders or zip files cannot be opened: {first}")
        return remarks

    def dicom_files(self) -> Iterator[str]:
        """Yield files with extension ``.dcm``, and those with none, or a number, that begin as DICOM."""
        for path in self.files:
            _, dot, ending = path.rpartition("/")[2].lower().rpartition(".")
            if ending == "dcm" or ((not dot or ending.isdigit()) and _begins_as_dicom(self.root / path)):
                yield path

    def find_images(self, names: Texts, parts: int) -> FoundImages:
        """Find the image files of each name, in any letter case and image format.

        Args:
            names: (N,) paths, such as ``train/p1/study1/view1.jpg``.
            parts: How many of their last parts identify an image.
        """
        images = self._images
        if not len(images):
            return FoundImages(pa.chunked_array([pa.nulls(len(names), TEXT)]), {})
        keys = pc.utf8_lower(last_parts(_stems(images), parts)).combine_chunks().dictionary_encode()
        code = keys.indices.to_numpy()
        count = np.bincount(code)
        first = np.empty(len(count), np.intp)
        first[code[::-1]] = np.arange(len(code))[::-1]
        wanted = pc.utf8_lower(_stems(last_parts(names, parts)))
        of_name = pc.index_in(wanted, value_set=keys.dictionary)
        of_name = of_name.combine_chunks().fill_null(-1).to_numpy()
        single = (of_name >= 0) & (count[of_name] == 1)
        paths = images.take(pa.array(first[of_name], mask=~single))
        more = np.flatnonzero((of_name >= 0) & ~single)
        several: dict[int, tuple[str, ...]] = {}
        if len(more):
            order = np.argsort(code, kind="stable")
            start = np.cumsum(count) - count
            for place in more.tolist():
                own = order[start[of_name[place]] :][: count[of_name[place]]]
                several[place] = tuple(images.take(pa.array(own)).to_pylist())
        return FoundImages(paths, several)

    @cached_property
    def _images(self) -> Texts:
        return arrow_texts([path for path in self.files if _is_image(path)])


@dataclass(frozen=True)
class FoundImages:
    """The files of images.

    Attributes:
        paths: (N,) of the one file of each, relative to the root; null where there is none, or several.
        several: The place of an image to its two or more files;
            :func:`monai_sf.datasets.same_names.choose_files` chooses among them.
    """

    paths: Texts
    several: Mapping[int, tuple[str, ...]]


def last_parts(paths: Texts, parts: int) -> Texts:
    """Return the last parts of paths, or all that a path has."""
    above = "".join(f"{part}/" for part in str(paths[0]).split("/")[:-parts]) if len(paths) else ""
    slashes = pc.count_substring(paths, "/")
    if pc.all(pc.and_(pc.starts_with(paths, above), pc.equal(slashes, above.count("/") + parts - 1))).as_py():
        return pc.utf8_slice_codeunits(paths, len(above))  # ten times as fast, and published tables are so
    return pc.replace_substring_regex(paths, f"(?s)^.*/((?:[^/]*/){{{parts - 1}}}[^/]*)$", r"\1")


def _stems(paths: Texts) -> Texts:
    """Return paths without the ending, as ``os.path.splitext`` does."""
    return pc.replace_substring_regex(paths, r"(?s)([^./][^/]*)\.[^./]*$", r"\1")


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return is_dicom(head)


def check_folder(root: str | os.PathLike[str]) -> Path:
    """Raise if a dataset's folder does not exist: a misspelt one is never created.

    Raises:
        FileNotFoundError: If the folder does not exist.
        NotADirectoryError: If it is a file.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(
            f"dataset_dir {root} is not there: give the folder that holds the files, or create it if the "
            "images are still to be written"
        )
    if not root.is_dir():
        raise NotADirectoryError(f"dataset_dir {root} is not a folder: unpack it, or give its parent folder")
    return root


def read_tree(root: str | Path) -> Tree:
    """Walk a folder once.

    Hidden files, the ``__MACOSX`` folders of unpacked archives, and pipes, sockets and devices are left out.
    Links are followed, even out of the folder, but each folder is walked once, and none that contains a link
    to it: neither loops nor two links to one folder list a file twice.

    Raises:
        FileNotFoundError: If the folder does not exist.
        NotADirectoryError: If it is a file.
    """
    root = check_folder(root)
    files, links, left_out, unreadable = _walk(root)
    # paths of images are written to the case table, those of CT are not
    left_out |= {path: _NOT_UTF8 for path in files if _is_image(path) and not is_utf8(path)}
    files = [path for path in files if path not in left_out]
    files.sort()
    tables = [TableFile(path) for path in files if _may_be_table(path)]
    for path in files:
        if path.lower().endswith(".zip"):
            try:
                with zipfile.ZipFile(root / path) as archive:
                    names: Iterable[str] = archive.namelist()
            except Exception:  # a damaged directory raises errors of many kinds
                unreadable.append(path)
                continue
            tables += [
                TableFile(path, name)
                for name in names
                if _may_be_table(name) and not name.startswith("__MACOSX") and not name.endswith("/")
            ]
    return Tree(
        root,
        tuple(files),
        tuple(tables),
        dict(sorted(links.items())),
        dict(sorted(left_out.items())),
        tuple(unreadable),
    )


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)


def _may_be_table(path: str) -> bool:
    name = path.rsplit("/", 1)[-1].lower()
    return name.removesuffix(".gz").endswith((".csv", ".tab", ".tsv", ".xlsx")) or "." not in name


def _walk(root: Path) -> tuple[list[str], dict[str, str], dict[str, str], list[str]]:
    """Return files, links out of the folder, what is left out and why, and unreadable folders."""
    home = os.path.realpath(root)
    files: list[str] = []
    links: dict[str, str] = {}
    left_out: dict[str, str] = {}
    closed: list[str] = []
    walked = {home}
    todo = [("", str(root), home)]  # path below the root, path to open, its real path
    linked: list[tuple[str, str, str]] = []
    bar = tqdm(desc="files of the folder", unit="file", delay=1)  # a share may take minutes
    while todo or linked:
        if not todo:  # the content of a folder comes before what is linked into it
            linked.sort(reverse=True)
            prefix, folder, goal = linked.pop()
            if goal in walked:
                continue
            walked.add(goal)
            links[prefix.rstrip("/")] = goal
            todo.append((prefix, folder, goal))
        prefix, folder, place = todo.pop()
        try:
            found = os.scandir(folder)
        except PermissionError:
            if not prefix:
                raise
            closed.append(prefix)  # such as lost+found
            continue
        with found as entries:
            for entry in entries:
                bar.update()
                path = prefix + entry.name
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if not entry.is_symlink():
                    goal = os.path.join(place, entry.name)
                    if entry.is_file():
                        files.append(path)
                    elif not entry.is_dir():
                        left_out[path] = _SPECIAL
                    elif goal not in walked:
                        walked.add(goal)
                        todo.append((f"{path}/", entry.path, goal))
                    continue
                goal = os.path.realpath(entry.path)
                if os.path.isfile(goal):
                    files.append(path)
                    if not _holds(home, goal):
                        links[path] = goal
                elif not os.path.isdir(goal):
                    there = os.path.exists(goal)
                    left_out[path] = _SPECIAL if there else "links lead nowhere"
                elif _holds(goal, place) or _holds(goal, home):
                    left_out[path] = "links lead to a folder above them"
                else:
                    linked.append((f"{path}/", entry.path, goal))
    bar.close()
    return files, links, left_out, closed


def _holds(folder: str, path: str) -> bool:
    return (path + os.sep).startswith(folder.rstrip(os.sep) + os.sep)
