"""What DICOM files say of themselves: which SOP instance they are, and of which patient and study."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_sf.files.dicom import is_dicom, read_dataset
from monai_sf.files.images import read_image
from monai_sf.files.naming import reason, shown

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_TAGS = ("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SpecificCharacterSet")


@dataclass(frozen=True)
class Instance:
    """The ids of a DICOM file; one that is absent, or no UID, is empty.

    Attributes:
        file: its path.
        sop_instance_uid: of the file.
        patient_id: of the patient.
        study_instance_uid: of the study.
        series_instance_uid: of the series.
    """

    file: str
    sop_instance_uid: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str


def dicom_instances(
    records: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, tuple[Instance, ...]], dict[str, str]]:
    """Return the DICOM instances of records, and the faults of those that say to be the same one.

    Args:
        records: with ``case_id`` and ``image``, a path or the channels' paths; the files can be read.

    Returns:
        Case id of each image in DICOM files to their ids; and case id to the fault of copies. Of copies with
        equal pixels the first one has no fault; where the pixels differ, all have one.
    """
    found: dict[str, tuple[Instance, ...]] = {}
    faults: dict[str, str] = {}
    same: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        try:
            own = [instance for file in files_of(record) if (instance := _instance(file)) is not None]
        except Exception as error:  # one damaged file must not lose the answers of the others
            faults[record["case_id"]] = reason(error)
            continue
        if own:
            found[record["case_id"]] = tuple(own)
        if own and all(one.sop_instance_uid for one in own):
            same.setdefault(tuple(one.sop_instance_uid for one in own), []).append(record)
    for uids, several in same.items():
        if len(several) > 1:
            faults |= _copies(uids, several)
    return found, faults


def files_of(record: Mapping[str, Any]) -> list[str]:
    """Return the files of a record's image; none for an array."""
    image = record["image"]
    return [image] if isinstance(image, str) else [file for file in image if isinstance(file, str)]


def _instance(file: str) -> Instance | None:
    with Path(file).open("rb") as opened:
        if not is_dicom(opened.read(132)):
            return None
    header = read_dataset(file, stop_before_pixels=True, specific_tags=list(_TAGS))

    def uid(name: str) -> str:
        text = str(header.get(name) or "")
        return text if len(text) <= 64 and _UID.fullmatch(text) else ""

    patient = str(header.get("PatientID") or "")
    return Instance(file, uid("SOPInstanceUID"), patient, uid("StudyInstanceUID"), uid("SeriesInstanceUID"))


def _copies(uids: tuple[str, ...], records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    first, *others = (record["case_id"] for record in records)
    named = f"SOP Instance UID {' '.join(uids)}"
    if len({_pixels(record) for record in records}) == 1:
        return {other: f"is a copy of {shown(first)}: both have the {named}" for other in others}
    wrong = f"has the {named}, as have other pixels in {{}}: one of them is not what it says, leave it out"
    return {first: wrong.format(shown(others[0]))} | {other: wrong.format(shown(first)) for other in others}


def _pixels(record: Mapping[str, Any]) -> str:
    hashed = hashlib.sha256()
    for file in files_of(record):
        values = read_image(file).values
        hashed.update(f"{values.shape} {values.dtype}".encode())
        hashed.update(values.tobytes())
    return hashed.hexdigest()
