"""The risk-coverage curve: one sort of the cases, from which every metric of this package is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

NumpyArray: TypeAlias = "np.ndarray[Any, Any]"
ArrayLike: TypeAlias = "Tensor | NumpyArray"
_ArrayT = TypeVar("_ArrayT", Tensor, NumpyArray)


class Levels(NamedTuple):
    """The cases at or above each distinct confidence, from the highest confidence down.

    Ties are one level, so nothing that is read from here depends on the order of rows. A level may repeat
    the counts of the one before (in a bootstrap sample nobody may have drawn it) and its first levels may be 0.

    Attributes:
        kept: (..., K) float64, how many cases have at least this confidence; the last is N.
        wrong: (..., K) float64, the sum of their errors.
    """

    kept: Tensor
    wrong: Tensor


@dataclass(frozen=True, eq=False)
class RiskCoverageCurve(Generic[_ArrayT]):
    """The risk-coverage curve by rising coverage: coverage 0, then K distinct confidences.

    Attributes:
        coverages: (K + 1,) share of the cases that are kept, from 0 to 1.
        selective_risks: (K + 1,) mean error of the kept cases; at coverage 0 that of the first level.
        generalized_risks: (K + 1,) sum of the errors of the kept cases over the number of all cases.
        thresholds: (K + 1,) lowest confidence that is kept, falling; infinity at coverage 0.
    """

    coverages: _ArrayT
    selective_risks: _ArrayT
    generalized_risks: _ArrayT
    thresholds: _ArrayT


@overload
def risk_coverage_curve(confidence: Tensor, error: ArrayLike) -> RiskCoverageCurve[Tensor]: ...
@overload
def risk_coverage_curve(confidence: NumpyArray, error: ArrayLike) -> RiskCoverageCurve[NumpyArray]: ...
def risk_coverage_curve(
    confidence: ArrayLike, error: ArrayLike
) -> RiskCoverageCurve[Tensor] | RiskCoverageCurve[NumpyArray]:
    """Risk against coverage at every distinct confidence.

    Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017 (selective risk);
    Traub et al., "Overcoming Common Flaws in the Evaluation of Selective Classification", NeurIPS 2024
    (generalized risk). Cases of equal confidence are accepted together, as one point.

    Args:
        confidence: (N,) finite real numbers, higher = more sure, of any dtype.
        error: (N,) in [0, 1], 1 where the prediction is wrong; any residual in between is allowed.

    Returns:
        The curve in float64: NumPy arrays for a NumPy confidence, tensors on its device for a tensor.

    Raises:
        ValueError: For other shapes, unequal lengths, no cases, NaN, infinity or values out of range.

    Example:
        >>> curve = risk_coverage_curve(np.array([0.9, 0.8, 0.8, 0.1]), np.array([0, 0, 1, 1]))
        >>> curve.coverages.tolist(), curve.generalized_risks.tolist()
        ([0.0, 0.25, 0.75, 1.0], [0.0, 0.0, 0.25, 0.5])
    """
    values, errors = check_cases(confidence, error)
    levels, thresholds = sort_levels(values, errors)
    total = levels.kept[-1]
    risks = levels.wrong / levels.kept
    zero = total.new_zeros(1)
    points = (
        torch.cat([zero, levels.kept / total]),
        torch.cat([risks[:1], risks]),
        torch.cat([zero, levels.wrong / total]),
        torch.cat([zero + torch.inf, thresholds]),
    )
    if isinstance(confidence, Tensor):
        return RiskCoverageCurve(*points)
    return RiskCoverageCurve(*(point.numpy() for point in points))


def levels_of(confidence: ArrayLike, error: ArrayLike) -> Levels:
    """Check the input and sort it once; see `risk_coverage_curve` for the arguments."""
    return sort_levels(*check_cases(confidence, error))[0]


def check_cases(confidence: ArrayLike, error: ArrayLike) -> tuple[Tensor, Tensor]:
    """Both as (N,) float64 tensors on the device of the confidence.

    Whether the confidence is finite shows for free once it is sorted, so `sort_levels` looks at that.
    """
    values = as_float64(confidence, "confidence")
    errors = as_float64(error, "error").to(values.device)
    for name, vector in (("confidence", values), ("error", errors)):
        if vector.ndim != 1:
            raise ValueError(f"{name} must have one dimension (N,), got shape {tuple(vector.shape)}")
    if len(values) != len(errors):
        raise ValueError(
            f"confidence and error must have the same length, got {len(values)} and {len(errors)} cases"
        )
    if len(values) == 0:
        raise ValueError("confidence and error must hold at least one case, got 0")
    low, high = torch.aminmax(errors)
    if not (low >= 0 and high <= 1):
        bad = int((~((errors >= 0) & (errors <= 1))).sum())
        raise ValueError(f"error must lie in [0, 1], got {bad} of {len(errors)} values outside or NaN")
    return values, errors


def sort_levels(confidence: Tensor, error: Tensor) -> tuple[Levels, Tensor]:
    """Levels and their thresholds (K,), highest first, of checked float64 vectors (N,)."""
    ends, ranked_confidence, ranked_error = rank_cases(confidence, error)
    levels = Levels(kept=(ends + 1).to(torch.float64), wrong=ranked_error.cumsum(0)[ends])
    return levels, ranked_confidence[ends]


def rank_cases(confidence: Tensor, error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Position (K,) of the last case of every level, and confidence and error (N,) by falling confidence.

    Raises:
        ValueError: If a confidence is NaN or infinite.
    """
    if confidence.device.type == "cpu":
        # NumPy sorts with vector instructions, some three times as fast as torch.
        order = torch.from_numpy(np.argsort(confidence.numpy())).flip(0)
        ranked = confidence[order]
    else:
        ranked, order = confidence.sort(descending=True)
    # NaN is sorted to one of the ends, and so is infinity unless it hides behind NaN.
    if not (ranked[0].isfinite() and ranked[-1].isfinite()):
        bad = int((~ranked.isfinite()).sum())
        raise ValueError(
            f"confidence must be finite, got {bad} NaN or infinite values in {len(ranked)} cases; "
            "such a case has no rank"
        )
    is_end = torch.ones_like(ranked, dtype=torch.bool)
    torch.ne(ranked[1:], ranked[:-1], out=is_end[:-1])
    return is_end.nonzero()[:, 0], ranked, error[order]


def as_float64(values: ArrayLike, name: str) -> Tensor:
    """The values as a float64 tensor, without a copy where possible.

    Raises:
        ValueError: For anything but real numbers, and for integers that float64 cannot tell apart.
    """
    if isinstance(values, Tensor):
        # MONAI's MetaTensor would otherwise carry its bookkeeping through every step.
        tensor = values.detach().as_subclass(Tensor)
        is_integer = not (tensor.is_floating_point() or tensor.is_complex())
        if tensor.is_complex():
            raise ValueError(f"{name} must hold real numbers, got dtype {tensor.dtype}")
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
        is_integer = array.dtype.kind in "iu"
        # torch takes neither read-only arrays nor negative strides.
        array = np.ascontiguousarray(array, dtype=np.float64)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    tensor = tensor.to(torch.float64)
    if is_integer and tensor.numel() and tensor.abs().max() >= 2**53:
        bad = int((tensor.abs() >= 2**53).sum())
        raise ValueError(
            f"{name} must hold integers below 2**53, which float64 can tell apart; {bad} are not"
        )
    return tensor
