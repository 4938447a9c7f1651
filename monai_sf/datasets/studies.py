"""Studies: which cases a classifier is trained on, and which it only meets in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["KINDS", "STUDIES", "Study", "find_study"]

KINDS = ("iid", "acquisition", "manifestation")
"""Corruptions are no study of their own: they are applied to the iid test set of the study ``iid``."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Study:
    """One train/test question: the source domain is trained on, the target domain only tested on.

    Attributes:
        name: Unique among all datasets, save that all share the study ``iid``.
        kind: One of :data:`KINDS`: ``acquisition`` is another camera, hospital or batch, ``manifestation``
            another sub-type of the disease.
        description: The rule in words, for tables and reports.
        target: The rule: case table in, one bool a case out, True in the target domain.
        columns: The columns of the case table that the rule reads; they may hold no missing value.
    """

    name: str
    kind: str
    description: str
    target: Callable[[pd.DataFrame], Mask]
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"study {self.name!r}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}"
            )


def _nothing(cases: pd.DataFrame) -> Mask:
    return np.zeros(len(cases), dtype=np.bool_)


def _spiculated(cases: pd.DataFrame) -> Mask:
    return np.asarray(cases["spiculation"] > 2, dtype=np.bool_)


def _not_solid(cases: pd.DataFrame) -> Mask:
    return np.asarray(cases["texture"] < 3, dtype=np.bool_)


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
    }
)
"""The studies of each dataset."""


def find_study(name: str) -> Study:
    """The study of that name; names are unique over all datasets.

    Raises:
        ValueError: If there is none; the message lists the known ones.
    """
    known = {study.name: study for studies in STUDIES.values() for study in studies}
    if name not in known:
        raise ValueError(f"unknown study {name!r}; known: {', '.join(known)}")
    return known[name]
