"""What the scores of a run are fitted to: its training and validation cases, and the network's last layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_sf.networks import ConfidenceClassifier
from monai_sf.results import Results
from monai_sf.scores import FittedScores, fit_scores, fits_for
from monai_sf.vocabulary.reference import REFERENCE_ARRAYS

logger = logging.getLogger(__name__)


def needs_training_cases(method: str | None, has_validation_cases: bool) -> bool:
    """Return whether a score that applies to networks of a method is fitted to the training cases.

    Args:
        method: as for :func:`monai_sf.scores.csfs_for`.
        has_validation_cases: whether there are some, to which some scores are fitted instead.
    """
    kinds = ("validation_", "last_layer_") if has_validation_cases else ("last_layer_",)
    others = [name for name in REFERENCE_ARRAYS if name.startswith(kinds)]
    with_training = [*others, *(name for name in REFERENCE_ARRAYS if name.startswith("training_"))]
    return any(
        fit.is_possible_with(with_training) and not fit.is_possible_with(others)
        for fit in fits_for(method).values()
    )


def fit_to_outputs(
    network: ConfidenceClassifier, parts: Mapping[str, tuple[Results, str]], method: str | None
) -> FittedScores:
    """Fit the scores of a run to the outputs of its training and validation cases.

    Features stay memory maps, which fits read in blocks of a fixed size.

    Args:
        network: whose outputs they are.
        parts: "training" and "validation", as far as there are such cases, to results and the name of their
            test set.
        method: as for :func:`monai_sf.scores.csfs_for`.
    """
    last = network.head[-1]
    assert isinstance(last, nn.Linear)
    bias = torch.zeros(last.out_features) if last.bias is None else last.bias
    reference: dict[str, NDArray[Any]] = {
        "last_layer_weight": _float32(last.weight),
        "last_layer_bias": _float32(bias),
    }
    for part, (results, test_set) in parts.items():
        arrays = results.test_sets[test_set].arrays
        reference |= {f"{part}_{name}": arrays[name] for name in ("features", "logits")}
        reference[f"{part}_labels"] = results.labels_of(test_set)
    if names := ", ".join(fits_for(method)):
        sizes = " and ".join(f"{len(reference[f'{part}_labels'])} {part} cases" for part in parts)
        logger.info("fitting scores (%s) to %s", names, sizes or "the last layer")
    fitted = fit_scores(reference, method)
    for name, reason in fitted.failed.items():
        logger.warning("scores of %s cannot be fitted: %s", name, reason)
    return fitted


def _float32(weights: Tensor) -> NDArray[np.float32]:
    return weights.detach().cpu().float().numpy()
