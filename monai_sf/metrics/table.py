"""All metrics of the curve from one sort, for one confidence or a whole table of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from monai_sf.metrics.areas import augrc_of, aurc_of, eaugrc_of, eaurc_of, error_rate_of
from monai_sf.metrics.arrays import Array, ArrayLike, NumpyArray, as_float64, check_cases, check_lengths
from monai_sf.metrics.curve import levels_of_ranking, rank_cases
from monai_sf.metrics.failure import failure_auroc_of, failure_average_precision_of, failure_fpr_of

_ValueT = TypeVar("_ValueT", float, Tensor, NumpyArray)


@dataclass(frozen=True, eq=False)
class RiskCoverageMetrics(Generic[_ValueT]):
    """All metrics of one confidence (floats) or of B confidences ((B,) float64 each).

    Undefined metrics are NaN here, so that one row of a table does not spoil the others: the three failure
    metrics where all cases are correct or all are wrong (the average precision only where all are correct),
    or where an error is neither 0 nor 1.

    Attributes:
        error_rate: Mean error of all cases, the risk at full coverage.
        aurc: See `aurc`.
        eaurc: See `eaurc`.
        augrc: See `augrc`.
        eaugrc: See `eaugrc`.
        failure_auroc: See `failure_auroc`.
        failure_fpr: See `failure_fpr`, at a true-positive rate of 0.95.
        failure_average_precision: See `failure_average_precision`.
    """

    error_rate: _ValueT
    aurc: _ValueT
    eaurc: _ValueT
    augrc: _ValueT
    eaugrc: _ValueT
    failure_auroc: _ValueT
    failure_fpr: _ValueT
    failure_average_precision: _ValueT


def risk_coverage_metrics(confidence: ArrayLike, error: ArrayLike) -> RiskCoverageMetrics[float]:
    """Return every metric of the curve from one sort.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        The metrics as floats.

    Raises:
        ValueError: See `risk_coverage_curve`.
    """
    return RiskCoverageMetrics(*(float(value) for value in _metrics(confidence, error)))


@overload
def risk_coverage_table(confidence: Tensor, error: ArrayLike) -> RiskCoverageMetrics[Tensor]: ...
@overload
def risk_coverage_table(confidence: NumpyArray, error: ArrayLike) -> RiskCoverageMetrics[NumpyArray]: ...
def risk_coverage_table(
    confidence: ArrayLike, error: ArrayLike
) -> RiskCoverageMetrics[Tensor] | RiskCoverageMetrics[NumpyArray]:
    """Return every metric of B confidences over the same N cases, one sort each.

    Args:
        confidence: (B, N) finite real numbers, higher = more sure.
        error: (N,) when all rows judge the same predictions, or (B, N); in [0, 1].

    Returns:
        The metrics, each (B,) float64: NumPy for a NumPy confidence, tensors on its device for a tensor.

    Raises:
        ValueError: See `risk_coverage_curve`.
    """
    rows, errors = as_float64(confidence, "confidence"), as_float64(error, "error")
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"confidence must be (B, N) with at least one row, got shape {tuple(rows.shape)}")
    if errors.ndim not in (1, 2):
        raise ValueError(f"error must be (N,) or (B, N), got shape {tuple(errors.shape)}")
    if errors.ndim == 2 and len(errors) != len(rows):
        raise ValueError(f"error must have one row for each confidence, got {len(errors)} and {len(rows)}")
    check_lengths(rows.shape[1], errors.shape[-1])
    # Row by row: it needs memory for one row's arrays only, and sorting dominates anyway.
    values = [_metrics(row, errors if errors.ndim == 1 else errors[i]) for i, row in enumerate(rows)]
    if isinstance(confidence, Tensor):
        columns = torch.as_tensor(np.array(values)) if isinstance(rows, np.ndarray) else _stack(values)
        return RiskCoverageMetrics(*columns.T)
    return RiskCoverageMetrics(*np.array(values).T)


def _stack(rows: list[tuple[Array, ...]]) -> Tensor:
    return torch.stack([torch.stack(row) for row in rows])


def _metrics(confidence: ArrayLike, error: ArrayLike) -> tuple[Array, ...]:
    values, errors = check_cases(confidence, error)
    levels = levels_of_ranking(rank_cases(values), errors)
    areas = (error_rate_of(levels), aurc_of(levels), eaurc_of(levels), augrc_of(levels), eaugrc_of(levels))
    if ((errors != 0) & (errors != 1)).any():
        undefined = areas[0] * np.nan
        return (*areas, undefined, undefined, undefined)
    return (*areas, failure_auroc_of(levels), failure_fpr_of(levels), failure_average_precision_of(levels))
