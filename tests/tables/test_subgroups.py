"""Who is affected: suitable columns, thresholds, Holm over all columns, and the file of the tables."""

import datetime
import math

import numpy as np
import pandas as pd
import pytest

from monai_sf import metrics
from monai_sf.metrics import holm, risk_at_coverage
from monai_sf.results import Results, ResultsError
from monai_sf.tables import by_group, failure_detection, subgroups_of, write_tables
from monai_sf.tables.cells import collect
from monai_sf.tables.groups_file import groups_of_runs, worse_groups
from monai_sf.tables.redaction import is_identifying
from monai_sf.tables.subgroups import marked_together, statistics_by_column

N = 400


def run_of(columns=None, n=N, run=None, **arguments):
    """A run of two classes with these columns in its case table."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    logits = np.eye(2)[labels] + rng.normal(0, 0.6, (n, 2))
    results = Results.from_arrays(logits, labels, **arguments)
    cases = results.cases.assign(group=[f"p{i // 2}" for i in range(n)], **(columns or {}))
    return Results({**results.run, **(run or {})}, cases, results.test_sets)


def groups_in(values):
    """Groups of one column, or why it is left out."""
    columns, left_out = subgroups_of(run_of({"x": values}), "iid")
    if "x" not in columns:
        return left_out["x"]
    found = columns["x"]
    return [*found.cat.categories, *(["missing"] if found.isna().any() else [])]


RNG = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (RNG.choice(["f", "m"], N), ["f", "m"]),
        (RNG.choice(["f", "m", None], N), ["f", "m", "missing"]),
        (RNG.random(N) < 0.5, ["False", "True"]),
        (RNG.integers(1, 6, N), ["1", "2", "3", "4", "5"]),
        (RNG.choice([0.5, 1.0, np.nan, np.inf], N), ["0.5", "1", "missing"]),
        (RNG.choice(np.array([1, 2, 10**400], object), N), ["1", "2", "missing"]),
        (RNG.choice(["site 10", "site 9"], N), ["site 9", "site 10"]),
        (pd.Categorical(RNG.choice(["low", "high"], N), ["low", "high"]), ["low", "high"]),
        (pd.array(RNG.choice([1, 2, None], N), dtype="Int64"), ["1", "2", "missing"]),
        (np.arange(N) % 40 + 1980, ["1980 to 1989", "1990 to 1999", "2000 to 2009", "2010 to 2019"]),
        (np.repeat(np.arange(20), 20) / 8, ["0 to 0.5", "0.625 to 1.12", "1.25 to 1.75", "1.88 to 2.38"]),
        (np.array([0.0] * 380 + list(range(1, 21))), ["0 to 20"]),
        (np.repeat(RNG.normal(size=N // 2), 2).round(9), 4),
        (RNG.normal(size=N), 4),
        ([str(a) if i % 20 else "unknown" for i, a in enumerate(RNG.normal(size=N).round(9))], 5),
        ([str(a) for a in RNG.normal(size=N).round(9)], 4),
        (RNG.choice(["1", "2.0", 3, "n/a", None], N), ["1", "2", "3", "missing"]),
        (RNG.choice(["1", "unknown", "yes"], N), ["1", "unknown", "yes"]),
        (["Male", "male", "MALE ", "f", " male"] * (N // 5), ["f", "male"]),
        (pd.Categorical(["Low", "low", "low", "high"] * (N // 4), ["Low", "high", "low"]), ["low", "high"]),
        (["same"] * N, "the same in all cases"),
        ([None] * N, "the same in all cases"),
        ([f"text {i % 50}" for i in range(N)], "50 different values, more than 30"),
        (RNG.permutation(5000)[:N], f"{N} different whole numbers, which look like ids"),
        ([f"q{i // 2}" for i in range(N)], "divides the cases as group does"),
        ([f"/data/{'ab'[i % 2]}/x.png" for i in range(N)], "paths, addresses or hosts"),
        ([datetime.datetime(2020, 1, 1 + i % 3) for i in range(N)], "dates"),
        ([f"2020-01-0{1 + i % 3}" for i in range(N)], "dates"),
        ([["a"], ["b"]] * (N // 2), "holds values of the type list"),
    ],
)
def test_which_columns_are_groups(values, groups):
    if isinstance(groups, list) and groups == ["0 to 20"]:
        groups = "the same in all cases"  # its quarters are one
    found = groups_in(values)
    assert (found if isinstance(groups, str | list) else len(found)) == groups


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("patient_id", "ids"),
        ("ID", "ids"),
        ("PatientName", "paths, dates, or what identifies a person"),
        ("image_path", "paths, dates, or what identifies a person"),
        ("study_date", "paths, dates, or what identifies a person"),
        ("exam date", "dates"),
        ("copy", "divides the cases as class does"),
        ("again", "divides the cases as sex does"),
        ("per_patient", "divides the cases as group does"),
    ],
)
def test_columns_that_are_left_out_by_name_or_as_copies(name, why):
    results = run_of()
    sex = np.where(np.arange(N) % 3, "f", "m")
    values = {
        "copy": np.where(results.labels_of("iid") == 1, "x", "y"),
        "again": np.where(sex == "f", 2, 7),
        "per_patient": np.arange(N) // 2 + 7,
    }
    found = run_of({"sex": sex, name: values.get(name, np.arange(N) % 5)})
    columns, left_out = subgroups_of(found, "iid")
    assert list(columns) == ["class", "sex"]
    assert left_out == {**left_out, name: why}


@pytest.mark.parametrize(
    "name",
    [
        *("name", "Name", "surname", "last_name", "First-Name", "givenName", "SURNAME", "hospital name"),
        *("patient", "PATIENT", "patient_name", "doctor", "treating-doctor", "referringPhysician", "reader"),
        *("reader_2", "Reader1", "email", "E-Mail", "emailAddress", "phone", "home phone", "telephone"),
        *("mrn", "MRN", "localMRN", "mrn_local", "zip", "ZIPCode", "zip_code", "postcode", "postal_code"),
        *("address", "ip_address", "birth", "year_of_birth", "BirthDate", "birthday"),
    ],
)
def test_columns_of_persons_are_in_no_table(name):
    assert is_identifying(name)
    columns, left_out = subgroups_of(run_of({name: np.where(np.arange(N) % 3, "x y", "z w")}), "iid")
    assert name not in columns
    assert left_out[name] == "paths, dates, or what identifies a person"


@pytest.mark.parametrize(
    "name",
    [
        *("class_name", "ClassName", "ManufacturerModelName", "n_readers", "rename", "patient_age"),
        *(
            "PatientSex",
            "doctoral",
            "zipper",
            "stamp",
            "phonetic",
            "mode",
            "birthmark",
            "microphone",
            "addressed",
        ),
    ],
)
def test_columns_of_things_are(name):
    assert not is_identifying(name)


def test_ages_are_decades_also_as_dicom_writes_them():
    ages = RNG.integers(25, 87, N)
    expected = ["20 to 29", "30 to 39", "40 to 49", "50 to 59", "60 to 69", "70 to 79", "80 to 89"]
    for column in (
        {"age": ages},
        {"PatientAge": [f"{age:03d}Y" for age in ages]},
        {"age": [str(age) for age in ages]},
        {"age": [" Unknown" if i == 1 else age for i, age in enumerate(ages)]},
        {"Age at exam": ages * 1.0},
    ):
        found = next(v for k, v in subgroups_of(run_of(column), "iid").columns.items() if k in column)
        assert list(found.cat.categories) == expected
        known = found.notna().to_numpy()
        assert known.sum() >= N - 1
        assert (found == "60 to 69").tolist() == ((ages >= 60) & (ages < 70) & known).tolist()


def test_bins_are_those_of_the_run_in_every_test_set():
    domains = np.where(np.arange(N) < 250, "iid", "there")
    size = np.concatenate([RNG.uniform(0, 10, 250), RNG.uniform(5, 10, 150)])
    results = run_of({"size": size}, domains=domains, kinds={"there": "acquisition"})
    first, second = (subgroups_of(results, name).columns["size"] for name in results.test_sets)
    assert set(second.cat.categories) < set(first.cat.categories)


def test_rows_are_those_of_the_metric_with_holm_over_all():
    judged = failure_detection(run_of(), "iid", "MSR")
    rng = np.random.default_rng(5)
    site = np.where((judged.error > 0) & (rng.random(N) < 0.6), "a", rng.choice(list("abc"), N))
    results = run_of({"sex": np.where(np.arange(N) % 3, "f", "m"), "site": site})
    found = by_group(results, "iid", "MSR", threshold=-0.3)
    patients = results.cases["group"]
    alone = metrics.by_group(
        judged.confidence, judged.error, results.cases["sex"], threshold=-0.3, clusters=patients
    )
    own = found[found["column"] == "sex"].drop(columns=["column", "p_holm"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone.drop(columns="p_holm"))
    assert found["p_holm"].tolist() == pytest.approx(holm(found["p_value"].to_numpy()).tolist())
    assert found["p_holm"].min() == 7 * found["p_value"].min() < 1
    assert found["column"].unique().tolist() == ["class", "sex", "site"]
    assert list(found)[:3] == ["column", "group", "cases"]
    assert found.loc[found["column"] == "class", "group"].tolist() == list(results.run["class_names"])


def test_a_planted_group_is_found_and_the_file_says_so(tmp_path):
    rng = np.random.default_rng(3)
    device = rng.choice(["old scanner", "new"], N, p=[0.3, 0.7])
    labels = rng.integers(0, 2, N)
    wrong = rng.random(N) < np.where(device == "new", 0.05, 0.35)
    logits = np.eye(2)[np.where(wrong, 1 - labels, labels)] * rng.uniform(2, 3, (N, 1))
    results = Results.from_arrays(logits, labels)
    cases = results.cases.assign(device=device, path=[f"/home/jane/{i}.png" for i in range(N)])
    results = Results({**results.run, "dataset": "/home/jane/scans"}, cases, results.test_sets)
    results.save(tmp_path / "runs/one")
    files = write_tables([tmp_path / "runs"], tmp_path / "out", n_resamples=0)
    text = files["groups"].read_text(encoding="utf-8")
    assert "jane" not in text
    rows = pd.read_csv(files["groups"])
    assert rows[rows["worse"]][["column", "group"]].to_numpy().tolist() == [["device", "old scanner"]]
    assert list(rows)[:9] == [
        *("dataset", "study", "method", "seed", "test_set", "csf", "threshold", "promised", "column"),
    ]
    assert (rows["csf"] == "MSR").all()
    assert not rows["promised"].any()
    for kind in ("text", "html", "tex"):
        page = files[kind].read_text(encoding="utf-8")
        assert "1 worse group by device; see groups.csv" in page
        assert "old scanner" not in page  # a value of the case table
    assert "groups.csv" in (tmp_path / "out/tables.json").read_text(encoding="utf-8")


def test_a_line_is_short_and_counts_groups_and_runs():
    names = ["d" * 60, "study", "target"]
    rows = pd.DataFrame(
        [
            (*names, "m", seed, f"column {c} " + "c" * 60, group, seed < 2 and group != "c")
            for seed in range(3)
            for c in range(4)
            for group in "abc"
        ],
        columns=["dataset", "study", "test_set", "method", "seed", "column", "group", "worse"],
    )
    (line,) = worse_groups(rows)
    assert line == (
        f"{'d' * 15}…, study, target: 8 worse groups by column 0 cccccc…, column 1 cccccc… and 2 more "
        "in 2 of 3 runs; see groups.csv"
    )


def test_corrupted_test_sets_are_not_in_the_file(runs, tmp_path):
    runs.add(study="nih14", corruptions=("noise",))
    rows = pd.read_csv(write_tables([runs.root], tmp_path / "out", n_resamples=0)["groups"])
    assert sorted(rows["test_set"].unique()) == ["iid", "target"]


POINT = {"threshold": -0.25, "coverage": 0.7, "risk": 0.0, "bound": 0.05, "delta": 0.05, "needed": None}
ABOUT = {"target_risk": 0.05, "delta": 0.05, "cases": 100, "groups": 50}


@pytest.mark.parametrize(
    ("stored", "threshold"),
    [
        ({"MSR": POINT}, -0.25),
        ({"MSR": {**POINT, "threshold": None, "needed": 900}}, None),
        ({"PE": POINT}, None),
        (None, None),
    ],
)
def test_the_threshold_is_the_promised_one_or_keeps_80_per_cent_of_the_iid_cases(stored, threshold):
    results = run_of(run={} if stored is None else {"thresholds": {**ABOUT, "csfs": stored}})
    found = by_group(results, "iid", "MSR").attrs
    assert found["promised"] is (threshold is not None)
    judged = failure_detection(results, "iid", "MSR")
    usual = risk_at_coverage(judged.confidence, judged.error, coverage=0.8).threshold
    assert found["threshold"] == (usual if threshold is None else threshold)
    assert by_group(results, "iid", "MSR", threshold=0.5).attrs["promised"] is False


@pytest.mark.parametrize(
    "stored",
    [
        {**ABOUT, "csfs": {"MSR": {"threshold": -0.25}}},
        {**ABOUT, "csfs": {"MSR": {**POINT, "threshold": math.inf}}},
        {**ABOUT, "csfs": {"MSR": {**POINT, "threshold": "0.5"}}},
        {**ABOUT, "csfs": {"MSR": -0.25}},
        {**ABOUT, "csfs": None},
        {"csfs": {"MSR": POINT}},
        {**ABOUT, "delta": 5, "csfs": {}},
        {"MSR": -0.25},
        0.5,
    ],
)
def test_thresholds_of_another_version_promise_nothing(stored):
    with pytest.raises(ResultsError, match=r"the thresholds in run\.json must have .*evaluate the run again"):
        by_group(run_of(run={"thresholds": stored}), "iid", "MSR")


def test_errors_without_classes_are_failures_above_the_run_s_limit():
    errors = RNG.random(N)
    results = Results.from_scores(RNG.random(N), errors)
    cases = results.cases.assign(site=np.where(np.arange(N) % 2, "a", "b"))
    found = by_group(Results(results.run, cases, results.test_sets), "iid", next(iter(results.scores)))
    assert found["column"].unique().tolist() == ["site"]
    assert found["errors"].sum() == (errors > results.failure_above).sum()


def test_a_table_without_columns_has_no_rows():
    results = Results.from_scores(RNG.random(N), RNG.random(N))
    found = by_group(results, "iid", next(iter(results.scores)))
    assert len(found) == 0
    assert "p_holm" in found


def test_what_cannot_be_judged():
    results = run_of()
    with pytest.raises(ResultsError, match="test_set must be one of"):
        by_group(results, "nowhere", "MSR")
    with pytest.raises(ResultsError, match="test_set must be one of"):
        subgroups_of(results, "nowhere")
    with pytest.raises(ValueError, match="threshold must be a number, got nan"):
        by_group(results, "iid", "MSR", threshold=math.nan)
    cases = results.cases.assign(group="anonymous")
    with pytest.raises(ResultsError, match="looks like a placeholder"):
        by_group(Results(results.run, cases, results.test_sets), "iid", "MSR")


def test_cases_of_new_classes_keep_their_names_and_are_not_compared(tmp_path):
    labels = np.array([0, 1] * 30 + [-1] * 60)
    results = Results.from_arrays(
        np.eye(2)[labels] + RNG.normal(0, 1, (120, 2)),
        labels,
        domains=["iid"] * 60 + ["rash"] * 60,
        kinds={"rash": "new_class"},
        class_names=["benign", "malignant"],
    )
    names = np.where(labels < 0, np.where(np.arange(120) % 2, "zoster", "acne"), results.cases["label_name"])
    results = Results(results.run, results.cases.assign(label_name=names), results.test_sets)
    assert list(subgroups_of(results, "rash").columns["class"].cat.categories) == ["acne", "zoster"]
    with pytest.raises(ResultsError, match="every case of rash is of a new class, so every answer is an err"):
        by_group(results, "rash", "MSR")
    assert by_group(results, "iid", "MSR")["group"].tolist() == ["benign", "malignant"]
    results.save(tmp_path / "run")
    rows, notes = groups_of_runs(collect([tmp_path / "run"], n_resamples=0))
    assert rows["test_set"].unique().tolist() == ["iid"]
    assert notes == []


def test_looking_at_many_test_sets_is_paid_for():
    rng = np.random.default_rng(0)
    sets = [
        statistics_by_column(
            rng.random(N),
            (rng.random(N) < 0.0625).astype(float),
            {"site": pd.Series(pd.Categorical(rng.integers(0, 2, N)))},
            threshold=0.2,
            clusters=None,
            seed=0,
        )
        for _ in range(60)
    ]
    assert any(marked_together([one])[0]["worse"].any() for one in sets)
    together = marked_together(sets)
    assert not any(one["worse"].any() for one in together)
    whole = pd.concat(together, ignore_index=True)
    assert whole["p_holm"].tolist() == holm(whole["p_value"].to_numpy()).tolist()
    assert [len(one) for one in together] == [2] * 60
    assert marked_together([]) == []
