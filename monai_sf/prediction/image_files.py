"""The image files of a folder, as records for MONAI's datasets."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_sf.datasets import table_images
from monai_sf.datasets.tree import read_tree
from monai_sf.files.formats import NOT_READ, image_format
from monai_sf.files.naming import SUFFIXES, shown

logger = logging.getLogger(__name__)

_MOST_LISTED = 20


class ImageRecords(list[dict[str, Any]]):
    """The images of a folder, as dictionaries for MONAI's datasets.

    Attributes:
        not_classified: Path below the folder of each image file that no pattern names, to the reason.
    """

    def __init__(self, records: Sequence[dict[str, Any]], not_classified: Mapping[str, str]) -> None:
        super().__init__(records)
        self.not_classified = dict(not_classified)


def image_records(
    folder: str | os.PathLike[str],
    pattern: str | Sequence[str] | None = None,
    channel_marks: Sequence[str] = (),
    *,
    table: str | os.PathLike[str] | None = None,
    columns: Mapping[str, Any] | None = None,
    table_options: Mapping[str, Any] | None = None,
) -> ImageRecords:
    """Return the images of a folder, or those of them that a table names, for MONAI's datasets.

    Without a table, an image file with an ending that no pattern names is not classified, and named, in the
    log and in ``not_classified``. Of other files the number and the endings are logged.

    Args:
        folder: searched with all folders below, including linked ones, except hidden ones and ``__MACOSX``.
        pattern: of file names, such as ``*.npy``, or several; letter case is ignored. ``*.dcm`` also means
            DICOM files without an ending, or with a number as ending, as archives and scanners write them.
            None: the endings of all image files that are read.
        channel_marks: for images with one file per channel: the parts of the file names that identify the
            channels, in their order (``["_w1", "_w2"]``), in any letter case; the last occurrence counts.
            ``pattern`` must match the first channel's files.
        table: file that names the images, in place of ``pattern`` and ``channel_marks``, see
            :func:`monai_sf.datasets.table_images`.
        columns: of the table, by role.
        table_options: further arguments of :func:`monai_sf.datasets.table_images`.

    Returns:
        One dictionary per image, sorted, or in the order of the table: ``image`` (path, or the channels'
        paths), ``case_id`` (path of the first below ``folder``, or that of the table) and, where the table
        has it, ``slice``.

    Raises:
        TableError: the table is faulty; names all faults.
        FileNotFoundError: the folder does not exist, or no file in it matches.

    Examples:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from monai_sf.prediction import image_records
        >>> Path("ward/7").mkdir(parents=True)
        >>> for name in ("ward/7/b.png", "ward/a.jpg"):
        ...     Image.new("L", (8, 8)).save(name)
        >>> [record["case_id"] for record in image_records("ward")]
        ['7/b.png', 'a.jpg']
        >>> image_records("ward", "*.jpg").not_classified
        {'7/b.png': 'is PNG, and no pattern names the ending .png: add *.png to pattern,
         or move it away'}
    """
    if table is not None:
        named = table_images(Path(table), Path(folder), columns=columns or {}, **(table_options or {}))
        return ImageRecords([_record(Path(folder), row) for row in named.to_dict("records")], {})
    tree = read_tree(Path(folder))
    for remark in tree.remarks():
        logger.warning("%s: %s", shown(folder), shown(remark))
    everything = sorted([*tree.files, *tree.left_out])  # a broken link is an image too, and must be named
    patterns = _patterns(pattern)
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
    unnamed = _unnamed_images(tree.root, [path for path in tree.files if path not in used], patterns)
    left = Counter(_ending(path) or "no ending" for path in everything if path not in used | unnamed.keys())
    others = shown(": " + ", ".join(f"{count} {end}" for end, count in left.most_common(10))) if left else ""
    wanted = "the ending of an image" if pattern is None else " or ".join(patterns)
    wanted += f" with {channel_marks[0]!r} in its name" if channel_marks else ""
    listed = "".join(f"\n  {shown(path)}: {why}" for path, why in [*unnamed.items()][:_MOST_LISTED])
    listed += f"\n  and {len(unnamed) - _MOST_LISTED} more" if len(unnamed) > _MOST_LISTED else ""
    if not records:
        lacking = f"no file below {shown(folder)} {'has' if pattern is None else 'matches'} {wanted}{others}"
        raise FileNotFoundError(lacking + (f"; these images are there:{listed}" if listed else ""))
    if left:
        logger.warning(
            "%d of %d files below %s are not classified, because they do not %s %s%s",
            *(left.total(), len(everything), shown(folder), "have" if pattern is None else "match"),
            *(wanted, others),
        )
    if listed:
        logger.warning("%d images below %s are not classified:%s", len(unnamed), shown(folder), listed)
    return ImageRecords(records, unnamed)


def _record(root: Path, row: Mapping[Any, Any]) -> dict[str, Any]:
    image = row["image"]
    full = str(root / image) if isinstance(image, str) else [str(root / one) for one in image]
    return {**row, "image": full}


def _patterns(pattern: str | Sequence[str] | None) -> list[str]:
    if pattern is None:
        return [f"*{ending}" for ending in SUFFIXES]
    return [one.casefold() for one in ([pattern] if isinstance(pattern, str) else pattern)]


def _unnamed_images(root: Path, files: Sequence[str], patterns: Sequence[str]) -> dict[str, str]:
    """Return those of some files that are images, and whose ending no pattern names, with the reason.

    A file whose ending is that of a pattern was left out on purpose, as by ``*_frontal.jpg``.
    """
    endings = [_ending(one) or ("*" if one[-1:] in ("*", "?", "]") else "") for one in patterns]
    found: dict[str, str] = {}
    for path in files:
        own = _ending(path)
        if any(fnmatch.fnmatchcase(own, one) for one in endings):
            continue
        if format := image_format(root / path):
            found[path] = _why(format, own)
    return found


def _why(format: str, ending: str) -> str:
    if format in NOT_READ:
        return f"is {format}, which is not read: convert it, to PNG or TIFF"
    if format == "DICOM" and not ending:
        return "is DICOM in a file without an ending: add *.dcm to pattern, or move it away"
    if not ending:
        return f"is {format} in a file without an ending: give it the ending of its format"
    return f"is {format}, and no pattern names the ending {ending}: add *{ending} to pattern, or move it away"


def _ending(path: str) -> str:
    return "".join(Path(path.casefold()).suffixes[-2 if path.casefold().endswith(".nii.gz") else -1 :])


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
