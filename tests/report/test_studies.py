from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from monai_sf.report.runs import evaluate
from monai_sf.report.studies import merged, study_table
from monai_sf.tables.aggregate import benchmark_table


def judged(aurc, interval):
    return SimpleNamespace(aurc=aurc, aurc_interval=interval)


def test_one_run_keeps_its_interval():
    assert merged([judged(0.1, (0.06, 0.17))]) == (0.1, pytest.approx((0.06, 0.17)))
    # One patient says nothing about other cases, however many trainings there are.
    assert merged([judged(0.1, None)]) == (0.1, None)
    assert merged([judged(0.1, None), judged(0.3, None)]) == (0.2, None)
    assert merged([judged(0.1, (0.05, 0.2)), judged(0.3, None)]) == (0.2, None)


def test_seeds_widen_the_interval_as_student_says():
    areas = [0.10, 0.13, 0.16]
    student = stats.t.interval(0.95, 2, 0.13, stats.sem(areas))
    mean, interval = merged([judged(a, (a, a)) for a in areas])
    assert mean == pytest.approx(0.13)
    assert interval == pytest.approx(student)
    cases = [(0.02, 0.03), (0.02, 0.05), (0.02, 0.07)]
    mean, (low, high) = merged([judged(a, (a - d, a + u)) for a, (d, u) in zip(areas, cases, strict=True)])
    half = student[1] - 0.13
    assert low == pytest.approx(0.13 - np.hypot(0.02, half))
    assert high == pytest.approx(0.13 + np.sqrt(np.mean([0.03**2, 0.05**2, 0.07**2]) + half**2))


def test_equal_seeds_tell_no_more_about_other_cases_than_one():
    assert merged([judged(0.1, (0.06, 0.17))] * 5)[1] == pytest.approx((0.06, 0.17))


def test_an_interval_stays_between_nothing_and_everything():
    assert merged([judged(0.0, (0.0, 0.1)), judged(0.9, (0.8, 1.0))])[1] == (0.0, 1.0)


def test_one_column_a_study_whatever_the_seeds_and_methods(make_run):
    given = [
        make_run(study, method=method, seed=seed, n=20 + seed, width=0)
        for study in ("iid", "texture")
        for method in ("confidnet", "devries")
        for seed in (0, 1, 2)
    ]
    # networks that were trained in another way have the same scores and are not averaged with these
    given.append(make_run("iid", method="classifier", n=20, width=0))
    table = study_table([evaluate(run, 10, 0, ["all"]) for run in given])
    assert [(c["study"], c["set"], c["counts"], c["seeds"]) for c in table["columns"]] == [
        ("iid", "iid", [20, 22], 3),
        ("texture", "iid", [20, 22], 3),
        ("texture", "target", [10, 11], 3),
    ]
    # the same mean as in the benchmark
    for csf in ("MSR", "DeVries"):
        assert table["rows"][csf][0][0] == pytest.approx(benchmark_table(given).loc[csf, "iid"])
        low, high = table["rows"][csf][0][1:]
        assert low < table["rows"][csf][0][0] < high
    only = study_table([evaluate(run, 10, 0, ["all"]) for run in given[:3] + given[9:]])
    assert only["rows"]["DeVries"][0] is None
    assert only["rows"]["MSR"][2] is None
