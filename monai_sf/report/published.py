"""Columns of the published datasets that do not identify a patient, reader or doctor.

The dataset's name in a run is no proof: its case ids must have the form of the dataset's, and a column must
hold its values. Ids, groups, dates and descriptions are never harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from monai_sf.results import Results
from monai_sf.vocabulary.data_kinds import DATA_KINDS
from monai_sf.vocabulary.diagnoses import DIAGNOSES


@dataclass(frozen=True)
class Published:
    """A published dataset.

    Attributes:
        case_id: pattern of its case ids.
        columns: harmless columns of its case table, with the pattern of their values as text.
    """

    case_id: str
    columns: Mapping[str, str]


def _one_of(texts: Iterable[str]) -> str:
    return "|".join(map(re.escape, texts))


_RATING = r"[0-6](\.\d+)?"

PUBLISHED: Mapping[str, Published] = {
    "lung_nodule_ct": Published(
        r"LIDC-IDRI-\d{4}_scan\d+_nodule\d+_slice[+-]\d+",
        {
            "source": "ct|rendered",
            "slice_offset": r"-?\d{1,3}",
            "n_readers": r"\d{1,2}",
            **dict.fromkeys(("subtlety", "internal_structure", "calcification", "sphericity"), _RATING),
            **dict.fromkeys(("margin", "lobulation", "spiculation", "texture", "malignancy"), _RATING),
        },
    ),
    "dermoscopy": Published(
        r"(ham10000|isic_2020)-ISIC_\d+(_downsampled)?|derm7pt-\w+|ph2-IMD\d+",
        {
            "source": "ham10000|isic_2020|MSKCC|Barcelona|derm7pt|ph2",
            "diagnosis": _one_of(DIAGNOSES),
        },
    ),
    "chest_xray": Published(
        r"chexpert-(train|valid)-patient\d+-study\d+-view\d+_(frontal|lateral)|nih14-\d+_\d+"
        r"|mimic_cxr-[0-9a-f-]+",
        {"source": "chexpert|nih14|mimic_cxr", "view": "frontal|lateral|unknown"},
    ),
    "fc_microscopy": Published(
        r"rxrx1-[A-Z0-9]+-\d+_\d+_[A-Z]+\d+_\d+",
        {
            "source": "rxrx1",
            "experiment": r"[A-Z0-9]+-\d+",
            "cell_type": r"[A-Z0-9]+",
            "plate": r"\d+",
            "well": r"[A-Z]+\d+",
            "site": r"\d+",
            "well_type": "treatment|positive_control|negative_control",
        },
    ),
}


def harmless_columns(results: Results) -> list[str]:
    """Return the harmless columns of a run's case table; none for unpublished data."""
    known = PUBLISHED.get(str(results.run["dataset"]))
    if known is None or not _all_match(results.cases["case_id"], known.case_id):
        return []
    columns = {"data_kind": _one_of(DATA_KINDS), **known.columns}
    return [
        str(name)
        for name in results.cases.columns
        if name in columns and _all_match(results.cases[name], columns[name])
    ]


def _all_match(values: pd.Series[str], pattern: str) -> bool:
    return all(re.fullmatch(pattern, str(value)) for value in values.unique())
