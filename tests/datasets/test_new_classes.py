"""Classes that a classifier was never shown: declared in a table, or taken away by a study."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.own_tables import HEADER, build, said
from monai_sf.datasets import (
    Study,
    check_splits,
    describe_cases,
    folder_cases,
    medmnist_cases,
    split_cases,
)
from monai_sf.datasets.preflight import check_labels
from monai_sf.datasets.split_checks import check_cases
from monai_sf.datasets.studies import classes_of, find_studies, remaining_classes

NAMES = ("nevus", "melanoma", "keratosis")


def table(patients: int = 60, unknown: int = 4) -> pd.DataFrame:
    """Two cases a patient of one of three classes; further ones with a rash, one of them with a nevus."""
    rows = [(f"p{k:02d}", k % 3, NAMES[k % 3]) for k in range(patients) for _ in range(2)]
    rows += [(f"u{k}", -1, "rash") for k in range(unknown) for _ in range(2)]
    rows += [("u0", 0, "nevus")] * bool(unknown)
    cases = pd.DataFrame(rows, columns=["group", "label", "label_name"])
    count = len(cases)
    cases.insert(0, "case_id", [f"case{k}" for k in range(count)])
    cases["image"] = [f"{k}.png" for k in range(count)]
    cases["source"] = "here"
    cases["hospital"] = ["AB"[k // 2 % 2] for k in range(count)]
    cases.attrs = {"classes": list(NAMES), "dataset": "skin"}
    return cases


def study(target: dict[str, Any], name: str = "new") -> Study:
    return Study(name, "new_class", target)


IID = Study("iid", "iid")


def test_declared_cases_are_the_target_of_their_study_and_in_no_other_set() -> None:
    cases = table()
    for rule in ({"label_name": "rash"}, {"label": -1}):
        splits = split_cases(cases, study(rule), 0)
        assert set(splits["case_id"][splits["label"] == -1]) == set(cases["case_id"][cases["label"] == -1])
        assert set(splits["split"][splits["label"] == -1]) == {"target"}
        assert splits.groupby("group")["split"].nunique().eq(1).all()
        assert "u0" not in set(splits["group"][splits["label"] == 0])  # the nevus of a patient with a rash
        assert splits.attrs["classes"] == list(NAMES)
        assert splits.attrs["without"] == []
        check_splits(splits, expect_target=True)
        check_labels(splits, 3)
    rest = [split_cases(cases, one, 0) for one in (IID, Study("b", "acquisition", {"hospital": "B"}))]
    for splits in rest:
        assert (splits["label"] >= 0).all()
        check_labels(splits, 3)


def test_those_that_a_study_leaves_out_are_counted() -> None:
    splits = split_cases(table(), IID, 0)
    assert splits.attrs["dropped"] == 8
    assert splits.attrs["left_out"] == "8 cases of none of the classes (label -1) are left out"


def test_the_other_cases_are_split_as_if_there_were_none() -> None:
    known = table(unknown=0)
    there = split_cases(table()[lambda cases: cases["group"] != "u0"], IID, 0)
    alone = split_cases(known, IID, 0)
    assert dict(zip(there["case_id"], there["split"], strict=True)) == dict(
        zip(alone["case_id"], alone["split"], strict=True)
    )


@pytest.mark.parametrize("rule", [{"label_name": "melanoma"}, {"label": 1}])
def test_a_class_that_is_taken_away_leaves_labels_without_gaps(rule: dict[str, Any]) -> None:
    splits = split_cases(table(), study(rule), 0)
    target = splits["split"] == "target"
    assert set(splits["label_name"][target]) == {"melanoma"}
    assert (splits["label"][target] == -1).all()
    assert splits["label"].dtype == np.int64
    pairs = splits[~target].drop_duplicates("label").set_index("label")["label_name"].to_dict()
    assert pairs == {0: "nevus", 1: "keratosis"}
    assert splits.attrs["classes"] == ["nevus", "keratosis"] == classes_of(splits)
    assert splits.attrs["without"] == ["melanoma"]
    assert "rash" not in set(splits["label_name"])  # declared, but not of this study
    check_cases(splits)
    check_labels(splits, 2)


def test_a_network_with_the_class_is_refused_and_told_what_to_set() -> None:
    splits = split_cases(table(), study({"label": 1}), 0)
    with pytest.raises(ValueError, match=r"without 'melanoma', .* set num_classes to 2 and class_names"):
        check_labels(splits, 3)


def test_the_classes_that_are_left_follow_from_a_rule_on_their_names() -> None:
    assert remaining_classes(study({"label_name": ["melanoma", "rash"]}), NAMES) == ["nevus", "keratosis"]
    assert remaining_classes(study({"label_name": "rash"}), NAMES) == list(NAMES)
    assert remaining_classes(study({"label": 1}), NAMES) == list(NAMES)
    assert remaining_classes(Study("m", "manifestation", {"label_name": "nevus"}), NAMES) == list(NAMES)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"label_name": "melanoma", "hospital": "B"}, "20 of 40 cases of the class 'melanoma' are in"),
        ({"hospital": "B"}, "cases of the class 'keratosis'.*cases of the class 'melanoma'"),
        ({"label_name": ["melanoma", "nevus"]}, "fewer than two classes are left to tell apart: 'keratosis'"),
        ({"label_name": list(NAMES)}, "none is left to train on"),
        ({"label_name": "Melanoma"}, "no case has 'Melanoma' .do you mean 'melanoma'"),
        ({"label_name": "rash", "hospital": "C"}, "no case has 'C'"),
    ],
)
def test_rules_that_make_no_new_class_are_refused(target: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_cases(table(), study(target), 0)


def test_a_target_of_cases_of_no_class_is_no_other_place() -> None:
    cases = table()
    cases.loc[cases["label"] == -1, "hospital"] = "C"
    with pytest.raises(ValueError, match="no case is in the target domain"):
        split_cases(cases, Study("c", "acquisition", {"hospital": "C"}), 0)


def test_an_audit_has_the_classes_of_its_model() -> None:
    cases = table()
    assert (split_cases(cases, study({"label_name": "rash"}), 0, audit=True)["label"] == -1).sum() == 8
    with pytest.raises(ValueError, match="trains without 'melanoma', which an audit cannot do"):
        split_cases(cases, study({"label_name": "melanoma"}), 0, audit=True)


def test_unknown_labels_are_in_no_other_split_than_target() -> None:
    splits = split_cases(table(), study({"label_name": "rash"}), 0)
    splits.loc[splits["split"] == "val", "label"] = -1
    with pytest.raises(ValueError, match="cases of no class are not in target"):
        check_splits(splits)
    with pytest.raises(ValueError, match=r"outside 0\.\.2: labels \[-1\]"):
        check_labels(splits, 3)


def test_several_names_may_have_the_label_of_none_but_no_class_may() -> None:
    cases = table()
    cases.loc[cases.index[-3], "label_name"] = "burn"
    check_cases(cases)
    cases.loc[cases.index[-3], "label_name"] = "nevus"
    with pytest.raises(ValueError, match="label_name nevus has more than one label"):
        check_cases(cases)
    with pytest.raises(ValueError, match="or -1 for none of the classes; 1 are not"):
        check_cases(cases.assign(label=[-2, *cases["label"][1:]]))


def test_a_study_of_new_classes_is_read_from_a_config() -> None:
    own = {"without": {"kind": "new_class", "target": {"label_name": "melanoma"}}}
    assert find_studies("skin", own)[-1].kind == "new_class"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for k in range(12):
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(tmp_path / "images" / f"{k}.png")
    return tmp_path


Written = Callable[..., Path]


@pytest.fixture
def written(folder: Path) -> Written:
    def write(*labels: str) -> Path:
        rows = [[f"{k}.png", label, f"p{k}", "A"] for k, label in enumerate(labels)]
        pd.DataFrame(rows, columns=HEADER).to_csv(folder / "cases.csv", index=False)
        return folder / "cases.csv"

    return write


LABELS = ("well", "sick", "other", "well", "sick", "other", "rash")


def test_a_table_declares_labels_that_are_none_of_the_classes(written: Written, folder: Path) -> None:
    for classes in (None, ["well", "sick"]):
        cases = build(written(*LABELS), folder, classes=classes, unknown=["other", "rash"])
        assert cases.attrs["classes"] == (classes or ["sick", "well"])
        assert cases["label_name"].tolist() == list(LABELS)
        assert (cases["label"] == -1).tolist() == [name in ("other", "rash") for name in LABELS]
        text = describe_cases(cases)
        assert "2 classes, and 3 cases of none of them" in text
        assert "none of the classes, never trained on: 'other' (2 cases), 'rash' (1 cases)" in text


@pytest.mark.parametrize(
    ("unknown", "classes", "message"),
    [
        ([], ["well", "sick"], "label is none of the classes 'well', 'sick'"),  # undeclared is an error still
        (["other"], ["well", "sick"], "label is none of the classes.*'rash'"),
        (["othr", "rash"], None, "no case has the unknown label 'othr' .do you mean 'other'"),
        (["Other", "rash"], None, "no case has the unknown label 'Other' .do you mean 'other'"),
        (["sick"], ["well", "sick"], "'sick' cannot be both a class and unknown"),
        (["other", "other"], None, "unknown must differ"),
        ([True], None, "unknown must be texts, got True"),
        ("other", None, "unknown must be a list of labels, got 'other'"),
        (["well", "other", "rash"], None, "one class only, 'sick'"),
        (["well", "sick", "other", "rash"], None, "no class beside the unknown labels"),
    ],
)
def test_faulty_declarations(
    written: Written, folder: Path, unknown: Any, classes: Any, message: str
) -> None:
    assert re.search(message, said(written(*LABELS), folder, unknown=unknown, classes=classes))


def test_another_spelling_of_an_unknown_label_is_no_class(written: Written, folder: Path) -> None:
    text = said(written("well", "sick", "other", "Other "), folder, unknown=["other"])
    assert "differ in spelling only: 'Other' (1 rows) and 'other' (1 rows)" in text


def test_a_class_spelled_almost_like_an_unknown_label_is_warned_of(written: Written, folder: Path) -> None:
    table = written(*["well", "sick"] * 3, *["other"] * 3, "othr")
    notes = describe_cases(build(table, folder, unknown=["other"]))
    assert "warning: is the class 'othr' (1 cases: row 11) a misspelt 'other' (3 cases)?" in notes


def test_numbers_may_be_unknown(written: Written, folder: Path) -> None:
    table = written("0", "1", "9", "1", "0", "9")
    cases = build(table, folder, classes=["well", "sick"], unknown=[9])
    assert cases["label"].tolist() == [0, 1, -1, 1, 0, -1]
    assert cases["label_name"].tolist() == ["well", "sick", "9", "sick", "well", "9"]


def test_folders_and_archives_declare_them_too(folder: Path) -> None:
    for k, name in enumerate(["a", "b", "other"] * 2):
        place = folder / "folders" / name
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(place / f"{k}.png")
    cases = folder_cases(folder / "folders", unknown=["other"])
    assert cases.groupby("label_name")["label"].first().to_dict() == {"a": 0, "b": 1, "other": -1}
    arrays = {
        **{
            f"{name}_images": np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2) + 30 * k
            for k, name in enumerate(("train", "val", "test"))
        },
        **{f"{name}_labels": np.array([[0], [1], [2]] * 2) for name in ("train", "val", "test")},
    }
    np.savez(folder / "some.npz", **arrays)
    cases = medmnist_cases(folder / "some.npz", folder, classes=["well", "sick"], unknown=["2"])
    assert sorted(set(zip(cases["label"], cases["label_name"], strict=True))) == [
        (-1, "2"),
        (0, "well"),
        (1, "sick"),
    ]
