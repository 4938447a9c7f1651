"""The files of an inference: a CSV for spreadsheets, a JSON document that says all, Structured Reports."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai_sf.files import atomic_path, refuse_unwritable, sha256_of
from monai_sf.files.naming import shown
from monai_sf.prediction.algorithm import Algorithm
from monai_sf.prediction.answers import Answer, table_of
from monai_sf.prediction.dicom_instances import Instance
from monai_sf.prediction.software import software
from monai_sf.prediction.structured_reports import StructuredReports
from monai_sf.results.case_table import csv_text

#: How CSV and JSON begin, so that no file of another program is replaced.
_CSV_START, _JSON_START = "case_id,prediction,class,", '{\n"software": {"name": "monai_sf", '
#: Key of the JSON document with the hash of the CSV, by which one that was changed since is known.
_CSV_HASH = "csv_sha256"
_IDS, _PRIVATE_IDS = ("sop_instance_uid",), ("patient_id", "study_instance_uid", "series_instance_uid")


class PredictionFiles:
    """What an inference writes, and where.

    Args:
        output: the CSV file; the JSON document is beside it, with the ending ``.json``.
        dicom_ids: whether patient, study and series of DICOM images are written to CSV and JSON.
        structured_reports: folder for one Structured Report per DICOM image, or None for none.

    Raises:
        ValueError: ``output`` ends in ``.json`` itself.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        *,
        dicom_ids: bool = False,
        structured_reports: str | os.PathLike[str] | None = None,
    ) -> None:
        self.csv, self.dicom_ids = Path(output), dicom_ids
        self.json = self.csv.with_suffix(".json")
        if self.json == self.csv:
            raise ValueError(f"output must name the CSV file, beside which the JSON is written, got {output}")
        self.reports = None if structured_reports is None else StructuredReports(structured_reports)

    def check(self) -> None:
        """Check before a long computation whether all can be written.

        Raises:
            FileExistsError: there is a file that is not ours, or a CSV that was changed since it was written.
            OSError: see :func:`monai_sf.files.refuse_unwritable`.
            ModuleNotFoundError: highdicom is needed, and not installed.
        """
        refuse_unwritable(self.csv, _CSV_START)
        refuse_unwritable(self.json, _JSON_START)
        if self.csv.exists() and self.csv.stat().st_size and sha256_of(self.csv) != self._hash_when_written():
            raise FileExistsError(
                errno.EEXIST,
                f"will not replace {shown(self.csv)}, which is not as it was written (columns or remarks may "
                f"have been added), or no longer beside {shown(self.json.name)}, which says that: choose "
                "another output, or move the file away",
            )
        if self.reports is not None:
            self.reports.check()

    def _hash_when_written(self) -> str | None:
        """Return the hash of the CSV that belongs to the JSON document."""
        if not self.json.exists():
            return None
        with self.json.open(encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(": ")
                if key == f'"{_CSV_HASH}"':
                    return value.strip(' ,"\n')
        return None

    def write(
        self,
        answers: Sequence[Answer],
        algorithm: Algorithm,
        instances: Mapping[str, Sequence[Instance]],
        unanswered: Mapping[str, str],
    ) -> dict[str, str]:
        """Write Structured Reports, if any are wanted, and then CSV and JSON, both or neither.

        Args:
            answers: of all images that have one.
            algorithm: that gave them.
            instances: case id of each DICOM image to its files.
            unanswered: case id of every other image to the reason.

        Returns:
            Case id of each DICOM image with an answer and without a wanted report, to the reason.

        Raises:
            OSError: CSV or JSON cannot be written; both are left as they were.
        """
        reports: dict[str, str] = {}
        lacking: dict[str, str] = {}
        if self.reports is not None:
            reports, lacking = self.reports.write(answers, instances, algorithm)
        ids = {case_id: self._ids(own) for case_id, own in instances.items()}
        table = table_of(answers)
        for name in next(iter(ids.values()), {}):
            table[name] = [ids.get(case_id, {}).get(name, "") for case_id in table["case_id"]]
        entries = (
            {
                **answer.entry(),
                **ids.get(answer.case_id, {}),
                **({} if self.reports is None else {"structured_report": reports.get(answer.case_id)}),
            }
            for answer in answers
        )
        lists: dict[str, Iterable[Any]] = {"images": entries, "without_an_answer": _reasons(unanswered)}
        if self.reports is not None:
            lists["without_a_structured_report"] = _reasons(lacking)
        with atomic_path(self.json) as document, atomic_path(self.csv) as csv:
            csv.write_text(csv_text(table), encoding="utf-8", newline="\n")
            head = {"software": software(), _CSV_HASH: sha256_of(csv), **asdict(algorithm)}
            _write_json(document, head, lists)
        return lacking

    def _ids(self, instances: Sequence[Instance]) -> dict[str, str]:
        """Return the ids of an image that go into the files; those of several channels after one another."""
        return {
            name: " ".join(dict.fromkeys(own for one in instances if (own := getattr(one, name))))
            for name in (*_IDS, *(_PRIVATE_IDS if self.dicom_ids else ()))
        }


def _reasons(faults: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"case_id": shown(case_id), "reason": shown(fault)} for case_id, fault in faults.items()]


def _write_json(path: Path, head: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write an object, one line per entry of ``head`` and per entry of each list."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("{\n" + ",\n".join(f"{_json(key)}: {_json(value)}" for key, value in head.items()))
        for key, entries in lists.items():
            file.write(f",\n{_json(key)}: [")
            for place, entry in enumerate(entries):
                file.write(f"{',' if place else ''}\n{_json(entry)}")
            file.write("\n]")
        file.write("\n}\n")


def _json(value: Any) -> str:
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return a value with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
