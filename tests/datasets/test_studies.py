from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from monai_sf.datasets import STUDIES, Study
from monai_sf.datasets.studies import STUDY_KINDS, find_study


def test_studies_of_lung_nodules() -> None:
    assert [(s.name, s.kind) for s in STUDIES["lung_nodule_ct"]] == [
        ("iid", "iid"),
        ("spiculation", "manifestation"),
        ("texture", "manifestation"),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iid", [False] * 4),
        ("spiculation", [False, False, True, True]),
        ("texture", [True, True, False, False]),
    ],
)
def test_target_rules_and_their_borders(name: str, expected: list[bool]) -> None:
    cases = pd.DataFrame({"spiculation": [1.0, 2.0, 2.25, 5.0], "texture": [1.0, 2.75, 3.0, 5.0]})
    assert find_study(name).target(cases).tolist() == expected


def test_names_are_unique_over_the_datasets() -> None:
    distinct = {id(study): study.name for studies in STUDIES.values() for study in studies}
    assert len(set(distinct.values())) == len(distinct)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown study 'Texture'; known: iid, spiculation, texture"):
        find_study("Texture")
    with pytest.raises(ValueError, match="'keratosis' of lung_nodule_ct; known: iid, spiculation, texture$"):
        find_study("keratosis", "lung_nodule_ct")
    assert find_study("keratosis", "my own").name == "keratosis"


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match=f"kind must be one of {', '.join(STUDY_KINDS)}, got 'corruption'"):
        Study("noise", "corruption", "", STUDIES["lung_nodule_ct"][0].target)


def test_a_study_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STUDIES["lung_nodule_ct"][0].name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        STUDIES["lung_nodule_ct"] = ()  # type: ignore[index]
