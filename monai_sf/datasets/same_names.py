"""Which of several files of one name is the image that a table names."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AmbiguousImagesError", "Choice", "choose_files"]

_MOST_COMPARED = 2 * 2**30
_MOST_LISTED = 10


class AmbiguousImagesError(ValueError):
    """Several files could be the image that a table names, and their content differs.

    Attributes:
        images: The files of each such image, as paths relative to the folder.
    """

    def __init__(self, message: str, images: list[tuple[str, ...]]) -> None:
        super().__init__(message)
        self.images = images


@dataclass(frozen=True)
class Choice:
    """What was decided.

    Attributes:
        files: The chosen file of each name.
        notes: How, for the report.
    """

    files: dict[str, str]
    notes: list[str]


def choose_files(root: Path, candidates: Mapping[str, Sequence[str]], folder: str) -> Choice:
    """Choose one of several files for each image.

    The file is taken that is at least as near to what is published as all others in three respects: it lies
    below the table's folder, shares most folders with the published path (``images/i.png`` rather than
    ``masks/i.png``), and has its ending. Where these leave several, or contradict each other, the content
    must be the same. Sizes are compared of all; what is in the files of all, or of a share that is spread
    over them and has two gigabytes, which the notes say.

    Args:
        root: What paths are relative to.
        candidates: The path of each image as published, to its two or more files.
        folder: Of the table, relative to the root.

    Raises:
        AmbiguousImagesError: If files that could be meant differ; names the folders, with an example of each.
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
    notes = [] if not told else [_say(told)]
    if alike:
        notes.append(_check_alike(root, list(alike.values())))
    return Choice(chosen, notes)


def _shortest(file: str) -> tuple[int, str]:
    return len(file), file


def _signs(file: str, published: str, folder: str) -> tuple[bool, int, bool]:
    """Whether it lies below the table's folder, how many folders are as published, and its ending."""
    mine, its = file.lower().split("/"), published.lower().split("/")
    below = not folder or file.startswith(f"{folder}/")
    shared = 0
    for one, other in zip(mine[-2::-1], its[-2::-1], strict=False):
        if one != other:
            break
        shared += 1
    return below, shared, os.path.splitext(mine[-1])[1] == os.path.splitext(its[-1])[1]


def _say(told: Sequence[tuple[str, str]]) -> str:
    taken, other = told[0]
    return (
        f"{len(told)} images lie in several folders; those where the table and its published layout put them "
        f"are used (first: {taken}, not {other})"
    )


def _check_alike(root: Path, groups: Sequence[tuple[str, ...]]) -> str:
    """Raise AmbiguousImagesError unless the files of each group are copies; say how that was seen."""
    sizes = [[os.stat(root / file).st_size for file in files] for files in groups]
    different = {k for k, own in enumerate(sizes) if len(set(own)) > 1}
    same = [k for k in range(len(groups)) if k not in different]
    total = sum(sum(sizes[k]) for k in same)
    step = max(1, -(-total // _MOST_COMPARED))  # every step-th, so that the share is spread over all folders
    compared = same[::step]
    different |= {k for k in compared if not _same_content(root, groups[k])}
    if different:
        raise _error([groups[k] for k in sorted(different)])
    first = " and ".join(groups[0])
    share = "" if step == 1 else f" (their sizes; of {len(compared)} all that is in them was compared)"
    return f"{len(groups)} images lie in several folders with the same content{share} (first: {first})"


def _same_content(root: Path, files: Sequence[str]) -> bool:
    first = root / files[0]
    return all(
        os.path.samefile(first, root / other) or filecmp.cmp(first, root / other, shallow=False)
        for other in files[1:]
    )


def _error(groups: list[tuple[str, ...]]) -> AmbiguousImagesError:
    by_folders: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for files in groups:
        by_folders.setdefault(tuple(os.path.dirname(file) for file in files), []).append(files)
    lines = [f"{len(own)} like {' and '.join(own[0])}" for own in by_folders.values()]
    more = f"\n  and {len(lines) - _MOST_LISTED} more pairs of folders" if len(lines) > _MOST_LISTED else ""
    return AmbiguousImagesError(
        f"{len(groups)} images that a table names could be several files, whose content differs:\n  "
        + "\n  ".join(lines[:_MOST_LISTED])
        + more
        + "\nMove those that are not meant out of the folder",
        groups,
    )
