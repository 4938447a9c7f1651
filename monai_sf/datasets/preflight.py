"""Checks before training: every image of the run exists, can be read, and has the mode the network takes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from monai_sf.datasets.rendered_files import usable_cores
from monai_sf.files.images import (
    NOT_UTF8,
    is_utf8,
    mode_of,
    open_image,
    read_array,
    reason,
    shown,
    upright,
)

__all__ = ["PreflightError", "check_images", "check_labels", "image_faults"]

_MOST_LISTED = 20


class PreflightError(ValueError):
    """Images of the run cannot be used.

    Attributes:
        faults: Path of each image, relative to the dataset's folder, to its fault.
    """

    def __init__(self, message: str, faults: dict[str, str]) -> None:
        super().__init__(message)
        self.faults = faults


@dataclass(frozen=True)
class _Facts:
    """Mode and size of an upright image: Pillow's name of the mode ("RGB", "L", …), of ``.npy`` the dtype."""

    mode: str = ""
    height: int = 0
    width: int = 0
    error: str = ""


def check_images(
    cases: pd.DataFrame,
    dataset_dir: str | Path,
    *,
    modes: Collection[str],
    shape: Sequence[int] | None = None,
    smallest: int = 1,
    cache: str | Path | None = None,
    workers: int | None = None,
) -> int:
    """Decode every image of a case table once, in parallel.

    An image must exist, be intact, be the only one in its file, hold finite numbers only, and have an allowed
    mode and size when upright (EXIF orientation). Its path must be UTF-8, since it is written to tables.
    Files are not changed, and none is left out: outputs must line up with cases.

    Args:
        cases: Case table.
        dataset_dir: The folder that ``image`` is relative to.
        modes: Allowed modes: Pillow's, so ``["RGB"]`` for 8-bit colour and ``["L", "RGB"]`` for grey too;
            16-bit ("I;16", in colour "RGB;16"), alpha ("RGBA"), printers' colours ("CMYK") and palettes ("P")
            only if named. For ``.npy`` files of one channel the dtype, like ``["int16"]``.
        shape: Required height and width, or None for any.
        smallest: Smallest height and width.
        cache: SQLite file that stores mode and size of the images by path, file size and modification time,
            so that only new, changed and previously unreadable files are decoded. None stores nothing.
        workers: Threads. Default: one per usable core, up to 8.

    Returns:
        Number of files decoded.

    Raises:
        PreflightError: Lists all unusable images, the first 20 of them in the message.
        ValueError: If ``modes`` is a single string, or the cache is another file.
        OSError: If the cache cannot be created.
    """
    images, faults, decoded = _look(cases["image"], Path(dataset_dir), modes, shape, smallest, cache, workers)
    if faults:
        lines = [f"{shown(name)}: {fault}" for name, fault in faults.items()]
        more = f"\n  and {len(lines) - _MOST_LISTED} more" if len(lines) > _MOST_LISTED else ""
        raise PreflightError(
            f"{len(faults)} of {images} images below {shown(dataset_dir)} cannot be used:\n  "
            + "\n  ".join(lines[:_MOST_LISTED])
            + more
            + "\nDownload these files again or convert them; none was left out",
            faults,
        )
    return decoded


def image_faults(
    images: Iterable[str | Sequence[str]],
    dataset_dir: str | Path,
    *,
    modes: Collection[str],
    shape: Sequence[int] | None = None,
    smallest: int = 1,
    workers: int | None = None,
) -> dict[str, str]:
    """Return the faults of images that need not all be usable; the checks are those of :func:`check_images`.

    Args:
        images: Path of each image, or the paths of its channels.
        dataset_dir: The folder that they are relative to.
        modes: Allowed modes.
        shape: Required height and width, or None for any.
        smallest: Smallest height and width.
        workers: Threads.

    Returns:
        Path of each unusable file, as in ``images``, to its fault.

    Raises:
        ValueError: If ``modes`` is a single string.
    """
    return _look(images, Path(dataset_dir), modes, shape, smallest, None, workers)[1]


def _look(
    listed: Iterable[str | Sequence[str]],
    root: Path,
    modes: Collection[str],
    shape: Sequence[int] | None,
    smallest: int,
    cache: str | Path | None,
    workers: int | None,
) -> tuple[int, dict[str, str], int]:
    """Return the number of images, the faults by image, and the number of images decoded."""
    if isinstance(modes, str):
        raise ValueError(f"modes must be a list of names, got the string {modes!r}")
    images = list(dict.fromkeys(name for one in listed for name in ([one] if isinstance(one, str) else one)))
    with _remembered(cache) as memory, ThreadPoolExecutor(workers or usable_cores()) as pool:
        stamps = dict(zip(images, pool.map(lambda name: _stamp(root / name), images), strict=True))
        known = memory.facts(root)
        facts = {name: known[name][1] for name in images if name in known and known[name][0] == stamps[name]}
        facts |= {name: _Facts(error=NOT_UTF8) for name in images if not is_utf8(name)}
        todo = [name for name in images if name not in facts]
        read = pool.map(lambda name: _read(root / name), todo)
        bar = tqdm(zip(todo, read, strict=True), total=len(todo), desc="checking images", unit="image")
        fresh = dict(bar)
        # an error may come from permissions or a network drive, whose repair does not change the file's time
        memory.remember(root, {name: (stamps[name], one) for name, one in fresh.items() if not one.error})
    facts |= fresh
    faults = {name: fault for name in images if (fault := _fault(facts[name], modes, shape, smallest))}
    return len(images), faults, len(todo)


def check_labels(cases: pd.DataFrame, num_classes: int) -> None:
    """Check that a network of that many classes can be trained on these cases.

    Args:
        cases: Case table with the column ``split``.
        num_classes: Classes of the network.

    Raises:
        ValueError: If a label is not in 0..num_classes - 1, or the class of a case of the splits val and iid
            has no training case; names labels and cases.
    """
    wrong = cases[~cases["label"].isin(range(num_classes))]
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} cases have labels outside 0..{num_classes - 1}: labels "
            f"{sorted(set(wrong['label']))[:10]}, cases {wrong['case_id'].tolist()[:10]}. Set num_classes to "
            "the number of classes of the case table"
        )
    trained = set(cases.loc[cases["split"] == "train", "label"])
    unseen = cases[cases["split"].isin(["val", "iid"]) & ~cases["label"].isin(trained)]
    if len(unseen):
        raise ValueError(
            f"{len(unseen)} validation and test cases are of {unseen['label'].nunique()} classes without a "
            f"training case: {sorted(set(unseen['label_name'].astype(str)))[:10]}. Their groups are too few "
            "to be in every split: add cases or leave these classes out"
        )


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError for a NUL in the name
        return None
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> _Facts:
    try:
        if path.suffix.lower() == ".npy":
            values = read_array(path)
            if values.ndim != 2:
                return _Facts(error=f"has the shape {values.shape}, which is not one channel")
            finite = bool(np.isfinite(values).all())
            height, width = values.shape
            return _Facts(str(values.dtype), height, width, "" if finite else "holds NaN or infinity")
        with open_image(path) as image:
            mode = mode_of(image)
            picture = upright(image)
            finite = picture.mode != "F" or bool(np.isfinite(np.asarray(picture)).all())
            return _Facts(mode, picture.height, picture.width, "" if finite else "holds NaN or infinity")
    except Exception as error:  # all faults are reported together
        return _Facts(error=reason(error))


def _fault(facts: _Facts, modes: Collection[str], shape: Sequence[int] | None, smallest: int) -> str:
    if facts.error:
        return facts.error
    if facts.mode not in modes:
        return f"is {facts.mode}, and must be {' or '.join(modes)}"
    size = (facts.height, facts.width)
    if shape is not None and size != tuple(shape):
        return f"is {facts.height} x {facts.width}, and must be {shape[0]} x {shape[1]}"
    if min(size) < smallest:
        return f"is {facts.height} x {facts.width}, and must be at least {smallest} x {smallest}"
    return ""


class _Memory:
    """Facts by path, in an SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS upright (root TEXT, image TEXT, size INTEGER, modified INTEGER,"
            " mode TEXT, height INTEGER, width INTEGER, error TEXT, PRIMARY KEY (root, image))"
        )

    def facts(self, root: Path) -> dict[str, tuple[tuple[int, int], _Facts]]:
        rows = self.connection.execute("SELECT * FROM upright WHERE root = ?", (shown(root.resolve()),))
        return {image: ((size, modified), _Facts(*rest)) for _, image, size, modified, *rest in rows}

    def remember(self, root: Path, facts: dict[str, tuple[tuple[int, int] | None, _Facts]]) -> None:
        if not facts:  # concurrent runs share the file, and should not wait for each other for nothing
            return
        name = shown(root.resolve())
        sql = "INSERT OR REPLACE INTO upright VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        rows = [(name, image, *(stamp or ()), *astuple(one)) for image, (stamp, one) in facts.items()]
        with self.connection:
            self.connection.executemany(sql, rows)


@contextlib.contextmanager
def _remembered(cache: str | Path | None) -> Iterator[_Memory]:
    file = ":memory:" if cache is None else cache
    try:
        if cache is not None:
            Path(cache).parent.mkdir(parents=True, exist_ok=True)
        opened = sqlite3.connect(file, timeout=600)
    except (OSError, sqlite3.OperationalError) as error:
        raise OSError(
            f"cannot write the cache of checked images to {cache} ({error}): choose another folder"
        ) from error
    with contextlib.closing(opened) as connection:
        try:
            yield _Memory(connection)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{cache} is not a cache of checked images ({error}): remove it") from error
