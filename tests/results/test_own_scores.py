"""Scores that only one run has, given as arrays."""

import numpy as np
import pytest
import torch

from monai_sf.results import Results, ResultsError, load_results
from monai_sf.scores import CSFS

RNG = np.random.default_rng(3)
N = 20
LOGITS = RNG.normal(size=(N, 3))
LABELS = RNG.integers(0, 3, N)
MINE = 1 + np.arange(N) * 1e-12  # float32 would make them one


def given(**scores):
    return Results.from_arrays(LOGITS, LABELS, scores=scores)


def test_they_are_kept_with_the_run_to_the_last_bit(tmp_path):
    domains = ["iid"] * 12 + ["clinic-b"] * 8
    run = Results.from_arrays(LOGITS, LABELS, domains=domains, scores={"My.Score+2": MINE, "Other": -MINE})
    run.save(tmp_path / "run")
    loaded = load_results(tmp_path / "run")
    assert list(loaded.scores) == ["My.Score+2", "Other"]
    for name, sign in (("My.Score+2", 1), ("Other", -1)):
        array = loaded.scores[name]
        parts = [loaded.test_sets[d].arrays[array] for d in ("iid", "clinic-b")]
        np.testing.assert_array_equal(np.concatenate(parts), sign * MINE)
    assert Results.from_arrays(LOGITS, LABELS).scores == {}


def test_all_faults_are_named_at_once():
    broken = MINE.copy()
    broken[[4, 7]] = np.nan, np.inf
    with pytest.raises(ResultsError) as caught:
        Results.from_arrays(
            LOGITS,
            LABELS,
            case_ids=[f"case{i}" for i in range(N)],
            scores={"Gone": broken, "Short": MINE[:5], "my score": MINE, "MSR": MINE, "Text": ["a"] * N},
        )
    for words in (
        r"scores['Gone'] is NaN or infinite for 2 cases: case4, case7",
        "scores['Short'] must be (20,), got shape (5,)",
        "must begin with a letter or digit",
        "got 'my score'",
        "MSR is the name of a registered score",
        "scores['Text'] must be real numbers",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", [*CSFS, "all", "case_id"])
def test_no_registered_name_is_taken(name):
    with pytest.raises(ResultsError, match="name of a registered score"):
        given(**{name: MINE})


def test_tensors_of_low_precision_are_numbers():
    run = given(Half=torch.arange(N).bfloat16())
    assert run.test_sets["iid"].arrays[run.scores["Half"]].tolist() == list(range(N))


def test_an_array_of_the_same_name_is_not_replaced():
    with pytest.raises(ResultsError, match=r"arrays must not hold \['score_1'\]"):
        Results.from_arrays(LOGITS, LABELS, scores={"Mine": MINE}, arrays={"score_1": MINE})


@pytest.mark.parametrize("own", [["Mine"], {"Mine": "../x"}, {"my score": "score_1"}, {"Mine": 3}])
def test_a_description_with_impossible_scores_is_refused(own):
    run = given(Mine=MINE)
    with pytest.raises(ResultsError, match=r"description has scores .*expected names of scores"):
        Results({**run.run, "scores": own}, run.cases, run.test_sets)


def test_every_test_set_has_the_array_of_a_score():
    run = given(Mine=MINE)
    for array in ("score_2", "logits"):
        with pytest.raises(ResultsError, match=f"the array {array} of the score Mine must be there"):
            Results({**run.run, "scores": {"Mine": array}}, run.cases, run.test_sets)


@pytest.mark.parametrize("method", ["my-net_2.1", "ConfidNet"])
def test_a_method_may_have_any_name(method):
    assert Results.from_arrays(LOGITS, LABELS, method=method).run["method"] == method
