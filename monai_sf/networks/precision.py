"""Convolutions in full float32 on a GPU, where torch rounds their inputs to 10 bits by default (TF32)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch.backends import cudnn

_lock = Lock()
_inside = 0
_before: bool | None = None


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions in float32 within; also a decorator.

    With TF32 an output of these networks differs by 1e-3 of the largest from that of the CPU, and by nearly
    as much between an image alone and in a batch, so that the same image could be trusted in one and deferred
    in the other; in float32 by 1e-6. It costs up to half of the speed. The setting is the process's: it is
    restored when the last thread leaves. Nothing changes where it was set by ``fp32_precision``, which torch
    does not mix with it, and which somebody has chosen.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            try:
                _before = cudnn.allow_tf32
                cudnn.allow_tf32 = False
            except RuntimeError:
                _before = None
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _before is not None:
                cudnn.allow_tf32 = _before
