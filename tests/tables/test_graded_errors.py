"""Errors between 0 and 1 in tables: risk is their mean, and what needs right or wrong is undefined."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, roc_auc_score

from monai_sf.metrics import selective_threshold
from monai_sf.results import Results, ResultsError
from monai_sf.tables import available_csfs, benchmark_table, failure_detection, significance, thresholds
from monai_sf.tables import write_tables as write
from monai_sf.tables.cells import collect

N = 80


def make(seed=0, binary=False, **more):
    rng = np.random.default_rng(seed)
    errors = np.random.default_rng(7).beta(1, 3, N)
    errors = (errors > 0.4) * 1.0 if binary else errors
    confidences = {"Good": -errors + rng.normal(0, 0.1, N), "Coin": rng.random(N)}
    options = {
        "domains": ["iid"] * 50 + ["clinic-b"] * 30,
        "columns": {"group": [f"p{i // 2}" for i in range(N)]},
        "seed": seed,
        "method": "unet",
        **more,
    }
    return Results.from_scores(confidences, errors, **options)


def own(run, test_set, score):
    arrays = run.test_sets[test_set].arrays
    return arrays[run.scores[score]], arrays["errors"]


def slow_aurc(confidence, error):
    """Trapezoids of the mean error of the surest cases over their share; no ties."""
    risks = np.cumsum(error[np.argsort(-confidence)]) / np.arange(1, len(error) + 1)
    return auc(np.arange(len(error) + 1) / len(error), np.concatenate([risks[:1], risks]))


def slow_augrc(confidence, error):
    summed = np.cumsum(error[np.argsort(-confidence)]) / len(error)
    return auc(np.arange(len(error) + 1) / len(error), np.concatenate([[0], summed]))


@pytest.mark.parametrize(("metric", "slow"), [("aurc", slow_aurc), ("augrc", slow_augrc)])
def test_areas_are_of_the_mean_error(metric, slow):
    table = benchmark_table([make()], metric)
    assert list(table.index) == ["Good", "Coin"]
    for score in table.index:
        for column, test_set in (("iid", "iid"), ("acq", "clinic-b")):
            assert table.loc[score, column] == pytest.approx(slow(*own(make(), test_set, score)), rel=1e-12)


def test_a_detection_has_errors_failures_and_no_prediction():
    found = failure_detection(make(failure_above=0.3), "iid", "Good")
    _, errors = own(make(), "iid", "Good")
    np.testing.assert_array_equal(found.error, errors)
    np.testing.assert_array_equal(found.failed, errors > 0.3)
    assert found.prediction is None


def test_an_error_at_the_limit_is_no_failure():
    run = Results.from_scores([1, 2, 3], [0.3, 0.30000001, 0.1 + 0.2], failure_above=0.3)
    assert failure_detection(run, "iid", "confidence").failed.tolist() == [False, True, True]


def test_what_needs_logits_says_so():
    assert available_csfs(make()) == ("Good", "Coin")
    with pytest.raises(ResultsError, match="MSR needs class logits: .* hold errors, and no classes"):
        failure_detection(make(), "iid", "MSR")
    with pytest.raises(ResultsError, match=r"csf must be one of .*'Good'.* got 'Bad'"):
        failure_detection(make(), "iid", "Bad")


def cells_of(tmp_path, **options):
    for seed in (0, 1):
        make(seed, **options).save(tmp_path / "runs" / str(seed))
    return collect([tmp_path / "runs"], n_resamples=100)


def test_metrics_of_right_and_wrong_are_undefined_with_a_reason(tmp_path):
    cells = cells_of(tmp_path).cells.set_index("metric")
    assert set(cells.index[cells["value"].isna()]) == {"eaurc", "auroc_f", "accuracy"}
    assert set(cells.loc["auroc_f", "undefined"]) == {"defined for errors of 0 and 1 only"}
    assert set(cells.loc["aurc", "undefined"]) == {""}
    iid = cells[(cells["csf"] == "Good") & (cells["test_set"] == "iid")]
    assert set(iid["errors"]) == {int((own(make(), "iid", "Good")[1] > 0.5).sum())}
    at_risk = iid.loc["coverage_at_risk", "value"]
    assert (at_risk > 0).all()


def test_they_are_defined_where_every_error_is_0_or_1(tmp_path):
    cells = cells_of(tmp_path, binary=True).cells
    part = cells[(cells["csf"] == "Good") & (cells["test_set"] == "iid") & (cells["seed"] == 0)]
    values = part.set_index("metric")["value"]
    confidence, errors = own(make(0, binary=True), "iid", "Good")
    assert values["auroc_f"] == pytest.approx(roc_auc_score(1 - errors, confidence))
    assert values["accuracy"] == pytest.approx(1 - errors.mean())
    assert not values.isna().any()


def test_differences_are_tested(tmp_path):
    found = significance(cells_of(tmp_path))
    row = found[(found["scope"] == "column") & (found["group"] == "iid")].iloc[0]
    assert (row["first"], row["second"], row["better"]) == ("Good", "Coin", "Good")


@pytest.mark.parametrize("metric", ["aurc", "auroc_f"])
def test_every_file_is_written_beside_a_classifier(tmp_path, metric):
    cells_of(tmp_path)
    label = np.arange(40) % 2
    logits = np.eye(2)[label] + np.random.default_rng(2).normal(size=(40, 2))
    Results.from_arrays(logits, label, dataset="other").save(tmp_path / "runs/other")
    written = write([tmp_path / "runs"], tmp_path / "out", metric, n_resamples=50)
    rows = pd.read_csv(written["csv"])
    good = rows[(rows["csf"] == "Good") & (rows["dataset"] == "dataset")]
    assert len(good) == 2
    if metric == "aurc":
        expected = np.mean([slow_aurc(*own(make(seed), "iid", "Good")) for seed in (0, 1)])
        assert good.set_index("group").loc["iid", "mean"] == pytest.approx(100 * expected)
    else:
        assert good["mean"].isna().all()
        assert good["note"].str.contains("defined for errors of 0 and 1 only").all()
        assert rows[rows["csf"] == "MSR"]["mean"].notna().any()


def test_a_promised_threshold_counts_failures():
    run = make()
    point = thresholds(run, "iid", 0.5, 0.2)["csfs"]["Good"]
    confidence, errors = own(run, "iid", "Good")
    expected = selective_threshold(
        confidence,
        (errors > run.failure_above).astype(float),
        target_risk=0.5,
        delta=point["delta"],
        groups=run.cases_of("iid")["group"],
    )
    assert (point["threshold"], point["bound"]) == (expected.threshold, expected.risk_bound)
