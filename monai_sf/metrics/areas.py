"""Areas under the risk-coverage curve: AURC, AUGRC and their excess over a perfect ranking."""

from __future__ import annotations

import numpy as np

from monai_sf.metrics.arrays import Array, ArrayLike, namespace, pick
from monai_sf.metrics.curve import Levels, levels_of


def aurc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Return the area under the selective risk-coverage curve, by trapezoids over its points.

    Geifman, Uziel & El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float in [0, 1], lower = better; tables show it as a percentage.

    Raises:
        ValueError: See `risk_coverage_curve`.

    Examples:
        Four cases, of which two share a confidence. With them the risk rises from 0 at a coverage of 1/4 to
        1/3 at 3/4, and then to 1/2: the trapezoids are 1/4 · 0 + 1/2 · 1/6 + 1/4 · 5/12.

        >>> import numpy as np
        >>> from monai_sf.metrics import aurc
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> round(aurc(confidence, error), 4)
        0.1875
    """
    return float(aurc_of(levels_of(confidence, error)))


def eaurc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Return the excess AURC: AURC - [e + (1 - e) ln(1 - e)], with the error rate e.

    The area that is subtracted is that of a perfect ranking of binary errors in the limit of many cases
    (Geifman et al., ICLR 2019). With few cases the trapezoids lie below that limit, so a perfect ranking can
    come out slightly negative.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float below 1, lower = better, 0 for a perfect ranking of many cases.

    Raises:
        ValueError: See `risk_coverage_curve`.

    Examples:
        What could be gained by a better order of the cases. A perfect one is 0 in the limit of many cases,
        and slightly negative for few:

        >>> import numpy as np
        >>> from monai_sf.metrics import eaurc
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> round(eaurc(confidence, error), 4)
        0.0341
        >>> round(eaurc(-error, error), 4)
        -0.0284
        >>> many = np.arange(10_000)
        >>> abs(eaurc(many, many < 5_000)) < 0.0001
        True
    """
    return float(eaurc_of(levels_of(confidence, error)))


def augrc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Return the area under the generalized risk-coverage curve: the average risk of silent failures.

    Traub et al., "Overcoming Common Flaws in the Evaluation of Selective Classification", NeurIPS 2024.
    For binary errors it equals e^2/2 + (1 - AUROC_f) e (1 - e), with the error rate e.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float in [0, 1/2], lower = better.

    Raises:
        ValueError: See `risk_coverage_curve`.

    Examples:
        Four cases, of which two share a confidence. The generalized risk rises to 1/4 at a coverage of 3/4,
        and to 1/2 at 1: the trapezoids are 1/4 · 0 + 1/2 · 1/8 + 1/4 · 3/8.

        >>> import numpy as np
        >>> from monai_sf.metrics import augrc, failure_auroc
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> augrc(confidence, error)
        0.15625
        >>> e = error.mean()
        >>> float(e**2 / 2 + (1 - failure_auroc(confidence, error)) * e * (1 - e))
        0.15625
    """
    return float(augrc_of(levels_of(confidence, error)))


def eaugrc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Return the excess AUGRC: AUGRC - e^2/2, with the error rate e.

    The area that is subtracted is exactly that of a perfect ranking of binary errors.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float in [0, 1/2], lower = better, 0 for a perfect ranking.

    Raises:
        ValueError: See `risk_coverage_curve`.

    Examples:
        A perfect order of these cases has an AUGRC of 1/8:

        >>> import numpy as np
        >>> from monai_sf.metrics import augrc, eaugrc
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> augrc(confidence, error), eaugrc(confidence, error)
        (0.15625, 0.03125)
        >>> augrc(-error, error), eaugrc(-error, error)
        (0.125, 0.0)
    """
    return float(eaugrc_of(levels_of(confidence, error)))


def error_rate_of(levels: Levels) -> Array:
    """Return the mean error of all cases (...), the risk at full coverage."""
    return levels.wrong[..., -1] / levels.kept[..., -1]


def aurc_of(levels: Levels) -> Array:
    """Return the AURC (...) of cumulated counts (..., K)."""
    kept, wrong = levels
    # The curve is flat from coverage 0 to its first point, a triangle that the weighted sum leaves out.
    first_wrong = pick(wrong, (kept == 0).sum(-1))
    return (_weighted_sum(wrong / kept.clip(min=1), kept) + first_wrong) / (2 * kept[..., -1])


def eaurc_of(levels: Levels) -> Array:
    """Return the excess AURC (...) of cumulated counts (..., K)."""
    error_rate = error_rate_of(levels)
    accuracy = 1 - error_rate
    # 0 ln 0 = 0 when every case is wrong; the smallest positive number stands in for 0 in the logarithm.
    log_accuracy = namespace(levels.kept).log(accuracy.clip(min=np.finfo(np.float64).tiny))
    return aurc_of(levels) - (error_rate + accuracy * log_accuracy)


def augrc_of(levels: Levels) -> Array:
    """Return the AUGRC (...) of cumulated counts (..., K)."""
    return _weighted_sum(levels.wrong, levels.kept) / (2 * levels.kept[..., -1] ** 2)


def eaugrc_of(levels: Levels) -> Array:
    """Return the excess AUGRC (...) of cumulated counts (..., K)."""
    # Never negative for residuals in [0, 1], except by rounding.
    return (augrc_of(levels) - error_rate_of(levels) ** 2 / 2).clip(min=0)


def _weighted_sum(height: Array, kept: Array) -> Array:
    """Return twice the sum of the trapezoids between (0, 0) and the points (kept, height).

    Each point is weighted by the distance between its two neighbours; the last is its own right neighbour.
    """
    width = namespace(kept).empty_like(kept)
    width[..., :-1] = kept[..., 1:]
    width[..., -1] = kept[..., -1]
    width[..., 1:] -= kept[..., :-1]
    width *= height
    return width.sum(-1)
