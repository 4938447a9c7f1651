"""Differences of columns against resamples that are drawn, repeated and averaged one by one."""

import numpy as np
import pytest

from monai_sf.metrics import aurc, holm
from monai_sf.metrics.paired import group_counts
from monai_sf.tables.aggregate import table_of
from monai_sf.tables.comparisons import significance, verdicts, wins_and_losses
from monai_sf.tables.judge import failure_detection


def slow_resamples(results, name, csf, n_resamples, seed):
    """The metric of really repeated cases, by drawing each patient with its own stream."""
    found = failure_detection(results, name, csf)
    groups = results.cases_of(name)["group"].to_numpy(str)
    names = sorted(set(groups), reverse=True)  # any order
    counts = dict(zip(names, group_counts(names, n_resamples, seed).T, strict=True))
    values = []
    for r in range(n_resamples):
        rows = np.repeat(np.arange(len(groups)), [counts[g][r] for g in groups])
        values.append(aurc(found.confidence[rows], found.error[rows]))
    return np.array(values)


def row_of(frame, **where):
    for name, value in where.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_a_column_is_the_mean_of_seeds_and_test_sets_on_the_same_patients(runs):
    runs.matrix(("iid",), ("confidnet", "devries"), seeds=(0, 1))
    frame = significance(runs.collect(n_resamples=60, seed=4))
    units = ["corruption-noise-1", "corruption-noise-2", "corruption-blur-1", "corruption-blur-2"]
    by = {(r.run["method"], r.run["seed"]): r for r in runs.results}

    def averaged(function):
        return np.mean(
            [
                [
                    function(by["confidnet", s], u, "MSR") - function(by["devries", s], u, "DeVries")
                    for s in (0, 1)
                ]
                for u in units
            ],
            axis=(0, 1),
        )

    draws = averaged(lambda run, unit, csf: slow_resamples(run, unit, csf, 60, 4))
    estimate = averaged(lambda run, unit, csf: aurc(*failure_detection(run, unit, csf)[::2]))
    found = row_of(frame, scope="column", group="cor", first="MSR", second="DeVries")
    assert found["difference"] == pytest.approx(100 * estimate)
    np.testing.assert_allclose([found["low"], found["high"]], 100 * np.quantile(draws, [0.025, 0.975]))
    rarer = min((draws <= 0).sum(), (draws >= 0).sum())
    assert found["p_value"] == pytest.approx(min(1, 2 * (rarer + 1) / 61))
    assert found["pairs"] == 8


def test_differences_are_those_of_the_table(runs):
    runs.matrix(seeds=(0, 1))
    collection = runs.collect(n_resamples=30)
    table = table_of(collection)
    frame = significance(collection)
    for cell in frame[frame["scope"] == "column"].itertuples():
        column = (cell.dataset, cell.group)
        expected = table.mean.loc[cell.first, column] - table.mean.loc[cell.second, column]
        assert cell.difference == pytest.approx(expected, abs=1e-9)
        assert cell.low <= cell.high


def test_scopes_and_pairs(runs):
    runs.matrix(seeds=(0,))
    frame = significance(runs.collect(n_resamples=5, csfs=["MSR", "PE", "MCD-MSR"]))
    assert set(frame["scope"]) == {"column", "shift", "test set"}
    assert {(c.group, c.shift) for c in frame[frame["scope"] == "test set"].itertuples()} == {
        ("cor", f"{kind} {severity}") for kind in ("noise", "blur") for severity in (1, 2)
    }
    assert (frame.groupby(["scope", "dataset", "group", "shift"]).size() == 3).all()


def test_a_reference_is_compared_with_all_others(runs):
    runs.matrix(seeds=(0,))
    frame = significance(runs.collect(n_resamples=5), reference="MSR")
    assert set(frame["second"]) == {"MSR"}
    assert "MSR" not in set(frame["first"])


def test_each_column_is_a_family_of_its_own(runs):
    runs.matrix(seeds=(0,), n=60)
    frame = significance(runs.collect(n_resamples=99))
    for _, family in frame.groupby(["scope", "dataset", "group", "shift"]):
        np.testing.assert_allclose(family["p_holm"], holm(family["p_value"].to_numpy()))


@pytest.mark.parametrize("metric", ["aurc", "accuracy"])
def test_the_better_one_follows_the_direction(runs, metric):
    runs.add(wrong=False, n=80)
    runs.add(method="devries", n=80)
    collection = runs.collect(n_resamples=199, metric=metric, csfs=["MSR", "DeVries"])
    found = row_of(significance(collection, reference="DeVries"), scope="column")
    assert found["p_holm"] < 0.05
    assert found["better"] == "MSR"
    columns = table_of(collection).columns
    assert verdicts(significance(collection, reference="DeVries"), columns).loc["MSR"].tolist() == ["better"]
    assert verdicts(significance(collection, reference="MSR"), columns).loc["DeVries"].tolist() == ["worse"]
    counted = wins_and_losses(significance(collection), columns)
    assert counted.loc["MSR"].tolist() == ["+1 −0"]
    assert counted.loc["DeVries"].tolist() == ["+0 −1"]


def test_only_common_seeds_are_compared_and_it_is_said(runs):
    runs.matrix(("iid",), seeds=(0, 1, 2)).matrix(("iid",), ("devries",), (0, 2))
    collection = runs.collect(n_resamples=20)
    found = row_of(significance(collection), scope="column", group="iid", first="MSR", second="DeVries")
    assert found["note"] == "on 2 of 3 test sets and seeds"
    by = {(r.run["method"], r.run["seed"]): r for r in runs.results}
    values = [
        aurc(*failure_detection(by["confidnet", s], "iid", "MSR")[::2])
        - aurc(*failure_detection(by["devries", s], "iid", "DeVries")[::2])
        for s in (0, 2)
    ]
    assert found["difference"] == pytest.approx(100 * np.mean(values))


def test_other_cases_are_not_compared(runs):
    runs.add()
    runs.add(method="devries", first=4)
    found = row_of(significance(runs.collect(n_resamples=20)), scope="column", first="MSR", second="DeVries")
    assert np.isnan(found["p_value"])
    assert found["note"] == "tested on different cases"


def test_undefined_metrics_are_not_compared(runs):
    runs.add(wrong=False)
    frame = significance(runs.collect(n_resamples=20, metric="auroc_f"))
    assert frame["p_value"].isna().all()
    assert set(frame["note"]) == {"nothing in common"}


def test_resamples_without_a_value_are_said(runs):
    runs.add(n=8)
    frame = significance(runs.collect(n_resamples=400, metric="auroc_f"))
    (note,) = set(frame.loc[frame["first"] == "MSR", "note"])
    assert "of the resamples" in note


def test_a_single_group_has_no_significance(runs):
    runs.add()
    run = runs.results[0]
    run.cases["group"] = "everyone"
    type(run)({**run.run, "study": "b"}, run.cases, run.test_sets).save(runs.root / "b/results")
    collection = runs.collect(n_resamples=20)
    assert not any(at.study == "b" for at in collection.resampled)


def test_unknown_reference_lists_the_rows(runs):
    runs.add()
    with pytest.raises(ValueError, match="reference must be one of MSR, PE, .*got 'DG-RES'"):
        significance(runs.collect(n_resamples=5), reference="DG-RES")


def test_without_resamples_it_says_so(runs):
    runs.add()
    with pytest.raises(ValueError, match="holds no resamples: collect with n_resamples of at least 1"):
        significance(runs.collect())
