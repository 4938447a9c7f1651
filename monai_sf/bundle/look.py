"""Sizes and modes of a sample of the images of a case table, and how their values should become [0, 1]."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from monai_sf.files.cores import usable_cores
from monai_sf.files.image_data import ImageData
from monai_sf.files.images import read_image
from monai_sf.files.intensity import intensity_of
from monai_sf.files.naming import reason, shown
from monai_sf.vocabulary.ids import group_cases

_AT_MOST = 2000
_MOST_LISTED = 20
_SMALLEST = 8
_USUAL_SMALLEST = 32
#: Bits that cameras and detectors fill in files of 16 bits.
_BITS = (8, 12)
_APART = 4


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
        high: its 99.9th percentile, which a few hot pixels do not change; of 8 bits ``highest``.
        digest: SHA-256 of mode, shape and values; empty for a constant image, which is like any other.
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
    high: float
    digest: str

    @classmethod
    def of(cls, image: ImageData) -> Seen:
        """Return what is remembered of an image."""
        values = image.values
        highest = float(values.max())
        grey = values.ndim == 2 or bool((values == values[..., :1]).all())
        height, width = values.shape[:2]
        return cls(
            *(image.mode, image.kind, image.modality, height, width, grey),
            *(image.window is not None, image.span, highest),
            high=highest if values.dtype == np.uint8 else float(np.percentile(values, 99.9)),
            digest="" if values.min() == highest else _digest(image),
        )


@dataclass(frozen=True)
class Look:
    """What a sample of images holds.

    Attributes:
        of: number of all images.
        seen: what each readable image of the sample holds, by its name.
        faults: what is wrong with the others, by their names.
        channel_files: number of files of one case.
        place: place of each one's case in the case table.
        row: row of each one's case in the user's table, if there is one.
    """

    of: int
    seen: Mapping[str, Seen]
    faults: Mapping[str, str] = field(default_factory=dict)
    channel_files: int = 1
    place: Mapping[str, int] = field(default_factory=dict)
    row: Mapping[str, int] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """Return an image's name with its row in the user's table."""
        return f"{shown(name)} (row {self.row[name]})" if name in self.row else shown(name)

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
            found.append(
                f"{len(self.faults)} of {len(self.seen) + len(self.faults)} images cannot be used:\n  "
                + _listed([f"{self.named(name)}: {fault}" for name, fault in self.faults.items()])
                + "\nRepair these files, or leave their rows out of the table"
            )
        modalities = {one.modality for one in self.seen.values()}
        rule = intensity_of(self.intensity()[0]) if self.seen else None
        comparable = (
            rule is not None and rule.compares_scales and len(modalities) == 1 and "" not in modalities
        )
        if len(self.kinds) > 1 and not comparable:
            examples = {kind: [n for n, one in self.seen.items() if one.kind == kind] for kind in self.kinds}
            found.append(
                f"the images are of {len(self.kinds)} kinds, whose values cannot be compared:\n  "
                + "\n  ".join(
                    f"{len(names)} {kind} (first: {self._first(names)})" for kind, names in examples.items()
                )
                + "\nConvert them to one kind, or leave the rows of one out of the table"
            )
        if self.channel_files > 1 and not self.is_grey:
            found.append("images in several files must be grey, one channel each, and some are in colour")
        return found

    def warnings(self) -> list[str]:
        """Return what is no fault, and may be one: scales that differ, and constant images."""
        found = []
        if self._scales:
            bits, low, high = self._scales
            found.append(
                f"the images are on different scales: {len(low)} use at most {bits} bits (first: "
                f"{self._first(low)}), and {len(high)} use more (first: {self._first(high)}). In one range "
                "most of the first would be almost black, so each image is scaled by its own percentiles. "
                "Look at these images; if they come from two devices, convert them to one scale"
            )
        if constant := [name for name, one in self.seen.items() if not one.digest]:
            found.append(
                f"{len(constant)} images have one value only, and show nothing:\n  "
                + _listed(list(map(self.named, constant)))
                + "\nLook at these files, or leave their rows out of the table"
            )
        return found

    @property
    def _scales(self) -> tuple[int, list[str], list[str]] | None:
        """Return bits that some images do not exceed and others clearly do, with the names of both."""
        deep = {
            name: one.high for name, one in self.seen.items() if one.digest and one.span and one.span[1] > 255
        }
        for bits in _BITS:
            low = [name for name, high in deep.items() if high < 2**bits]
            high = [name for name, high in deep.items() if high >= 2**bits]
            if not low or not high:
                continue
            typical, other = (float(np.median([deep[name] for name in names])) for names in (low, high))
            if typical * _APART <= other:
                return bits, low, high
        return None

    def _first(self, names: Sequence[str]) -> str:
        return ", ".join(map(self.named, names[:3]))

    def intensity(self) -> tuple[dict[str, Any], str]:
        """Return the rule by which values become [0, 1], and the reason for it."""
        every = list(self.seen.values())
        if all(one.has_window for one in every):
            return {"window": "dicom"}, "every file names its window"
        if any(one.kind.startswith("DICOM") or one.span is None for one in every):
            return {"percentiles": [0.5, 99.5]}, "the files do not tell how their values are to be shown"
        if self._scales:
            return {"percentiles": [0.5, 99.5]}, "the images are on different scales"
        high = max(one.high for one in every)
        top = max(one.span[1] for one in every if one.span)
        if high * 2 < top and top > 255:
            bits = max(1, int(high).bit_length())
            why = f"the highest value is {high:g} of {top:g}, so {bits} bits are used"
            if (highest := max(one.highest for one in every)) >= 2**bits:
                why += f" (without the highest 0.1 % of each image, of up to {highest:g})"
            return {"window": [0, 2**bits - 1]}, why
        return {"range": "type"}, f"values fill the range of their type, 0 to {top:g}"


def look_at(cases: pd.DataFrame, dataset_dir: str | Path, rows: Sequence[int] = ()) -> Look:
    """Read a sample of the images of a case table, in parallel and with a progress bar.

    Args:
        cases: case table.
        dataset_dir: the folder that ``image`` is relative to.
        rows: row of each case in the user's table, if there is one.
    """
    root = Path(dataset_dir)
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(_AT_MOST, len(cases))).round().astype(int))
    slices = cases["slice"].tolist() if "slice" in cases else [None] * len(cases)
    images = [image if isinstance(image, list) else [image] for image in cases["image"]]
    files = [(name, slices[place]) for place in chosen for name in images[place]]
    places = [int(place) for place in chosen for _ in images[place]]
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        read = pool.map(lambda file: _read(root / file[0], file[1]), files)
        pairs = zip(files, read, strict=True)  # disable=None: no bar in a log or in a notebook's cell
        bar = tqdm(pairs, total=len(files), desc="looking at images", unit="image", disable=None)
        every = [(name if index is None else f"{name}, slice {index}", one) for (name, index), one in bar]
    found = dict(every)
    place = {name: own for (name, _), own in zip(every, places, strict=True)}
    return Look(
        sum(map(len, images)),
        {name: one for name, one in found.items() if isinstance(one, Seen)},
        {name: one for name, one in found.items() if isinstance(one, str)},
        len(images[0]),
        place,
        {name: rows[own] for name, own in place.items()} if rows else {},
    )


def copies(cases: pd.DataFrame, look: Look) -> list[str]:
    """Return which images have the same pixels, and different groups or labels.

    Args:
        cases: case table.
        look: at its images.
    """
    groups = group_cases(cases["group"], cases["case_id"]).of_case
    labels = cases["label_name"].tolist()
    first: dict[str, str] = {}
    split, contradictory = [], []
    for name, one in look.seen.items():
        original = first.setdefault(one.digest, name) if one.digest else name
        here, there = look.place[name], look.place[original]
        pair = f"{look.named(name)} is a copy of {look.named(original)}"
        if groups[here] != groups[there]:
            split.append(pair)
        # one of several channels may well be the same in two cases
        if labels[here] != labels[there] and look.channel_files == 1:
            contradictory.append(f"{pair}, and is {labels[here]!r}, not {labels[there]!r}")
    found = []
    if split:
        found.append(
            f"{len(split)} images are copies of others that are not of the same group (patient), and could "
            f"be tested after their copies were trained on:\n  {_listed(split)}"
            "\nKeep one row of each, or give both the same group"
        )
    if contradictory:
        found.append(
            f"{len(contradictory)} images are copies of others with another label:\n  "
            f"{_listed(contradictory)}\nCorrect one of the labels, or leave both rows out of the table"
        )
    return found


def look_at_array(images: Sequence[Any], of: int) -> Look:
    """Return what 8-bit images in memory, each (H, W) or (H, W, 3), hold."""
    seen = {}
    for number, values in enumerate(images):
        mode = "grey uint8" if values.ndim == 2 else "colour uint8"
        seen[str(number)] = Seen.of(ImageData(values, mode, "picture uint8", (0.0, 255.0)))
    return Look(of, seen)


def _listed(texts: Sequence[str]) -> str:
    more = f"\n  and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    return "\n  ".join(texts[:_MOST_LISTED]) + more


def _digest(image: ImageData) -> str:
    """Return a hash of the pixels, which is the same for a picture saved anew or with another header."""
    values = np.ascontiguousarray(image.values)
    digest = hashlib.sha256(f"{image.mode} {values.dtype} {values.shape}".encode())
    digest.update(values.data)
    return digest.hexdigest()


def _read(path: Path, index: Any) -> Seen | str:
    try:
        image = read_image(path, slice=None if index is None else int(index))
    except Exception as error:  # all faults are said together
        return reason(error)
    side = min(image.values.shape[:2])
    if side < _SMALLEST:
        return f"is {image.values.shape[0]} x {image.values.shape[1]} px, too small for any network here"
    return Seen.of(image)
