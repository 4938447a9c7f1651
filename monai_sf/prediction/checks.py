"""Which images of an inference can be used: those like the images of the training, once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_sf.datasets.preflight import image_faults, named_slice


def record_faults(records: Sequence[Mapping[str, Any]], **wanted: Any) -> dict[str, str]:
    """Return the faults of the images of records.

    Args:
        records: with ``case_id``, ``image`` (path, or the channels' paths) and, of volumes, ``slice``.
        **wanted: what the images must be like, see :func:`monai_sf.datasets.preflight.image_faults`.

    Returns:
        Case id of each unusable image to its fault.
    """
    slices = [record.get("slice") for record in records]
    found = image_faults([record["image"] for record in records], "", slices=slices, **wanted)
    faults = {}
    for record, index in zip(records, slices, strict=True):
        image = record["image"]
        if isinstance(image, str):
            wrong = found.get(named_slice(image, index), "")
        else:
            own = [(Path(file).name, found.get(named_slice(file, index))) for file in image]
            wrong = "; ".join(f"{name} {fault}" for name, fault in own if fault)
        if wrong:
            faults[record["case_id"]] = wrong
    return faults
