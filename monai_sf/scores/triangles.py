"""Products with triangular matrices and symmetric products, at about half the cost of full ones.

PyTorch has neither BLAS's ``trmm`` nor ``syrk``; few large products of a triangle's block rows come close.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

#: Number of block rows of a triangle: of K, a share of (1 + 1 / K) / 2 of the full product is computed.
_BLOCK_ROWS = 8
_SMALLEST = 128


def times_lower(x: Tensor, lower: Tensor) -> Tensor:
    """Return ``x @ lower.T`` for a lower triangular matrix.

    Args:
        x: (n, F).
        lower: (F, F), zero above its diagonal.
    """
    product = x.new_empty(x.shape)
    for first, last in _block_rows(len(lower)):
        torch.mm(x[:, :last], lower[first:last, :last].T, out=product[:, first:last])
    return product


def add_gram(total: Tensor, x: Tensor) -> None:
    """Add ``x.T @ x`` to the lower triangle of ``total``; what is above the diagonal has no meaning.

    Args:
        total: (F, F), changed in place.
        x: (n, F).
    """
    for first, last in _block_rows(len(total)):
        total[first:last, :last].addmm_(x[:, first:last].T, x[:, :last])


def both_triangles(total: Tensor) -> None:
    """Copy the lower triangle of a matrix (F, F) onto its upper one, in place."""
    for first, last in _block_rows(len(total)):
        total[:first, first:last] = total[first:last, :first].T
        diagonal = total[first:last, first:last]
        diagonal.copy_(diagonal.tril() + diagonal.tril(-1).T)


def _block_rows(size: int) -> Iterator[tuple[int, int]]:
    step = max(_SMALLEST, -(-size // _BLOCK_ROWS))
    for first in range(0, size, step):
        yield first, min(first + step, size)
