"""The precisions in which a network computes, in force for a block of code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch.backends import cuda, cudnn

#: Precisions of a computation. float32: all of it; tf32: convolutions and products round their inputs to 10
#: bits on a GPU, and are as in float32 elsewhere; bfloat16 and float16: those and other layers of which torch
#: says that it does no harm (autocast).
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}

#: What allows TF32, in convolutions and in products of matrices; torch has them for the whole process.
_SETTINGS: tuple[Any, ...] = (cudnn, cuda.matmul)
_lock = Lock()
_inside: Counter[str] = Counter()  # number of blocks by precision, of all threads
_before: list[bool | None] = []


def check_precision(precision: str, device: torch.device | None = None) -> None:
    """Refuse a name that is not one of :data:`PRECISIONS`, and one that the device, if given, does not have.

    Raises:
        ValueError: it is none, or the device has no autocast to it: a CPU none to float16.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if device is None or precision not in _AUTOCAST:
        return
    kind = device.type
    if not torch.amp.is_autocast_available(kind) or (kind, precision) == ("cpu", "float16"):
        raise ValueError(f"a network on the device {kind} is not computed in {precision}: take float32")


def training_precision(device: torch.device) -> str:
    """Return a precision in which training is stable and mostly fast: of 16 bits on a GPU, else float32.

    Examples:
        >>> import torch
        >>> from monai_sf.networks import training_precision
        >>> training_precision(torch.device("cpu"))
        'float32'
    """
    if device.type != "cuda":
        return "float32"
    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision within; what is left is restored afterwards, also after an error.

    With TF32, torch's default for convolutions on a GPU, an output of these networks differs by 1e-3 of the
    largest from that of the CPU, and by nearly as much between an image alone and in a batch, so that the
    same image could be trusted in one and deferred in the other; in float32 by 1e-6, at half of the speed.

    Any number of threads may be inside. Autocast is a thread's own, and is off in ``float32`` and ``tf32``
    also where a caller has activated it. Whether TF32 is allowed is the process's: it is not while any thread
    computes in ``float32``, and is restored when the last thread leaves. Where it was set by
    ``fp32_precision``, which torch does not mix with it, somebody has chosen, and nothing changes.

    Args:
        precision: one of :data:`PRECISIONS`.
        device: where the network is.

    Raises:
        ValueError: the precision is unknown, or the device cannot compute in it.

    Examples:
        >>> import torch
        >>> from monai_sf.networks import computing_in
        >>> layer, x = torch.nn.Linear(4, 2), torch.rand(3, 4)
        >>> with computing_in("bfloat16", x.device):
        ...     layer(x).dtype
        torch.bfloat16
        >>> layer(x).dtype
        torch.float32
    """
    check_precision(precision, device)
    dtype = _AUTOCAST.get(precision)
    with _tf32(precision):
        if torch.amp.is_autocast_available(device.type):
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                try:
                    yield
                finally:  # torch forgets its copies of weights when the outermost autocast ends only
                    torch.clear_autocast_cache()
        else:
            yield


@contextmanager
def _tf32(precision: str) -> Iterator[None]:
    """Allow TF32 within, or forbid it; nothing in a precision of 16 bits."""
    if precision in _AUTOCAST:
        yield
        return
    with _lock:
        if not _inside.total():
            _before[:] = [_allowed(setting) for setting in _SETTINGS]
        _inside[precision] += 1
        _allow(not _inside["float32"])
    try:
        yield
    finally:
        with _lock:
            _inside[precision] -= 1
            if _inside.total():
                _allow(not _inside["float32"])
            else:
                _allow(*_before)


def _allowed(setting: Any) -> bool | None:
    """Return whether a setting allows TF32; None if it was made by ``fp32_precision``."""
    try:
        return bool(setting.allow_tf32)
    except RuntimeError:
        return None


def _allow(*values: bool | None) -> None:
    """Set each setting that is not to be left alone; one value is that of all."""
    each = values if len(values) == len(_SETTINGS) else values * len(_SETTINGS)
    for setting, value, before in zip(_SETTINGS, each, _before, strict=True):
        if value is not None and before is not None:
            setting.allow_tf32 = value
