"""Scores of features against scikit-learn and, where it is installed, pytorch-ood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from helpers.feature_scores import make, scores

REFERENCE, CASES = make(n=600, m=80, width=20, classes=4)


@pytest.fixture(scope="module")
def found():
    return scores(REFERENCE, CASES)[0]


@pytest.fixture(scope="module")
def detectors():
    return pytest.importorskip("pytorch_ood.detector", reason="no pytorch-ood here")


def double(array):
    return torch.as_tensor(np.asarray(array, np.float64))


FEATURES, LABELS = double(REFERENCE["training_features"]), torch.as_tensor(REFERENCE["training_labels"])
WEIGHT, BIAS = double(REFERENCE["last_layer_weight"]), double(REFERENCE["last_layer_bias"])
NEW, LOGITS = double(CASES["features"]), double(CASES["logits"])


def head(features):
    return features @ WEIGHT.to(features).T + BIAS.to(features)


def test_distances_are_scikit_learns(found):
    x, labels = FEATURES.numpy(), LABELS.numpy()
    means = np.stack([x[labels == c].mean(0) for c in range(4)])
    within = EmpiricalCovariance(assume_centered=True).fit(x - means[labels])
    own = np.stack([within.mahalanobis(NEW.numpy() - mean) for mean in means])
    everyone = EmpiricalCovariance().fit(x).mahalanobis(NEW.numpy())
    np.testing.assert_allclose(found["MDS"], -own.min(0), rtol=1e-9)
    np.testing.assert_allclose(found["RMDS"], everyone - own.min(0), rtol=1e-8)


def test_neighbours_are_scikit_learns(found):
    unit, units = (x / x.norm(dim=1, keepdim=True) for x in (NEW, FEATURES))
    distance = NearestNeighbors(n_neighbors=50).fit(units).kneighbors(unit)[0][:, -1]
    np.testing.assert_allclose(found["kNN"], -distance, atol=1e-6, rtol=0)


def test_class_densities_are_those_of_scikit_learns_covariances(found):
    members = [FEATURES[c == LABELS] for c in range(4)]
    classes = [
        torch.distributions.MultivariateNormal(x.mean(0), double(EmpiricalCovariance().fit(x).covariance_))
        for x in members
    ]
    weights = double([len(x) / 600 for x in members]).log()
    log_densities = torch.stack([c.log_prob(NEW) for c in classes], 1) + weights
    np.testing.assert_allclose(found["DDU"], log_densities.logsumexp(1), rtol=1e-9)


@pytest.fixture
def in_float64():
    """Some of pytorch-ood's detectors compute in PyTorch's default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
def test_mds_is_pytorch_oods_but_for_its_scale(found, detectors):
    """It does not divide the scatter by N, halves the distance, and has a ridge of 1e-6 on the scatter."""
    other = detectors.Mahalanobis(None).fit_features(FEATURES, LABELS).predict_features(NEW)
    np.testing.assert_allclose(found["MDS"], -other * 2 * 600, rtol=1e-6)


@pytest.mark.usefixtures("in_float64")
def test_rmds_is_pytorch_oods_but_for_its_scale(found, detectors):
    """As for MDS, but that it does not halve."""
    other = detectors.RMD(None).fit_features(FEATURES, LABELS).predict_features(NEW)
    np.testing.assert_allclose(found["RMDS"], -other * 600, rtol=1e-6, atol=1e-6)


def test_knn_is_pytorch_oods(found, detectors):
    other = detectors.KNN(None, k=50).fit_features(FEATURES, LABELS).predict_features(NEW)
    np.testing.assert_allclose(found["kNN"], -other, atol=1e-6, rtol=0)


def test_vim_is_pytorch_oods(found, detectors):
    """In float32, with a dimension to choose and the covariance's divisor N, which changes no eigenvector."""
    other = detectors.ViM(None, 10, WEIGHT, BIAS).fit_features(FEATURES, LABELS).predict_features(NEW)
    np.testing.assert_allclose(found["ViM"], -other, rtol=1e-4, atol=1e-4)


def test_ddu_is_pytorch_oods_mixture(found, detectors):
    """Which always adds ``reg`` to the variances: here next to nothing."""
    other = detectors.GMM(None, reg=1e-14).fit_features(FEATURES, LABELS).predict_features(NEW)
    np.testing.assert_allclose(found["DDU"], -other, rtol=1e-6)


def test_nnguide_is_pytorch_oods(found, detectors):
    """In float32."""
    other = detectors.NNGuide(None, head, k=10).fit_features(FEATURES, LABELS).predict_features(NEW.float())
    np.testing.assert_allclose(found["NNGuide"], -other, rtol=1e-5)


def test_fdbd_is_pytorch_oods(found, detectors):
    """In float32."""
    layer = torch.nn.Linear(20, 4)
    layer.weight.data, layer.bias.data = WEIGHT.float(), BIAS.float()
    other = detectors.fDBD(None, layer).fit_features(FEATURES).predict_features(NEW)
    np.testing.assert_allclose(found["fDBD"], -other, rtol=1e-4)


def test_she_is_pytorch_oods(found, detectors):
    other = detectors.SHE(None, head).fit_features(FEATURES, LABELS).predict_features(NEW)
    np.testing.assert_allclose(found["SHE"], -other, rtol=1e-6, atol=1e-6)
