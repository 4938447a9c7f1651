"""The image files of a folder, as records for MONAI's datasets."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_sf.datasets.tree import read_tree
from monai_sf.files.naming import shown

logger = logging.getLogger(__name__)


def image_records(
    folder: str | os.PathLike[str], pattern: str | Sequence[str], channel_marks: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the images of a folder, as dictionaries for MONAI's datasets.

    The number of other files, and their extensions, are logged.

    Args:
        folder: searched with all folders below, including linked ones, except hidden ones and ``__MACOSX``.
        pattern: of file names, such as ``*.npy``, or several; letter case is ignored. ``*.dcm`` also means
            DICOM files without an ending, or with a number as ending, as archives and scanners write them.
        channel_marks: for images with one file per channel: the parts of the file names that identify the
            channels, in their order (``["_w1", "_w2"]``), in any letter case; the last occurrence counts.
            ``pattern`` must match the first channel's files.

    Returns:
        One dictionary per image, sorted: ``image`` (path, or the channels' paths) and ``case_id`` (path of
        the first below ``folder``).

    Raises:
        FileNotFoundError: the folder does not exist, or no file in it matches.
    """
    tree = read_tree(Path(folder))
    for remark in tree.remarks():
        logger.warning("%s: %s", shown(folder), shown(remark))
    everything = sorted([*tree.files, *tree.left_out])  # a broken link is an image too, and must be named
    patterns = [p.casefold() for p in ([pattern] if isinstance(pattern, str) else pattern)]
    as_written: dict[str, list[str]] = {}
    for path in everything:
        as_written.setdefault(_folded(path), []).append(path)
    dicom = set(tree.dicom_files()) if "*.dcm" in patterns else set()
    records: list[dict[str, Any]] = []
    used: set[str] = set()
    for path in everything:
        name = path.rpartition("/")[2]
        if path not in dicom and not any(fnmatch.fnmatchcase(name.casefold(), one) for one in patterns):
            continue
        if channel_marks and channel_marks[0].lower() not in name.lower():
            continue
        files = [path, *(_channel(path, channel_marks[0], mark, as_written) for mark in channel_marks[1:])]
        used.update(files)
        full = [str(tree.root / file) for file in files]
        records.append({"image": full if channel_marks else full[0], "case_id": path})
    left = Counter(Path(path).suffix.casefold() or "no ending" for path in everything if path not in used)
    others = shown(": " + ", ".join(f"{count} {end}" for end, count in left.most_common(10))) if left else ""
    wanted = " or ".join(patterns) + (f" with {channel_marks[0]!r} in its name" if channel_marks else "")
    if not records:
        raise FileNotFoundError(f"no file below {shown(folder)} matches {wanted}{others}")
    if left:
        logger.warning(
            "%d of %d files below %s are not classified, because they do not match %s%s",
            left.total(),
            len(everything),
            shown(folder),
            wanted,
            others,
        )
    return records


def _folded(path: str) -> str:
    """Return a path with a case-folded file name."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.casefold()


def _channel(first: str, own: str, mark: str, as_written: Mapping[str, Sequence[str]]) -> str:
    """Return the file of another channel; if only the letter case differs, the existing one."""
    at = first.lower().rindex(own.lower())
    path = first[:at] + mark + first[at + len(own) :]
    there = as_written.get(_folded(path), [])
    return there[0] if len(there) == 1 else path
