"""Fits that fail: the reason is kept, and the other scores are fitted."""

import numpy as np
import pytest
import torch

from monai_sf.scores import CSF, CSFS, Fit, fit_scores


@pytest.fixture
def registered(monkeypatch):
    """Register a score whose fit raises an error, for one test."""

    def register(error):
        def broken(reference):
            raise error

        fit = Fit("broken", ("training_features",), ("features",), ("brokenness",), broken, lambda a, f: {})
        entries = {**dict(CSFS), "Broken": CSF("Broken", ("brokenness",), lambda a: a["brokenness"], fit=fit)}
        monkeypatch.setattr(CSFS, "_entries", entries)

    return register


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("too few cases"), "too few cases"),
        (torch.linalg.LinAlgError("singular"), "_LinAlgError: singular"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "RuntimeError: DefaultCPUAllocator"),
        (MemoryError("Unable to allocate 40 GiB"), "MemoryError: Unable to allocate 40 GiB"),
        (KeyError("training_logits"), "KeyError: 'training_logits'"),
    ],
)
def test_a_failed_fit_stops_no_other(registered, error, reason):
    registered(error)
    cases = np.random.default_rng(0).normal(size=(50, 4))
    found = fit_scores({"training_features": cases, "training_labels": np.arange(50) % 2}, "classifier")
    assert found.failed["broken"].startswith(reason)
    assert any(name.startswith("gaussian.") for name in found.arrays)
    assert not any(name.startswith("broken.") for name in found.arrays)


def test_a_single_logit_is_that_of_two_classes():
    rng = np.random.default_rng(1)
    logit = rng.normal(size=(90, 1))
    given = {
        "labels": (logit[:, 0] + rng.normal(size=90) > 0).astype(np.int64),
        "features": rng.random((90, 3)),
    }

    def fitted(logits):
        cases = {**given, "logits": logits}
        reference = {f"{part}_{kind}": v for part in ("training", "validation") for kind, v in cases.items()}
        return fit_scores(reference, None)

    one, two = fitted(logit), fitted(np.concatenate([-logit, logit], axis=1) / 2)
    assert not one.failed
    assert {"temperature.temperature", "rel_u.weights", "patterns.patterns"} <= one.arrays.keys()
    assert one.arrays.keys() == two.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_allclose(array, two.arrays[name], rtol=1e-12, err_msg=name)
