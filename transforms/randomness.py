"""Random numbers per case: the same bits on every machine and device and in every batch.

Every case draws from its own counter-based generator (Philox 4×64, Salmon et al., "Parallel random numbers:
as easy as 1, 2, 3", SC 2011), whose integers NumPy keeps fixed across versions and platforms. They become
normal numbers through a table, since the logarithms and cosines of other methods differ in the last bit
between vector units.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from .host import on_device

SEED_LIMIT = 2**64
"""Seeds are integers from 0 up to this, excluded."""

Seeds = SupportsIndex | Sequence[SupportsIndex] | torch.Tensor
"""One integer for one image, or one per case of a batch."""

Uniform = npt.NDArray[np.float64]
"""Numbers in [0, 1)."""


def case_seed(seed: int, kind: str, case_id: str | int) -> int:
    """Return the seed of one case: a stable hash of the run's seed, the kind and the case's id.

    The kind is what the numbers are for: a corruption, or an epoch's augmentation. A corruption's severity is
    not part of it: all severities of a case share one field or direction, so that a sweep over severities
    varies strength alone. Integers and their decimal strings are the same id, as data loaders turn one into
    the other.

    Returns:
        An integer in [0, 2^63), so that it also fits a signed 64-bit tensor.
    """
    text = f"{seed}\0{kind}\0{case_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def check_seeds(seeds: Seeds, cases: int) -> list[int]:
    """Return the seeds as plain integers, one per case.

    Raises:
        TypeError: if a seed is not an integer.
        ValueError: if a seed lies outside [0, 2^64), or the numbers of seeds and cases differ.
    """
    listed: list[Any]
    if isinstance(seeds, torch.Tensor):
        listed = seeds.flatten().tolist()
    elif isinstance(seeds, Sequence | np.ndarray) and not isinstance(seeds, str | bytes):
        listed = list(seeds)
    else:
        listed = [seeds]
    wrong = [seed for seed in listed if isinstance(seed, bool) or not isinstance(seed, SupportsIndex)]
    if wrong:
        raise TypeError(f"seeds must be integers, got {_some(wrong)}")
    plain = [operator.index(seed) for seed in listed]
    outside = [seed for seed in plain if not 0 <= seed < SEED_LIMIT]
    if outside:
        raise ValueError(f"seeds must lie in [0, 2^64), got {_some(outside)}")
    if len(plain) != cases:
        raise ValueError(f"seeds must hold one integer for each of the {cases} cases, got {len(plain)}")
    return plain


def _some(values: Sequence[Any], limit: int = 8) -> str:
    listed = ", ".join(map(repr, values[:limit]))
    return listed if len(values) <= limit else f"{listed} and {len(values) - limit} more"


def _words(seeds: Sequence[int], count: int) -> npt.NDArray[np.uint64]:
    """Draw uniform 64-bit integers, (len(seeds), count)."""
    words = np.empty((len(seeds), count), np.uint64)
    generator = np.random.Philox(key=0)
    fresh: Any = generator.state
    for row, seed in zip(words, seeds, strict=True):
        # Five times as fast as a new generator for every seed.
        fresh["state"]["key"] = np.array([seed, 0], np.uint64)
        generator.state = fresh
        row[:] = generator.random_raw(count)
    return words


def uniform_bits(seeds: Sequence[int], count: int) -> npt.NDArray[np.uint16]:
    """Draw uniform 16-bit integers, `count` per seed.

    The first n numbers of a seed do not depend on `count`.

    Returns:
        Array (len(seeds), count) of uint16.
    """
    words = _words(seeds, -(-count // 4)).astype("<u8", copy=False)
    return np.ascontiguousarray(words.view("<u2")[:, :count]).astype(np.uint16, copy=False)


def uniform_numbers(seeds: Sequence[int], count: int) -> Uniform:
    """Draw uniform numbers, `count` per seed: multiples of 2^-53 in [0, 1), as NumPy's.

    Returns:
        Array (len(seeds), count) of float64.
    """
    numbers: Uniform = (_words(seeds, count) >> np.uint64(11)) * np.float64(2.0**-53)
    return numbers


def further_seeds(numbers: Uniform) -> list[int]:
    """Turn numbers from `uniform_numbers` into seeds of further numbers."""
    return [int(number * 2**53) for number in numbers]


@functools.lru_cache(maxsize=8)
def _normal_quantiles(device: torch.device) -> torch.Tensor:
    """Return the standard normal distribution as 2^16 equally likely values, (65536,) float32."""
    values = ndtri((np.arange(2**15, 2**16) + 0.5) / 2**16)
    values /= np.sqrt(np.mean(values**2))
    # Fixed point, since another build of SciPy may differ in the last bit of a double.
    values = np.round(values * 2**20) / 2**20
    return on_device(np.concatenate((-values[::-1], values)).astype(np.float32), device)


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
