"""Reliability of probabilities, against slow definitions in float64 and against other libraries."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from monai_sf.results import Results, ResultsError
from monai_sf.scores.temperature import fit_temperature
from monai_sf.tables import failure_detection, reliability

BINS = 15


def made(classes=3, n=400, seed=0, sharp=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = sharp * (np.eye(classes)[labels] + rng.normal(0, 0.8, (n, classes)))
    return logits.astype(np.float32), labels


def softmax(row):
    top = max(row)
    parts = [math.exp(z - top) for z in row]
    return [p / sum(parts) for p in parts]


def slow(logits, labels, temperature=1.0):
    """ECE, Brier score and NLL one case after the other."""
    bins = [[] for _ in range(BINS)]
    brier = nll = 0.0
    for row, label in zip(logits.astype(np.float64) / temperature, labels, strict=True):
        p = softmax(row)
        brier += sum((share - (c == label)) ** 2 for c, share in enumerate(p)) / len(labels)
        nll -= math.log(p[label]) / len(labels)
        bins[min(int(max(p) * BINS), BINS - 1)].append((max(p), p.index(max(p)) == label))
    ece = sum(abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins) / len(labels)
    return ece, brier, nll


def numbers(found):
    return found.ece, found.brier, found.nll


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("sharp", [0.5, 2.0, 8.0])
def test_the_slow_definitions(classes, sharp):
    logits, labels = made(classes, sharp=sharp)
    found = reliability(Results.from_arrays(logits, labels), "iid")
    assert numbers(found.before) == pytest.approx(slow(logits, labels), abs=1e-12)
    assert found.before.cases == found.before.counts.sum() == len(labels)
    assert (found.after, found.temperature) == (None, None)


def test_after_the_temperature_of_the_validation_cases():
    logits, labels = made()
    others, their_labels = made(seed=1, sharp=6.0)
    run = Results.from_arrays(logits, labels, validation={"logits": others, "labels": their_labels})
    found = reliability(run, "iid")
    assert found.temperature == pytest.approx(fit_temperature(others, their_labels)) != 1
    assert numbers(found.after) == pytest.approx(slow(logits, labels, found.temperature), abs=1e-12)
    assert numbers(found.before) == pytest.approx(slow(logits, labels), abs=1e-12)


@pytest.mark.parametrize("temperature", [[0.0], [-1.0], [math.nan], [math.inf], [], [1.0, 2.0]])
def test_a_temperature_that_is_none_is_refused(temperature):
    logits, labels = made()
    run = Results.from_arrays(logits, labels)
    run = dataclasses.replace(run, fitted={"temperature.temperature": np.array(temperature)})
    with pytest.raises(ResultsError, match="the fitted temperature must be one positive number, got"):
        reliability(run, "iid")
    with pytest.raises(ResultsError, match="T-MSR"):
        failure_detection(run, "iid", "T-MSR")


def test_other_libraries():
    logits, labels = made(classes=2, sharp=1.5)
    found = reliability(Results.from_arrays(logits, labels), "iid").before
    p = torch.from_numpy(logits).double().softmax(1).numpy()
    assert found.nll == pytest.approx(log_loss(labels, p))
    assert found.brier == pytest.approx(2 * brier_score_loss(labels, p[:, 1]))
    right = (p.argmax(1) == labels).astype(int)
    filled = found.counts > 0
    accuracy, confidence = calibration_curve(right, p.max(1), n_bins=BINS)
    np.testing.assert_allclose(found.accuracy[filled], accuracy)
    np.testing.assert_allclose(found.confidence[filled], confidence)
    metric = CalibrationErrorMetric(num_bins=BINS, include_background=True, calibration_reduction="expected")
    metric(torch.tensor(p.max(1)).reshape(1, 1, -1), torch.tensor(right).reshape(1, 1, -1))
    assert found.ece == pytest.approx(metric.aggregate().item(), abs=1e-5)


def test_many_classes_in_blocks(monkeypatch):
    logits, labels = made(classes=50, n=101)
    run = Results.from_arrays(logits, labels)
    whole = reliability(run, "iid").before
    monkeypatch.setattr("monai_sf.tables.probabilities._BLOCK", 3 * 50)
    for one, other in zip(whole, reliability(run, "iid").before, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_probabilities_in_place_of_logits_are_the_same_numbers():
    logits, labels = made()
    p = torch.from_numpy(logits).double().softmax(1).numpy()
    given = reliability(Results.from_arrays(probabilities=p, labels=labels), "iid").before
    ours = reliability(Results.from_arrays(logits, labels), "iid").before
    assert numbers(given) == pytest.approx(numbers(ours), abs=1e-6)


def test_a_calibrated_classifier_may_tell_nothing():
    """80 % sure of every case, and right in 80 %: no calibration error, and no order of the cases."""
    p, labels = np.tile([0.8, 0.2], (100, 1)), (np.arange(100) % 5 == 0).astype(int)
    found = reliability(Results.from_arrays(probabilities=p, labels=labels), "iid").before
    assert found.ece == pytest.approx(0, abs=1e-7)
    assert found.brier == pytest.approx(0.8 * 2 * 0.2**2 + 0.2 * 2 * 0.8**2)
    assert np.flatnonzero(found.counts).tolist() in ([11], [12])


def test_labels_that_are_no_class_are_left_out():
    logits, labels = made()
    run = Results.from_arrays(logits, labels)
    run.cases.loc[100:, "label"] = -1
    part = Results.from_arrays(logits[:100], labels[:100])
    found = reliability(run, "iid").before
    assert numbers(found) == numbers(reliability(part, "iid").before)
    assert found.cases == 100
    run.cases["label"] = -1
    assert reliability(run, "iid") is None


def test_an_ensemble_has_its_mean_softmax_and_no_temperature():
    (one, labels), (two, _) = made(seed=0), made(seed=0, sharp=3.0)
    runs = [
        Results.from_arrays(z, labels, seed=seed, validation={"logits": z, "labels": labels})
        for seed, z in enumerate((one, two))
    ]
    found = reliability(Results.ensemble(runs), "iid")
    mean = (torch.from_numpy(one).double().softmax(1) + torch.from_numpy(two).double().softmax(1)) / 2
    assert numbers(found.before) == pytest.approx(slow(mean.log().numpy(), labels), abs=1e-6)
    assert found.after is None


def test_a_label_of_probability_zero_has_no_finite_likelihood():
    logits, labels = made(n=10)
    run = Results.ensemble([Results.from_arrays(logits, labels, seed=seed) for seed in (0, 1)])
    mean = run.test_sets["iid"].arrays["ensemble_log_softmax"]
    mean[0] = np.where(np.eye(3)[labels[0]], -np.inf, math.log(0.5))
    found = reliability(run, "iid").before
    assert found.nll == math.inf
    assert np.isfinite([found.brier, found.ece]).all()


def test_without_classes_there_are_no_probabilities():
    assert reliability(Results.from_scores([0.1, 0.2], [0.0, 1.0]), "iid") is None
    with pytest.raises(ResultsError, match="test_set must be one of"):
        reliability(Results.from_arrays(*made()), "other")
