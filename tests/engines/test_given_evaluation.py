"""A classifier from elsewhere through the whole evaluation: what is stored is what the model itself gives."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from helpers.saved_models import of_two_classes
from helpers.toy_engines import RUN, make_evaluator
from helpers.toy_fits import SPLITS
from helpers.toy_problem import toy_cases, toy_dataset
from monai_sf.engines.evaluator import evaluated
from monai_sf.networks import given_network
from monai_sf.report import build_report
from monai_sf.results import ResultsError, load_results
from monai_sf.scores import CSFS
from monai_sf.tables.judge import available_csfs, failure_detection, unavailable_csfs


def evaluator(folder, kind, samples=2, **changes):
    cases = toy_cases(len(SPLITS)).assign(split=SPLITS)
    dataset = toy_dataset(cases, "")
    for record, split in zip(dataset.data, SPLITS, strict=True):
        record["split"] = split
    network = given_network(
        "helpers.saved_models:of_two_classes",
        num_classes=2,
        arguments={"kind": kind},
        outputs="logits" if kind == "scaled" else kind,
        class_order=[1, 0],
        mean=0.5,
        std=0.2,
    )
    own = {"sweep": None, "dataset": dataset, "cases": cases, "run_description": RUN, "network": network}
    return make_evaluator(folder, samples=samples, **{**own, **changes})


def images_of(run):
    """The images (1, 1, H, W) of the test set, as the model gets them."""
    records = {record["case_id"]: record for record in run.dataset.data}
    ids = load_results(run.run_dir / "results").cases_of("iid")["case_id"]
    return [(torch.as_tensor(records[case_id]["image"])[None] - 0.5) / 0.2 for case_id in ids]


def direct(run, kind):
    """Slow and obvious: NumPy's definition of the logits, from a direct call of the model for each case."""
    with torch.no_grad():
        raw = np.concatenate([of_two_classes(kind)(image).double().numpy() for image in images_of(run)])
    if kind == "logit":  # of "dark", the class 0 of the table
        return np.stack([raw / 2, -raw / 2], axis=1)
    if kind == "sigmoid":
        return np.log(np.concatenate([raw, 1 - raw], axis=1))
    return np.log(raw[:, ::-1]) if kind == "softmax" else raw[:, ::-1]


def features_of(run, kind):
    with torch.no_grad():
        found = [of_two_classes(kind).net.features(image).relu().mean((2, 3)) for image in images_of(run)]
    return torch.cat(found).numpy()


@pytest.mark.parametrize("kind", ["logits", "softmax", "logit", "sigmoid"])
def test_stored_outputs_are_those_of_the_model(kind, tmp_path):
    run = evaluator(tmp_path, kind)
    run.run()
    results = load_results(tmp_path / "results")
    arrays, expected = results.test_sets["iid"].arrays, direct(run, kind)
    np.testing.assert_allclose(arrays["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(arrays["features"], features_of(run, kind), rtol=1e-4, atol=1e-6)
    assert results.run["sha256"]["checkpoint"] == run.classifier.sha256
    confidence = failure_detection(results, "iid", "MSR")
    np.testing.assert_allclose(np.exp(confidence.confidence), softmax(expected, axis=1).max(1), rtol=1e-5)
    np.testing.assert_array_equal(confidence.prediction, expected.argmax(1))
    names = set(available_csfs(results))
    assert {"MSR", "PE", "MCD-MSR", "kNN", "MDS"} <= names
    is_probability = kind in ("softmax", "sigmoid")
    assert results.run.get("logits_are_log_probabilities", False) == is_probability
    assert any(CSFS[name].reads_level for name in names) != is_probability
    lost = unavailable_csfs(results)
    assert ("ViM" in lost) == is_probability
    promised = results.run["thresholds"]["csfs"]  # no share of delta for scores that the run does not have
    assert promised.keys() == names
    assert sum(one["delta"] for one in promised.values()) == pytest.approx(results.run["thresholds"]["delta"])
    assert run._is_complete()


def test_without_features_maps_and_scores_of_features_are_missing_with_the_reason(tmp_path):
    run = evaluator(tmp_path / "run", "scaled", samples=0)
    run.run()
    results = load_results(tmp_path / "run" / "results")
    np.testing.assert_allclose(results.test_sets["iid"].arrays["logits"], direct(run, "scaled"), rtol=1e-4)
    for part in ("results", "validation", "training"):
        for test_set in load_results(tmp_path / "run" / part).test_sets.values():
            assert "features" not in test_set.arrays
    lost, names = unavailable_csfs(results), set(available_csfs(results))
    assert {"MDS", "kNN", "ViM", "fDBD"} <= lost.keys()
    assert not lost.keys() & names
    assert all("no linear layer gives the output of Ending" in reason for reason in lost.values())
    assert {"MSR", "Energy"} <= names
    assert all("features" not in CSFS[name].stored for name in names)
    build_report([results], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "No features are stored, so there is no map" in page
    assert "no linear layer gives the output of Ending" in page


def test_another_model_and_one_that_is_not_as_declared_are_refused(tmp_path):
    evaluator(tmp_path, "logits", samples=0).run()
    evaluator(tmp_path, "logits", samples=0).run()  # complete: returns at once
    other = evaluator(tmp_path, "logits", samples=0)
    other.classifier.files_sha256 = "0" * 64
    with pytest.raises(ResultsError, match="holds the results of another model than the given one"):
        other.run()
    assert evaluated(tmp_path) is not None
    wrong = evaluator(tmp_path / "wrong", "softmax", samples=0)
    wrong.classifier.kind, wrong.classifier.log_probabilities = "logits", False
    with pytest.raises(ValueError, match="declare the outputs as 'softmax'"):
        wrong.run()
    assert not (tmp_path / "wrong" / "results").exists()
