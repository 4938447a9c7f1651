"""Sizes and modes of a sample of the images of a case table, and how their values should become [0, 1]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from monai_sf.datasets import usable_cores
from monai_sf.files import sha256_of
from monai_sf.files.image_data import ImageData
from monai_sf.files.images import read_image
from monai_sf.files.naming import reason, shown
from monai_sf.vocabulary.ids import group_cases

_AT_MOST = 2000
_MOST_LISTED = 20
_SMALLEST = 8
_USUAL_SMALLEST = 32


@dataclass(frozen=True)
class Seen:
    """What one image file holds.

    Attributes:
        mode: as :class:`monai_sf.files.image_data.ImageData` has it.
        kind: as there.
        modality: as there.
        height: in pixels.
        width: in pixels.
        is_grey: whether it is grey, or colour with three equal channels.
        has_window: whether the file says how its values are to be shown.
        span: smallest and largest value of its type, if these mean something.
        highest: its largest value.
        digest: SHA-256 of the file; empty for a slice of one.
    """

    mode: str
    kind: str
    modality: str
    height: int
    width: int
    is_grey: bool
    has_window: bool
    span: tuple[float, float] | None
    highest: float
    digest: str = ""

    @classmethod
    def of(cls, image: ImageData, digest: str = "") -> Seen:
        """Return what is remembered of an image."""
        values = image.values
        grey = values.ndim == 2 or bool((values == values[..., :1]).all())
        height, width = values.shape[:2]
        return cls(
            *(image.mode, image.kind, image.modality, height, width, grey),
            *(image.window is not None, image.span, float(values.max())),
            digest=digest,
        )


@dataclass(frozen=True)
class Look:
    """What a sample of images holds.

    Attributes:
        of: number of all images.
        seen: what each readable image of the sample holds, by its name.
        faults: what is wrong with the others, by their names.
        channel_files: number of files of one case.
    """

    of: int
    seen: Mapping[str, Seen]
    faults: Mapping[str, str] = field(default_factory=dict)
    channel_files: int = 1

    @property
    def is_grey(self) -> bool:
        """Whether no image has colours."""
        return all(one.is_grey for one in self.seen.values())

    @property
    def channels(self) -> int:
        """Return the number of channels of a network's input."""
        return self.channel_files if self.channel_files > 1 else 1 if self.is_grey else 3

    @property
    def modes(self) -> dict[str, int]:
        """Return how many images have each mode, the most frequent first."""
        return dict(Counter(one.mode for one in self.seen.values()).most_common())

    @property
    def kinds(self) -> dict[str, int]:
        """Return how many images are of each kind, the most frequent first."""
        return dict(Counter(one.kind for one in self.seen.values()).most_common())

    @property
    def sides(self) -> list[int]:
        """Return the shorter side of each image."""
        return [min(one.height, one.width) for one in self.seen.values()]

    @property
    def smallest(self) -> int:
        """Return the smallest side that images are allowed to have."""
        return min(_USUAL_SMALLEST, *self.sides)

    def lines(self) -> list[str]:
        """Return what is seen, in words, one line each."""
        number = len(self.seen) + len(self.faults)
        sizes = sorted({(one.height, one.width) for one in self.seen.values()})
        first, last = (f"{height} x {width}" for height, width in (sizes[0], sizes[-1]))
        modes = ", ".join(f"{count} {mode}" for mode, count in self.modes.items())
        equal = (
            " (three equal channels)" if self.is_grey and any("colour" in mode for mode in self.modes) else ""
        )
        return [
            f"looked at {number} of {self.of} images"
            if number < self.of
            else f"looked at all {number} images",
            f"sizes (height x width): {first}"
            + ("" if first == last else f" to {last}, {len(sizes)} in all"),
            f"modes: {modes}{equal}",
        ]

    def problems(self) -> list[str]:
        """Return what is wrong: images that cannot be used, and kinds that are not comparable."""
        found = []
        if self.faults:
            listed = [f"{shown(name)}: {fault}" for name, fault in list(self.faults.items())[:_MOST_LISTED]]
            more = (
                f"\n  and {len(self.faults) - _MOST_LISTED} more" if len(self.faults) > _MOST_LISTED else ""
            )
            found.append(
                f"{len(self.faults)} of {len(self.seen) + len(self.faults)} images cannot be used:\n  "
                + "\n  ".join(listed)
                + more
                + "\nRepair these files, or leave their rows out of the table"
            )
        modalities = {one.modality for one in self.seen.values()}
        if len(self.kinds) > 1 and (self.intensity()[0] != {"window": "dicom"} or len(modalities) > 1):
            examples = {kind: [n for n, one in self.seen.items() if one.kind == kind] for kind in self.kinds}
            found.append(
                f"the images are of {len(self.kinds)} kinds, whose values cannot be compared:\n  "
                + "\n  ".join(
                    f"{len(names)} {kind} (first: {', '.join(map(shown, names[:3]))})"
                    for kind, names in examples.items()
                )
                + "\nConvert them to one kind, or leave the rows of one out of the table"
            )
        if self.channel_files > 1 and not self.is_grey:
            found.append("images in several files must be grey, one channel each, and some are in colour")
        return found

    def intensity(self) -> tuple[dict[str, Any], str]:
        """Return the rule by which values become [0, 1], and the reason for it."""
        every = list(self.seen.values())
        if all(one.has_window for one in every):
            return {"window": "dicom"}, "every file names its window"
        if any(one.kind.startswith("DICOM") or one.span is None for one in every):
            return {"percentiles": [0.5, 99.5]}, "the files do not tell how their values are to be shown"
        highest = max(one.highest for one in every)
        top = max(one.span[1] for one in every if one.span)
        if highest * 2 < top and top > 255:
            bits = max(1, int(highest).bit_length())
            why = f"the highest value is {highest:g} of {top:g}, so {bits} bits are used"
            return {"window": [0, 2**bits - 1]}, why
        return {"range": "type"}, f"values fill the range of their type, 0 to {top:g}"


def look_at(cases: pd.DataFrame, dataset_dir: str | Path) -> Look:
    """Read a sample of the images of a case table, in parallel and with a progress bar.

    Args:
        cases: case table.
        dataset_dir: the folder that ``image`` is relative to.
    """
    root = Path(dataset_dir)
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(_AT_MOST, len(cases))).round().astype(int))
    slices = cases["slice"].tolist() if "slice" in cases else [None] * len(cases)
    images = [image if isinstance(image, list) else [image] for image in cases["image"]]
    files = [(name, slices[row]) for row in chosen for name in images[row]]
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        read = pool.map(lambda file: _read(root / file[0], file[1]), files)
        bar = tqdm(zip(files, read, strict=True), total=len(files), desc="looking at images", unit="image")
        found = {name if index is None else f"{name}, slice {index}": one for (name, index), one in bar}
    return Look(
        sum(map(len, images)),
        {name: one for name, one in found.items() if isinstance(one, Seen)},
        {name: one for name, one in found.items() if isinstance(one, str)},
        len(images[0]),
    )


def copies(cases: pd.DataFrame, look: Look) -> str:
    """Return which files are copies of each other in different groups, or nothing.

    Args:
        cases: case table.
        look: at its images.
    """
    images = [image if isinstance(image, list) else [image] for image in cases["image"]]
    groups = group_cases(cases["group"], cases["case_id"]).of_case
    of_group = {name: group for names, group in zip(images, groups, strict=True) for name in names}
    first: dict[str, str] = {}
    found = []
    for name, one in look.seen.items():
        original = first.setdefault(one.digest, name)
        if one.digest and of_group[original] != of_group[name]:
            found.append(f"{shown(name)} is a copy of {shown(original)}")
    if not found:
        return ""
    more = f"\n  and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    return (
        f"{len(found)} images are copies of others that are not of the same group (patient), and could be "
        "tested after their copies were trained on:\n  "
        + "\n  ".join(found[:_MOST_LISTED])
        + more
        + "\nKeep one row of each, or give both the same group"
    )


def look_at_array(images: Sequence[Any], of: int) -> Look:
    """Return what 8-bit images in memory, each (H, W) or (H, W, 3), hold."""
    seen = {}
    for number, values in enumerate(images):
        mode = "grey uint8" if values.ndim == 2 else "colour uint8"
        seen[str(number)] = Seen.of(ImageData(values, mode, "picture uint8", (0.0, 255.0)))
    return Look(of, seen)


def _read(path: Path, index: Any) -> Seen | str:
    try:
        image = read_image(path, slice=None if index is None else int(index))
    except Exception as error:  # all faults are said together
        return reason(error)
    side = min(image.values.shape[:2])
    if side < _SMALLEST:
        return f"is {image.values.shape[0]} x {image.values.shape[1]} px, too small for any network here"
    return Seen.of(image, sha256_of(path) if index is None else "")
