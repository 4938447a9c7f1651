"""Embedding of the latent space in three dimensions: principal components, then t-SNE, with a cache.

Bungert et al., "Understanding Silent Failures in Medical Image Classification", MICCAI 2023, section 2: "We
first reduce the dimensionality of the classifier's latent space to 50 using principal component analysis and
use t-SNE to obtain the final 3-dimensional embedding."
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from monai_sf.files import atomic_path

COMPONENTS = 50
PERPLEXITY = 30.0
#: Minimum number of cases.
MIN_CASES = 5
#: Features up to two to this power, or down to its inverse, have squares that float32 holds.
_SQUARABLE = 40

logger = logging.getLogger(__name__)


def embed(features: NDArray[Any], seed: int, cache: Path | None = None) -> NDArray[np.float32]:
    """Reduce features to 50 dimensions by PCA, then to 3 by t-SNE.

    Args:
        features: (n, F) finite numbers, n >= 5; the cases of all test sets.
        seed: of both steps; the same seed and features give the same embedding on one machine.
        cache: folder in which embeddings are stored and looked up, None without.

    Returns:
        (n, 3) float32, centred, scaled so that 99 % of the cases lie within distance 1 of the centre.

    Raises:
        ValueError: features are not two-dimensional, too few, or not finite.
    """
    values = np.ascontiguousarray(features, dtype=np.float32)
    if values.ndim != 2 or len(values) < MIN_CASES:
        raise ValueError(f"features must be (n, F) with n >= {MIN_CASES}, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("features must be finite; leave out the cases with NaN")
    components = min(COMPONENTS, *values.shape)
    tsne = {
        "perplexity": min(PERPLEXITY, (len(values) - 1) / 3),
        # small sets converge early; large ones get scikit-learn's default
        "max_iter": 500 if len(values) <= 2000 else 1000,
        # scikit-learn's rate without its minimum of 50, with which a few hundred cases diverge
        "learning_rate": min(max(len(values) / 48, 50.0), len(values) / 12),
        "angle": 0.8,  # a third faster than scikit-learn's 0.5, with the same divergence
    }
    settings = {**tsne, "components": components, "seed": seed, "scikit-learn": sklearn.__version__}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(str(values.shape).encode())
    digest.update(values.tobytes())
    file = cache / f"embedding-{digest.hexdigest()[:16]}.npz" if cache else None
    known = _read(file, len(values)) if file else None
    if known is not None:
        return known
    points = _compute(values, components, seed, tsne)
    centred = points - np.median(points, axis=0)
    radius = float(np.quantile(np.linalg.norm(centred, axis=1), 0.99)) or 1.0
    embedding = (centred / radius).astype(np.float32)
    if file:
        _write(file, embedding)
    return embedding


def _compute(
    values: NDArray[np.float32], components: int, seed: int, settings: dict[str, Any]
) -> NDArray[np.float64]:
    exponent = int(np.frexp(np.abs(values).max())[1])
    if abs(exponent) > _SQUARABLE:  # a map has no scale
        values = np.ldexp(values, -exponent)
    spread = values.std(axis=0)
    if not spread.any():
        return np.zeros((len(values), 3))  # all cases have the same features
    reduced = PCA(components, svd_solver="auto", random_state=seed).fit_transform(values)
    init = "pca" if components >= 3 else "random"
    tsne = TSNE(n_components=3, init=init, random_state=seed, **settings)
    return np.asarray(tsne.fit_transform(reduced), dtype=np.float64)


def _read(file: Path, count: int) -> NDArray[np.float32] | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            embedding = np.asarray(stored["embedding"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s cannot be read (%s); the embedding is computed again", file.name, error)
        return None
    if embedding.shape != (count, 3) or embedding.dtype != np.float32 or not np.isfinite(embedding).all():
        logger.warning("%s holds something else; the embedding is computed again", file.name)
        return None
    return embedding


def _write(file: Path, embedding: NDArray[np.float32]) -> None:
    try:
        with atomic_path(file) as partial, open(partial, "wb") as stream:
            np.savez_compressed(stream, embedding=embedding)
    except OSError as error:  # such as results on a read-only disk
        logger.warning("the embedding is not stored: %s", error)
