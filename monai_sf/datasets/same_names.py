"""The choice of an image among several files of its name."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

__all__ = ["AmbiguousImagesError", "choose_files"]

_MOST_COMPARED = 2 * 2**30
_MOST_LISTED = 10


class AmbiguousImagesError(ValueError):
    """Several files match an image of a table, and their content differs.

    Attributes:
        images: The files of each such image, as paths relative to the folder.
    """

    def __init__(self, message: str, images: list[tuple[str, ...]]) -> None:
        super().__init__(message)
        self.images = images

    @classmethod
    def of(cls, images: Sequence[tuple[str, ...]]) -> AmbiguousImagesError:
        """Name the folders of the files of each image, with an example of each."""
        by_folders: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for files in images:
            by_folders.setdefault(tuple(os.path.dirname(file) for file in files), []).append(files)
        lines = [f"{len(own)} like {' and '.join(own[0])}" for own in by_folders.values()]
        left = len(lines) - _MOST_LISTED
        more = f"\n  and {left} more pairs of folders" if left > 0 else ""
        return cls(
            f"{len(images)} images of a table match several files, whose content differs:\n  "
            + "\n  ".join(lines[:_MOST_LISTED])
            + more
            + "\nMove the wrong ones out of the folder",
            list(images),
        )


def choose_files(
    root: Path, candidates: Mapping[str, Sequence[str]], folder: str
) -> tuple[dict[str, str], list[str]]:
    """Choose one of several files for each image.

    The file is chosen that is at least as close to the published layout as all others in three respects: it
    is below the table's folder, shares most folders with the published path (``images/i.png`` rather than
    ``masks/i.png``), and has its extension. If these leave several, or contradict each other, the content
    must be equal. The sizes of all files are compared, and the content of all, or of an evenly spread subset
    of two gigabytes, which is noted.

    Args:
        root: The folder that paths are relative to.
        candidates: The published path of each image to its two or more files.
        folder: The table's folder, relative to the root.

    Returns:
        The chosen file of each published path, and notes on the choice for the report.

    Raises:
        AmbiguousImagesError: If possible files differ; names the folders, with an example of each.
    """
    chosen: dict[str, str] = {}
    alike: dict[str, tuple[str, ...]] = {}
    told: list[tuple[str, str]] = []
    for published, files in candidates.items():
        signs = {file: _signs(file, published, folder) for file in files}
        best = tuple(map(max, zip(*signs.values(), strict=True)))
        finalists = sorted((file for file in files if signs[file] == best), key=_shortest) or sorted(
            files, key=lambda file: (-signs[file][2], *_shortest(file))
        )
        chosen[published] = finalists[0]
        if len(finalists) > 1:
            alike[published] = tuple(finalists)
        else:
            told.append((finalists[0], next(file for file in files if file != finalists[0])))
    notes = []
    if told:
        taken, other = told[0]
        notes.append(
            f"{len(told)} images are in several folders; those that fit the table's place and published "
            f"layout are used (first: {taken}, not {other})"
        )
    if alike:
        notes.append(_check_alike(root, list(alike.values())))
    return chosen, notes


def _shortest(file: str) -> tuple[int, str]:
    return len(file), file


def _signs(file: str, published: str, folder: str) -> tuple[bool, int, bool]:
    """Return whether a file is below the table's folder, how many folders match, and its extension."""
    mine, its = file.lower().split("/"), published.lower().split("/")
    below = not folder or file.startswith(f"{folder}/")
    folders = zip(mine[-2::-1], its[-2::-1], strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], folders))
    return below, shared, os.path.splitext(mine[-1])[1] == os.path.splitext(its[-1])[1]


def _check_alike(root: Path, groups: Sequence[tuple[str, ...]]) -> str:
    """Raise AmbiguousImagesError unless the files of each group are copies; return a note on the check."""
    sizes = [[os.stat(root / file).st_size for file in files] for files in groups]
    different = {k for k, own in enumerate(sizes) if len(set(own)) > 1}
    same = [k for k in range(len(groups)) if k not in different]
    total = sum(sum(sizes[k]) for k in same)
    step = max(1, -(-total // _MOST_COMPARED))  # every step-th, to spread the subset over all folders
    compared = same[::step]
    different |= {k for k in compared if not _same_content(root, groups[k])}
    if different:
        raise AmbiguousImagesError.of([groups[k] for k in sorted(different)])
    first = " and ".join(groups[0])
    share = "" if step == 1 else f" (by size; by full content for {len(compared)})"
    return f"{len(groups)} images are in several folders with the same content{share} (first: {first})"


def _same_content(root: Path, files: Sequence[str]) -> bool:
    first = root / files[0]
    return all(
        os.path.samefile(first, root / other) or filecmp.cmp(first, root / other, shallow=False)
        for other in files[1:]
    )
