"""Random numbers that are the same on every machine and with every version of NumPy."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from monai_sf.datasets.lidc_database import Floats

__all__ = ["Stream"]


class Stream:
    """Random numbers from a key of words, from the raw output of Philox.

    NumPy guarantees a bit generator's raw output across versions, but not that of ``Generator``.

    Args:
        key: Identifies the stream, for example a series UID and a nodule number.
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
        self._philox = np.random.Philox(key=int.from_bytes(digest, "big"))

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        """Draw uniform numbers in [low, high)."""
        raw = np.asarray(self._philox.random_raw(math.prod(shape)), dtype=np.uint64)
        return low + (high - low) * ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    def centred(self, shape: tuple[int, ...]) -> Floats:
        """Draw triangular numbers, mean 0, variance 1: sums of two uniform 16-bit numbers, within ±2.45."""
        count = math.prod(shape)
        # "<": the same halves in the same order on big-endian machines.
        words = (
            np.asarray(self._philox.random_raw((count + 1) // 2)).astype("<u8").view("<u2").astype(np.float64)
        )
        return ((words[:count] + words[-count:] - 65535) * (6**0.5 / 65536)).reshape(shape)
