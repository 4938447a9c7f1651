import numpy as np
import pytest

from helpers.made_up_runs import make_run
from monai_sf.results import Results, ResultsError, TestSet, load_results
from monai_sf.scores import CSFS
from monai_sf.tables.aggregate import benchmark_table
from monai_sf.tables.judge import available_csfs, failure_detection, preferred_methods


def slow_aurc(confidence, error):
    """Trapezoids over the distinct confidences, one after the other."""
    n, area, coverage, risk = len(error), 0.0, 0.0, None
    for t in sorted(set(confidence), reverse=True):
        kept = error[confidence >= t]
        c, r = len(kept) / n, kept.mean()
        area += (c - coverage) * (r + (r if risk is None else risk)) / 2
        coverage, risk = c, r
    return area


def test_msr_is_the_log_of_the_largest_softmax_and_errors_follow_its_prediction():
    run = make_run(n=50)
    found = failure_detection(run, "iid", "MSR")
    z = run.test_sets["iid"].arrays["logits"].astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(found.confidence), p.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.prediction, z.argmax(axis=1))
    labels = run.cases["label"].to_numpy()[run.test_sets["iid"].rows]
    np.testing.assert_array_equal(found.error, (z.argmax(axis=1) != labels) * 1.0)
    assert found.confidence.dtype == found.error.dtype == np.float64
    assert found.prediction.dtype == np.int64


def test_dropout_scores_are_judged_by_the_prediction_of_the_mean_softmax():
    logits = np.array([[2.0, 0.0], [2.0, 0.0]], np.float32)
    mean = np.log(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32))
    cases = make_run(n=2).cases.assign(label=[0, 0])
    iid = TestSet("iid", "iid", np.arange(2), {"logits": logits, "mcd_log_softmax": mean})
    run = Results(make_run(n=2).run, cases, {"iid": iid})
    assert failure_detection(run, "iid", "MSR").error.tolist() == [0, 0]
    assert failure_detection(run, "iid", "MCD-MSR").error.tolist() == [0, 1]
    assert failure_detection(run, "iid", "MCD-MSR").prediction.tolist() == [0, 1]


def test_rows_of_a_test_set_pick_its_labels():
    run = make_run(study="texture", n=20)
    found = failure_detection(run, "target", "MSR")
    wrong = found.prediction != run.cases["label"].to_numpy()[20:]
    np.testing.assert_array_equal(found.error, wrong * 1.0)


def test_unknown_test_set_is_named():
    with pytest.raises(ResultsError, match=r"test_set must be one of .*'iid'.*got 'idd'"):
        failure_detection(make_run(n=5), "idd", "MSR")


def test_unknown_csf_is_named():
    with pytest.raises(ResultsError, match=r"csf must be one of .*got 'MRS'"):
        failure_detection(make_run(n=5), "iid", "MRS")


def test_missing_arrays_are_named():
    with pytest.raises(ResultsError, match=r"DG-RES needs the arrays \['reservation_logit'\]"):
        failure_detection(make_run(n=5), "iid", "DG-RES")


def test_available_csfs_need_their_arrays_on_every_test_set():
    run = make_run(study="texture", n=10)
    assert {"MSR", "PE", "MCD-MSR", "ConfidNet"} <= set(available_csfs(run))
    target = run.test_sets["target"]
    bare = TestSet("target", target.kind, target.rows, {"logits": target.arrays["logits"]})
    less = available_csfs(Results(run.run, run.cases, {**run.test_sets, "target": bare}))
    assert "MSR" in less
    assert not {"MCD-MSR", "ConfidNet"} & set(less)


def test_a_method_of_another_benchmark_gets_every_score_its_arrays_allow():
    assert "MSR" in available_csfs(make_run(method="something else", n=5))


def test_table_averages_corruptions_of_the_iid_study_and_targets_of_all():
    runs = [make_run(s, n=60) for s in ("iid", "spiculation", "texture")]
    table = benchmark_table(runs)

    def value(run, name):
        found = failure_detection(run, name, "MCD-MSR")
        return slow_aurc(found.confidence, found.error)

    assert list(table.columns) == ["iid", "cor", "man"]
    assert table.index.name == "CSF"
    assert list(table.index) == [n for n in CSFS if n in table.index]
    row = table.loc["MCD-MSR"]
    assert row["iid"] == pytest.approx(value(runs[0], "iid"), rel=1e-9)
    corrupted = [s for s in runs[0].test_sets if s.startswith("corruption")]
    assert len(corrupted) == 2
    assert row["cor"] == pytest.approx(np.mean([value(runs[0], s) for s in corrupted]), rel=1e-9)
    assert row["man"] == pytest.approx(np.mean([value(r, "target") for r in runs[1:]]), rel=1e-9)
    assert ((table >= 0) & (table <= 1)).all(axis=None)


def test_seeds_are_averaged_before_test_sets():
    runs = [make_run("texture", seed=s, n=40) for s in (0, 1)] + [make_run("spiculation", n=40)]
    row = benchmark_table(runs).loc["MSR", "man"]
    values = [slow_aurc(f.confidence, f.error) for f in (failure_detection(r, "target", "MSR") for r in runs)]
    assert row == pytest.approx((np.mean(values[:2]) + values[2]) / 2, rel=1e-9)


def test_scores_that_were_not_run_are_nan():
    complete, target = make_run("iid", n=30), make_run("texture", n=30)
    bare = {
        name: TestSet(s.name, s.kind, s.rows, {"logits": s.arrays["logits"]}, s.corruption, s.severity)
        for name, s in target.test_sets.items()
    }
    table = benchmark_table([complete, Results(target.run, target.cases, bare)])
    assert np.isnan(table.loc["ConfidNet", "man"])
    assert not np.isnan(table.loc["MSR", "man"])


@pytest.mark.parametrize("own", ["a-variant", "variant"])  # before and after the known ones by name
def test_a_method_of_ones_own_never_stands_for_a_known_one(own):
    devries, other = make_run(n=40), make_run(n=40, seed=1)
    devries.run["method"], other.run["method"] = "devries", own
    assert set(available_csfs(other)) > {"MSR", "ConfidNet", "DeVries"}
    assert preferred_methods([devries, other]) == {
        csf: "devries" if csf == "DeVries" else own for csf in available_csfs(other)
    }
    alone, both = benchmark_table([devries]), benchmark_table([devries, other])
    assert both.loc["DeVries", "iid"] == alone.loc["DeVries", "iid"]


def test_several_iid_test_sets_are_averaged_and_none_is_lost():
    run = make_run(n=40)
    iid = run.test_sets["iid"]
    halves = {
        name: TestSet(name, "iid", iid.rows[part], {k: v[part] for k, v in iid.arrays.items()})
        for name, part in (("one", slice(0, 10)), ("two", slice(10, None)))
    }
    found = [failure_detection(Results(run.run, run.cases, halves), name, "MSR") for name in halves]
    mean = np.mean([slow_aurc(f.confidence, f.error) for f in found])
    table = benchmark_table([Results(run.run, run.cases, halves)])
    assert table.loc["MSR", "iid"] == pytest.approx(mean, rel=1e-9)


def test_a_target_of_the_study_iid_is_no_second_iid_test_set():
    run = make_run("texture", n=40)
    expected = benchmark_table([run])
    run.run["study"] = "iid"
    assert list(expected.columns) == ["iid", "cor", "man"]
    assert benchmark_table([run]).equals(expected)


def test_the_same_run_twice_is_refused():
    with pytest.raises(ResultsError, match=r"lung_nodule_ct/iid/confidnet/seed 0 occurs twice"):
        benchmark_table([make_run(n=5), make_run(n=5)])


def test_another_metric_can_be_chosen():
    run = make_run(n=40)
    table = benchmark_table([run], metric="accuracy")
    assert table.loc["MSR", "iid"] == 1 - failure_detection(run, "iid", "MSR").error.mean()


def test_runs_of_two_datasets_are_refused():
    with pytest.raises(ResultsError, match=r"one dataset, got \['dermoscopy', 'lung_nodule_ct'\]"):
        benchmark_table([make_run(n=5), make_run(n=5, dataset="dermoscopy")])


def test_probabilities_lack_the_scores_that_read_the_level_of_the_logits(tmp_path):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.arange(40) % 3
    whole = set(available_csfs(Results.from_arrays(logits, labels)))
    Results.from_arrays(probabilities=shares, labels=labels).save(tmp_path / "saved")
    less = load_results(tmp_path / "saved")
    assert whole - set(available_csfs(less)) == {"MaxLogit", "Energy"}
    with pytest.raises(ResultsError, match="Energy needs the logits: these are logarithms of probabilities"):
        failure_detection(less, "iid", "Energy")
    for name in available_csfs(less):  # the others are those of the logits, but for float32
        assert failure_detection(less, "iid", name).confidence == pytest.approx(
            failure_detection(Results.from_arrays(logits, labels), "iid", name).confidence, rel=1e-4, abs=1e-5
        )


@pytest.mark.parametrize("name", [name for name in CSFS if CSFS[name].needs == ("logits",)])
def test_the_scores_that_read_the_level_say_so(name):
    logits = np.random.default_rng(1).normal(size=(20, 3))
    moved = np.abs(CSFS[name]({"logits": logits + 7}) - CSFS[name]({"logits": logits})).max()
    assert (float(moved) > 1e-6) == CSFS[name].reads_level
