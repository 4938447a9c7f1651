from __future__ import annotations

import hashlib
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.datasets import STUDIES, Study, check_leaks, check_splits, split_cases
from monai_sf.datasets.studies import find_study
from monai_sf.datasets.studies import in_target as in_target_of


def table(groups: list[str], labels: list[int], target: list[bool] | None = None) -> pd.DataFrame:
    n = len(groups)
    return pd.DataFrame(
        {
            "case_id": [f"case{i}" for i in range(n)],
            "image": [f"{i}.npy" for i in range(n)],
            "label": labels,
            "label_name": [f"class {label}" for label in labels],
            "group": groups,
            "source": "test",
            "texture": [1.0 if t else 5.0 for t in (target or [False] * n)],
        }
    )


def plain(n: int = 40, target: bool = False) -> pd.DataFrame:
    """Two cases a patient, two classes; with ``target`` every fifth patient is in the target domain."""
    groups = [f"p{i // 2:03d}" for i in range(2 * n)]
    flags = [target and i // 2 % 5 == 0 for i in range(2 * n)]
    return table(groups, [i // 2 % 2 for i in range(2 * n)], flags)


def sides(splits: pd.DataFrame) -> dict[str, str]:
    return dict(zip(splits["case_id"], splits["split"], strict=True))


@pytest.mark.parametrize("study", [study.name for study in STUDIES["lung_nodule_ct"]])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lung_nodules(cases: pd.DataFrame, study: str, seed: int) -> None:
    splits = split_cases(cases, study, seed)
    assert splits.groupby("group")["split"].nunique().eq(1).all()
    assert splits.groupby(["scan_id", "nodule"]).size().eq(5).all()
    in_target = in_target_of(find_study(study), splits)
    assert (splits["split"] == "target").tolist() == in_target.tolist()
    assert len(splits) + splits.attrs["dropped"] == len(cases)
    share = splits[~in_target].groupby("split")["group"].nunique() / splits[~in_target]["group"].nunique()
    wanted = {"train": 0.6, "calibration": 0.1, "val": 0.1, "iid": 0.2}
    assert share.to_dict() == pytest.approx(wanted, abs=0.01)
    if study != "iid":
        target_patients = set(splits.loc[in_target, "group"])
        left_out = cases[~cases["case_id"].isin(splits["case_id"])]
        assert set(left_out["group"]) <= target_patients
        assert not in_target_of(find_study(study), left_out).any()


def test_an_audit_tests_half_of_the_groups_and_leaves_the_target_domain_as_it_is(cases: pd.DataFrame) -> None:
    splits, trained = (split_cases(cases, "texture", 0, audit=audit) for audit in (True, False))
    in_target = splits["split"] == "target"
    assert in_target.tolist() == (trained["split"] == "target").tolist()
    assert splits.groupby("group")["split"].nunique().eq(1).all()
    share = splits[~in_target].groupby("split")["group"].nunique() / splits[~in_target]["group"].nunique()
    wanted = {"train": 0.2, "calibration": 0.2, "val": 0.1, "iid": 0.5}
    assert share.to_dict() == pytest.approx(wanted, abs=0.01)


def with_target(n: int = 900) -> pd.DataFrame:
    """Patients of one to six cases, three classes, and every eleventh patient in the target domain."""
    patients = [i * i % (n // 3) for i in range(n)]
    labels = [i % 7 % 3 for i in range(n)]
    return table([f"p{patient}" for patient in patients], labels, [p % 11 == 0 for p in patients])


def digest(splits: pd.DataFrame, name: str) -> str:
    case_ids = sorted(splits.loc[splits["split"] == name, "case_id"])
    return hashlib.sha256("\n".join(case_ids).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("study", "seed", "val", "iid", "target", "iid_of_audit"),
    [
        ("iid", 0, "995dc1b5ec3d", "5da25a0b03e5", "e3b0c44298fc", "24a5d8299ac8"),
        ("iid", 1, "f14b5e006ef6", "25798626dac2", "e3b0c44298fc", "e4338d57f1fb"),
        ("texture", 0, "54110dfbef09", "e826c9958e8c", "fc77ef0c3383", "ce507cf0fd53"),
        ("texture", 1, "f14b5e006ef6", "33cbf82da557", "fc77ef0c3383", "814529636a98"),
    ],
)
def test_val_and_test_sets_are_those_of_the_split_without_calibration_cases(
    study: str, seed: int, val: str, iid: str, target: str, iid_of_audit: str
) -> None:
    # Written down when 70 % were trained on and no case was set aside for calibration (audit: 30 % and 20 %).
    splits = split_cases(with_target(), study, seed)
    assert [digest(splits, name) for name in ("val", "iid", "target")] == [val, iid, target]
    audit = split_cases(with_target(), study, seed, audit=True)
    assert [digest(audit, name) for name in ("iid", "target")] == [iid_of_audit, target]
    assert set(splits["split"]) == set(audit["split"]) >= {"train", "val", "calibration", "iid"}


@pytest.mark.parametrize("n", [2, 5, 6, 40])
def test_a_small_table_may_lack_calibration_cases_which_is_told(
    n: int, caplog: pytest.LogCaptureFixture
) -> None:
    # n patients of each of two classes: of 2 there are no test cases, of 5 and 6 no calibration cases
    cases = table([f"p{i}" for i in range(2 * n)], [i % 2 for i in range(2 * n)])
    if n == 2:
        with pytest.raises(ValueError, match="split 'iid' needs cases of at least two classes"):
            split_cases(cases, "iid", 0)
        return
    splits = split_cases(cases, "iid", 0)
    notes = splits.attrs.get("reading", {}).get("notes", [])
    said = ["split 'calibration' has no case: no threshold is chosen for this study"]
    assert notes == ([] if n == 40 else said)
    assert ("no threshold is chosen" in caplog.text) == (n < 40)
    if n == 40:
        assert (splits["split"] == "calibration").sum() == 8
        one = splits[(splits["split"] != "calibration") | (splits["label"] == 0)]
        again = split_cases(one, "iid", 0)
        assert again.attrs["reading"]["notes"] == [
            "split 'calibration' has cases of class 'class 0' only: no threshold is chosen for this study"
        ]
        check_splits(again)


def test_same_split_for_good() -> None:
    # Written down once: runs on other machines and of other days must be comparable.
    splits = split_cases(plain(10), "iid", 3)
    found = splits.groupby("split")["group"].unique().map(sorted).to_dict()
    assert found == {
        "iid": ["p004", "p007"],
        "train": ["p001", "p002", "p003", "p005", "p006", "p008"],
        "val": ["p000", "p009"],
    }


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2), st.booleans()), min_size=30, max_size=120),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_no_leak_and_no_order(rows: list[tuple[int, int, bool]], seed: int, data: st.DataObject) -> None:
    cases = table([f"g{g}" for g, _, _ in rows], [c for _, c, _ in rows], [t for _, _, t in rows])
    target = (cases["texture"] < 3).to_numpy()
    try:
        splits = split_cases(cases, "texture", seed)
    except ValueError as error:
        assert "needs cases of at least two classes" in str(error)  # noqa: PT017
        return
    check_splits(splits, expect_target=True)
    assert splits.groupby("group")["split"].nunique().max() == 1
    assert set(splits["case_id"][splits["split"] == "target"]) == set(cases["case_id"][target])
    mixed = set(cases["group"][target]) & set(cases["group"][~target])
    dropped = set(cases["case_id"]) - set(splits["case_id"])
    assert dropped == set(cases["case_id"][~target & cases["group"].isin(mixed).to_numpy()])
    assert splits.attrs["dropped"] == len(dropped)

    order = data.draw(st.permutations(range(len(cases))))
    again = split_cases(cases.iloc[list(order)], "texture", seed)
    assert sides(again) == sides(splits)


def test_seed_changes_the_split() -> None:
    cases = plain()
    assert sides(split_cases(cases, "iid", 0)) != sides(split_cases(cases, "iid", 1))
    assert sides(split_cases(cases, "iid", 0)) == sides(split_cases(cases, "iid", np.int64(0)))


def test_classes_are_balanced_over_the_splits() -> None:
    groups = [f"p{i}" for i in range(400)]
    splits = split_cases(table(groups, [int(i % 10 == 0) for i in range(400)]), "iid", 5)
    counts = pd.crosstab(splits["split"], splits["label"])
    assert counts.to_dict("index") == {
        "train": {0: 216, 1: 24},
        "calibration": {0: 36, 1: 4},
        "val": {0: 36, 1: 4},
        "iid": {0: 72, 1: 8},
    }


def test_rows_index_and_columns_stay_and_the_input_is_not_changed() -> None:
    cases = plain(target=True).sample(frac=1, random_state=0)
    cases.attrs["dataset"] = "lung_nodule_ct"
    before = cases.copy(deep=True)
    splits = split_cases(cases, "texture", 0)
    pd.testing.assert_frame_equal(cases, before)
    assert cases.attrs == {"dataset": "lung_nodule_ct"}
    pd.testing.assert_frame_equal(splits.drop(columns="split"), cases.loc[splits.index])
    assert splits.attrs == {
        "dataset": "lung_nodule_ct",
        "study": "texture",
        "seed": 0,
        "dropped": 0,
        "left_out": "",
        "without": [],
    }


def test_table_from_csv_gives_the_same_split(tmp_path) -> None:
    cases = plain(target=True)
    cases["group"] = cases["group"].str[1:].astype(int)
    cases.to_csv(tmp_path / "cases.csv", index=False)
    read = pd.read_csv(tmp_path / "cases.csv")
    assert sides(split_cases(read, "texture", 7)) == sides(split_cases(cases, "texture", 7))


def test_source_cases_of_target_patients_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    cases = plain(target=True)
    # One of p000's two cases moves to the source domain.
    cases.loc[1, "texture"] = 5.0
    with caplog.at_level(logging.INFO, logger="monai_sf"):
        splits = split_cases(cases, "texture", 0)
    assert splits.attrs["dropped"] == 1
    assert "case1" not in set(splits["case_id"])
    assert sides(splits)["case0"] == "target"
    said = "1 of 65 source cases (2 %) of 1 groups are left out, since these groups also have target cases"
    assert splits.attrs["left_out"] == said
    assert [(record.levelname, said in record.message) for record in caplog.records] == [("INFO", True)]


def test_many_cases_left_out_ask_whether_ids_mean_the_same_patient_everywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "monai_sf")  # whatever other tests have left
    cases = plain().assign(hospital=["A", "A", "A", "A", "A", "A", "A", "B"] * 10)
    own = Study("b", "acquisition", {"hospital": "B"})
    cases["label"] = np.arange(80) // 8 % 2
    cases["label_name"] = [f"class {label}" for label in cases["label"]]
    restarted = cases.assign(group=[f"{k % 8 if k < 32 else k:03d}" for k in range(80)])
    splits = split_cases(restarted, own, 0)
    assert splits.attrs["left_out"] == ""
    assert caplog.text == ""
    restarted["group"] = [f"{min(k % 8, 7 - k % 8) if k < 48 else k:03d}" for k in range(80)]
    splits = split_cases(restarted, own, 0)
    assert (
        splits.attrs["left_out"]
        == "6 of 70 source cases (9 %) of 1 groups are left out, since these groups also have target cases"
    )
    restarted["group"] = [f"{k // 8 if k % 8 > 4 else k + 100:03d}" for k in range(80)]
    splits = split_cases(restarted, own, 0)
    said = splits.attrs["left_out"]
    assert said.startswith("20 of 70 source cases (29 %) of 10 groups are left out")
    assert "Does an id of a group mean the same patient in every hospital?" in said
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_own_study() -> None:
    patients = ["p000", *(f"p{i:03d}" for i in range(3, 40, 4))]
    splits = split_cases(plain(), Study("odd", "acquisition", {"group": patients}), 0)
    assert set(splits.loc[splits["split"] == "target", "group"]) == set(patients)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.drop(columns=["label", "group"]), "lacks the columns label, group; it has case_id"),
        (lambda c: c.drop(columns="texture"), "lacks the columns texture"),
        (lambda c: c.iloc[:0], "case table is empty"),
        (lambda c: c.assign(case_id="same"), r"1 case_id are not unique \(first: same\)"),
        (lambda c: c.assign(texture=c["texture"].where(c.index > 1)), r"missing values.*texture \(2\)"),
        (lambda c: c.assign(case_id=c["case_id"].where(c.index > 1, " ")), "2 case_id are empty"),
        (lambda c: c.assign(case_id=[1, "1", *range(2, 80)]), r"1 case_id are not unique \(first: 1\)"),
        (lambda c: c.assign(label=c["label"].where(c.index > 0)), r"missing values.*label \(1\)"),
        (
            lambda c: c.assign(label=c["label"] - 2),
            r"label must be an integer from 0.*40 are not \(first: \[-2",
        ),
        (lambda c: c.assign(label=c["label"] + 0.5), "label must be an integer from 0"),
        (lambda c: c.assign(label=c["label"].map({0: "a", 1: "b"})), "label must be an integer from 0"),
        (lambda c: c.assign(label_name="one"), r"label_name one has more than one label: \[0, 1\]"),
        (lambda c: c.assign(label=0), r"label 0 has more than one label_name"),
        (
            lambda c: c.assign(label=0, label_name="a"),
            "split 'train' needs .* two classes, it has only class 'a'; split 'val'.* What helps: add cases",
        ),
        (lambda c: c.assign(texture=5.0), "split 'target' needs .* it has no case at all"),
        (
            lambda c: c.assign(texture=1.0),
            r"it has no case at all; .* \(80 of 80 cases .* or choose a narrower target",
        ),
        (lambda c: c.iloc[:16], "split 'val' needs cases of at least two classes"),
    ],
)
def test_bad_tables(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_cases(change(plain(target=True)), "texture", 0)


def spelled(rng: np.random.Generator, number: int) -> object:
    """One of the ways in which tables write the patient of that number."""
    ways = (
        number,
        float(number),
        f"{number:03d}",
        f" {number}",
        f"{number}.0",
        f"{number}\u00a0",
        str(number),
    )
    return ways[rng.integers(len(ways))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["number", "text"])
def test_a_patient_spelled_in_many_ways_is_on_one_side(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    patient = np.arange(400) // 8
    cases = table([str(p) for p in patient], (patient % 2).tolist())
    if name == "number":
        cases["group"] = pd.Series([spelled(rng, p) for p in patient], dtype=object)
    else:
        ways = ("Zoë {}", "zoë {} ", "ZOË  {}", "zoe\u0308 {}", "\u200bZoë {}")
        cases["group"] = [ways[i].format(p) for i, p in zip(rng.integers(5, size=400), patient, strict=True)]
    splits = split_cases(cases, "iid", seed)
    assert splits.groupby(patient[splits.index])["split"].nunique().eq(1).all()
    assert check_leaks(splits).empty
    (note,) = splits.attrs["reading"]["notes"]
    assert note.startswith("50 groups are spelled in more than one way and count as one each")
    # The check finds what another split would do, whatever the spelling.
    parted = splits.assign(split=np.where(np.arange(400) % 8 < 4, "train", "iid"))
    assert len(check_leaks(parted)) == 50
    with pytest.raises(ValueError, match="50 groups are in more than one split"):
        check_splits(parted)


def test_numbers_are_split_alike_however_a_table_holds_them() -> None:
    cases = plain()
    numbers = cases["group"].str[1:].astype(int)
    as_text = [f"{number:05d}" for number in numbers]
    splits = [sides(split_cases(cases.assign(group=g), "iid", 1)) for g in (numbers, numbers * 1.0, as_text)]
    assert splits[0] == splits[1] == splits[2]


def test_a_case_without_a_patient_is_a_group_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    words = [None, float("nan"), "", "unknown", "N/A", "-", pd.NA, "none"]
    cases = plain()
    cases["group"] = [*cases["group"][:40], *(words * 5)]
    cases.attrs["reading"] = {"notes": ["before"]}
    splits = split_cases(cases, "iid", 0)
    unknown = splits.iloc[40:]
    assert unknown["split"].value_counts()["train"] == pytest.approx(24, abs=4)
    before, note = splits.attrs["reading"]["notes"]
    assert before == "before"
    assert note.startswith("40 of 80 cases have no group id (written as '', '-'")
    assert note in caplog.text
    assert cases.attrs["reading"] == {"notes": ["before"]}
    assert check_leaks(splits).empty
    assert sides(split_cases(cases.sample(frac=1, random_state=1), "iid", 0)) == sides(splits)


def test_a_placeholder_for_most_patients_is_refused() -> None:
    cases = plain()
    cases.loc[20:, "group"] = "Anonymous"
    with pytest.raises(
        ValueError, match="60 of 80 cases have the group 'Anonymous', which looks like a place"
    ):
        split_cases(cases, "iid", 0)


def test_case_ids_that_differ_in_letter_case_stay_two_cases_and_are_told() -> None:
    cases = plain()
    cases.loc[:1, "case_id"] = ["a.PNG", "a.png"]
    splits = split_cases(cases, "iid", 0)
    assert len(splits) == 80
    assert splits.attrs["reading"]["notes"] == [
        "2 case ids differ from another one in spelling only ('a.PNG' = 'a.png'): they are different cases"
    ]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="unknown study 'keratosi'"):
        split_cases(plain(), "keratosi", 0)
    cells = plain()
    cells.attrs["dataset"] = "fc_microscopy"
    with pytest.raises(ValueError, match="'wrong' of fc_microscopy; known: iid, batches;"):
        split_cases(cells, "wrong", 0)
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(ValueError, match="seed must be a non-negative integer"):
            split_cases(plain(), "iid", seed)  # type: ignore[arg-type]


def test_check_alone_finds_leaks() -> None:
    splits = split_cases(plain(target=True), "texture", 0)
    check_splits(splits)
    train = splits.index[splits["split"] == "train"][0]
    with pytest.raises(ValueError, match=r"1 groups are in more than one split:\n  p\d+: iid, train$"):
        check_splits(splits.assign(split=splits["split"].where(splits.index != train, "iid")))
    with pytest.raises(
        ValueError, match="split must be one of train, val, calibration, iid, target; got test"
    ):
        check_splits(splits.replace({"split": {"iid": "test"}}))
    with pytest.raises(ValueError, match="lacks the columns split"):
        check_splits(splits.drop(columns="split"))
    with pytest.raises(ValueError, match="case_id are not unique"):
        check_splits(pd.concat([splits, splits.iloc[:1]]))
    with pytest.raises(ValueError, match="split 'val' needs"):
        check_splits(splits[splits["split"] != "val"])
    without_target = splits[splits["split"] != "target"]
    check_splits(without_target)
    with pytest.raises(ValueError, match="split 'target' needs"):
        check_splits(without_target, expect_target=True)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 1), st.sampled_from(["ham10000", "MSKCC", "Barcelona"])),
        min_size=40,
        max_size=120,
    ),
    name=st.sampled_from(["iid", "mskcc", "barcelona"]),
    data=st.data(),
)
def test_groups_stay_whole_across_sources(
    rows: list[tuple[int, int, str]], name: str, data: st.DataObject
) -> None:
    cases = table([f"g{g}" for g, _, _ in rows], [label for _, label, _ in rows])
    cases["source"] = [source for _, _, source in rows]
    target = in_target_of(find_study(name), cases)
    try:
        splits = split_cases(cases, name, 0)
    except ValueError as error:
        assert "needs cases of" in str(error)  # noqa: PT017
        return
    assert check_leaks(splits).empty
    assert set(splits["case_id"][splits["split"] == "target"]) == set(cases["case_id"][target])
    in_target = set(cases["group"][target])
    assert not in_target & set(splits["group"][splits["split"] != "target"])
    order = data.draw(st.permutations(range(len(cases))))
    assert sides(split_cases(cases.iloc[list(order)], name, 0)) == sides(splits)


def test_place_of_a_group_by_its_most_frequent_label_the_lowest_of_equal_ones() -> None:
    # As many groups as classes are many: a table of groups by labels would take gigabytes.
    groups = [f"g{i // 3}" for i in range(3000)]
    labels = [(i // 3) % 5 if i % 3 else 0 for i in range(3000)]
    splits = split_cases(table(groups, labels), "iid", 0)
    majority = splits.groupby("group")["label"].agg(lambda values: values.mode().min())
    place = splits.drop_duplicates("group").set_index("group")["split"]
    counts = pd.crosstab(majority, place.loc[majority.index])
    assert (counts["train"] == 120).all()
    assert (counts["calibration"] == 20).all()
    assert (counts["val"] == 20).all()
