"""One DICOM Structured Report per DICOM image: class, confidence, threshold, decision and algorithm.

The reports are Comprehensive SR of the template TID 1500, "Measurement Report" (DICOM PS3.16), with the
algorithm as TID 4019 says, and a reference to the image. highdicom writes them, which the extra ``dicom``
installs.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset, config, dcmread
from pydicom.valuerep import validate_value

from monai_sf.files import atomic_path, refuse_unwritable
from monai_sf.files.dicom import read_dataset
from monai_sf.files.naming import RefusedImageError
from monai_sf.prediction.algorithm import Algorithm
from monai_sf.prediction.answers import Answer
from monai_sf.prediction.dicom_instances import Instance
from monai_sf.prediction.software import software

logger = logging.getLogger(__name__)

_SCHEME = "99MONAISF"
_NAMESPACE = uuid.UUID("6f5e0d5a-53a2-5c8e-9d0e-5b5c3a1f7e42")
#: Attributes that a report copies from its image, and that must be there, if only empty.
_COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
#: What differs where the same report is written again: when, and among which others.
_OF_ONE_INFERENCE = (
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
    *("ContributionDateTime", "InstanceNumber"),
)
_GROUPS = (0x0008, 0x0010, 0x0020)  # of identification, patient and study
_SERIES_NUMBER = 999
_UTF8 = "ISO_IR 192"


class _ChangedReportError(Exception):
    """A file of a report's name has another content."""


class StructuredReports:
    """A folder of Structured Reports.

    A report's UIDs are computed from those of its image, the networks, their evaluations and the version of
    this software, and its own UID also from what it says: the same inference writes the same reports again,
    and reports that say different things never share a UID, as where dropout samples were others since the
    image has another path.

    Args:
        folder: is created when the first report is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def check(self) -> None:
        """Check before a long computation whether reports can be written.

        Raises:
            ModuleNotFoundError: highdicom is not installed.
            OSError: the folder cannot be written to.
        """
        if find_spec("highdicom") is None:
            raise ModuleNotFoundError(
                "Structured Reports are written with highdicom, which is not installed: "
                "pip install 'monai-sf[dicom]', or set structured_reports to null"
            )
        refuse_unwritable(self.folder / "report.dcm")

    def write(
        self, answers: Sequence[Answer], instances: Mapping[str, Sequence[Instance]], algorithm: Algorithm
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Write the report of each answer for a DICOM image.

        Args:
            answers: for images of any format.
            instances: case id of each DICOM image to its files.
            algorithm: that gave the answers.

        Returns:
            Case id to the name of its report; and case id to the reason why there is none, such as a file of
            the report's name with another content, which is left as it is.
        """
        written: dict[str, str] = {}
        lacking: dict[str, str] = {}
        in_study: Counter[str] = Counter()
        for answer in answers:
            if not (own := instances.get(answer.case_id)):
                continue
            try:
                with _without_quotations():
                    headers = [_header(one.file) for one in own]
                    in_study[own[0].study_instance_uid] += 1
                    number = in_study[own[0].study_instance_uid]
                    report = structured_report(headers, answer, algorithm, number=number)
                    name = f"{report.SOPInstanceUID}.dcm"
                    with atomic_path(self.folder / name) as partial:
                        report.save_as(partial, enforce_file_format=True)
                        _refuse_changed(self.folder / name, partial)
            except (OSError, RefusedImageError, _ChangedReportError) as error:
                lacking[answer.case_id] = str(error)
            except Exception as error:  # whose text may quote the patient's data
                lacking[answer.case_id] = f"its header cannot be copied to a report ({type(error).__name__})"
            else:
                written[answer.case_id] = name
        if other := sum(answer.case_id not in instances for answer in answers):
            logger.warning("%d images are not DICOM, and have no Structured Report", other)
        return written, lacking


def _refuse_changed(there: Path, written: Path) -> None:
    """Refuse to replace a file of a report's name that is anything but the same report, written before.

    Raises:
        _ChangedReportError: somebody has changed it, or it is another file.
    """
    if not there.exists():
        return
    try:
        former, now = (dcmread(path) for path in (there, written))
        for report in (former, now):
            report.walk(_without_time)
        is_same = former == now
    except Exception:  # whatever a file that is no report makes of its reader
        is_same = False
    if not is_same:
        raise _ChangedReportError(f"{there.name} is there already with another content: move it away")


def _without_time(_: Dataset, element: DataElement) -> None:
    if element.keyword in _OF_ONE_INFERENCE:
        element.value = None


@contextmanager
def _without_quotations() -> Iterator[None]:
    """Silence remarks of pydicom and highdicom on odd values of a header, which quote the patient's data."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for one in loggers:
                one.setLevel(logging.CRITICAL)
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


def structured_report(
    headers: Sequence[Dataset], answer: Answer, algorithm: Algorithm, *, number: int = 1
) -> Dataset:
    """Return the Structured Report of one image.

    Args:
        headers: of the image's files; patient and study are those of the first.
        answer: for the image.
        algorithm: that gave it.
        number: of the report in its series.

    Raises:
        RefusedImageError: a header lacks a UID, the files are of different studies, or a value of theirs must
            not stand in a report.
    """
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import (
        AlgorithmIdentification,
        ComprehensiveSR,
        DeviceObserverIdentifyingAttributes,
        Measurement,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        ObserverContext,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    _refuse_unidentified(headers)
    program = software()
    hashes = ".".join(sha[:12] for sha in algorithm.networks_sha256)
    version = f"{program['version']}+{hashes}"
    source = [str(header.SOPInstanceUID) for header in headers]
    made_by = [algorithm.networks_sha256, algorithm.evaluations_sha256, algorithm.csf, version]
    tracking = _uid("tracking", source, made_by)

    numbers: list[tuple[str, str, float | None]] = [
        ("PROBABILITY", "Probability of the class", float(answer.probabilities[answer.prediction]))
    ]
    evaluations = [
        QualitativeEvaluation(
            Code("CLASS", _SCHEME, "Predicted class"),
            Code(f"CLASS-{answer.prediction}", _SCHEME, _meaning(answer.name)),
        )
    ]
    if algorithm.csf is not None:
        confidence = answer.confidences.get(algorithm.csf)
        numbers.append(("CONFIDENCE", f"Confidence ({algorithm.csf})", confidence))
        numbers.append(("THRESHOLD", "Confidence below which a reader must decide", algorithm.threshold))
        decision = Code("373066001", "SCT", "Yes") if answer.deferred else Code("373067005", "SCT", "No")
        evaluations.append(QualitativeEvaluation(Code("DEFERRED", _SCHEME, "Deferred to a reader"), decision))
    says = [answer.prediction, answer.name, answer.deferred, numbers, number]
    group = MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid=tracking, identifier=f"{program['name']} {answer.prediction}"),
        algorithm_id=AlgorithmIdentification(algorithm.algorithm, version, _parameters(algorithm, answer)),
        measurements=[
            Measurement(Code(code, _SCHEME, _meaning(meaning)), value, codes.UCUM.NoUnits)
            for code, meaning, value in numbers
            if value is not None and math.isfinite(value)
        ],
        qualitative_evaluations=evaluations,
        source_images=[
            SourceImageForMeasurementGroup(str(header.SOPClassUID), str(header.SOPInstanceUID))
            for header in headers
        ],
    )
    device = DeviceObserverIdentifyingAttributes(
        uid=_uid("device", made_by),
        name=program["name"],
        manufacturer_name=program["name"],
        model_name=algorithm.algorithm,
    )
    content = MeasurementReport(
        ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=Code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[group],
    )
    report = ComprehensiveSR(
        evidence=headers,
        content=content,
        series_instance_uid=_uid("series", str(headers[0].StudyInstanceUID), made_by),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=_uid("report", source, made_by, says),
        instance_number=number,
        manufacturer=program["name"],
        manufacturer_model_name=_meaning(algorithm.algorithm),
        software_versions=_meaning(version),
        device_serial_number=_meaning(hashes),
        series_description=_meaning(f"{program['name']} {algorithm.algorithm}"),
        coding_schemes=[CodingSchemeIdentificationItem(_SCHEME, name=program["name"])],
        is_complete=True,
    )
    report.SpecificCharacterSet = _UTF8
    return report


def _header(file: str) -> Dataset:
    """Return what a report copies of a file, with text as UTF-8."""
    whole = read_dataset(file, stop_before_pixels=True, defer_size="1 KB")
    header = Dataset()
    for tag in whole.keys():  # noqa: SIM118  (iteration would read the values)
        if tag.group in _GROUPS:
            header.add(whole[tag])
    for name in _COPIED:
        if name not in header:
            setattr(header, name, "")
    header.SpecificCharacterSet = _UTF8
    return header


def _refuse_unidentified(headers: Sequence[Dataset]) -> None:
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if any(not header.get(name) for header in headers):
            raise RefusedImageError(f"its header has no {name}, which a report must refer to")
    if len({str(header.StudyInstanceUID) for header in headers}) > 1:
        raise RefusedImageError("its channels are of different studies")
    if odd := [name for name in _COPIED if not _is_allowed(headers[0][name])]:
        raise RefusedImageError(f"its {' and '.join(odd)} is not what DICOM allows: correct its header")


def _is_allowed(element: DataElement) -> bool:
    if element.keyword == "PatientSex" and element.value not in (None, "", "M", "F", "O"):
        return False
    try:
        validate_value(element.VR, element.value, config.RAISE)
    except ValueError:
        return False
    return True


#: What is promised of trusted predictions.
_PROMISED = ("target_risk", "delta", "risk_bound", "calibration_groups", "groups_needed", "promise")


def _parameters(algorithm: Algorithm, answer: Answer) -> list[str]:
    whole = {} if _meaning(answer.name) == answer.name else {f"CLASS-{answer.prediction}": answer.name}
    said = {
        **whole,
        "method": algorithm.method,
        "csf": algorithm.csf,
        **{name: getattr(algorithm, name) for name in _PROMISED},
        "networks_sha256": " ".join(algorithm.networks_sha256),
        "evaluations_sha256": " ".join(algorithm.evaluations_sha256),
    }
    return [f"{key}={value}" for key, value in said.items() if value not in (None, "")]


def _uid(*parts: Any) -> str:
    """Return a UID from a UUID of a name, PS3.5 B.2: the same for the same parts."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


def _meaning(text: str) -> str:
    """Return text as a value of VR LO: one line without a backslash, and at most 64 bytes, as some count."""
    plain = re.sub(r"[\\\x00-\x1f\x7f]+", " ", text).strip() or "unnamed"
    if len(plain.encode()) <= 64:
        return plain
    return plain.encode()[:61].decode("utf-8", "ignore") + "..."
