"""Features of made-up classifiers, and the scores of features by their published definitions, slowly."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from monai_sf.scores import CSFS, derived, fit_scores
from monai_sf.scores.of_features import OF_FEATURES
from monai_sf.scores.whitening import RIDGE

NAMES = tuple(csf.name for csf in OF_FEATURES)


def make(n=400, m=60, width=12, classes=3, seed=0, spread=1.0):
    """A reference and test cases: classes are Gaussian with covariances of their own, the layer is linear."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width)) + 0.5
    weight, bias = centres + 0.3 * rng.normal(size=(classes, width)), rng.normal(size=classes)
    rotations = np.linalg.qr(rng.normal(size=(classes, width, width)))[0]
    mixing = rng.uniform(0.3, 1.5, size=(classes, width, 1)) * rotations

    def draw(count, scale):
        labels = rng.integers(classes, size=count)
        noise = np.einsum("nf,nfg->ng", rng.normal(size=(count, width)), mixing[labels])
        features = (centres[labels] + scale * noise).astype(np.float32)
        return features, features @ weight.T + bias, labels

    features, logits, labels = draw(n, spread)
    reference = {
        "training_features": features,
        "training_logits": logits,
        "training_labels": labels,
        "last_layer_weight": weight,
        "last_layer_bias": bias,
    }
    new, new_logits, _ = draw(m, 1.5 * spread)
    return reference, {"features": new, "logits": new_logits}


def scores(reference, cases, names=NAMES):
    """Name to confidence (m,) of the scores that could be fitted, and the reasons of the fits that failed."""
    fitted = fit_scores(reference, None)
    possible = [CSFS[name] for name in names if CSFS[name].fit.name not in fitted.failed]
    return {
        csf.name: csf({**cases, **derived(csf.fit, cases, fitted.arrays)}).numpy() for csf in possible
    }, dict(fitted.failed)


def defined(reference, cases):
    """Name to confidence (m,), float64, straight from the papers, one case and one class at a time."""
    return {**gaussian(reference, cases["features"]), **further(reference, cases)}


def gaussian(reference, new):
    """MDS, RMDS and DDU."""
    x, new = np.asarray(reference["training_features"], np.float64), np.asarray(new, np.float64)
    labels = np.asarray(reference["training_labels"])
    n, width = x.shape
    of_class = {c: x[labels == c] for c in np.unique(labels)}
    mean = {c: rows.mean(0) for c, rows in of_class.items()}
    within = sum((rows - mean[c]).T @ (rows - mean[c]) for c, rows in of_class.items()) / n
    variance = np.trace(within) / width

    def regular(matrix):
        deviation = np.sqrt(matrix.diagonal())
        constant = not deviation.all()
        singular = constant or np.linalg.eigvalsh(matrix / np.outer(deviation, deviation))[0] < 2e-12
        return matrix + singular * RIDGE * variance * np.eye(width)

    def distance(v, centre, inverse):
        return (v - centre) @ inverse @ (v - centre)

    ridge = regular(within) - within
    precision = np.linalg.inv(within + ridge)
    everyone = np.linalg.inv(np.atleast_2d(np.cov(x.T, bias=True)) + ridge)
    to_class = np.array([[distance(v, centre, precision) for centre in mean.values()] for v in new])
    several = [c for c, rows in of_class.items() if len(rows) > 1]
    total = sum(len(of_class[c]) for c in several)
    log_densities = []
    for c in several:
        covariance = regular(np.atleast_2d(np.cov(of_class[c].T, bias=True)))
        inverse, log_determinant = np.linalg.inv(covariance), np.linalg.slogdet(2 * np.pi * covariance)[1]
        squares = np.array([distance(v, mean[c], inverse) for v in new])
        log_densities.append(np.log(len(of_class[c]) / total) - (squares + log_determinant) / 2)
    return {
        "MDS": -to_class.min(1),
        "RMDS": np.array([distance(v, x.mean(0), everyone) for v in new]) - to_class.min(1),
        "DDU": logsumexp(log_densities, axis=0),
    }


def further(reference, cases):
    """The scores that are fitted to the last layer or to logits."""
    x, logits, labels, weight, bias = (np.asarray(a, np.float64) for a in reference.values())
    new, new_logits = (np.asarray(cases[name], np.float64) for name in ("features", "logits"))
    n, width = x.shape
    unit, units = (v / np.linalg.norm(v, axis=1)[:, None] for v in (new, x))
    energies, new_energies = logsumexp(logits, axis=1), logsumexp(new_logits, axis=1)
    similar = np.sort(energies * (unit @ units.T), axis=1)[:, ::-1]
    origin = np.linalg.lstsq(weight, -bias, rcond=None)[0]
    vectors = np.linalg.eigh((x - origin).T @ (x - origin))[1].T[::-1]
    dimensions = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    rank = np.linalg.matrix_rank(x - origin)
    rest = vectors[dimensions if dimensions < rank else rank // 2 :]
    residual = np.linalg.norm((new - origin) @ rest.T, axis=1)
    alpha = logits.max(1).sum() / np.linalg.norm((x - origin) @ rest.T, axis=1).sum()
    patterns = np.zeros((logits.shape[1], width))
    for c in np.unique(labels).astype(int):
        right = (labels == c) & (logits.argmax(1) == c)
        patterns[c] = x[right if right.any() else labels == c].mean(0)

    def boundaries(v, z):
        top = z.argmax()
        gaps = [(z[top] - z[c]) / np.linalg.norm(weight[top] - weight[c]) for c in range(len(z)) if c != top]
        return np.mean(gaps) / np.linalg.norm(v - x.mean(0))

    return {
        "kNN": np.array([-np.sort(np.linalg.norm(units - v, axis=1))[min(50, n) - 1] for v in unit]),
        "ViM": new_energies - alpha * residual,
        "Residual": -residual,
        "NNGuide": new_energies * similar[:, :10].mean(1),
        "fDBD": np.array([boundaries(v, z) for v, z in zip(new, new_logits, strict=True)]),
        "SHE": np.array([v @ patterns[z.argmax()] for v, z in zip(new, new_logits, strict=True)]),
    }
