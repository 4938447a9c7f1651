"""Energy of the logits that reshaped features or a sparse last layer give, and the norm of its gradient.

All functions take features (n, F) of float64 and the last layer, weight (C, F) and bias (C,), whose logits
are ``features @ weight.T + bias``. The published methods are made for features that are not negative (after
a ReLU). Others have a value too, as the docstrings say; whether it is of use was not studied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Layer(NamedTuple):
    """Weight (C, F) and bias (C,) of a linear layer, float64."""

    weight: Tensor
    bias: Tensor


def clipped_energy(features: Tensor, layer: Layer, threshold: float) -> Tensor:
    """Return the energy (n,) of features that are clipped at a threshold (ReAct).

    Sun et al., "ReAct: Out-of-distribution Detection With Rectified Activations", NeurIPS 2021, section 3.
    """
    return _energy(features.clamp(max=threshold) @ layer.weight.T, layer)


def largest_features(features: Tensor, *, pruned: float = 0.85) -> Tensor:
    """Return the features (n, K) of each case that are left when a share is cut away, in descending order."""
    return features.topk(_kept(features, pruned), dim=-1).values


def pruned_energy(features: Tensor, largest: Tensor, layer: Layer, *, pruned: float = 0.9) -> Tensor:
    """Return the energy (n,) of a case's largest features, scaled by what was cut away (ASH-S).

    Djurisic et al., "Extremely Simple Activation Shaping for Out-of-Distribution Detection", ICLR 2023,
    algorithm 3: features below the case's percentile become 0, the others are multiplied by ``exp(s1 / s2)``,
    the sums of all features and of those that are kept. Features equal to the smallest one kept are kept, so
    that their order does not matter. For the ratio's value with negative features see `_sharpening`.

    Args:
        features: (n, F).
        largest: those that are kept or more of each case, in descending order, see `largest_features`.
        layer: the last layer.
        pruned: share of the features that are cut away.
    """
    kept = _kept(features, pruned)
    shaped = torch.where(features >= largest[:, kept - 1 : kept], features, 0.0)
    factor = _sharpening(features.sum(dim=-1), shaped.sum(dim=-1), features.shape[-1] / kept)
    return _energy(factor * (shaped @ layer.weight.T), layer)


def scaled_energy(features: Tensor, largest: Tensor, layer: Layer, *, pruned: float = 0.85) -> Tensor:
    """Return the energy (n,) of all features, scaled by the share of the largest in their sum (SCALE).

    Xu et al., "Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement", ICLR 2024,
    section 4: the factor of ASH-S, but no feature is cut away.

    Args:
        features: (n, F).
        largest: as for `pruned_energy`.
        layer: the last layer.
        pruned: share of the features that the second sum of the factor leaves out.
    """
    kept = _kept(features, pruned)
    factor = _sharpening(features.sum(dim=-1), largest[:, :kept].sum(dim=-1), features.shape[-1] / kept)
    return _energy(factor * (features @ layer.weight.T), layer)


def gradient_norm(features: Tensor, layer: Layer) -> Tensor:
    """Return the 1-norm (n,) of the gradient of ``KL(uniform || softmax)`` by the layer's weight (GradNorm).

    Huang et al., "On the Importance of Gradients for Detecting Distributional Shifts in the Wild", NeurIPS
    2021. The gradient is the outer product of ``softmax - 1/C`` and the features, so its norm is
    ``sum |x| * sum |softmax - 1/C|``, which is the paper's ``U V / C`` at temperature 1; the authors' code
    leaves out the constant 1/C.
    """
    p = (features @ layer.weight.T + layer.bias).softmax(dim=-1)
    return features.abs().sum(dim=-1) * (p - 1 / p.shape[-1]).abs().sum(dim=-1)


def largest_contributions(mean: Tensor, weight: Tensor, *, sparsity: float = 0.9) -> Tensor:
    """Return the weights (C, F) that contribute most to the logits of training cases, 0 for others (DICE).

    Sun & Li, "DICE: Leveraging Sparsification for Out-of-Distribution Detection", ECCV 2022, section 3.

    Args:
        mean: (F,) of the training cases' features.
        weight: (C, F) of the last layer.
        sparsity: share of the weights that become 0: those whose contribution, weight times mean feature, is
            not above this quantile of all contributions.
    """
    contributions = weight * mean
    threshold = percentile(lambda: [contributions], sparsity)
    return torch.where(contributions > threshold, weight, 0.0)


def energy_of(features: Tensor, layer: Layer) -> Tensor:
    """Return the energy (n,) of the logits, ``log sum exp``."""
    return _energy(features @ layer.weight.T, layer)


def _energy(products: Tensor, layer: Layer) -> Tensor:
    return (products + layer.bias).logsumexp(dim=-1)


def _kept(features: Tensor, pruned: float) -> int:
    size = features.shape[-1]
    return max(1, size - round(size * pruned))


def _sharpening(total: Tensor, largest: Tensor, bound: float) -> Tensor:
    """Return the factor ``exp(s1 / s2)`` (n, 1) of the sums s1 of all features and s2 of the largest.

    For features >= 0 the ratio is in [1, bound], bound = F / number of the largest; it is 1 if all features
    are 0. Negative ones can take it anywhere, so it is limited to [-bound, bound], and where s2 <= 0 it is
    -bound, the limit from s2 > 0 with a negative s1.
    """
    ratio = torch.where(largest > 0, (total / largest).clamp(-bound, bound), -bound)
    ratio = torch.where((largest == 0) & (total == 0), 1.0, ratio)
    return (ratio + 0 * total).exp()[:, None]  # NaN if a feature is


def percentile(blocks: Callable[[], Iterable[Tensor]], share: float) -> float:
    """Return a percentile of all numbers in some blocks, exactly, without holding them in memory.

    Four passes find one digit each of its binary form, which is ordered as the numbers are; a fifth finds the
    next larger number, since it is interpolated linearly between both, as ``numpy.percentile`` does.

    Args:
        blocks: called for an iterator over float64 tensors of finite numbers, at least one in all.
        share: in [0, 1].
    """
    low, end, base = -math.inf, math.inf, -(2**63)
    rank, part, same = 0, 0.0, 0
    for shift in (48, 32, 16, 0):
        counts = np.zeros(2**16, dtype=np.int64)
        for block in blocks():
            numbers = block.cpu().numpy().ravel() + 0.0  # -0.0 becomes 0.0
            if shift < 48:
                numbers = np.compress((numbers >= low) & (numbers < end), numbers)
            counts += np.bincount((_ordered(numbers) >> shift) - (base >> shift), minlength=2**16)
        cumulative = counts.cumsum()
        if shift == 48:
            position = (int(cumulative[-1]) - 1) * share
            rank, part = math.floor(position), position - math.floor(position)
        digit = int(np.searchsorted(cumulative, rank, side="right"))
        same = int(cumulative[digit]) - rank  # numbers in this bin from the one looked for on
        rank -= int(cumulative[digit - 1]) if digit else 0
        base += digit << shift
        low, end = _number(base), _number(base + (1 << shift))
    if part == 0 or same > 1:
        return low
    above = min(float(block[block > low].amin()) for block in blocks() if bool((block > low).any()))
    return low + part * (above - low)


def _ordered(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return codes in the order of the numbers: their bits, after a negative sign inverted."""
    return _inverted(numbers.view(np.int64))


def _number(code: int) -> float:
    return float(_inverted(np.array([code])).view(np.float64)[0])


def _inverted(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    return bits ^ ((bits >> 63) & (2**63 - 1))
