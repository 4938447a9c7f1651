"""Confidence scoring functions (CSFs): how sure a classifier is, from what its network put out.

Confidence is always *higher = more sure*, so entropies are negated in `CSFS`. Everything is computed in
float64 from logits, in log space: a float32 softmax rounds every confident case to exactly 1 and so makes
ties that the logits do not have, and ties change the area under the risk-coverage curve. Even a float64
softmax does so for logit gaps above 37. What ranks cases here is therefore ``log p``, which keeps gaps apart
up to 745, where float64 ends.

The nine scores of the benchmark follow Bungert et al., "Understanding Silent Failures in Medical Image
Classification", MICCAI 2023. `CSFS` holds them in that paper's order, followed by post-hoc scores that need
nothing but the logits or the dropout samples.

The functions take torch tensors or NumPy arrays of any real type (read-only memory maps included) and return
float64 tensors on the device of their input. A NaN in a case's logits gives a NaN for that case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from torch import Tensor

from monai_sf.scores.functions import (
    ArrayLike,
    as_float64,
    deep_gamblers_confidence,
    energy,
    entropy_of_log_probabilities,
    expected_entropy,
    learned_confidence,
    log_probabilities_of,
    log_softmax,
    logit_margin,
    max_logit,
    max_logit_p_norm,
    maximum_softmax_response,
    mean_log_softmax,
    mutual_information,
    predictive_entropy,
)
from monai_sf.vocabulary.methods import METHODS

__all__ = [
    "CSF",
    "CSFS",
    "PAPER_CSFS",
    "csfs_for",
    "deep_gamblers_confidence",
    "energy",
    "expected_entropy",
    "learned_confidence",
    "log_softmax",
    "logit_margin",
    "max_logit",
    "max_logit_p_norm",
    "maximum_softmax_response",
    "mean_log_softmax",
    "mutual_information",
    "needs_dropout_samples",
    "predictive_entropy",
]


Arrays: TypeAlias = Mapping[str, ArrayLike]
Scale: TypeAlias = Literal["log_probability", "nats", "raw"]


@dataclass(frozen=True)
class CSF:
    """One confidence scoring function: what it needs and how it is computed.

    Attributes:
        name: The abbreviation, also the column name in tables and reports.
        needs: Names of the stored arrays that `confidence` reads.
        confidence: From a mapping that holds those arrays, each with N cases, to (N,) float64; higher = more
            sure.
        prediction: The array whose argmax is the predicted class that this confidence speaks of.
        method: The way of training that a network must have had for this score; None for any network.
        scale: How to show the number: "log_probability" (show its exponential), "nats" or "raw".
        description: One line for the reader of a report.
    """

    name: str
    needs: tuple[str, ...]
    confidence: Callable[[Arrays], Tensor]
    prediction: Literal["logits", "mcd_log_softmax"]
    method: Literal["confidnet", "deepgamblers", "devries"] | None
    scale: Scale
    description: str

    def __reduce__(self) -> Any:
        """Pickle the scores of `CSFS` by their name, since their functions have none."""
        return (_csf, (self.name,)) if CSFS.get(self.name) is self else super().__reduce__()


def _csf(name: str) -> CSF:
    return CSFS[name]


def _mcd_mutual_information(arrays: Arrays) -> Tensor:
    entropy = as_float64(arrays["mcd_entropy"], "mcd_entropy")
    return entropy - entropy_of_log_probabilities(
        log_probabilities_of(arrays["mcd_log_softmax"], "mcd_log_softmax")
    )


def _mcd_log_response(arrays: Arrays) -> Tensor:
    # Not normalised again: the stored float32 values do not add up to exactly 1, and the correction would
    # swamp a log-probability of -1e-20 that float32 itself holds perfectly well.
    return log_probabilities_of(arrays["mcd_log_softmax"], "mcd_log_softmax").amax(dim=-1)


_ENTRIES = (
    CSF(
        "MSR",
        ("logits",),
        lambda a: log_softmax(a["logits"]).amax(dim=-1),
        "logits",
        None,
        "log_probability",
        "Probability that the model gives to its own answer.",
    ),
    CSF(
        "PE",
        ("logits",),
        lambda a: -predictive_entropy(a["logits"]),
        "logits",
        None,
        "nats",
        "How little the model's probability is spread over the classes (negative entropy).",
    ),
    CSF(
        "MCD-MSR",
        ("mcd_log_softmax",),
        _mcd_log_response,
        "mcd_log_softmax",
        None,
        "log_probability",
        "Probability of the answer, averaged over repeated runs with random parts of the model switched off.",
    ),
    CSF(
        "MCD-PE",
        ("mcd_log_softmax",),
        lambda a: (
            -entropy_of_log_probabilities(log_probabilities_of(a["mcd_log_softmax"], "mcd_log_softmax"))
        ),
        "mcd_log_softmax",
        None,
        "nats",
        "How little the averaged probability of repeated runs is spread over the classes (negative entropy).",
    ),
    CSF(
        "MCD-EE",
        ("mcd_entropy",),
        lambda a: -as_float64(a["mcd_entropy"], "mcd_entropy"),
        "mcd_log_softmax",
        None,
        "nats",
        "How little each of the repeated runs spreads its probability, on average (negative entropy).",
    ),
    CSF(
        "ConfidNet",
        ("confidence_logit",),
        lambda a: learned_confidence(a["confidence_logit"]),
        "logits",
        "confidnet",
        "log_probability",
        "A second network's estimate of the probability that the model gives to the true class.",
    ),
    CSF(
        "DG-MCD-MSR",
        # The reservation logit is not read: it is what tells a Deep Gamblers network from any other.
        ("mcd_log_softmax", "reservation_logit"),
        _mcd_log_response,
        "mcd_log_softmax",
        "deepgamblers",
        "log_probability",
        "Probability of the answer over repeated runs, for a model trained with the option to abstain.",
    ),
    CSF(
        "DG-RES",
        ("logits", "reservation_logit"),
        lambda a: deep_gamblers_confidence(a["logits"], a["reservation_logit"]),
        "logits",
        "deepgamblers",
        "log_probability",
        "Probability that the model does not choose to abstain.",
    ),
    CSF(
        "DeVries",
        ("confidence_logit",),
        lambda a: learned_confidence(a["confidence_logit"]),
        "logits",
        "devries",
        "log_probability",
        "Confidence that the model learned to state by asking for hints in training.",
    ),
    CSF(
        "MCD-MI",
        ("mcd_log_softmax", "mcd_entropy"),
        _mcd_mutual_information,
        "mcd_log_softmax",
        None,
        "nats",
        "How much the repeated runs agree with each other (negative mutual information).",
    ),
    CSF(
        "MaxLogit",
        ("logits",),
        lambda a: max_logit(a["logits"]),
        "logits",
        None,
        "raw",
        "Strength of the evidence for the answer, before it is turned into a probability.",
    ),
    CSF(
        "Energy",
        ("logits",),
        lambda a: energy(a["logits"]),
        "logits",
        None,
        "raw",
        "Strength of the evidence for all classes together (negative free energy).",
    ),
    CSF(
        "Margin",
        ("logits",),
        lambda a: logit_margin(a["logits"]),
        "logits",
        None,
        "raw",
        "How far the answer lies ahead of the second choice (logits).",
    ),
    CSF(
        "MaxLogit-pNorm",
        ("logits",),
        lambda a: max_logit_p_norm(a["logits"]),
        "logits",
        None,
        "raw",
        "How much the answer stands out from the other classes, at any overall strength; constant for two.",
    ),
)

CSFS: Mapping[str, CSF] = MappingProxyType({csf.name: csf for csf in _ENTRIES})
"""Every confidence scoring function by its abbreviation: the paper's nine in its order, then the others."""

PAPER_CSFS: tuple[str, ...] = tuple(CSFS)[:9]
"""The scores of the paper, in the order of its table."""


def csfs_for(method: str | None, available: Iterable[str]) -> tuple[str, ...]:
    """Names of the CSFs that a run can be judged by, in the order of `CSFS`.

    As in the paper, a Deep Gamblers or DeVries network is judged by its own scores only, and the scores that
    any network has are taken from the classifier of the ConfidNet run.

    Args:
        method: One of `monai_sf.vocabulary.methods.METHODS`. Any other, such as that of a bundle of one's
            own, and None are ways of training that are not known here: everything that can be computed.
        available: Names of the arrays that are there.
    """
    there = set(available)
    judges = METHODS.get(method or "", (None, *METHODS))
    return tuple(name for name, csf in CSFS.items() if csf.method in judges and there.issuperset(csf.needs))


def needs_dropout_samples(method: str | None) -> bool:
    """Whether any score of this way of training reads MC-dropout outputs; if none does, they can be spared.

    Args:
        method: As for `csfs_for`.
    """
    everything = {array for csf in CSFS.values() for array in csf.needs}
    scores = csfs_for(method, everything)
    return any(array.startswith("mcd_") for name in scores for array in CSFS[name].needs)
