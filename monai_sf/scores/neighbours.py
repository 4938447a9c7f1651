"""Similarity to the most similar training cases: kNN and NNGuide."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monai_sf.scores.csf import Arrays, Fit, Fitted
from monai_sf.scores.functions import energy
from monai_sf.scores.moments import mean_feature, training_logits
from monai_sf.scores.pieces import rowwise, squared_length, tensors
from monai_sf.scores.reference import Reference

#: Largest number of training cases in the bank.
BANK = 4096
#: Number of the neighbour whose distance counts.
NEIGHBOUR = 50
#: Number of neighbours that guide.
GUIDES = 10
#: Number of further candidates that rounding in float32 may have put behind the neighbour.
_SPARE = 14


def _fit(reference: Reference) -> dict[str, Tensor]:
    reference.shared(mean_feature)  # which refuses NaN
    features, logits = reference["training_features"], reference.shared(training_logits)
    rows = _drawn(len(features))
    bank = rowwise(lambda x: _normalized(x).float(), features.shape[1], features[rows])
    there = (bank != 0).any(1)
    if not there.any():
        raise ValueError("all features of the training cases are 0")
    return {"bank": bank[there], "energy": energy(logits[rows])[there]}


def _drawn(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return positions of training cases, at random since their order may have a period."""
    if count <= BANK:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, BANK, replace=False))


def _normalized(x: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(length == 0, 1.0, length)


def _derive(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    given = tensors(fitted, arrays["features"])
    bank, energies = given["bank"], given["energy"]

    def neighbours(x: Tensor) -> Tensor:
        near = _normalized(x).float()
        similarity = near @ bank.T
        distance = _distance(near, bank, similarity, min(NEIGHBOUR, len(bank)))
        guided = (similarity * energies.float()).topk(min(GUIDES, len(bank)), dim=1).values
        return torch.stack([distance, guided.double().mean(1)], dim=1)

    distance, guidance = rowwise(neighbours, bank.shape[1], arrays["features"]).unbind(1)
    return {"neighbour_distance": distance, "neighbour_guidance": guidance}


def _distance(x: Tensor, bank: Tensor, similarity: Tensor, k: int) -> Tensor:
    """Return the distance (n,) float64 of unit vectors to the k-th nearest of a bank.

    Similarities in float32 tell which of the bank are nearer than the k-th and which are farther, for all but
    a few. The distances of those few are computed from their differences: sqrt(2 - 2 s) would cancel.

    Args:
        x: (n, F) float32 of length 1.
        bank: (m, F) float32 of length 1, m >= k.
        similarity: (n, m) float32, their products.
        k: number of the neighbour, from 1.
    """
    top = similarity.topk(min(k + _SPARE, len(bank)), dim=1)
    # Rounding errors of sums of F terms: Higham & Mary, "A New Approach to Probabilistic Rounding Error
    # Analysis", SIAM Journal on Scientific Computing 2019.
    error = (x.shape[1] ** 0.5 + 4) * torch.finfo(torch.float32).eps  # lengths are rounded too
    kth = top.values[:, k - 1 : k]
    unclear = (top.values - kth).abs() <= error
    distance = torch.where(top.values > kth, -torch.inf, torch.inf).double()
    case, place = unclear.nonzero(as_tuple=True)
    distance[case, place] = _differences(x, bank, case, top.indices[case, place])
    found = distance.kthvalue(k, dim=1).values
    # More may be unclear than are among the candidates, such as copies of one image: then compare all.
    many = unclear[:, -1] & (len(bank) > top.values.shape[1])
    if many.any():
        exact = bank.double()
        square = squared_length(exact) - 2 * (x[many].double() @ exact.T)
        neighbour = square.kthvalue(k, dim=1).indices
        found[many] = _differences(x[many], bank, torch.arange(len(square), device=x.device), neighbour)
    return torch.where(kth[:, 0].isnan(), torch.nan, found)


def _differences(x: Tensor, bank: Tensor, case: Tensor, neighbour: Tensor) -> Tensor:
    """Return the distance (p,) float64 of pairs."""
    pieces = (slice(first, first + 256) for first in range(0, max(1, len(case)), 256))
    return torch.cat(
        [
            torch.linalg.vector_norm(x[case[rows]] - bank[neighbour[rows]], dim=1, dtype=torch.float64)
            for rows in pieces
        ]
    )


NEIGHBOURS = Fit(
    name="neighbours",
    needs=("training_features", "training_logits"),
    reads=("features",),
    gives=("neighbour_distance", "neighbour_guidance"),
    fit=_fit,
    derive=_derive,
)
"""Distance to the k-th nearest training case, and similarity to the nearest ones, weighted by their energy.

All features are divided by their length; training cases without any are left out, and a case without any
has the distance 1 from all. Distance, k = min(50, cases in the bank): Sun et al., "Out-of-Distribution
Detection with Deep Nearest Neighbors", ICML 2022. Guidance, the mean of the 10 largest energy_i cos(x,
x_i): Park et al., "Nearest Neighbor Guidance for Out-of-Distribution Detection", ICCV 2023. Of more than
`BANK` training cases a fixed random sample is the bank, as in both papers for large data. Both are within
1e-6 of float64.
"""
