"""From outputs of a network to answers, compared with their definitions in NumPy."""

import json

import numpy as np
import pytest
import torch

from monai_sf.prediction.scoring import joined, scored
from monai_sf.results import Results
from monai_sf.tables import failure_detection, thresholds

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 0.1, 0.2], [np.nan, 0, 0], [-3.0, 5.0, 0.0], [0.0, np.inf, 1.0]])
SHARES = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
GOOD = [0, 1, 3]


def outputs():
    dropout = {"mcd_log_softmax": np.log(SHARES), "mcd_expected_entropy": np.full(5, 0.5)}
    return {name: torch.from_numpy(array) for name, array in {"logits": LOGITS, **dropout}.items()}


def answers(csf, threshold=np.nan, method="mine"):
    return scored(outputs(), method=method, csf=csf, threshold=threshold, fitted={})


def softmax(logits):
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize("csf", [None, "MSR", "MCD-MSR"])
def test_the_deciding_score_s_passes_give_class_and_probabilities(csf):
    found = answers(csf, 0.0)
    expected = SHARES[GOOD] if csf == "MCD-MSR" else softmax(LOGITS[GOOD])
    np.testing.assert_array_equal(found.answered, [True, True, False, True, False])
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.classes, expected.argmax(1))
    np.testing.assert_allclose(found.confidences["MSR"], softmax(LOGITS[GOOD]).max(1), rtol=1e-12)
    np.testing.assert_allclose(found.confidences["MCD-MSR"], SHARES[GOOD].max(1), rtol=1e-12)


def test_what_lies_below_the_threshold_is_deferred():
    confidence = np.log(softmax(LOGITS[GOOD]).max(1))
    found = answers("MSR", confidence[0] - 1e-9)
    np.testing.assert_array_equal(found.deferred, [False, True, False])
    assert answers("MSR", np.inf).deferred.all()
    assert not answers(None).deferred.any()


@pytest.mark.parametrize("batch", [1, 7, 300])
@pytest.mark.parametrize("csf", ["MSR", "PE", "Margin", "GEN"])
def test_the_calibration_case_that_gives_the_threshold_is_trusted(csf, batch):
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal((300, 3))).astype(np.float32)  # as they are stored
    wrong = rng.random(300) > softmax(logits).max(1)
    results = Results.from_arrays(logits, (logits.argmax(1) + wrong) % 3)
    promised = json.loads(json.dumps(thresholds(results, "iid", 0.15, 0.2)))["csfs"][csf]
    found = [
        scored({"logits": part}, method="mine", csf=csf, threshold=promised["threshold"], fitted={}).deferred
        for part in torch.from_numpy(logits).split(batch)
    ]
    confidence = failure_detection(results, "iid", csf).confidence
    assert (confidence == promised["threshold"]).sum() == 1
    assert 0 < promised["coverage"] < 1
    np.testing.assert_array_equal(np.concatenate(found), confidence < promised["threshold"])
    assert 1 - np.concatenate(found).mean() == promised["coverage"]


def test_where_no_output_is_finite_there_is_no_answer():
    bad = {"logits": torch.full((2, 3), torch.nan)}
    found = scored(bad, method="mine", csf="MSR", threshold=0.0, fitted={})
    assert not found.answered.any()
    assert (found.classes.shape, found.probabilities.shape, found.deferred.shape) == ((0,), (0, 3), (0,))


def test_a_batch_that_knows_no_features_yet_takes_none_from_the_others():
    unknown = {"logits": torch.full((2, 3), torch.nan)}
    known = {"logits": torch.ones(3, 3), "features": torch.rand(3, 4)}
    for batches, rows in (((unknown, known), slice(2, 5)), ((known, unknown), slice(3))):
        found = joined(batches)
        torch.testing.assert_close(found["features"][rows], known["features"])
        assert int(found["features"].isnan().sum()) == 2 * 4
        answered = scored(found, method="mine", csf="MSR", threshold=0.0, fitted={}).answered
        np.testing.assert_array_equal(answered, ~found["logits"].isnan().any(1).numpy())


def test_scores_are_computed_on_the_cpu_as_an_evaluation_does():
    with pytest.raises(NotImplementedError, match="meta"):  # the only other device here cannot be copied from
        joined([{"logits": torch.zeros(2, 3, device="meta")}])
