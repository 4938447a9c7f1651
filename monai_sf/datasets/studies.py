"""Studies: which cases a classifier is trained on, and which it is only tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

from monai_sf.datasets.dermoscopy import KERATOSES
from monai_sf.datasets.fc_microscopy import TARGET_EXPERIMENTS
from monai_sf.vocabulary.shifts import TARGET_KINDS

__all__ = ["STUDIES", "STUDY_KINDS", "Study", "find_study", "unavailable_studies"]

STUDY_KINDS = ("iid", *TARGET_KINDS)
"""Corruptions are not a study: they are applied to the iid test set of the study ``iid``."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Study:
    """One train/test question: the source domain is trained on, the target domain only tested on.

    Attributes:
        name: Unique among all datasets, except for ``iid``, which all have.
        kind: One of :data:`STUDY_KINDS`: ``acquisition`` is another camera, hospital or batch,
            ``manifestation`` another sub-type of the disease.
        description: The rule in words, for tables and reports.
        target: The rule, from a case table to one bool per case, True in the target domain.
        columns: The columns of the case table that the rule reads; they must not have missing values.
        sources: The sources without which there is no target domain.
    """

    name: str
    kind: str
    description: str
    target: Callable[[pd.DataFrame], Mask]
    columns: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in STUDY_KINDS:
            raise ValueError(
                f"study {self.name!r}: kind must be one of {', '.join(STUDY_KINDS)}, got {self.kind!r}"
            )


def _nothing(cases: pd.DataFrame) -> Mask:
    return np.zeros(len(cases), dtype=np.bool_)


def _spiculated(cases: pd.DataFrame) -> Mask:
    return np.asarray(cases["spiculation"] > 2, dtype=np.bool_)


def _not_solid(cases: pd.DataFrame) -> Mask:
    return np.asarray(cases["texture"] < 3, dtype=np.bool_)


def _keratosis(cases: pd.DataFrame) -> Mask:
    return np.asarray(cases["diagnosis"].isin(KERATOSES), dtype=np.bool_)


def _target_batch(cases: pd.DataFrame) -> Mask:
    return np.asarray(cases["experiment"].isin(TARGET_EXPERIMENTS), dtype=np.bool_)


def _of_source(source: str) -> Callable[[pd.DataFrame], Mask]:
    def target(cases: pd.DataFrame) -> Mask:
        return np.asarray(cases["source"] == source, dtype=np.bool_)

    return target


def _acquisition(name: str, source: str, description: str) -> Study:
    return Study(name, "acquisition", f"target: {description}", _of_source(source), ("source",), (source,))


IID = Study("iid", "iid", "no target domain: trained and tested on the same population", _nothing)

STUDIES: Mapping[str, tuple[Study, ...]] = MappingProxyType(
    {
        "lung_nodule_ct": (
            IID,
            Study(
                "spiculation",
                "manifestation",
                "target: spiculated nodules, mean spiculation of the readers > 2",
                _spiculated,
                ("spiculation",),
            ),
            Study(
                "texture",
                "manifestation",
                "target: non-solid nodules, mean texture of the readers < 3",
                _not_solid,
                ("texture",),
            ),
        ),
        "dermoscopy": (
            IID,
            _acquisition("mskcc", "MSKCC", "images of ISIC 2020 from Memorial Sloan Kettering Cancer Center"),
            _acquisition("barcelona", "Barcelona", "images of ISIC 2020 from Hospital Clínic de Barcelona"),
            Study(
                "keratosis",
                "manifestation",
                "target: keratosis-like lesions (benign) and actinic keratosis (malignant)",
                _keratosis,
                ("diagnosis",),
            ),
        ),
        "chest_xray": (
            IID,
            _acquisition("nih14", "nih14", "images of NIH ChestX-ray14"),
            _acquisition("chexpert", "chexpert", "images of CheXpert"),
        ),
        "fc_microscopy": (
            IID,
            Study(
                "batches",
                "acquisition",
                "target: 10 of the 51 experiments, drawn once",
                _target_batch,
                ("experiment",),
            ),
        ),
    }
)
"""The studies of each dataset."""


def find_study(name: str, dataset: str | None = None) -> Study:
    """Return the study of that name; names are unique over all datasets.

    Args:
        name: Of the study.
        dataset: The dataset that the study must belong to; None, or one of your own, for any.

    Raises:
        ValueError: If there is none; the message lists the known ones.
    """
    of = "" if dataset is None or dataset not in STUDIES else f" of {dataset}"
    known = {
        study.name: study for own, studies in STUDIES.items() for study in studies if not of or own == dataset
    }
    if name not in known:
        raise ValueError(f"unknown study {name!r}{of}; known: {', '.join(known)}")
    return known[name]


def unavailable_studies(cases: pd.DataFrame, dataset: str, absent: Mapping[str, str]) -> dict[str, str]:
    """Return the studies of the dataset that cannot be run on these cases, with the reason.

    Args:
        cases: Case table.
        dataset: Name of the dataset.
        absent: Source to the reason why it has no case.
    """
    reasons: dict[str, str] = {}
    for study in STUDIES[dataset]:
        target = study.target(cases)
        lacking = [source for source in study.sources if not (cases["source"] == source).any()]
        if lacking:
            reasons[study.name] = "; ".join(
                f"no case of {source} ({absent.get(source, 'none is left')})" for source in lacking
            )
        elif study.kind != "iid" and not target.any():
            reasons[study.name] = f"no case is in the target domain ({study.description})"
        elif study.kind != "iid" and cases["label"][target].nunique() < 2:
            reasons[study.name] = f"the target domain has cases of one class only ({study.description})"
        elif target.all():
            reasons[study.name] = f"all cases are in the target domain ({study.description})"
    return reasons
