"""Scores of a stored mean softmax: of dropout samples, of an image's views or of an ensemble's networks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from monai_sf.scores.csf import Arrays
from monai_sf.scores.functions import as_float64, entropy_of_log_probabilities, log_probabilities_of


def log_response(mean: str) -> Callable[[Arrays], Tensor]:
    """Return the score: log-probability of the class that the stored array ``mean`` predicts."""
    # Not normalised again: the stored float32 values do not sum to exactly 1, and the correction would swamp
    # a log-probability of -1e-20, which float32 itself can represent.
    return lambda arrays: log_probabilities_of(arrays[mean], mean).amax(dim=-1)


def predictive_entropy_of(mean: str) -> Callable[[Arrays], Tensor]:
    """Return the score: negative entropy in nats of the stored array ``mean``."""
    return lambda arrays: -entropy_of_log_probabilities(log_probabilities_of(arrays[mean], mean))


def mutual_information_of(mean: str, entropy: str) -> Callable[[Arrays], Tensor]:
    """Return the score: mean of the passes' entropies minus the entropy of their mean, in nats."""
    of_mean = predictive_entropy_of(mean)
    return lambda arrays: as_float64(arrays[entropy], entropy) + of_mean(arrays)


def negative(name: str) -> Callable[[Arrays], Tensor]:
    """Return the score: the stored array of that name, where higher means less sure, negated."""
    return lambda arrays: -as_float64(arrays[name], name)
