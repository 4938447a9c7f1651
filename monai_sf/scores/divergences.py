"""Scores of the softmax as functions of log-probabilities: power sums, divergences, learned quadratic forms.

A probability near 1 rounds, its distance from 1 does not: all functions are sums of terms of one sign in
``log p`` and ``log (1 - p)``, so that confident cases do not tie.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def log_odds(logits: Tensor) -> Tensor:
    """Return ``log p - log(1 - p)`` (...,) of the largest class of logits (..., C), C >= 2.

    It ranks as the softmax response does, but keeps confident cases apart whatever the gap of their logits.
    """
    top = logits.argmax(dim=-1, keepdim=True)
    others = logits.scatter(-1, top, -torch.inf).logsumexp(dim=-1)
    return logits.gather(-1, top)[..., 0] - others


def log_complement(log_p: Tensor) -> Tensor:
    """Return ``log(1 - p)`` (..., C) of log-probabilities (..., C), exact for the largest class too."""
    top = log_p.argmax(dim=-1, keepdim=True)
    others = log_p.scatter(-1, top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return (-log_p.exp()).log1p().scatter(-1, top, others)


def doctor_ratio(log_p: Tensor) -> Tensor:
    """Return ``(1 - g) / g`` with ``g = sum of p^2`` (D-alpha); higher = less sure.

    Granese et al., "DOCTOR: A Simple Method for Detecting Misclassification Errors", NeurIPS 2021, eq. 9.
    ``1 - g`` is computed as ``sum of p (1 - p)``.

    Args:
        log_p: (..., C) log-probabilities.

    Returns:
        (...) in [0, C - 1].
    """
    return (log_p + log_complement(log_p)).exp().sum(dim=-1) / (2 * log_p).exp().sum(dim=-1)


def generalized_entropy(log_p: Tensor, *, gamma: float = 0.1, largest: int = 100) -> Tensor:
    """Return ``sum of (p (1 - p))^gamma`` over the largest probabilities (GEN); higher = less sure.

    Liu et al., "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection", CVPR 2023, with its
    values for ImageNet. Up to 100 classes, all are summed.

    Args:
        log_p: (..., C) log-probabilities.
        gamma: exponent, in (0, 1).
        largest: M, number of classes in the sum.

    Returns:
        (...) in [0, min(C, M) / 4^gamma].
    """
    # The largest p need not be the largest terms, which fall again above p = 1/2.
    chosen = log_p.topk(min(largest, log_p.shape[-1]), dim=-1).indices
    return (gamma * (log_p + log_complement(log_p)).gather(-1, chosen)).exp().sum(dim=-1)


def typical_log_probabilities(blocks: Iterable[tuple[Tensor, Tensor]], classes: int) -> Tensor:
    """Return the log of the mean softmax of the cases predicted as each class that is predicted at all.

    Args:
        blocks: log-probabilities (n, C) and predicted classes (n,) of blocks of cases.
        classes: C.

    Returns:
        (K, C), one row per class that occurs, K >= 1 if there is any case.
    """
    total = torch.full((classes, classes), -torch.inf, dtype=torch.float64)
    count = torch.zeros(classes, dtype=torch.int64)
    for log_p, predicted in blocks:
        here = torch.bincount(predicted, minlength=classes)
        count += here
        for k in here.nonzero().flatten().tolist():
            total[k] = torch.logaddexp(total[k], log_p[predicted == k].logsumexp(dim=0))
    occurs = count > 0
    return total[occurs] - count[occurs, None].double().log()


def closest_divergence(log_p: Tensor, typical: Tensor) -> Tensor:
    """Return ``min over k of KL(p || d_k)`` (n,) in nats; higher = less sure.

    Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022, section 4.

    Args:
        log_p: (n, C) log-probabilities.
        typical: (K, C) log-probabilities d_k, finite.
    """
    p = log_p.exp()
    own = torch.where(p > 0, p * log_p, p).sum(dim=-1)
    return (own[:, None] - p @ typical.T).amin(dim=-1).clamp(min=0)


def relative_uncertainty_matrix(blocks: Iterable[tuple[Tensor, Tensor]], classes: int) -> Tensor:
    """Return the matrix D of Rel-U, which weighs the confusion of every two classes.

    Dadalto et al., "A Data-Driven Measure of Relative Uncertainty for Misclassification Detection", ICLR
    2024, proposition 1: of all symmetric D >= 0 with diagonal 0 and a fixed norm, the one that minimises
    ``(1 - lambda) E[p' D p | right] - lambda E[p' D p | wrong]``. The objective is linear in D, so D is the
    positive part of ``lambda E[p p' | wrong] - (1 - lambda) E[p p' | right]`` off the diagonal, with lambda =
    0.5 and norm 1. Without an error, or if no entry is positive, every two classes weigh the same (as in the
    authors' code), which makes Rel-U the Gini index and its ranking that of DOCTOR.

    Args:
        blocks: probabilities (n, C) and whether the prediction is wrong (n,) of blocks of cases.
        classes: C.

    Returns:
        (C, C) float64, symmetric, >= 0, Frobenius norm 1.
    """
    products = torch.zeros(2, classes, classes, dtype=torch.float64)
    counts = torch.zeros(2, dtype=torch.float64)
    for p, wrong in blocks:
        for index, chosen in enumerate((p[~wrong], p[wrong])):
            products[index] += chosen.T @ chosen
            counts[index] += len(chosen)
    of_right, of_wrong = products / counts.clamp(min=1)[:, None, None]
    difference = (of_wrong - of_right).fill_diagonal_(0)
    # Less is rounding, which the norm would blow up.
    weights = torch.where(difference > 1e-12 * of_wrong, difference, 0.0)
    if counts[1] == 0 or not bool((weights > 0).any()):
        weights = torch.ones(classes, classes, dtype=torch.float64).fill_diagonal_(0)
    weights = (weights + weights.T) / 2  # equal but for rounding
    norm: Tensor = weights.square().sum().sqrt()
    return weights / norm


def relative_uncertainty(log_p: Tensor, weights: Tensor) -> Tensor:
    """Return ``p' D p`` (n,); higher = less sure.

    Args:
        log_p: (n, C) log-probabilities.
        weights: D (C, C), >= 0, with diagonal 0: no term is near 1, so the sum keeps confident cases apart.
    """
    p = log_p.exp()
    return ((p @ weights) * p).sum(dim=-1)
