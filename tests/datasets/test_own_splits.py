"""Splits that a table of one's own brings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from helpers.own_tables import COLUMNS, HEADER, Table, build, rows, said
from monai_sf.datasets import Study, describe_cases, split_cases


def split_table(write: Table, splits: str, **letters: str) -> Path:
    lines = [[f"{k}.png", "ab"[k % 2], f"p{k // 2}", letters.get(one, one)] for k, one in enumerate(splits)]
    return write(lines, [*HEADER[:3], "part"])


OWN = {**COLUMNS, "split": "part"}


WORDS = {"t": "train", "v": "Validation", "c": "Calib", "i": "TEST", "x": "target"}


def test_own_splits_are_honoured(write: Table, tmp_path: Path) -> None:
    table = split_table(write, "ttttccccvvvviiiixxxx", **WORDS)
    cases = build(table, tmp_path, columns=OWN)
    names = ("train", "calibration", "val", "iid", "target")
    assert cases["split"].tolist() == [name for name in names for _ in range(4)]
    assert "'Calib' is calibration, 'TEST' is iid, 'Validation' is val" in describe_cases(cases)
    for seed in (0, 1):
        splits = split_cases(cases, "iid", seed)
        assert splits["split"].tolist() == cases["split"].tolist()[:16]
        assert splits.attrs["dropped"] == 4
    away = Study("away", "acquisition", {"split": "target"})
    pd.testing.assert_series_equal(split_cases(cases, away, 0)["split"], cases["split"])
    rule = Study("rule", "acquisition", {"group": ["p0", "p9"]})
    assert split_cases(cases, rule, 0)["split"].tolist() == [
        *["target"] * 2, *["train"] * 2, *["calibration"] * 4, *["val"] * 4, *["iid"] * 4, *["target"] * 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "absent", "train"),
    [
        ("t", "calibration or val or iid", 0.6),
        ("ti", "calibration or val", 0.6 / 0.8),
        ("tv", "calibration or iid", 0.6 / 0.9),
        ("tvi", "calibration", 0.6 / 0.7),
        ("tvc", "iid", 0.6 / 0.8),
        ("tci", "val", 0.6 / 0.7),
    ],
)
def test_splits_that_are_not_there_are_taken_from_train_by_group(
    given: str, absent: str, train: float, write: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = split_table(write, "t" * 80 + "".join(one * 20 for one in given[1:]), **WORDS)
    cases = build(table, tmp_path, columns=OWN)
    splits = split_cases(cases, "iid", 0)
    assert set(splits["split"]) == {"train", "val", "calibration", "iid"}
    assert splits.groupby("group")["split"].nunique().eq(1).all()
    assert splits["split"].tolist()[80:] == cases["split"].tolist()[80:]
    assert f"no case has the split {absent}: the 80 cases of train were split by group (train " in caplog.text
    assert (splits["split"][:80] == "train").mean() == pytest.approx(train, abs=0.03)


@pytest.mark.parametrize(
    ("given", "val", "iid"),
    [("t", "ff350e", "6f1df7"), ("ti", "24d797", ""), ("tv", "", "b6477a"), ("tvi", "", "")],
)
def test_val_and_iid_are_what_they_were_without_calibration_cases(
    given: str, val: str, iid: str, write: Table, tmp_path: Path
) -> None:
    table = split_table(write, "t" * 200 + "".join(one * 20 for one in given[1:]), **WORDS)
    splits = split_cases(build(table, tmp_path, columns=OWN), "iid", 0)
    for name, expected in (("val", val), ("iid", iid)):
        own = splits["case_id"][:200][splits["split"][:200] == name]
        found = hashlib.sha256("\n".join(own).encode()).hexdigest()[:6] if len(own) else ""
        assert found == expected


@pytest.mark.parametrize(
    ("given", "absent", "iid"),
    [
        ("i", "train or calibration or val", 0.5),
        ("it", "calibration or val", 0.5 / 0.8),
        ("iv", "train or calibration", 0.5 / 0.9),
        ("itv", "calibration", 0.5 / 0.7),
        ("itvc", "", 1),
    ],
)
def test_an_audit_takes_absent_splits_from_the_tested_cases_only(
    given: str, absent: str, iid: float, write: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = split_table(write, "i" * 80 + "".join(one * 20 for one in given[1:]), **WORDS)
    cases = build(table, tmp_path, columns=OWN)
    splits = split_cases(cases, "iid", 0, audit=True)
    assert set(splits["split"]) == {"train", "val", "calibration", "iid"}
    assert splits.groupby("group")["split"].nunique().eq(1).all()
    assert splits["split"].tolist()[80:] == cases["split"].tolist()[80:]
    assert (f"no case has the split {absent}: the 80 cases of iid were split" in caplog.text) == bool(absent)
    assert (splits["split"][:80] == "iid").mean() == pytest.approx(iid, abs=0.03)


def test_an_audit_does_not_test_what_the_model_was_trained_on(write: Table, tmp_path: Path) -> None:
    cases = build(split_table(write, "ttttttttvvvv", **WORDS), tmp_path, columns=OWN)
    with pytest.raises(ValueError, match="split 'iid' needs cases of at least two classes, it has no case"):
        split_cases(cases, "iid", 0, audit=True)


def test_own_splits_that_are_refused(write: Table, tmp_path: Path) -> None:
    message = said(split_table(write, "ttttvtvviiii", **WORDS), tmp_path, columns=OWN)
    assert (
        "column 'part': 1 groups are on both sides of the split: p2: val (row 6), train (row 7). Put all "
        "cases of a group into one split"
    ) in message
    message = said(split_table(write, "ttttvvzziiii", **WORDS, z="holdout"), tmp_path, columns=OWN)
    assert "column 'part': none of train, val, calibration, iid, target, training" in message
    assert "2 rows: row 8 ('holdout'), row 9 ('holdout')" in message
    assert "row 8 (empty)" in said(split_table(write, "ttttvvzziiii", **WORDS, z=""), tmp_path, columns=OWN)
    cases = build(split_table(write, "vvvviiii", **WORDS), tmp_path, columns=OWN)
    with pytest.raises(ValueError, match="split 'train' needs cases of at least two classes, it has no case"):
        split_cases(cases, "iid", 0)
    cases = build(split_table(write, "ttttttttvvvviiii", **WORDS), tmp_path, columns=OWN)
    one = cases[(cases["split"] != "iid") | (cases["label"] == 0)]
    with pytest.raises(
        ValueError, match="split 'iid' needs cases of at least two classes, it has only class 'a'"
    ):
        split_cases(one, "iid", 0)
    leaking = cases.assign(group=cases["group"].replace({"p7": "P0"}))
    with pytest.raises(ValueError, match="1 groups are in more than one split:\n  P0: iid, train"):
        split_cases(leaking, "iid", 0)
    with pytest.raises(
        ValueError, match="split must be one of train, val, calibration, iid, target; got test"
    ):
        split_cases(cases.assign(split="test"), "iid", 0)


def test_an_unknown_study_of_own_data(write: Table, tmp_path: Path) -> None:
    cases = build(write(rows()), tmp_path)
    with pytest.raises(ValueError, match="unknown study 'mskcc' of own; known: iid; the config key studies"):
        split_cases(cases, "mskcc", 0)
