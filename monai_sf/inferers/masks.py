"""Dropout masks: a function of case, sample, layer and position, on every machine and in every batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from monai_sf.networks import dropout_layers

# Odd 64-bit constants of the SplitMix64 generator (Steele, Lea & Flood, OOPSLA 2014), as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)

#: Masks of at most so many positions are made together, in one go for all layers.
_SMALL = 2**13


def dropout_stream(case_id: str, seed: int = 0) -> int:
    """Return the 63-bit number of a case's own dropout stream, the same on every machine.

    :class:`monai_sf.inferers.MCDropoutInferer` draws the masks of the case from it.

    Args:
        case_id: of the case.
        seed: of the samples.

    Examples:
        >>> from monai_sf.inferers import dropout_stream
        >>> dropout_stream("ISIC_0000001"), dropout_stream("ISIC_0000001", seed=1)
        (2768037248085853783, 1242610257167553256)
    """
    return int.from_bytes(hashlib.blake2b(f"{seed}/{case_id}".encode(), digest_size=8).digest(), "big") >> 1


def sample_streams(streams: Tensor, first: int, count: int) -> Tensor:
    """Return the streams (count · N,) of some samples of N cases, all cases of a sample after each other.

    Args:
        streams: (N,) int64, one per case.
        first: number of the first sample, from 0.
        count: number of samples.
    """
    numbers = torch.arange(first + 1, first + count + 1, device=streams.device)
    return (streams + _mix(numbers)[:, None]).flatten()


def _mix(x: Tensor) -> Tensor:
    """Apply the finalizer of SplitMix64 to int64 tensors; integers wrap alike on every device."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _MIX_1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _MIX_2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


class Mask(NamedTuple):
    """What a dropout layer needs: its number, the shape of the mask of one image, and its probability."""

    layer: int
    shape: tuple[int, ...]
    p: float

    @property
    def size(self) -> int:
        """Return the number of positions."""
        return math.prod(self.shape)


def keep_masks(streams: Tensor, masks: Sequence[Mask]) -> dict[Mask, Tensor]:
    """Return for each of some masks (M, ...) booleans, true with probability 1 - p.

    They depend on stream, layer and position alone, whatever the other masks are.

    Args:
        streams: (M,) int64, one per image.
        masks: different ones, at least one.
    """
    layer, offsets, steps, limits = _layout(tuple(masks), streams.device)
    starts = _mix(streams[:, None] + offsets)  # (M, L)
    each = starts if len(masks) == 1 else starts[:, layer]
    kept = ((_mix(each + steps) >> 40) & ((1 << 24) - 1)) >= limits
    parts = torch.split(kept, [mask.size for mask in masks], dim=1)
    return {mask: part.reshape(len(streams), *mask.shape) for mask, part in zip(masks, parts, strict=True)}


@lru_cache(maxsize=8)
def _layout(masks: tuple[Mask, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return, for the positions of all masks, the mask (P,), its offset (L,), the step and the limit (P,).

    All are made on the device: a copy from the host would wait for what the device does.
    """

    def fill(size: int, value: int) -> Tensor:
        return torch.full((size,), value, dtype=torch.int64, device=device)

    # wrapped as int64 is
    offsets = [((mask.layer + 1) * _GAMMA + (1 << 63)) % (1 << 64) - (1 << 63) for mask in masks]
    return (
        torch.cat([fill(mask.size, i) for i, mask in enumerate(masks)]),
        torch.cat([fill(1, offset) for offset in offsets]),
        torch.cat([torch.arange(1, mask.size + 1, device=device) for mask in masks]) * _GAMMA,
        torch.cat([fill(mask.size, round(mask.p * (1 << 24))) for mask in masks]),
    )


class DropoutSampler:
    """Activates a network's dropout layers in evaluation mode, seeded by streams, as a context manager.

    Before a pass, :meth:`draw` sets the streams of its images, and makes the masks that are likely needed all
    in one go: a DenseNet has a small one in each of up to 78 layers, and what a GPU spends on one is mostly
    its start. What else a layer asks for is made there.

    Args:
        network: a network with dropout.
        likely: what an earlier pass has needed, its :attr:`small`.

    Raises:
        ValueError: the network has no dropout layer; in a pass: a layer gets no row per image; at the end:
            none of the layers was used: of a given network, where they stand is not known.
    """

    def __init__(self, network: nn.Module, likely: Iterable[Mask] = ()) -> None:
        self.layers = dropout_layers(network)
        if not self.layers:
            raise ValueError(
                "the network has no dropout layer (p > 0): MC dropout would equal the plain score. Give the "
                "network dropout or set samples to 0"
            )
        self._likely = tuple(likely)
        self._streams: Tensor | None = None
        self._made: dict[Mask, Tensor] = {}
        self._used: dict[Mask, None] = {}  # in the order of their use
        self._handles: list[RemovableHandle] = []

    @property
    def small(self) -> tuple[Mask, ...]:
        """Return the masks that were used, except those of many positions."""
        return tuple(mask for mask in self._used if mask.size <= _SMALL)

    def draw(self, streams: Tensor) -> None:
        """Set the streams (M,) int64 of the M images of the next pass."""
        self._streams = streams
        likely = self.small or self._likely
        self._made = keep_masks(streams, likely) if likely else {}

    def _drop(self, layer: int, p: float, channels: bool, x: Tensor) -> Tensor:
        streams = self._streams
        assert streams is not None
        if len(x) != len(streams):
            raise ValueError(
                f"a dropout layer gets {len(x)} rows for {len(streams)} images, so that a sample is not a "
                "function of its image: set samples to 0"
            )
        mask = Mask(layer, (x.shape[1], *(1,) * (x.ndim - 2)) if channels else tuple(x.shape[1:]), p)
        self._used[mask] = None
        made = self._made if mask in self._made else keep_masks(streams, [mask])
        return (x / (1 - p)).mul_(made[mask])

    def __enter__(self) -> DropoutSampler:
        self._handles = [
            module.register_forward_hook(
                lambda m, args, out, i=i: self._drop(i, m.p, not isinstance(m, nn.Dropout), args[0])
            )
            for i, module in enumerate(self.layers)
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        if error is None and not self._used:
            raise ValueError("no dropout layer of the network is used in a pass: set samples to 0")
