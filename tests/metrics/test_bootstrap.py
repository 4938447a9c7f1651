"""The bootstrap against one that really resamples and sorts again."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from monai_sf.metrics import (
    augrc,
    aurc,
    bootstrap_ci,
    coverage_at_risk,
    eaugrc,
    eaurc,
    failure_auroc,
    failure_average_precision,
    failure_fpr,
    risk_at_coverage,
)
from monai_sf.metrics.bootstrap import RankedCases

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.integers(0, 40, 120) / 40
ERROR = (RNG.random(120) < 0.7 - 0.6 * CONFIDENCE).astype(float)
PATIENT = np.sort(RNG.integers(0, 30, 120))


def slow_interval(value_of, n_resamples, level, groups, seed):
    """Draw the same cases with the same generator, but take them out and compute from scratch."""
    rng = np.random.default_rng(seed)
    ranks = np.argsort(CONFIDENCE)[::-1]
    names = np.unique(groups) if groups is not None else None
    values = []
    for _ in range(n_resamples):
        n_units = len(CONFIDENCE) if names is None else len(names)
        drawn = rng.integers(0, n_units, n_units)
        rows = (
            ranks[drawn]
            if names is None
            else np.concatenate([np.flatnonzero(groups == names[d]) for d in drawn])
        )
        values.append(value_of(CONFIDENCE[rows], ERROR[rows]))
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2])


METRICS = {
    "aurc": (aurc, aurc),
    "eaurc": (eaurc, eaurc),
    "augrc": (augrc, augrc),
    "eaugrc": (eaugrc, eaugrc),
    "failure_auroc": (failure_auroc, lambda c, e: roc_auc_score(e, -c)),
    "failure_fpr": (partial(failure_fpr, tpr=0.8), partial(failure_fpr, tpr=0.8)),
    "failure_average_precision": (failure_average_precision, failure_average_precision),
    "risk": (
        partial(risk_at_coverage, coverage=0.5),
        lambda c, e: risk_at_coverage(c, e, coverage=0.5).risk,
    ),
    "coverage": (partial(coverage_at_risk, risk=0.2), lambda c, e: coverage_at_risk(c, e, risk=0.2).coverage),
}


@pytest.mark.parametrize(
    "groups", [None, PATIENT, np.array([f"p{p}" for p in PATIENT])], ids=["", "int", "text"]
)
@pytest.mark.parametrize(("metric", "value_of"), METRICS.values(), ids=METRICS)
def test_equals_resampling_and_sorting_again(metric, value_of, groups):
    expected = slow_interval(value_of, 60, 0.9, groups, seed=7)
    interval = bootstrap_ci(metric, CONFIDENCE, ERROR, n_resamples=60, level=0.9, groups=groups, seed=7)
    assert interval == pytest.approx(tuple(expected), abs=1e-12)


def test_residuals_and_blocks_of_resamples(monkeypatch):
    whole = bootstrap_ci(aurc, CONFIDENCE, ERROR * 0.5, n_resamples=50)
    for cells in (300, 400, 1):  # of 120 cases: 25 blocks of 2 resamples; 16 of 3 and one of 2; 50 of 1
        monkeypatch.setattr("monai_sf.metrics.bootstrap.BLOCK_CELLS", cells)
        assert bootstrap_ci(aurc, CONFIDENCE, ERROR * 0.5, n_resamples=50) == whole
    # AURC is linear in the residuals.
    full = bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=50)
    assert whole == pytest.approx((full.low / 2, full.high / 2), abs=1e-12)


def test_seed_decides_and_tensors_give_the_interval_of_arrays():
    interval = bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=50, seed=1)
    assert bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=50, seed=2) != interval
    tensors = bootstrap_ci(
        aurc,
        torch.from_numpy(CONFIDENCE),
        torch.from_numpy(ERROR),
        n_resamples=50,
        groups=torch.arange(120),
        seed=1,
    )
    assert interval.low == pytest.approx(tensors.low, abs=0.05)
    assert bootstrap_ci(aurc, torch.from_numpy(CONFIDENCE), ERROR, n_resamples=50, seed=1) == interval


def test_the_defaults_are_a_thousand_resamples_at_95_percent():
    given = {"n_resamples": 1000, "level": 0.95, "seed": 0}
    expected = bootstrap_ci(aurc, CONFIDENCE, ERROR, **given)
    assert bootstrap_ci(aurc, CONFIDENCE, ERROR) == expected
    for other in ({"n_resamples": 1001}, {"level": 0.951}, {"seed": 1}):
        assert bootstrap_ci(aurc, CONFIDENCE, ERROR, **given | other) != expected


def test_groups_widen_the_interval_when_their_cases_agree():
    confidence, error = np.repeat(RNG.random(40), 20), np.repeat(np.arange(40) % 4 == 0, 20)
    alone = bootstrap_ci(augrc, confidence, error, n_resamples=300)
    grouped = bootstrap_ci(augrc, confidence, error, n_resamples=300, groups=np.arange(800) // 20)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_level_widens_the_interval_around_the_estimate():
    narrow = bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=200, level=0.5)
    wide = bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=200, level=0.99)
    assert wide.low < narrow.low < aurc(CONFIDENCE, ERROR) < narrow.high < wide.high


def test_about_nineteen_of_twenty_intervals_hold_the_truth():
    # For a confidence that knows nothing AUGRC is e/2 in expectation, whatever the order.
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(200):
        confidence, error = rng.random(300), rng.random(300) < 0.3
        low, high = bootstrap_ci(augrc, confidence, error, n_resamples=150, seed=seed)
        hits += low <= 0.15 <= high
    assert 178 <= hits <= 199


def test_resamples_without_a_failure_are_left_out():
    error = np.zeros(6)
    error[0] = 1
    low, high = bootstrap_ci(failure_auroc, np.arange(6.0), error, n_resamples=200)
    assert low == high == 1


@pytest.mark.parametrize("groups", [["p"] * 120, np.zeros(120), ["P", "p "] * 60])
def test_one_group_has_no_interval(groups):
    assert np.isnan(bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=groups)).all()
    assert np.isnan(bootstrap_ci(aurc, [0.5] * np.ones(1), np.ones(1))).all()


def test_two_groups_have_one():
    assert bootstrap_ci(aurc, np.array([0.9, 0.1]), np.array([0, 1]), n_resamples=50) == (0, 1)


def test_a_missing_group_is_one_of_its_own(caplog):
    patient = np.arange(120.0)
    full = bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=patient, n_resamples=200)
    alone = [None, np.nan, "unknown", "", "-", "N/A"] * 20
    found = bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=alone, n_resamples=200)
    assert found == full
    assert caplog.messages[0].startswith("groups: 120 of 120 cases have no group id")
    some = np.where(patient < 30, patient, np.nan)
    assert bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=some, n_resamples=200) == pytest.approx(
        full, abs=0.03
    )


def test_large_numbers_of_patients_are_not_rounded_beside_a_missing_one():
    small = [*PATIENT[:-1].tolist(), None]
    expected = bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=small, n_resamples=50)
    large = [math.nan if patient is None else 2**60 + patient for patient in small]
    assert bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=large, n_resamples=50) == expected


def test_a_single_resample_is_its_interval():
    low, high = bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=1)
    assert low == high > 0


def test_spellings_of_a_patient_are_drawn_together(caplog):
    expected = bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=PATIENT, n_resamples=50)
    spelled = [(p, float(p), f"{p:04d}", f"{p} ")[i % 4] for i, p in enumerate(PATIENT)]
    assert bootstrap_ci(aurc, CONFIDENCE, ERROR, groups=spelled, n_resamples=50) == expected
    assert "groups are spelled in more than one way" in caplog.text


def test_undefined_everywhere_is_refused():
    with pytest.raises(ValueError, match="got 0 wrong among 5 cases: failure_auroc is not defined"):
        bootstrap_ci(failure_auroc, np.arange(5.0), np.zeros(5), n_resamples=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_resamples": 0}, "n_resamples must be at least 1, got 0"),
        ({"level": 1.0}, r"level must lie in \(0, 1\), got 1.0"),
        ({"level": 0.0}, r"level must lie in \(0, 1\), got 0.0"),
        ({"groups": ["anonymous"] * 90 + list(range(30))}, "90 of 120 cases have the group 'anonymous'"),
        ({"groups": ["anonymous"] * 119 + ["P1"]}, "119 of 120 cases have the group 'anonymous'"),
        ({"groups": np.arange(3)}, r"groups must have shape \(120,\) like confidence, got \(3,\)"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_ci(aurc, CONFIDENCE, ERROR, **arguments)


def test_other_functions_are_refused():
    with pytest.raises(
        ValueError, match=r"metric must be one of aurc, eaurc, .* got <built-in function max>"
    ):
        bootstrap_ci(max, CONFIDENCE, ERROR)


def test_failure_metrics_refuse_residuals():
    with pytest.raises(ValueError, match="error must hold only 0 and 1"):
        bootstrap_ci(failure_auroc, CONFIDENCE, ERROR * 0.5)


def test_the_curve_starts_at_the_first_case_that_was_drawn():
    confidence, error = np.arange(12.0), (np.arange(12) > 6).astype(float)
    rng = np.random.default_rng(3)
    rows = [11 - rng.integers(0, 12, 12) for _ in range(40)]
    assert any(drawn.max() < 11 for drawn in rows)
    expected = np.quantile([aurc(confidence[drawn], error[drawn]) for drawn in rows], [0.025, 0.975])
    interval = bootstrap_ci(aurc, confidence, error, n_resamples=40, seed=3)
    assert interval == pytest.approx(tuple(expected), abs=1e-12)


def test_cases_are_drawn_alike_from_tensors_and_arrays():
    rng = np.random.default_rng(5)  # many ties, which torch and NumPy put in different orders
    confidence, error = rng.integers(0, 4, 400) / 4, (rng.random(400) < 0.3).astype(float)
    expected = RankedCases(confidence, error)
    found = RankedCases(torch.from_numpy(confidence), torch.from_numpy(error))  # as on a GPU
    np.testing.assert_array_equal(found.order, expected.order)
