"""What the scores of a run are fitted to: its training and validation cases, and the network's last layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.networks import Classifier
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
    network: Classifier, parts: Mapping[str, tuple[Results, str]], method: str | None
) -> FittedScores:
    """Fit the scores of a run to the outputs of its training and validation cases.

    Features stay memory maps, which fits read in blocks of a fixed size.

    Args:
        network: whose outputs they are.
        parts: "training" and "validation", as far as there are such cases, to results and the name of their
            test set.
        method: as for :func:`monai_sf.scores.csfs_for`.
    """
    reference: dict[str, NDArray[Any]] = {}
    if (last := network.last_layer()) is not None:
        reference = {
            f"last_layer_{name}": _float32(w) for name, w in zip(("weight", "bias"), last, strict=True)
        }
    for part, (results, test_set) in parts.items():
        arrays = results.test_sets[test_set].arrays
        reference |= {f"{part}_{name}": arrays[name] for name in ("features", "logits") if name in arrays}
        reference[f"{part}_labels"] = results.labels_of(test_set)
    if names := ", ".join(fits_for(method)):
        sizes = " and ".join(f"{len(reference[f'{part}_labels'])} {part} cases" for part in parts)
        logger.info("fitting scores (%s) to %s", names, sizes or "the last layer")
    fitted = fit_scores(reference, method)
    failed = {**fitted.failed, **_unknown(network, last is not None, method)}
    for name, reason in failed.items():
        logger.warning("scores of %s cannot be fitted: %s", name, reason)
    return FittedScores(fitted.arrays, failed)


def _unknown(network: Classifier, has_last_layer: bool, method: str | None) -> dict[str, str]:
    """Return the fits for which the network does not tell enough, with the reason."""
    features = [name for name in REFERENCE_ARRAYS if name.endswith("_features")]
    last_layer = [name for name in REFERENCE_ARRAYS if name.startswith("last_layer_")]
    if network.features_missing:
        lost, reason = {*features, *last_layer}, f"the network has no features: {network.features_missing}"
    elif not has_last_layer:
        lost, reason = (
            {*last_layer},
            "no linear layer gives the network's logits, as they are, from its features",
        )
    else:
        return {}
    known = REFERENCE_ARRAYS.keys() - lost
    return {
        name: reason
        for name, fit in fits_for(method).items()
        if not fit.is_possible_with(known) or (network.features_missing and "features" in fit.reads)
    }


def _float32(weights: Tensor) -> NDArray[np.float32]:
    return weights.detach().cpu().float().numpy()
