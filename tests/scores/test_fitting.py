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
    ],
)
def test_a_failed_fit_stops_no_other(registered, error, reason):
    registered(error)
    cases = np.random.default_rng(0).normal(size=(50, 4))
    found = fit_scores({"training_features": cases, "training_labels": np.arange(50) % 2}, "classifier")
    assert found.failed["broken"].startswith(reason)
    assert any(name.startswith("gaussian.") for name in found.arrays)
    assert not any(name.startswith("broken.") for name in found.arrays)
