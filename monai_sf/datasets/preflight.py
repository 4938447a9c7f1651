"""Checks before training: every image of the run exists, can be read, and has the mode the network takes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from monai_sf.files.cores import usable_cores
from monai_sf.files.image_data import ImageData
from monai_sf.files.images import read_image
from monai_sf.files.intensity import Intensity, intensity_of
from monai_sf.files.naming import NOT_UTF8, RefusedImageError, is_utf8, reason, shown
from monai_sf.files.volumes import slice_index
from monai_sf.vocabulary.shifts import UNKNOWN

__all__ = ["Checked", "PreflightError", "check_images", "check_labels", "image_fault", "image_faults"]

_MOST_LISTED = 20


class PreflightError(ValueError):
    """Images of the run cannot be used.

    Attributes:
        faults: Path of each image, relative to the dataset's folder, to its fault. Images that are usable by
            themselves but not together are not in it.
    """

    def __init__(self, message: str, faults: dict[str, str]) -> None:
        super().__init__(message)
        self.faults = faults


class Checked(NamedTuple):
    """What a check of images found.

    Attributes:
        decoded: Number of images that were decoded; the others were known from a check before.
        kinds: The kinds of the images, see :class:`monai_sf.files.image_data.ImageData`, sorted.
    """

    decoded: int
    kinds: list[str]


@dataclass(frozen=True)
class _Facts:
    """What is known of an upright image; see :class:`monai_sf.files.image_data.ImageData`."""

    mode: str = ""
    kind: str = ""
    modality: str = ""
    height: int = 0
    width: int = 0
    error: str = ""


@dataclass(frozen=True)
class _Wanted:
    """What images must be like."""

    modes: Collection[str] | None
    intensity: Intensity
    kinds: Collection[str] | None
    shape: Sequence[int] | None
    smallest: int
    trained: Collection[str] = ()


def check_images(
    cases: pd.DataFrame,
    dataset_dir: str | Path,
    *,
    intensity: Mapping[str, Any] | Intensity,
    modes: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
    shape: Sequence[int] | None = None,
    smallest: int = 1,
    cache: str | Path | None = None,
    workers: int | None = None,
) -> Checked:
    """Decode every image of a case table once, in parallel.

    An image must exist, be intact, be the only one in its file (or the slice that the column ``slice``
    names), hold finite numbers only, and have an allowed mode and size when upright (EXIF orientation). The
    rule of intensity must apply to it, and make it comparable with all others. Its path must be UTF-8, since
    it is written to tables. Files are not changed, and none is left out: outputs must line up with cases.

    Args:
        cases: Case table.
        dataset_dir: The folder that ``image`` is relative to.
        intensity: How values become [0, 1], see :func:`monai_sf.files.intensity.intensity_of`.
        modes: Allowed modes, see :class:`monai_sf.files.image_data.ImageData`: ``["colour uint8"]`` for 8-bit
            colour, with ``"grey uint8"`` for grey too; 16 bits ("grey uint16"), alpha ("colour+alpha uint8"),
            printers' colours ("cmyk uint8") and palettes ("palette uint8") only if named. None allows all.
        kinds: Allowed kinds, see :class:`monai_sf.files.image_data.ImageData`; their values are taken to be
            comparable. None allows any, but under one rule of intensity only those that it makes comparable.
        shape: Required height and width, or None for any.
        smallest: Smallest height and width.
        cache: SQLite file that stores mode, kind and size of the images by path, file size and modification
            time, so that only new, changed and previously unreadable files are decoded. None stores nothing.
        workers: Threads. Default: one per usable core, up to 8.

    Returns:
        How many images were decoded, and the kinds of all.

    Raises:
        PreflightError: Lists all unusable images, the first 20 of them in the message; or the kinds that are
            mixed, with their numbers and the first three images of each.
        ValueError: If ``modes`` or ``kinds`` is a single string, ``intensity`` is no rule, or the cache is
            another file.
        OSError: If the cache cannot be created.
    """
    slices = cases["slice"] if "slice" in cases.columns else None
    wanted = _Wanted(modes, intensity_of(intensity), kinds, shape, smallest)
    looked = _look(cases["image"], slices, Path(dataset_dir), wanted, cache, workers)
    count, faults, mixed, decoded, usable = looked
    lines = [f"{shown(name)}: {fault}" for name, fault in faults.items()]
    more = f"\n  and {len(lines) - _MOST_LISTED} more" if len(lines) > _MOST_LISTED else ""
    said = [mixed] if mixed else []
    if faults:
        said.append(
            f"{len(faults)} of {count} images below {shown(dataset_dir)} cannot be used:\n  "
            + "\n  ".join(lines[:_MOST_LISTED])
            + more
            + "\nDownload these files again or convert them; none was left out"
        )
    if said:
        raise PreflightError("\n".join(said), faults)
    return Checked(decoded, sorted({facts.kind for facts in usable.values()}))


def image_faults(
    images: Iterable[str | Sequence[str]],
    dataset_dir: str | Path,
    *,
    slices: Iterable[Any] | None = None,
    trained: Collection[str] = (),
    intensity: Mapping[str, Any] | Intensity,
    modes: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
    shape: Sequence[int] | None = None,
    smallest: int = 1,
    workers: int | None = None,
) -> dict[str, str]:
    """Return the faults of images that need not all be usable; the checks are those of :func:`check_images`.

    Args:
        images: Path of each image, or the paths of its channels.
        dataset_dir: The folder that they are relative to.
        slices: Slice of each image in its volume, None for none.
        trained: Kinds of the images that the network was trained on. Without ``kinds``, an image of another
            kind, or under a rule of intensity that makes scales comparable of another DICOM modality, is
            unusable. Empty: not known.
        intensity: How values become [0, 1].
        modes: Allowed modes, or None for all.
        kinds: Allowed kinds, or None for those that are comparable.
        shape: Required height and width, or None for any.
        smallest: Smallest height and width.
        workers: Threads.

    Returns:
        Path of each unusable file, as in ``images``, to its fault; of a slice, ``<path> slice <number>``.

    Raises:
        PreflightError: If kinds are mixed whose values are not comparable.
        ValueError: If ``modes`` or ``kinds`` is a single string, or ``intensity`` is no rule.
    """
    wanted = _Wanted(modes, intensity_of(intensity), kinds, shape, smallest, trained)
    _, faults, mixed, _, _ = _look(images, slices, Path(dataset_dir), wanted, None, workers)
    if mixed:
        raise PreflightError(mixed, faults)
    return faults


def image_fault(
    image: str | ImageData,
    *,
    trained: Collection[str] = (),
    intensity: Mapping[str, Any] | Intensity,
    modes: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
    shape: Sequence[int] | None = None,
    smallest: int = 1,
) -> str:
    """Return the fault of one image, empty if it is usable; nothing is shown, and no thread is started.

    Args:
        image: Path of a file, or what a file held, whose kind nobody knows and is not checked.
        trained: Kinds of the images of the training, see :func:`image_faults`.
        intensity: How values become [0, 1].
        modes: Allowed modes.
        kinds: Allowed kinds.
        shape: Required height and width.
        smallest: Smallest height and width.
    """
    rule = intensity_of(intensity)
    if isinstance(image, ImageData):
        return _fault(_facts(lambda: image, rule), _Wanted(modes, rule, None, shape, smallest))
    facts = _read(Path(image), "", rule) if is_utf8(image) else _Facts(error=NOT_UTF8)
    return _fault(facts, _Wanted(modes, rule, kinds, shape, smallest, trained))


def _look(
    listed: Iterable[str | Sequence[str]],
    slices: Iterable[Any] | None,
    root: Path,
    wanted: _Wanted,
    cache: str | Path | None,
    workers: int | None,
) -> tuple[int, dict[str, str], str, int, dict[tuple[str, str], _Facts]]:
    """Return the number of images, faults, the mixed kinds, how many were decoded, and the usable ones."""
    for name, allowed in (("modes", wanted.modes), ("kinds", wanted.kinds)):
        if isinstance(allowed, str):
            raise ValueError(f"{name} must be a list of names, got the string {allowed!r}")
    listed = list(listed)
    indices = [None] * len(listed) if slices is None else list(slices)
    images = list(
        dict.fromkeys(
            (name, _slice_text(index))
            for one, index in zip(listed, indices, strict=True)
            for name in ([one] if isinstance(one, str) else one)
        )
    )
    with _remembered(cache) as memory, ThreadPoolExecutor(workers or usable_cores()) as pool:
        rule = str(wanted.intensity)
        found = pool.map(lambda image: _stamp(root / image[0]), images)
        stated = tqdm(found, total=len(images), desc="finding images", unit="image", delay=1)
        stamps = dict(zip(images, stated, strict=True))
        known = memory.facts(root, rule)
        facts = {one: known[one][1] for one in images if one in known and known[one][0] == stamps[one]}
        facts |= {one: _Facts(error=NOT_UTF8) for one in images if not is_utf8(one[0])}
        todo = [one for one in images if one not in facts]
        read = pool.map(lambda one: _read(root / one[0], one[1], wanted.intensity), todo)
        bar = tqdm(zip(todo, read, strict=True), total=len(todo), desc="checking images", unit="image")
        fresh = dict(bar)
        # an error may come from permissions or a network drive, whose repair does not change the file's time
        good = {one: (stamps[one], known) for one, known in fresh.items() if not known.error}
        memory.remember(root, rule, good)
    facts |= fresh
    faults = {one: fault for one in images if (fault := _fault(facts[one], wanted))}
    usable = {one: facts[one] for one in images if one not in faults}
    named = {named_slice(*one): fault for one, fault in faults.items()}
    return len(images), named, _mixed(usable, wanted), len(todo), usable


def _slice_text(index: Any) -> str:
    """Return a slice as text, as the cache holds it; what is wrong with it is said when it is read."""
    try:
        whole = slice_index(index)
    except RefusedImageError:
        return str(index)
    return "" if whole is None else str(whole)


def named_slice(image: str, index: Any) -> str:
    """Return how an image is called in messages; ``index`` is None or empty for no slice."""
    text = _slice_text(index)
    return f"{image} slice {text}" if text else image


def _mixed(usable: Mapping[tuple[str, str], _Facts], wanted: _Wanted) -> str:
    """Return which kinds of images are mixed that the rule of intensity does not make comparable."""
    by_kind: dict[str, list[str]] = {}
    for image, facts in usable.items():
        by_scale = not wanted.intensity.compares_scales
        # a rule that brings each image to its own scale still makes no radiograph comparable with CT
        if kind := facts.kind if by_scale else facts.modality and f"DICOM {facts.modality}":
            by_kind.setdefault(kind, []).append(named_slice(*image))
    known = all(any(f"{own} ".startswith(f"{kind} ") for own in wanted.trained) for kind in by_kind)
    if wanted.kinds is not None or len(by_kind) < 2 or known:
        return ""
    lines = [
        f"{len(images)} {kind} (first: {', '.join(map(shown, images[:3]))})"
        for kind, images in sorted(by_kind.items(), key=lambda pair: -len(pair[1]))
    ]
    return (
        f"the images are of {len(by_kind)} kinds, which {wanted.intensity} does not make comparable:\n  "
        + "\n  ".join(lines)
        + "\nConvert them to one kind, leave one out, choose a rule that suits all of them, or, if their "
        f"values mean the same, name them: image_kinds: {sorted(by_kind)}"
    )


def check_labels(cases: pd.DataFrame, num_classes: int, *, trains: bool = True) -> None:
    """Check that a network of that many classes can be trained and tested on these cases.

    Args:
        cases: Case table with the column ``split``; the label -1 is for target cases of none of the classes.
        num_classes: Classes of the network.
        trains: Whether it is trained on them. If not, classes may be without training cases.

    Raises:
        ValueError: If a label is not in 0..num_classes - 1, the class of a case of the splits val,
            calibration and iid has no training case, or the study trains without some classes, which the
            network has; names labels and cases.
    """
    if (without := cases.attrs.get("without")) and len(left := cases.attrs["classes"]) != num_classes:
        raise ValueError(
            f"study {cases.attrs['study']!r} trains without {', '.join(map(repr, without))}, and the network "
            f"has {num_classes} classes: set num_classes to {len(left)} and class_names to {left}. A rule on "
            "the column label_name alone sets both, such as target: "
            f"{{label_name: {without[0] if len(without) == 1 else without}}}"
        )
    unknown = (cases["label"] == UNKNOWN) & (cases["split"] == "target")
    wrong = cases[~cases["label"].isin(range(num_classes)) & ~unknown]
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} cases have labels outside 0..{num_classes - 1}: labels "
            f"{sorted(set(wrong['label']))[:10]}, cases {wrong['case_id'].tolist()[:10]}. Set num_classes to "
            "the number of classes of the case table"
        )
    if not trains:
        return
    trained = set(cases.loc[cases["split"] == "train", "label"])
    unseen = cases[cases["split"].isin(["val", "calibration", "iid"]) & ~cases["label"].isin(trained)]
    if len(unseen):
        raise ValueError(
            f"{len(unseen)} validation, calibration and test cases are of {unseen['label'].nunique()} "
            f"classes without a training case: {sorted(set(unseen['label_name'].astype(str)))[:10]}. Their "
            "groups are too few to be in every split: add cases or leave these classes out"
        )


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError for a NUL in the name
        return None
    return status.st_size, status.st_mtime_ns


def _read(path: Path, index: str, rule: Intensity) -> _Facts:
    return _facts(lambda: read_image(path, slice=slice_index(index)), rule)


def _facts(read: Callable[[], ImageData], rule: Intensity) -> _Facts:
    try:
        image = read()
    except Exception as error:  # all faults are reported together
        return _Facts(error=reason(error))
    facts = _Facts(image.mode, image.kind, image.modality, *image.values.shape[:2])
    try:
        rule.ends(image)
    except Exception as error:
        return replace(facts, error=reason(error))
    return facts


def _fault(facts: _Facts, wanted: _Wanted) -> str:
    other = _untrained(facts, wanted) if wanted.kinds is None and facts.kind else ""
    if other and facts.modality:  # says more than what the values are like
        return other
    if facts.error:
        return facts.error
    for own, allowed in ((facts.mode, wanted.modes), (facts.kind, wanted.kinds)):
        if allowed is not None and own not in allowed:
            return f"is {own}, and must be {' or '.join(allowed)}"
    if other:
        return other
    size, shape, smallest = (facts.height, facts.width), wanted.shape, wanted.smallest
    if shape is not None and size != tuple(shape):
        return f"is {facts.height} x {facts.width}, and must be {shape[0]} x {shape[1]}"
    if min(size) < smallest:
        return f"is {facts.height} x {facts.width}, and must be at least {smallest} x {smallest}"
    return ""


def _untrained(facts: _Facts, wanted: _Wanted) -> str:
    """Return what an image is that the network was not trained on; empty if it was, or nothing is known."""
    own, trained = facts.kind, wanted.trained
    if wanted.intensity.compares_scales:  # then only the modality tells
        known = {kind for kind in trained if kind.startswith("DICOM ")}
        if not known or not facts.modality or any(k.startswith(f"DICOM {facts.modality} ") for k in known):
            return ""
        own, trained = f"DICOM {facts.modality}", known
    if not trained or own in trained:
        return ""
    return (
        f"is {own}, and the network was trained on {' and '.join(sorted(trained))}: leave it out, or name "
        "both in image_kinds if their values mean the same"
    )


class _Memory:
    """Facts by path, slice and rule of intensity, in an SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS images (root TEXT, rule TEXT, image TEXT, slice TEXT, size INTEGER,"
            " modified INTEGER, mode TEXT, kind TEXT, modality TEXT, height INTEGER, width INTEGER,"
            " error TEXT, PRIMARY KEY (root, rule, image, slice))"
        )

    def facts(self, root: Path, rule: str) -> dict[tuple[str, str], tuple[tuple[int, int], _Facts]]:
        sql = "SELECT * FROM images WHERE root = ? AND rule = ?"
        rows = self.connection.execute(sql, (shown(root.resolve()), rule))
        return {
            (image, index): ((size, modified), _Facts(*rest))
            for _, _, image, index, size, modified, *rest in rows
        }

    def remember(
        self, root: Path, rule: str, facts: dict[tuple[str, str], tuple[tuple[int, int] | None, _Facts]]
    ) -> None:
        if not facts:  # concurrent runs share the file, and should not wait for each other for nothing
            return
        name = shown(root.resolve())
        sql = f"INSERT OR REPLACE INTO images VALUES ({', '.join('?' * 12)})"
        rows = [(name, rule, *image, *(stamp or ()), *astuple(one)) for image, (stamp, one) in facts.items()]
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
