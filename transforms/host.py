"""Numbers of the host on their way to a device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch


def on_device(
    values: npt.NDArray[Any], device: torch.device, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Copy numbers of the host to a device, as numbers of a type, without waiting for it."""
    tensor = torch.from_numpy(values).to(dtype=dtype)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
