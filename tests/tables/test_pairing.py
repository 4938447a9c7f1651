"""Runs are paired by patient, however each of them spells the patients, or says nothing about them."""

import numpy as np
import pandas as pd
import pytest

from monai_sf.results import Results, ResultsError, TestSet
from monai_sf.tables import write_tables
from monai_sf.tables.aggregate import table_of
from monai_sf.tables.cells import collect
from monai_sf.tables.comparisons import significance

PATIENTS, IMAGES = 40, 4
PATIENT = np.repeat(np.arange(PATIENTS), IMAGES)


def save(folder, method, groups, case_ids=None):
    """Scores that are alike but for a little: only pairing tells them apart, since patients differ a lot."""
    rng = np.random.default_rng(0)
    n = len(PATIENT)
    labels = np.arange(n) % 2
    wrong = rng.random(n) < rng.random(PATIENTS)[PATIENT] * 0.7
    # sureness of what is wrong: the second is a little worse than the first
    sure = np.where(wrong, rng.uniform(0.2, 1.4, n), rng.uniform(0.8, 2, n)) + rng.normal(0, 0.02, n)
    sure += 0.15 * wrong * (method == "devries")
    logits = np.where(np.eye(2, dtype=bool)[labels ^ wrong], sure[:, None], 0).astype(np.float32)
    cases = pd.DataFrame({"case_id": case_ids or [f"c{i}" for i in range(n)], "label": labels})
    if groups is not None:
        cases["group"] = groups
    arrays = {"logits": logits, "confidence_logit": sure.astype(np.float32)}
    run = {
        "dataset": "skin",
        "study": "iid",
        "method": method,
        "seed": 0,
        "class_names": ["a", "b"],
        "data_kind": "real",
    }
    Results(run, cases, {"iid": TestSet("iid", "iid", np.arange(n), arrays)}).save(folder / method)


def compared(folder, n_resamples=400):
    collection = collect([folder], n_resamples=n_resamples, csfs=["MSR", "DeVries"])
    frame = significance(collection)
    row = frame[(frame["scope"] == "column") & (frame["first"] == "MSR") & (frame["second"] == "DeVries")]
    return row.iloc[0], table_of(collection).notes


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    for method in ("confidnet", "devries"):
        save(folder, method, [f"P{p}" for p in PATIENT])
    row, notes = compared(folder)
    assert row["p_value"] < 0.01
    assert notes == ()
    return row


@pytest.mark.parametrize("spelling", ["p{}", " P{} ", "P{}\u00a0"])
def test_text_in_two_spellings(spelling, expected, tmp_path):
    save(tmp_path, "confidnet", [f"P{p}" for p in PATIENT])
    save(tmp_path, "devries", [spelling.format(p) for p in PATIENT])
    pd.testing.assert_series_equal(compared(tmp_path)[0], expected)


@pytest.mark.parametrize("other", [PATIENT.astype(float), [f"{p:04d}" for p in PATIENT], PATIENT.astype(str)])
def test_numbers_in_two_spellings(other, expected, tmp_path):
    save(tmp_path, "confidnet", PATIENT)
    save(tmp_path, "devries", other)
    row, _ = compared(tmp_path)
    assert row["p_value"] < 0.01
    assert row["difference"] == expected["difference"]


def test_cases_in_two_spellings(expected, tmp_path):
    save(tmp_path, "confidnet", [f"P{p}" for p in PATIENT], [f"C{i}" for i in range(len(PATIENT))])
    save(tmp_path, "devries", [f"P{p}" for p in PATIENT])
    pd.testing.assert_series_equal(compared(tmp_path)[0], expected)


@pytest.mark.parametrize("without", ["confidnet", "devries"])
def test_a_run_without_patients_takes_them_from_the_other(without, expected, tmp_path):
    for method in ("confidnet", "devries"):
        save(tmp_path, method, None if method == without else [f"P{p}" for p in PATIENT])
    pd.testing.assert_series_equal(compared(tmp_path)[0], expected)


def test_two_runs_without_patients_are_paired_by_case(tmp_path):
    for method in ("confidnet", "devries"):
        save(tmp_path, method, None)
    assert compared(tmp_path)[0]["p_value"] < 0.01


def test_unknown_patients_are_paired_by_case_and_counted(tmp_path):
    for method, word in (("confidnet", "unknown"), ("devries", "")):
        save(tmp_path, method, [f"P{p}" if p < 20 else word for p in PATIENT])
    row, notes = compared(tmp_path)
    assert row["p_value"] < 0.01
    assert notes == ("skin: 80 of 160 cases have no group (patient): each is one of its own",)


def test_runs_that_name_other_patients_are_not_compared(expected, tmp_path):
    save(tmp_path, "confidnet", [f"P{p}" for p in PATIENT])
    save(tmp_path, "devries", [f"Q{p}" for p in PATIENT])
    row, _ = compared(tmp_path)
    assert row["note"] == "no interval: the runs name other groups for the same cases"
    assert np.isnan([row["p_value"], row["low"], row["high"], row["p_holm"]]).all()
    assert row["difference"] == expected["difference"]


def test_one_patient_has_a_table_and_no_interval(tmp_path):
    for method in ("confidnet", "devries"):
        save(tmp_path / "runs", method, ["p"] * len(PATIENT))
    written = write_tables([tmp_path / "runs"], tmp_path / "tables", n_resamples=100)
    frame = pd.read_csv(written["significance"])
    assert set(frame["note"]) == {"no interval: a test set has a single group"}
    assert frame[["low", "high", "p_value", "p_holm"]].isna().all(axis=None)
    said = "skin: no interval where all cases are of a single group (patient): iid"
    assert said in written["text"].read_text(encoding="utf-8")
    assert said in written["html"].read_text(encoding="utf-8")


def test_a_placeholder_is_refused(tmp_path):
    save(tmp_path, "confidnet", ["Anonymous"] * len(PATIENT))
    with pytest.raises(ResultsError, match="confidnet: 160 of 160 cases have the group 'Anonymous'"):
        collect([tmp_path], n_resamples=10)
