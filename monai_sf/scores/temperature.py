"""Temperature scaling: one number that logits are divided by, fitted to held-out labels."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from monai_sf.scores.functions import ArrayLike, as_float64

Floats: TypeAlias = NDArray[np.float64]

#: Smallest and largest temperature that is fitted.
BOUNDS = (0.01, 100.0)

_LOWEST, _HIGHEST = 1 / BOUNDS[1], 1 / BOUNDS[0]

# Numbers per step of a pass: what is made of them stays in the processor's cache.
_STEP = 2**16
# The slope is first brought to zero on this many cases, which is a good start for all.
_SAMPLE = 1024


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature T that minimises the negative log-likelihood of the labels under logits / T.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. The negative
    log-likelihood is convex in 1 / T, so it is smallest where its slope ``mean(E_p[z] - z_label)`` is zero,
    which Newton's method finds within a shrinking bracket. Where no T in `BOUNDS` has slope zero, T is the
    nearer bound: 100 if the labels are such that less confidence is always better. If no case is predicted
    wrongly there is no minimum either, since a smaller T is always better. T is then 1: nothing tells that
    the logits should be scaled, and a T near 0 would make most cases equally certain.

    Args:
        logits: (n, C), C >= 2, n >= 1; ``-inf`` for an excluded class, else finite.
        labels: (n,), classes in 0..C-1.

    Returns:
        T, exact to a relative error of about 1e-10.
    """
    # NumPy's loops need no threads, which many small steps would spend more time on waiting for.
    z = as_float64(logits, "logits").cpu().numpy()
    gaps = z - z.max(axis=-1, keepdims=True)
    own = gaps[np.arange(len(gaps)), as_float64(labels, "labels").cpu().numpy().astype(np.int64)]
    if (own == 0).all():
        return 1.0
    # Or an excluded class would give 0 * inf.
    gaps, own = np.maximum(gaps, -1e300, out=gaps), np.maximum(own, -1e300)
    every = max(1, len(gaps) // _SAMPLE)
    start = 1.0 if every == 1 else _root(gaps[::every], own[::every], 1.0, tolerance=1e-3)
    return 1 / _root(gaps, own, start, tolerance=1e-7)


def _root(gaps: Floats, own: Floats, start: float, tolerance: float) -> float:
    """Return the inverse temperature with slope zero, or the nearer bound.

    Newton's method squares the error, so the result is far more exact than the last step, which is below
    ``tolerance`` (relative).
    """
    low, high = _LOWEST, _HIGHEST
    untried = {low, high}  # a bound may be the answer itself, which only its own slope tells
    beta = start
    for _ in range(200):
        slope, curvature = _derivatives(gaps, own, beta)
        untried.discard(beta)
        if (beta == _LOWEST and slope >= 0) or (beta == _HIGHEST and slope <= 0):
            return beta
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = beta - slope / curvature if curvature > 0 else math.inf * -slope
        if not low < step < high:
            end = low if slope > 0 else high
            step = end if end in untried else math.sqrt(low * high)
        if abs(step - beta) <= tolerance * beta:
            return step
        beta = step
    return beta


def _derivatives(gaps: Floats, own: Floats, beta: float) -> tuple[float, float]:
    """Return first and second derivative of the mean negative log-likelihood by the inverse temperature."""
    size = max(1, _STEP // gaps.shape[1])
    slope = curvature = 0.0
    for first in range(0, len(gaps), size):
        part = gaps[first : first + size]
        weight = np.exp(part * beta)
        total = weight.sum(axis=-1)
        weight *= part
        mean = weight.sum(axis=-1) / total
        weight *= part
        square = weight.sum(axis=-1) / total
        slope += float((mean - own[first : first + size]).sum())
        curvature += float((square - mean**2).sum())
    return slope / len(gaps), curvature / len(gaps)
