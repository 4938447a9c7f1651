"""Checks of the metrics' input and its conversion to float64: NumPy on the CPU, torch on an accelerator.

NumPy does the work on the CPU because it sorts with vector instructions, about three times as fast as torch,
and starts no threads that would compete with data loaders for the cores. The metrics use only functions that
both libraries spell alike, through `namespace`.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from monai_sf.vocabulary.outputs import refuse_other_order

NumpyArray: TypeAlias = "np.ndarray[Any, Any]"
ArrayLike: TypeAlias = "Tensor | NumpyArray"
# Inside the package: a float64 NumPy array or, on an accelerator, a float64 tensor.
Array: TypeAlias = Any


def namespace(array: Array) -> Any:
    """Return the library whose functions accept the array: torch or numpy."""
    return torch if isinstance(array, Tensor) else np


def pick(values: Array, index: Array) -> Array:
    """Return, from every row of values (..., K), the entry at its index (...)."""
    take = torch.take_along_dim if isinstance(values, Tensor) else np.take_along_axis
    return take(values, index[..., None], -1)[..., 0]


def check_cases(confidence: ArrayLike, error: ArrayLike) -> tuple[Array, Array]:
    """Return both as float64 vectors (N,) on the device of the confidence: NumPy on the CPU, else tensors.

    Whether the confidence is finite shows for free once it is sorted, so it is checked there.

    Raises:
        ValueError: For other shapes, unequal lengths, no cases, errors that are NaN or outside [0, 1], and
            pandas columns that hold the same index in another order.
    """
    refuse_other_order({"confidence": confidence, "error": error})
    values = as_float64(confidence, "confidence")
    errors = as_float64(error, "error")
    for name, vector in (("confidence", values), ("error", errors)):
        if vector.ndim != 1:
            raise ValueError(f"{name} must have one dimension (N,), got shape {tuple(vector.shape)}")
    if len(values) != len(errors):
        raise ValueError(
            f"confidence and error must have the same length, got {len(values)} and {len(errors)} cases"
        )
    if len(values) == 0:
        raise ValueError("confidence and error must hold at least one case, got 0")
    low, high = errors.min(), errors.max()
    if not (low >= 0 and high <= 1):
        bad = int((~((errors >= 0) & (errors <= 1))).sum())
        raise ValueError(f"error must lie in [0, 1], got {bad} of {len(errors)} values outside or NaN")
    return values, _beside(errors, values)


def check_binary(error: Array) -> None:
    """Raise ValueError unless every error is 0 or 1."""
    bad = int(((error != 0) & (error != 1)).sum())
    if bad:
        raise ValueError(
            f"error must hold only 0 and 1 here, got {bad} of {len(error)} values in between: "
            "a case is a failure or it is not"
        )


def check_finite(confidence: Array) -> None:
    """Raise ValueError if a confidence is NaN or infinite."""
    bad = int((~namespace(confidence).isfinite(confidence)).sum())
    if bad:
        raise ValueError(
            f"confidence must be finite, got {bad} of {len(confidence)} values NaN or infinite: "
            "such a case has no rank"
        )


def as_number(value: Any, name: str) -> float:
    """Return one real number, such as a threshold; also of an array without dimensions.

    Raises:
        ValueError: For NaN and anything else.
    """
    one = value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value
    if isinstance(one, bool) or not isinstance(one, Real) or one != one:
        raise ValueError(f"{name} must be a number, got {value!r}")
    try:
        return float(one)
    except OverflowError:
        raise ValueError(f"{name} must be a number that float64 holds, got an integer beyond it") from None


def as_float64(values: ArrayLike, name: str) -> Array:
    """Return the values in float64, without a copy where possible.

    Raises:
        ValueError: For anything but real numbers, and for integers that float64 cannot tell apart.
    """
    array: Array
    if isinstance(values, Tensor):
        if values.is_complex():
            raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}")
        is_integer = not values.is_floating_point() and values.dtype != torch.bool
        # MONAI's MetaTensor would otherwise carry its metadata through every step.
        tensor = values.detach().as_subclass(Tensor).to(torch.float64)
        array = tensor.numpy() if tensor.device.type == "cpu" else tensor
    else:
        try:
            raw = np.asarray(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be one array, with rows of equal length ({error})") from error
        if raw.dtype.kind not in "biuf":
            raise ValueError(f"{name} must hold real numbers, got dtype {raw.dtype}")
        is_integer = raw.dtype.kind in "iu"
        array = raw.astype(np.float64, copy=False)
    if is_integer:
        bad = int((abs(array) >= 2**53).sum())
        if bad:
            raise ValueError(
                f"{name} must hold integers below 2**53, up to which float64 is exact; {bad} are not"
            )
    return array


def _beside(array: Array, other: Array) -> Array:
    """Return the array in the library and on the device of the other."""
    if isinstance(other, Tensor):
        return torch.as_tensor(array).to(other.device)
    return array.cpu().numpy() if isinstance(array, Tensor) else array
