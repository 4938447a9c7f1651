"""Random numbers per case: the same bits on every machine and device and in every batch.

Every case draws from its own counter-based generator (Philox 4×64, Salmon et al., "Parallel random numbers:
as easy as 1, 2, 3", SC 2011), whose integers NumPy keeps fixed across versions and platforms. They become
normal numbers through a table, since the logarithms and cosines of other methods differ in the last bit
between vector units.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

SEED_LIMIT = 2**64
"""Seeds are integers from 0 up to this, excluded."""


def case_seed(seed: int, kind: str, case_id: str | int) -> int:
    """Return the seed of one case: a stable hash of the run's seed, the kind and the case's id.

    The severity is not part of it: all severities of a case share one field or direction, so that a sweep
    over severities varies strength alone. Integers and their decimal strings are the same id, as data loaders
    turn one into the other.

    Returns:
        An integer in [0, 2^63), so that it also fits a signed 64-bit tensor.
    """
    text = f"{seed}\0{kind}\0{case_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def uniform_bits(seeds: Sequence[int], count: int) -> npt.NDArray[np.uint16]:
    """Draw uniform 16-bit integers, `count` per seed.

    The first n numbers of a seed do not depend on `count`.

    Returns:
        Array (len(seeds), count) of uint16.
    """
    bits = np.empty((len(seeds), count), np.uint16)
    for row, seed in zip(bits, seeds, strict=True):
        words = np.random.Philox(key=seed).random_raw(-(-count // 4))
        row[:] = words.astype("<u8", copy=False).view("<u2")[:count]
    return bits


@functools.lru_cache(maxsize=8)
def _normal_quantiles(device: torch.device) -> torch.Tensor:
    """Return the standard normal distribution as 2^16 equally likely values, (65536,) float32."""
    values = ndtri((np.arange(2**15, 2**16) + 0.5) / 2**16)
    values /= np.sqrt(np.mean(values**2))
    # Fixed point, since another build of SciPy may differ in the last bit of a double.
    values = np.round(values * 2**20) / 2**20
    return torch.from_numpy(np.concatenate((-values[::-1], values)).astype(np.float32)).to(device)


def to_normal(bits: torch.Tensor) -> torch.Tensor:
    """Convert uniform 16-bit integers to standard normal numbers.

    Every number is one of 2^16 equally likely values (mean 0, variance 1, largest 4.3), which is far finer
    than 8-bit pixels can show.

    Args:
        bits: tensor of uint16, of any shape and on any device.

    Returns:
        Tensor of float32, of the same shape.
    """
    index = bits.to(torch.int32).flatten()
    return _normal_quantiles(bits.device).index_select(0, index).view(bits.shape)
