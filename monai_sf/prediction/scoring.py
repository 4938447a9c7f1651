"""From the outputs of a network to classes, probabilities, confidences, and what is deferred."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.inferers import EnsembleInferer
from monai_sf.scores import CSFS, csfs_for, derivable, derived, fits_for, log_softmax


@dataclass(frozen=True)
class Scored:
    """The answers for N cases, of which M have one.

    Attributes:
        answered: (N,) booleans; false where the outputs are NaN or infinite. The other arrays leave these
            cases out.
        classes: (M,) int64, the predicted classes.
        probabilities: (M, C) float64, of which ``classes`` are the largest.
        confidences: name of every applicable score to (M,) float64; a probability where the score is the
            logarithm of one, NaN where it is undefined.
        deferred: (M,) booleans; all false if no score decides.
    """

    answered: NDArray[np.bool_]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    confidences: Mapping[str, NDArray[np.float64]]
    deferred: NDArray[np.bool_]


def joined(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the outputs of several batches as those of one, on the CPU, where an evaluation is scored.

    A given network whose outputs are not finite for a whole batch may not know its features yet; these are
    NaN then.
    """
    rows = [len(next(iter(batch.values()))) for batch in batches]
    known = {name: array for batch in batches for name, array in batch.items()}
    return {
        name: torch.cat(
            [
                (batch[name] if name in batch else one.new_full((count, *one.shape[1:]), math.nan)).cpu()
                for batch, count in zip(batches, rows, strict=True)
            ]
        )
        for name, one in known.items()
    }


def scored(
    outputs: Mapping[str, Tensor],
    *,
    method: str,
    csf: str | None,
    threshold: float,
    fitted: Mapping[str, NDArray[Any]],
) -> Scored:
    """Return the answers for cases, from the outputs of their network or ensemble.

    Args:
        outputs: of an inferer, see :mod:`monai_sf.inferers`, N cases each.
        method: the network's training method, see :func:`monai_sf.scores.csfs_for`.
        csf: the confidence score that decides what to defer, and from which passes the class is predicted;
            None for no decision.
        threshold: cases with a lower confidence, or with none, are deferred; not used without ``csf``.
        fitted: what scores were fitted to, ``<fit>.<array>`` to the array; scores without theirs are left
            out.

    Raises:
        ValueError: ``csf`` needs arrays that are neither among the outputs nor can be derived; names them.
    """
    main = "logits" if "logits" in outputs else EnsembleInferer.mean
    good = outputs[main].isfinite().all(1)  # the argmax of NaN is class 0, which looks like an answer
    answered = good.cpu().numpy()
    if not answered.any():  # fits need a case
        nothing = np.zeros(0, bool)
        return Scored(answered, np.zeros(0, int), np.zeros((0, outputs[main].shape[1])), {}, nothing)
    arrays = {name: array[good] for name, array in outputs.items()}
    for fit in fits_for(method).values():
        if derivable(arrays, fitted).issuperset(fit.gives):
            arrays |= derived(fit, arrays, fitted)
    needed = {*CSFS[csf].needs, CSFS[csf].prediction} if csf is not None else set()
    if missing := sorted(needed.difference(arrays)):
        raise ValueError(
            f"{csf} needs the arrays {', '.join(missing)}, which are not computed: name another csf"
        )
    predicted = arrays[CSFS[csf].prediction if csf is not None else main]
    deferred = np.zeros(len(predicted), bool)
    if csf is not None:
        deferred = (~(CSFS[csf](arrays) >= threshold)).cpu().numpy()  # NaN counts as unsure
    return Scored(
        answered,
        predicted.argmax(1).cpu().numpy(),
        log_softmax(predicted).exp().cpu().numpy(),
        {name: _shown(name, arrays) for name in csfs_for(method, arrays)},
        deferred,
    )


def _shown(name: str, arrays: Mapping[str, Tensor]) -> NDArray[np.float64]:
    confidence = CSFS[name](arrays)
    shown = confidence.exp() if CSFS[name].scale == "log_probability" else confidence
    found: NDArray[np.float64] = shown.cpu().numpy()
    return found
