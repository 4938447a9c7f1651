"""Leaks between training and test: groups, identical files, and images that look the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from monai_sf.files.images import read_image
from monai_sf.files.naming import named
from monai_sf.files.volumes import slice_index
from monai_sf.vocabulary.ids import group_cases

__all__ = ["check_leaks", "content_hashes", "find_leaks", "perceptual_hash", "read_prints"]

COLUMNS = ("kind", "value", "case_a", "case_b", "side_a", "side_b")
_SIDE = 32
_LOW = 8
_BITS = _LOW * _LOW

S = TypeVar("S")
T = TypeVar("T")


def check_leaks(
    cases: pd.DataFrame,
    dataset_dir: str | Path | None = None,
    *,
    hashes: bool = True,
    near_duplicates: int | None = None,
    workers: int = 4,
) -> pd.DataFrame:
    """Find leaks, through which a classifier would have seen test cases in training.

    With the column ``split``, a leak is a pair of cases in two splits. Without it, it is a pair in two
    groups, which a split might separate. Ids of groups are compared by the rule of
    :mod:`monai_sf.vocabulary.ids`, whatever their spelling.

    Args:
        cases: Case table, with or without splits.
        dataset_dir: The folder that ``image`` is relative to; None checks groups only.
        hashes: Whether to look for files with the same content. Only files of equal size are read.
        near_duplicates: Maximum number of the 64 bits in which the perceptual hashes of two images of a leak
            differ (0 to 8; 4 finds scaled and recompressed copies), or None to skip this check.
        workers: Threads that read files.

    Returns:
        One row per pair: ``kind`` (group, identical, near), ``value`` (the group, the hash, the number of
        bits), ``case_a`` and ``case_b``, ``side_a`` and ``side_b`` (their splits, or else groups). Empty
        without a leak. Of many copies only the pairs with the first one are listed.

    Raises:
        ValueError: If columns are missing, ``near_duplicates`` is out of range, or images are to be compared
            without a ``dataset_dir``.
        FileNotFoundError: If images are not on disk; gives their number and the first ten.
        OSError: If images cannot be read; gives their number and the first ten.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from PIL import Image
        >>> from monai_sf.datasets import check_leaks
        >>> noise = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
        >>> for name in ("a.png", "b.png"):
        ...     Image.fromarray(noise).save(name)
        >>> cases = pd.DataFrame({"case_id": ["a", "b"], "image": ["a.png", "b.png"]})
        >>> cases["group"] = ["Smith", "Jones"]
        >>> leaks = check_leaks(cases, ".")
        >>> leaks[["kind", "case_a", "case_b", "side_a", "side_b"]].values.tolist()
        [['identical', 'a', 'b', 'Smith', 'Jones']]
    """
    absent = [name for name in ("case_id", "image", "group") if name not in cases.columns]
    if absent:
        raise ValueError(f"case table lacks the columns {', '.join(absent)}")
    if near_duplicates is not None and not 0 <= near_duplicates <= 8:
        raise ValueError(f"near_duplicates must be from 0 to 8 bits, or None, got {near_duplicates}")
    if near_duplicates is not None and dataset_dir is None:
        raise ValueError("near_duplicates needs dataset_dir, the folder of the images")
    prints = None
    if dataset_dir is not None:
        prints = read_prints(cases, dataset_dir, hashes, near_duplicates is not None, workers)
    return find_leaks(cases, prints, near_duplicates)


def read_prints(
    cases: pd.DataFrame, dataset_dir: str | Path, hashes: bool, looks: bool, workers: int = 4
) -> pd.DataFrame:
    """Return fingerprints of each case's (first) file: content hash and perceptual hash, as requested.

    Returns:
        A table with the index of ``cases``: ``content`` (None if no other file has the size) and ``look``.

    Raises:
        FileNotFoundError, OSError: See :func:`check_leaks`.
    """
    root = Path(dataset_dir)
    files = [root / (one[0] if isinstance(one, list) else one) for one in cases["image"]]
    _refuse_absent(files, root, workers)
    prints = pd.DataFrame(index=cases.index)
    if hashes:
        prints["content"] = content_hashes(files, workers)
    if looks:
        slices = cases["slice"] if "slice" in cases.columns else [None] * len(files)
        looked = list(zip(files, slices, strict=True))
        seen = list(_threads(_look, looked, workers, "perceptual hashes"))
        if faults := [str(look) for look in seen if isinstance(look, OSError)]:
            raise OSError(
                f"{len(faults)} of {len(files)} images cannot be compared; first {min(10, len(faults))}:\n  "
                + "\n  ".join(faults[:10])
            )
        prints["look"] = np.array(seen, np.uint64)
    return prints


def find_leaks(
    cases: pd.DataFrame, prints: pd.DataFrame | None, near_duplicates: int | None = None
) -> pd.DataFrame:
    """Find the leaks of :func:`check_leaks` from known fingerprints of these cases (same rows)."""
    groups = group_cases(cases["group"], cases["case_id"])
    group = groups.names[groups.of_case]
    split = "split" in cases.columns
    side = cases["split"].astype(str).to_numpy(dtype=object) if split else group
    found: list[tuple[str, str, int, int]] = []
    if split:
        found += [("group", value, a, b) for value, a, b in _pairs(group, side)]
    identical: set[tuple[int, int]] = set()
    if prints is not None and "content" in prints.columns:
        for value, a, b in _pairs(prints["content"].to_numpy(dtype=object), side):
            identical.add((a, b))
            found.append(("identical", value, a, b))
    if prints is not None and near_duplicates is not None:
        found += [
            ("near", str(bits), a, b)
            for a, b, bits in _near_pairs(prints["look"].to_numpy(np.uint64), near_duplicates)
            if side[a] != side[b] and (a, b) not in identical
        ]
    name = cases["case_id"].to_numpy(dtype=object)
    rows = [(kind, value, name[a], name[b], side[a], side[b]) for kind, value, a, b in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _refuse_absent(files: list[Path], root: Path, workers: int) -> None:
    there = _threads(Path.is_file, files, workers, "finding files")
    if absent := [str(path) for path, is_there in zip(files, there, strict=True) if not is_there]:
        raise FileNotFoundError(
            f"{len(absent)} of {len(files)} images are not below {root} and cannot be compared; "
            f"first {min(10, len(absent))}:\n  " + "\n  ".join(absent[:10]) + "\nLeave them out with "
            'missing="drop"'
        )


def _pairs(value: npt.NDArray[np.object_], side: npt.NDArray[np.object_]) -> Iterator[tuple[str, int, int]]:
    """Yield, for each value on several sides, the first case and the first on each other side."""
    frame = pd.DataFrame({"value": value, "side": side, "row": np.arange(len(value))})
    frame = frame[frame["value"].notna()].drop_duplicates(["value", "side"])
    frame = frame[frame["value"].duplicated(keep=False)]
    first: dict[str, int] = {}
    for one, row in zip(frame["value"], frame["row"], strict=True):
        if first.setdefault(one, row) != row:
            yield one, first[one], int(row)


def _look(one: tuple[Path, Any]) -> int | OSError:
    try:
        return perceptual_hash(*one)
    except OSError as error:  # all faults are reported together
        return error


def content_hashes(files: list[Path], workers: int = 4) -> npt.NDArray[np.object_]:
    """Hash each file that shares its size with another; None for the others, which are not read."""
    size = np.array(list(_threads(lambda path: path.stat().st_size, files, workers, "file sizes")), np.int64)
    several = pd.Series(size).duplicated(keep=False).to_numpy()
    result = np.full(len(files), None, dtype=object)
    chosen = np.flatnonzero(several)
    digests = _threads(_content_hash, [files[i] for i in chosen], workers, "file hashes")
    result[chosen] = np.array(list(digests), dtype=object)
    return result


def _content_hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _threads(function: Callable[[S], T], files: list[S], workers: int, name: str) -> Iterable[T]:
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(function, files)
        yield from tqdm(results, total=len(files), desc=name, unit="file", delay=1)


def perceptual_hash(path: str | Path, slice: Any = None) -> int:
    """Return a 64-bit hash of an image: which of its lowest 8 × 8 cosine frequencies exceed their median.

    The image is first turned upright (EXIF orientation), converted to grey and resized to 32 × 32 pixels
    (pHash; Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). The mean
    (frequency 0) is ignored.

    Args:
        path: Image file, of any format that :func:`monai_sf.files.images.read_image` reads.
        slice: Of a volume.

    Raises:
        OSError: If the file is not an image, or holds several; names it.
    """
    with named(path):
        values = read_image(path, slice=slice_index(slice), size=(4 * _SIDE, 4 * _SIDE)).values
    if values.dtype == np.uint8:
        grey = Image.fromarray(values).convert("L")
    else:  # Pillow would clip these at 255
        deep = values.astype(np.float32)
        grey = Image.fromarray(deep if deep.ndim == 2 else np.ascontiguousarray(deep.mean(2)))
    small = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64)
    low = (_COSINES @ pixels @ _COSINES.T).reshape(-1)
    low[0] = 0
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])


_COSINES = np.cos(np.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5))


def _near_pairs(prints: npt.NDArray[np.uint64], most: int) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of rows whose hashes differ in at most ``most`` bits, each once, in order of rows.

    Of ``most + 1`` bands of bits, two such hashes agree in at least one, so only rows with an equal band are
    compared. Of equal hashes only the pairs with the first row are yielded.
    """
    unique, first, inverse = np.unique(prints, return_index=True, return_inverse=True)
    for row, own in enumerate(first[inverse]):
        if own != row:
            yield int(own), row, 0
    edges = np.linspace(0, _BITS, most + 2).astype(int)
    seen: set[tuple[int, int]] = set()
    for low, high in pairwise(edges):
        band = (unique >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            if len(bucket) == 1:
                continue
            seen.update(_close(unique, bucket, most))
    for a, b in sorted(seen):
        i, j = sorted((int(first[a]), int(first[b])))
        yield i, j, int(unique[a] ^ unique[b]).bit_count()


def _close(
    unique: npt.NDArray[np.uint64], bucket: npt.NDArray[np.intp], most: int
) -> Iterator[tuple[int, int]]:
    bytes_ = unique[bucket].view(np.uint8).reshape(-1, 8)
    for i in range(len(bucket) - 1):
        apart = _BIT_COUNT[bytes_[i + 1 :] ^ bytes_[i]].sum(axis=1)
        for j in np.flatnonzero(apart <= most):
            a, b = int(bucket[i]), int(bucket[i + 1 + j])
            yield (a, b) if a < b else (b, a)


_BIT_COUNT = np.array([bin(i).count("1") for i in range(256)], dtype=np.uint8)
