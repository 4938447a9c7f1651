from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from monai_sf.datasets import STUDIES, Study
from monai_sf.datasets.studies import (
    STUDY_KINDS,
    check_study,
    find_studies,
    find_study,
    in_target,
    study_description,
)


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
    assert in_target(find_study(name), cases).tolist() == expected


def test_names_are_unique_over_the_datasets() -> None:
    distinct = {id(study): study.name for studies in STUDIES.values() for study in studies}
    assert len(set(distinct.values())) == len(distinct)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"unknown study 'Texture' \(do you mean 'texture'\?\); known: iid, spiculation, texture",
    ):
        find_study("Texture")
    with pytest.raises(ValueError, match="'keratosis' of lung_nodule_ct; known: iid, spiculation, texture;"):
        find_study("keratosis", "lung_nodule_ct")
    with pytest.raises(ValueError, match="unknown study 'keratosis' of my own; known: iid"):
        find_study("keratosis", "my own")


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match=f"kind must be one of {', '.join(STUDY_KINDS)}, got 'corruption'"):
        Study("noise", "corruption", {"age": 3})


def test_a_study_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STUDIES["lung_nodule_ct"][0].name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        STUDIES["lung_nodule_ct"] = ()  # type: ignore[index]


B = {"kind": "acquisition", "target": {"hospital": "B"}}


def own(**studies: Any) -> dict[str, Any]:
    return studies


def test_own_studies_stand_beside_those_of_the_dataset() -> None:
    studies = find_studies("lung_nodule_ct", {"hospital_b": {**B, "description": "the other hospital"}})
    assert [study.name for study in studies] == ["iid", "spiculation", "texture", "hospital_b"]
    assert study_description(studies[-1]) == "target: the other hospital (hospital is B)"
    assert [study.name for study in find_studies("mine", {"hospital_b": B})] == ["iid", "hospital_b"]
    assert study_description(find_study("hospital_b", "mine", {"hospital_b": B})) == "target: hospital is B"
    assert study_description(studies[0]).startswith("no target domain")


def test_all_columns_of_a_rule_must_hold() -> None:
    study = Study("b", "acquisition", {"hospital": "B", "age": {"above": 60}})
    cases = pd.DataFrame({"hospital": ["A", "B", "B", "A"], "age": [70, 70, 50, 50]})
    assert in_target(study, cases).tolist() == [False, True, False, False]
    assert study.rule == "hospital is B and age above 60"


def test_the_published_rules_say_what_they_select() -> None:
    said = [study_description(study) for own in STUDIES.values() for study in own if study.kind != "iid"]
    assert "target: images of CheXpert (source is chexpert)" in said
    assert "target: spiculated nodules, by the mean rating of the readers (spiculation above 2)" in said
    assert all(text.startswith("target: ") for text in said)


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        (own(iid=B), "study 'iid': mine has a study 'iid'"),
        (own(IID=B), "study 'IID': mine has a study 'iid'"),
        (own(b=B, B=B), "study 'B': mine has a study 'b'"),
        ({"Hospital Clínic / 2": B}, "such as 'Hospital_Clínic_2'"),
        ({"<img src=x onerror=alert(1)>": B}, "its name is also that of folders"),
        ({"../up": B}, "its name is also that of folders"),
        ({"": B}, "its name is also that of folders"),
        ({"x" * 65: B}, "at most 64 letters"),
        ({3: B}, "its name must be text, got 3; put it in quotes"),
        (
            own(b={**B, "kind": "corruption"}),
            "kind must be one of acquisition, manifestation, new_class, got 'corruption'",
        ),
        (own(b={**B, "kind": ["x"]}), "kind must be one of acquisition, manifestation"),
        (own(b={**B, "kind": "iid"}), "kind must be one of acquisition, manifestation, new_class, got 'iid'"),
        (own(b={"target": {"x": 1}}), "kind is not given"),
        (own(b={"kind": "acquisition"}), "target is not given"),
        (own(b={**B, "targt": 1}), "unknown 'targt' (do you mean 'target'?)"),
        (own(b={**B, "target": {}}), "target must name a column, it is empty"),
        (own(b={**B, "target": "hospital = B"}), "target must map columns to what their cells hold"),
        (own(b={**B, "target": {"age": {"over": 3}, "sex": []}}), "column 'sex': is an empty list"),
        (own(b={**B, "description": 3}), "description must be text, got 3"),
        (own(b="hospital_b"), "study 'b': must map kind, target, description to values"),
        (["b"], "studies must map names to studies"),
    ],
)
def test_studies_that_are_refused(studies: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^") as caught:
        find_studies("mine", studies)
    assert message in str(caught.value)


def test_all_faults_of_all_studies_are_said_at_once() -> None:
    with pytest.raises(ValueError, match="^") as caught:
        find_studies("mine", {"a b": {**B, "target": {"age": {"over": 3}}}, "c": {"kind": "x", "target": 3}})
    said = str(caught.value)
    assert all(part in said for part in ("'a b'", "unknown over", "'c'", "got 'x'"))


@pytest.mark.parametrize("name", ["nan", "NA", "Übung-2.1", "hospital_b", "corruption-noise-1"])
def test_names_that_can_be_folders(name: str) -> None:
    assert find_studies("mine", {name: B})[-1].name == name


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"hospitl": "B"},
            "there is no column 'hospitl' (do you mean 'hospital'?); there are 'hospital', 'age', 'sex'",
        ),
        ({"hospitl": "B", "age": "x"}, "column 'age': no case has 'x'"),
        ({"hospital": "C"}, "column 'hospital': no case has 'C'; there are 'A', 'B'"),
        ({"age": {"above": 90}}, "no case is in the target domain (age above 90)"),
        ({"age": {"above": 3}}, "all cases are in the target domain (age above 3), and none is left"),
        ({"age": {"above": 65}}, "one class only, 'sick' (age above 65)"),
        ({"sex": "f"}, "1 of 4 cells are empty (first: row 4 (case c.png))"),
        ({"hospital": "C", "age": "x"}, "column 'age': no case has 'x'"),
    ],
)
def test_targets_that_no_training_can_have(target: dict[str, Any], message: str) -> None:
    cases = pd.DataFrame(
        {
            "case_id": ["a.png", "b.png", "c.png", "d.png"],
            "label": [0, 1, 0, 1],
            "label_name": ["well", "sick", "well", "sick"],
            "hospital": ["A", "A", "B", "B"],
            "age": [40, 50, 60, 70],
            "sex": ["f", "m", None, "m"],
        }
    )
    assert message in "; ".join(check_study(Study("b", "acquisition", target), cases))
    assert check_study(Study("b", "acquisition", {"hospital": "B"}), cases) == []


def test_where_rows_of_the_file_were_left_out_only_the_case_is_named() -> None:
    cases = pd.DataFrame({"case_id": ["a", "b"], "label": [0, 1], "hospital": ["A", None]})
    cases.attrs["reading"] = {"dropped": {"image not on disk": 3}}
    (fault,) = check_study(Study("b", "acquisition", {"hospital": "A"}), cases)
    assert "(first: case b)" in fault
