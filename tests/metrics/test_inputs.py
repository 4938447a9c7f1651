"""What goes in: kinds of arrays, dtypes, devices, and what is refused with which words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor

from monai_sf import metrics
from monai_sf.metrics import (
    augrc,
    aurc,
    bootstrap_ci,
    by_group,
    cases_for_guarantee,
    coverage_at_risk,
    eaugrc,
    eaurc,
    failure_auroc,
    failure_average_precision,
    failure_fpr,
    paired_bootstrap,
    risk_at_coverage,
    risk_coverage_curve,
    risk_coverage_metrics,
    selective_threshold,
)
from monai_sf.metrics.areas import augrc_of, aurc_of, eaugrc_of, eaurc_of
from monai_sf.metrics.bootstrap import _OF_LEVELS
from monai_sf.metrics.curve import levels_of_ranking, rank_cases
from monai_sf.metrics.failure import failure_auroc_of, failure_average_precision_of, failure_fpr_of
from monai_sf.metrics.operating import coverage_at_risk_of, risk_at_coverage_of

CONFIDENCE = np.array([0.5, 0.25, 0.75, 0.75, 0.125])
ERROR = np.array([0, 1, 0, 1, 1])

ONE_VECTOR = {
    "risk_coverage_curve": risk_coverage_curve,
    "risk_coverage_metrics": risk_coverage_metrics,
    "aurc": aurc,
    "eaurc": eaurc,
    "augrc": augrc,
    "eaugrc": eaugrc,
    "failure_auroc": failure_auroc,
    "failure_fpr": failure_fpr,
    "failure_average_precision": failure_average_precision,
    "risk_at_coverage": lambda c, e: risk_at_coverage(c, e, coverage=0.5),
    "coverage_at_risk": lambda c, e: coverage_at_risk(c, e, risk=0.5),
    "selective_threshold": lambda c, e: selective_threshold(c, e, target_risk=0.5, delta=0.1),
    "cases_for_guarantee": lambda c, e: cases_for_guarantee(c, e, target_risk=0.5, delta=0.1),
    "bootstrap_ci": lambda c, e: bootstrap_ci(aurc, c, e, n_resamples=3),
}

BAD_INPUT = {
    "NaN": (np.array([0.1, np.nan, np.nan]), np.zeros(3), "confidence must be finite, got 2 of 3"),
    "infinity": (np.array([0.1, np.inf, 1]), np.zeros(3), "confidence must be finite, got 1 of 3"),
    "minus infinity": (np.array([0.1, -np.inf, 1]), np.zeros(3), "confidence must be finite, got 1 of 3"),
    "both infinities": (np.array([np.inf, -np.inf]), np.zeros(2), "confidence must be finite, got 2 of 2"),
    "NaN error": (np.zeros(3), np.array([0, np.nan, 1]), r"error must lie in \[0, 1\], got 1 of 3"),
    "negative error": (np.zeros(3), np.array([0, -1e-9, 1]), r"error must lie in \[0, 1\], got 1 of 3"),
    "large error": (np.zeros(3), np.array([0, 2, 3]), r"error must lie in \[0, 1\], got 2 of 3"),
    "lengths": (np.zeros(3), np.zeros(2), "same length, got 3 and 2"),
    "empty": (np.zeros(0), np.zeros(0), "at least one case, got 0"),
    "rank of confidence": (np.zeros((3, 1)), np.zeros(3), r"confidence must have one dimension .* \(3, 1\)"),
    "rank of error": (np.zeros(3), np.zeros((1, 3)), r"error must have one dimension .* \(1, 3\)"),
    "scalar": (np.array(0.5), np.array(0), r"confidence must have one dimension .* \(\)"),
    "complex": (np.zeros(3, dtype=complex), np.zeros(3), "confidence must hold real numbers, got .*complex"),
    "text": (np.array(["a", "b"]), np.zeros(2), "confidence must hold real numbers, got"),
    "huge integers": (
        np.array([2**53, 2**53 + 1]),
        np.zeros(2),
        "confidence must hold integers .*; 2 are not",
    ),
}


@pytest.mark.parametrize("function", ONE_VECTOR.values(), ids=ONE_VECTOR)
@pytest.mark.parametrize(("confidence", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_refused_by_name_and_count(function, confidence, error, message):
    with pytest.raises(ValueError, match=message):
        function(confidence, error)


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="confidence must be one array, with rows of equal length"):
        aurc([[0.1], [0.2, 0.3]], np.zeros(2))


@pytest.mark.parametrize(("confidence", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_tensors_are_refused_with_the_same_words(confidence, error, message):
    if confidence.dtype.kind == "U":
        pytest.skip("there are no tensors of text")
    with pytest.raises(ValueError, match=message):
        aurc(torch.from_numpy(confidence), torch.from_numpy(error))


@pytest.mark.parametrize("metric", [failure_auroc, failure_fpr, failure_average_precision])
def test_failure_metrics_refuse_residuals(metric):
    with pytest.raises(ValueError, match="error must hold only 0 and 1 here, got 2 of 3"):
        metric(np.arange(3.0), np.array([0.5, 0.25, 1]))


@pytest.mark.parametrize("metric", [failure_auroc, failure_fpr])
@pytest.mark.parametrize(("error", "count"), [([0, 0, 0], "0 wrong among 3"), ([1], "1 wrong among 1")])
def test_failure_metrics_refuse_a_single_class(metric, error, count):
    with pytest.raises(ValueError, match=f"error must hold both failures and successes, got {count}"):
        metric(np.arange(float(len(error))), np.array(error))


def test_average_precision_needs_a_failure_and_no_success():
    assert failure_average_precision(np.arange(3.0), np.ones(3)) == 1
    with pytest.raises(ValueError, match="at least one failure, got 0 wrong among 3"):
        failure_average_precision(np.arange(3.0), np.zeros(3))


@pytest.mark.parametrize("tpr", [0, -0.1, 1.01, np.nan])
def test_true_positive_rate_is_checked(tpr):
    with pytest.raises(ValueError, match=r"tpr must lie in \(0, 1\], got"):
        failure_fpr(CONFIDENCE, ERROR, tpr=tpr)


@pytest.mark.parametrize("n", [1, 4])
def test_all_correct_and_all_wrong_have_defined_areas(n):
    confidence = np.arange(float(n))
    for error, values in ((np.zeros(n), (0, 0, 0, 0)), (np.ones(n), (1, 0, 0.5, 0))):
        assert [f(confidence, error) for f in (aurc, eaurc, augrc, eaugrc)] == pytest.approx(list(values))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]
)
def test_any_real_dtype_of_torch_gives_the_same_value(dtype):
    scale = 1 if dtype.is_floating_point else 8
    confidence = torch.from_numpy(CONFIDENCE * scale).to(dtype).requires_grad_(dtype == torch.float32)
    for error in (torch.from_numpy(ERROR), torch.from_numpy(ERROR).bool(), ERROR):
        assert aurc(confidence, error) == aurc(CONFIDENCE, ERROR)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8", np.int8, np.longdouble])
def test_any_real_dtype_of_numpy_gives_the_same_value(dtype):
    scale = 8 if dtype == np.int8 else 1
    assert aurc((CONFIDENCE * scale).astype(dtype), ERROR.astype(bool)) == aurc(CONFIDENCE, ERROR)


def test_views_read_only_arrays_and_meta_tensors_are_accepted_and_left_alone(tmp_path):
    expected = aurc(CONFIDENCE, ERROR)
    np.save(tmp_path / "c.npy", CONFIDENCE)
    assert aurc(np.load(tmp_path / "c.npy", mmap_mode="r"), ERROR) == expected
    assert aurc(CONFIDENCE[::-1], ERROR[::-1]) == expected
    assert aurc(torch.from_numpy(CONFIDENCE.repeat(2))[::2], ERROR) == expected
    assert aurc(MetaTensor(CONFIDENCE), MetaTensor(ERROR)) == expected
    before = CONFIDENCE.copy(), ERROR.copy()
    bootstrap_ci(aurc, CONFIDENCE, ERROR, n_resamples=2)
    np.testing.assert_array_equal(CONFIDENCE, before[0])
    np.testing.assert_array_equal(ERROR, before[1])


def test_the_curve_comes_back_as_it_went_in():
    assert isinstance(risk_coverage_curve(CONFIDENCE, torch.from_numpy(ERROR)).coverages, np.ndarray)
    curve = risk_coverage_curve(torch.from_numpy(CONFIDENCE).float(), ERROR)
    assert isinstance(curve.thresholds, torch.Tensor)
    assert curve.thresholds.dtype == torch.float64


OF_LEVELS = {
    "aurc": aurc_of,
    "eaurc": eaurc_of,
    "augrc": augrc_of,
    "eaugrc": eaugrc_of,
    "failure_auroc": failure_auroc_of,
    "failure_fpr": failure_fpr_of,
    "failure_average_precision": failure_average_precision_of,
    "risk_at_coverage": lambda levels: risk_at_coverage_of(levels, coverage=0.4),
    "coverage_at_risk": lambda levels: coverage_at_risk_of(levels, risk=0.3),
    "coverage_at_no_risk": lambda levels: coverage_at_risk_of(levels, risk=0.0),
}


@pytest.mark.parametrize("of_levels", OF_LEVELS.values(), ids=OF_LEVELS)
def test_the_torch_path_of_accelerators_equals_the_numpy_path(of_levels):
    rng = np.random.default_rng(3)
    confidence, error = rng.integers(0, 50, 300).astype(float), (rng.random(300) < 0.3).astype(float)
    on_cpu = levels_of_ranking(rank_cases(confidence), error)
    # Tensors stay tensors below the entry points, wherever they are.
    on_torch = levels_of_ranking(rank_cases(torch.from_numpy(confidence)), torch.from_numpy(error))
    assert isinstance(on_torch.kept, torch.Tensor)
    value = of_levels(on_torch)
    assert value.dtype == torch.float64
    assert float(value) == pytest.approx(float(of_levels(on_cpu)), abs=1e-14)


def test_the_torch_path_refuses_nan():
    with pytest.raises(ValueError, match="confidence must be finite, got 1 of 3"):
        rank_cases(torch.tensor([0.0, torch.nan, 1.0]).double())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", [f for f in _OF_LEVELS if f not in (risk_at_coverage, coverage_at_risk)])
def test_a_gpu_gives_the_value_of_the_cpu(metric):
    confidence, error = torch.from_numpy(CONFIDENCE).cuda(), torch.from_numpy(ERROR).cuda()
    assert metric(confidence, error) == pytest.approx(metric(CONFIDENCE, ERROR), abs=1e-14)
    assert metric(confidence, ERROR) == pytest.approx(metric(CONFIDENCE, ERROR), abs=1e-14)
    assert risk_coverage_curve(confidence, error).coverages.is_cuda
    assert bootstrap_ci(metric, confidence, error) == bootstrap_ci(metric, CONFIDENCE, ERROR)


def test_everything_public_has_a_docstring():
    assert all(getattr(metrics, name).__doc__ for name in metrics.__all__)


N_IN_ORDER = 60
IN_OTHER_ORDER = {
    "bootstrap_ci": lambda c, e, g: bootstrap_ci(aurc, c, e, groups=g, n_resamples=3),
    "paired_bootstrap": lambda c, e, g: paired_bootstrap(aurc, (c, e), (c, e), groups=g, n_resamples=3),
    "selective_threshold": lambda c, e, g: selective_threshold(c, e, target_risk=0.5, delta=0.1, groups=g),
    "cases_for_guarantee": lambda c, e, g: cases_for_guarantee(c, e, target_risk=0.5, delta=0.1, groups=g),
    "groups of by_group": lambda c, e, g: by_group(c, e, g, threshold=0.5),
    "clusters of by_group": lambda c, e, g: by_group(c, e, ["a"] * len(c), threshold=0.5, clusters=g),
}


@pytest.mark.parametrize("function", IN_OTHER_ORDER.values(), ids=IN_OTHER_ORDER)
def test_groups_in_another_order_than_the_cases_are_refused(function):
    rng = np.random.default_rng(0)
    confidence = pd.Series(rng.random(N_IN_ORDER))
    error = pd.Series(rng.random(N_IN_ORDER) < 0.3).astype(int)
    group = pd.Series(np.arange(N_IN_ORDER) // 3)
    function(confidence, error, group)
    function(confidence, error, group.set_axis(group.index + 1000))  # of no common index: by position
    for name, one in {"confidence": confidence, "error": confidence.to_numpy()}.items():
        words = rf"^{name}( of \w+)? and (groups|clusters) have the same index in another order"
        with pytest.raises(ValueError, match=words):
            function(one, error, group[::-1])


def test_paired_cases_in_another_order_are_refused():
    one = pd.Series(np.arange(5.0)), pd.Series([0, 1, 0, 1, 0])
    with pytest.raises(ValueError, match="confidence of first and confidence of second have the same index"):
        paired_bootstrap(aurc, one, (one[0][::-1], one[1][::-1]), n_resamples=3)
