"""Thresholds with a promise, of every score of a run: what each may fail with, on which cases, and none."""

import logging

import numpy as np
import pandas as pd
import pytest

from helpers.toy_engines import RUN
from monai_sf.metrics import SelectiveThreshold, cases_for_guarantee, selective_threshold
from monai_sf.results import Results, ResultsError, TestSet
from monai_sf.scores import CSFS
from monai_sf.tables import available_csfs, failure_detection, thresholds
from monai_sf.tables.promises import in_words, stored_thresholds


def made(n=300, errors=0.1, **changes):
    """A run whose surest cases are right; every patient has three cases, written in two ways."""
    rng = np.random.default_rng(3)
    gap = np.sort(rng.exponential(2.0, n))[::-1]
    right = rng.random(n) >= errors * np.linspace(0, 2, n)
    logits = np.stack([np.where(right, gap, 0), np.where(right, 0, gap)], 1)
    sets = {"calibration": TestSet("calibration", "iid", np.arange(n), {"logits": logits})}
    groups = [("P{} ", "p{}")[i % 2].format(i // 3) for i in range(n)]
    cases = pd.DataFrame({"case_id": [f"c{i}" for i in range(n)], "label": 0, "group": groups})
    return Results({**RUN, **changes}, cases, sets)


def test_each_score_has_its_share_of_delta_and_the_one_that_decides_has_half_of_it():
    run = made()
    found = thresholds(run, "calibration", 0.1, 0.2)["csfs"]
    assert list(found) == list(available_csfs(run))
    assert len(found) > 3
    shares = {name: point["delta"] for name, point in found.items()}
    assert sum(shares.values()) == pytest.approx(0.2)
    assert shares.pop("MSR") == 0.1
    assert set(shares.values()) == {0.1 / len(shares)}


def test_a_method_with_another_deciding_score_gives_that_one_the_half_and_an_only_score_everything(
    monkeypatch,
):
    unknown = thresholds(made(method="ours"), "calibration", 0.1, 0.2)["csfs"]
    assert unknown["MSR"]["delta"] == 0.1
    without = {name: csf for name, csf in CSFS._entries.items() if name != "MSR"}
    monkeypatch.setattr(CSFS, "_entries", without)
    found = thresholds(made(), "calibration", 0.1, 0.2)["csfs"]
    assert [point["delta"] for point in found.values()] == [0.2 / len(found)] * len(found)
    monkeypatch.setattr(CSFS, "_entries", {"Margin": CSFS["Margin"]})
    assert thresholds(made(), "calibration", 0.1, 0.2)["csfs"]["Margin"]["delta"] == 0.2


def test_the_promise_rests_on_one_case_of_each_patient_however_the_patient_is_written():
    run = made(errors=0.1)
    stored = thresholds(run, "calibration", 0.2, 0.2)
    assert {key: stored[key] for key in ("target_risk", "delta", "cases", "groups")} == {
        **{"target_risk": 0.2, "delta": 0.2, "cases": 300, "groups": 100}
    }
    point, found = stored["csfs"]["MSR"], failure_detection(run, "calibration", "MSR")
    patients = [str(group).strip().upper() for group in run.cases["group"]]
    expected = selective_threshold(
        found.confidence, found.error, target_risk=0.2, delta=0.1, groups=patients, seed=0
    )
    assert isinstance(expected, SelectiveThreshold)
    assert expected.n_independent == 100
    assert point == {
        "threshold": expected.threshold,
        "coverage": expected.coverage,
        "risk": expected.empirical_risk,
        "bound": expected.risk_bound,
        "delta": 0.1,
        "needed": None,
    }
    assert 0 < point["risk"] < point["bound"] <= 0.2
    each = selective_threshold(found.confidence, found.error, target_risk=0.2, delta=0.1)
    assert each.threshold < point["threshold"]  # 300 cases that count as independent promise more


def test_without_a_threshold_it_is_said_how_many_groups_it_would_take(caplog):
    run = made(60)
    with caplog.at_level(logging.WARNING, logger="monai_sf"):
        stored = thresholds(run, "calibration", 0.05, 0.05)
    point, found = stored["csfs"]["MSR"], failure_detection(run, "calibration", "MSR")
    needed = cases_for_guarantee(
        found.confidence, found.error, target_risk=0.05, delta=0.025, groups=np.arange(60) // 3 + 1
    )
    assert needed > stored["groups"] == 20
    expected = {"threshold": None, "coverage": 0.0, "risk": None, "bound": None}
    assert point == {**expected, "delta": 0.025, "needed": needed}
    said = f"there are 20 groups of calibration cases, and it would take about {needed}"
    assert f"every case is deferred: MSR ({said})" in caplog.text
    assert in_words("MSR", stored) == (
        "every image is deferred, since no threshold of MSR can promise at most 5 % errors among trusted "
        f"predictions with a probability of 95 %: {said}"
    )
    wrong = Results(run.run, run.cases.assign(label=1), run.test_sets)
    stored = thresholds(wrong, "calibration", 0.05, 0.05)
    assert stored["csfs"]["MSR"]["needed"] is None
    assert in_words("MSR", stored).endswith("more would not do: its surest answers are wrong too often")


def test_an_undefined_score_is_left_out_and_the_shares_of_the_others_stay(caplog):
    run = made()
    logits = run.test_sets["calibration"].arrays["logits"].copy()
    run = Results(
        {**RUN, "scores": {"Mine": "mine"}},
        run.cases,
        {
            "calibration": TestSet(
                "calibration", "iid", np.arange(300), {"logits": logits, "mine": logits[:, 0].copy()}
            )
        },
    )
    first = thresholds(run, "calibration", 0.1, 0.2)["csfs"]
    assert "Mine" in first
    run.test_sets["calibration"].arrays["mine"][7] = np.nan
    second = thresholds(run, "calibration", 0.1, 0.2)["csfs"]
    assert "no threshold: Mine is NaN or infinite for 1 cases" in caplog.text
    del first["Mine"]
    assert second == first


def test_any_number_is_a_target_and_an_unknown_test_set_is_named():
    stored = thresholds(made(), "calibration", np.float32(0.25), np.float64(0.5))
    assert (type(stored["target_risk"]), type(stored["delta"])) == (float, float)
    assert stored == thresholds(made(), "calibration", 0.25, 0.5)
    with pytest.raises(ResultsError, match="test_set must be one of .*, got 'nosuch'"):
        thresholds(made(), "nosuch", 0.25, 0.5)


@pytest.mark.parametrize(
    ("risk", "delta", "named"),
    [
        (0, 0.1, "target_risk 0"),
        (1, 0.1, "target_risk 1"),
        (0.1, 0, "delta 0"),
        (0.1, 1.0, "delta 1.0"),
        (float("nan"), True, "target_risk nan and delta True"),
        ("5 %", None, "target_risk '5 %' and delta None"),
    ],
)
def test_a_target_or_delta_that_promises_nothing_is_refused(risk, delta, named):
    with pytest.raises(ValueError, match=rf"must lie between 0 and 1, exclusively: got {named}$"):
        thresholds(made(), "calibration", risk, delta)


@pytest.mark.parametrize(
    "changes",
    [
        {"cases": -1},
        {"groups": True},
        {"groups": 10**400},
        {"csfs": None},
        {"csfs": {"MSR": {}}},
        {"target_risk": 5},
        {"delta": "0.05"},
    ],
)
def test_thresholds_with_damaged_values_are_refused(changes):
    stored = thresholds(made(), "calibration", 0.2, 0.2)
    assert stored_thresholds({"thresholds": stored}) == stored
    with pytest.raises(ResultsError, match="evaluate the run again"):
        stored_thresholds({"thresholds": {**stored, **changes}})


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": "0.9"},
        {"threshold": True},
        {"threshold": 10**400},
        {"bound": None},
        {"needed": -5},
        {"needed": "<b>"},
        {"needed": 10**400},
        {"bound": 1.5},
        {"coverage": None},
        {"risk": float("nan")},
    ],
)
def test_a_threshold_with_damaged_values_is_refused(changes):
    stored = thresholds(made(), "calibration", 0.2, 0.2)
    point = stored["csfs"]["MSR"]
    assert point["threshold"] is not None
    damaged = {**stored, "csfs": {**stored["csfs"], "MSR": {**point, **changes}}}
    with pytest.raises(ResultsError, match="evaluate the run again"):
        stored_thresholds({"thresholds": damaged})
