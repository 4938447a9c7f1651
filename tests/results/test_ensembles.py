"""A deep ensemble of runs that differ in the seed only, against its definition."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers.toy_results import RUN
from monai_sf.results import Results, ResultsError, TestSet, ensembles, load_results
from monai_sf.results.given_numbers import log_softmax_of, mean_and_entropy
from monai_sf.scores import CSFS, expected_entropy, mean_log_softmax
from monai_sf.tables.ensembles import ensembles_of
from monai_sf.tables.judge import available_csfs, failure_detection

N, CLASSES = 40, 3
CONFIG = {"seed": 0, "learning_rate": 0.1, "run_dir": "a", "studies": {"iid": 1}}
TRAINED_ON = {"train": 10, "val": 2, "sha256": "ab"}


def member(seed=0, order=None, scale=3.0, **changes):
    """A run of 40 cases in two test sets; ``order`` permutes its case table and both test sets."""
    rng = np.random.default_rng(seed)
    order = np.arange(N) if order is None else order
    cases = pd.DataFrame(
        {
            "case_id": [f"case {i}" for i in range(N)],
            "label": np.arange(N) % CLASSES,
            "group": [f"patient {i // 2}" for i in range(N)],
        }
    ).iloc[order].reset_index(drop=True)  # fmt: skip
    sets = {}
    for name, corruption in (("iid", None), ("corruption-noise-2", "noise")):
        logits = rng.normal(0, scale, (N, CLASSES)).astype(np.float32)[order]
        images = np.full((N, 2, 2), seed, np.uint8)
        arrays = {"logits": logits, "features": logits, "images": images}
        kind = "corruption" if corruption else "iid"
        sets[name] = TestSet(name, kind, np.arange(N), arrays, corruption, 2 if corruption else 0)
    run = {
        **RUN,
        "class_names": list("abc"),
        "seed": seed,
        "config": {**CONFIG, "seed": seed, "run_dir": f"{seed}"},
    }
    return Results({**run, "trained_on": TRAINED_ON, **changes}, cases, sets)


def changed(results, *, run=None, **columns):
    return Results({**results.run, **(run or {})}, results.cases.assign(**columns), results.test_sets)


def by_definition(runs, name):
    """Mean softmax and mean entropy in float64, case by case."""
    place = [{c: i for i, c in enumerate(run.cases_of(name)["case_id"])} for run in runs]
    means, entropies = [], []
    for case_id in runs[0].cases_of(name)["case_id"]:
        shares = []
        for run, at in zip(runs, place, strict=True):
            z = np.asarray(run.test_sets[name].arrays["logits"], np.longdouble)[at[case_id]]
            shares.append(np.exp(z - z.max()) / np.exp(z - z.max()).sum())
        means.append(np.mean(shares, axis=0))
        entropies.append(np.mean([-(p * np.log(p)).sum() for p in shares]))
    return np.array(means, np.float64), np.array(entropies, np.float64)


@pytest.mark.parametrize("seeds", [(0, 1), (3, 7, 5, 1)])
def test_scores_are_those_of_the_mean_softmax(seeds):
    runs = [member(seed, np.random.default_rng(seed).permutation(N)) for seed in seeds]
    found = Results.ensemble(runs)
    assert found.run["members"] == sorted(seeds)
    assert available_csfs(found) == ("DE-MSR", "DE-PE", "DE-EE", "DE-MI")
    for name in found.test_sets:
        mean, entropy = by_definition(runs, name)
        ids = runs[0].cases_of(name)["case_id"]
        back = pd.Series(np.arange(N), ids)[found.cases_of(name)["case_id"]].to_numpy()
        mean, entropy = mean[back], entropy[back]
        of_mean = -(mean * np.log(mean)).sum(axis=1)
        expected = {
            "DE-MSR": np.log(mean.max(axis=1)),
            "DE-PE": -of_mean,
            "DE-EE": -entropy,
            "DE-MI": entropy - of_mean,
        }
        for csf, confidence in expected.items():
            detection = failure_detection(found, name, csf)
            np.testing.assert_allclose(detection.confidence, confidence, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(detection.prediction, mean.argmax(axis=1))
            np.testing.assert_array_equal(detection.error, mean.argmax(axis=1) != found.labels_of(name))


def test_the_order_of_runs_and_cases_changes_nothing():
    first = Results.ensemble([member(0), member(1), member(2)])
    second = Results.ensemble([member(2, np.arange(N)[::-1]), member(0), member(1, np.roll(np.arange(N), 7))])
    for name, test_set in first.test_sets.items():
        for array, values in test_set.arrays.items():
            np.testing.assert_array_equal(values, second.test_sets[name].arrays[array])


def test_case_ids_of_another_spelling_are_the_same_cases():
    other = changed(
        member(1), case_id=[f"CASE {i} " for i in range(N)], group=[f"Patient  {i // 2}" for i in range(N)]
    )
    found = Results.ensemble([member(0), other]).test_sets["iid"].arrays["ensemble_log_softmax"]
    expected = Results.ensemble([member(0), member(1)]).test_sets["iid"].arrays["ensemble_log_softmax"]
    np.testing.assert_array_equal(found, expected)


def test_reduction_is_that_of_torch_and_sure_cases_do_not_tie():
    logits = np.random.default_rng(0).normal(0, 30, (4, 50, 3))
    logits[:, 0] = [800.0, 0.0, -800.0]  # beyond what float64 probabilities hold
    logits[:, 1] = [40.0, 0.0, -5.0]
    logits[:, 2] = [41.0, 0.0, -5.0]
    mean, entropy = mean_and_entropy(log_softmax_of(logits))
    np.testing.assert_allclose(mean, mean_log_softmax(logits), rtol=1e-12, atol=0)
    np.testing.assert_allclose(entropy, expected_entropy(logits), rtol=1e-12, atol=0)
    assert mean[1, 0] < mean[2, 0] < 0


def test_equal_members_are_the_plain_score():
    runs = [member(0), changed(member(0), run={"seed": 1, "config": {**CONFIG, "seed": 1}})]
    found = Results.ensemble(runs)
    for ensemble, plain in (("DE-MSR", "MSR"), ("DE-PE", "PE"), ("DE-EE", "PE")):
        expected = failure_detection(runs[0], "iid", plain).confidence
        np.testing.assert_allclose(failure_detection(found, "iid", ensemble).confidence, expected, rtol=1e-6)
    np.testing.assert_allclose(failure_detection(found, "iid", "DE-MI").confidence, 0, atol=1e-6)


def test_large_arrays_are_kept_in_a_file(monkeypatch):
    expected = Results.ensemble([member(0), member(1)])
    monkeypatch.setattr(ensembles, "_IN_MEMORY", 0)
    monkeypatch.setattr(ensembles, "_BLOCK", 7)
    found = Results.ensemble([member(0), member(1)])
    for name, test_set in expected.test_sets.items():
        array = found.test_sets[name].arrays["ensemble_log_softmax"]
        assert isinstance(array, np.memmap)
        np.testing.assert_array_equal(array, test_set.arrays["ensemble_log_softmax"])


def test_description_and_round_trip(tmp_path):
    thresholds = {"target_risk": 0.1, "csfs": {}}
    runs = [member(seed, thresholds=thresholds, versions={"torch": "2"}, note=f"{seed}") for seed in (1, 0)]
    found = Results.ensemble(runs)
    assert found.run == {
        **{**RUN, "class_names": list("abc")},
        **{"seed": 0, "members": [0, 1], "trained_on": TRAINED_ON, "versions": {"torch": "2"}},
        "config": {"learning_rate": 0.1, "studies": {"iid": 1}},
    }
    assert set(found.test_sets["iid"].arrays) == {"ensemble_log_softmax", "ensemble_entropy", "images"}
    assert (found.test_sets["iid"].arrays["images"] == 0).all()
    found.save(tmp_path / "ensemble")
    loaded = load_results(tmp_path / "ensemble")
    assert loaded.run["members"] == [0, 1]
    assert available_csfs(loaded) == available_csfs(found)


def cut(results, n):
    sets = {
        name: TestSet(
            name, s.kind, s.rows[:n], {k: a[:n] for k, a in s.arrays.items()}, s.corruption, s.severity
        )
        for name, s in results.test_sets.items()
    }
    return Results(results.run, results.cases, sets)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (member(0), "seed 0 occurs 2 times"),
        (member(1, study="mskcc"), r"study \('mskcc', not 'iid'\)"),
        (member(1, method="confidnet"), r"method \('confidnet', not 'classifier'\)"),
        (member(1, class_names=list("acb")), "class_names"),
        (member(1, data_kind="real"), "data_kind"),
        (member(1, role="validation"), "role"),
        (member(1, trained_on={**TRAINED_ON, "sha256": "cd"}), "training or validation cases"),
        (
            member(1, config={**CONFIG, "learning_rate": 0.2, "epochs": 3}),
            r"config \(epochs, learning_rate\)",
        ),
        (
            changed(member(1), label=(np.arange(N) + (np.arange(N) < 4)) % CLASSES),
            "other labels of 4 cases",
        ),
        (
            changed(member(1), group=[f"patient {i // 4}" for i in range(N)]),
            r"other groups \(patients\) of 38 cases",
        ),
        (
            changed(member(1), case_id=[f"case {i + 1}" for i in range(N)]),
            "other cases in iid, corruption-noise-2",
        ),
        (cut(member(1), 30), "other cases in iid, corruption-noise-2"),
        (
            Results(member(1).run, member(1).cases, {"iid": member(1).test_sets["iid"]}),
            "lacks the test sets corruption-noise-2",
        ),
    ],
)
def test_other_runs_are_refused(other, message):
    with pytest.raises(ResultsError, match=f"^these runs are no ensemble: .*{message}"):
        Results.ensemble([member(0), other])
    with pytest.raises(ResultsError, match=message):
        Results.ensemble([other, member(0)]) if "lacks" not in message else Results.ensemble(
            [member(0), other]
        )


def test_all_offenders_are_named():
    wrong = member(1, study="mskcc", data_kind="real"), member(2, role="validation")
    with pytest.raises(ResultsError) as raised:
        Results.ensemble([*wrong, member(0)])
    assert "seed 1 differs from seed 0: study ('mskcc', not 'iid'), data_kind" in str(raised.value)
    assert "; seed 2 differs from seed 0: role" in str(raised.value)


def test_one_run_and_an_ensemble_are_no_members():
    with pytest.raises(ResultsError, match="at least two runs, got 1"):
        Results.ensemble([member(0)])
    both = Results.ensemble([member(0), member(1)])
    with pytest.raises(ResultsError, match="no logits in corruption-noise-2, iid"):
        Results.ensemble([both, member(2)])


def test_runs_of_errors_are_no_members():
    runs = [Results.from_scores(np.arange(4.0), np.linspace(0, 1, 4), seed=seed) for seed in (0, 1)]
    with pytest.raises(ResultsError, match="no logits in iid"):
        Results.ensemble(runs)
    assert ensembles_of(runs) == ([], [])


@pytest.mark.parametrize("members", ["0 1", [0], [0, "1"], [True, False]])
def test_members_in_a_description_are_seeds(members):
    with pytest.raises(ResultsError, match="members .*expected the seeds of at least two networks"):
        member(0, members=members)


def test_descriptions_of_scores():
    assert [CSFS[name].prediction for name in CSFS if name.startswith("DE-")] == ["ensemble_log_softmax"] * 4
    assert json.dumps(Results.ensemble([member(0), member(1)]).run)
