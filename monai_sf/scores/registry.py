"""Confidence scoring functions (CSFs): how sure a classifier is, from its network's outputs.

Confidence is always *higher = more sure*, so entropies are negated in `CSFS`. Everything is computed in
float64 from logits, in log space: a float32 softmax rounds every confident case to exactly 1, creating ties
that the logits do not have, and ties change the area under the risk-coverage curve. Even a float64 softmax
does so for logit gaps above 37. Cases are therefore ranked by ``log p``, which distinguishes gaps up to 745,
the limit of float64.

The nine scores of the benchmark follow Bungert et al., "Understanding Silent Failures in Medical Image
Classification", MICCAI 2023. `CSFS` holds them in that paper's order, followed by post-hoc scores that need
only the logits or the dropout samples, and by those that other packages register.

The functions take torch tensors or NumPy arrays of any real type (read-only memory maps included) and return
float64 tensors on the device of their input. A NaN in a case's logits gives a NaN for that case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from monai_sf.scores.functions import (
    ArrayLike,
    as_float64,
    deep_gamblers_confidence,
    energy,
    entropy_of_log_probabilities,
    learned_confidence,
    log_probabilities_of,
    log_softmax,
    logit_margin,
    max_logit,
    max_logit_p_norm,
    predictive_entropy,
)
from monai_sf.vocabulary.methods import METHODS
from monai_sf.vocabulary.registry import Registry

Arrays: TypeAlias = Mapping[str, ArrayLike]


@dataclass(frozen=True)
class CSF:
    """One confidence scoring function, with the arrays that it needs.

    Attributes:
        name: The abbreviation, also the column name in tables and reports.
        needs: Names of the stored arrays that `confidence` reads: those of `monai_sf.results.ARRAYS`, or of a
            method's heads.
        confidence: From a mapping with these arrays, each with N cases, to (N,) float64; higher = more sure.
        description: One line for the reader of a report.
        prediction: The array whose argmax is the predicted class that this confidence refers to.
        method: Name of the training method that this score requires; None for any network.
        scale: How to show the number: "log_probability" (show its exponential), "nats" or "raw".
    """

    name: str
    needs: tuple[str, ...]
    confidence: Callable[[Arrays], Tensor]
    description: str = ""
    prediction: Literal["logits", "mcd_log_softmax"] = "logits"
    method: str | None = None
    scale: Literal["log_probability", "nats", "raw"] = "raw"

    def __call__(self, arrays: Arrays) -> Tensor:
        """Return the confidence of every case, checked.

        Args:
            arrays: At least those of `needs`, of N cases each.

        Returns:
            (N,) float64, higher = more sure.

        Raises:
            ValueError: The score's function returned anything but one number per case.
        """
        confidence = torch.as_tensor(self.confidence(arrays), dtype=torch.float64)
        count = len(arrays[self.needs[0]])
        if confidence.shape != (count,):
            raise ValueError(
                f"the score {self.name} must return one number per case, ({count},), got shape "
                f"{tuple(confidence.shape)}"
            )
        return confidence

    def __reduce__(self) -> Any:
        """Pickle a registered score by its name, since its function may not be picklable."""
        return (_csf, (self.name,)) if CSFS.get(self.name) is self else super().__reduce__()


def _csf(name: str) -> CSF:
    return CSFS[name]


def _mcd_predictive_entropy(arrays: Arrays) -> Tensor:
    return entropy_of_log_probabilities(log_probabilities_of(arrays["mcd_log_softmax"], "mcd_log_softmax"))


def _mcd_mutual_information(arrays: Arrays) -> Tensor:
    return as_float64(arrays["mcd_entropy"], "mcd_entropy") - _mcd_predictive_entropy(arrays)


def _mcd_log_response(arrays: Arrays) -> Tensor:
    # Not normalised again: the stored float32 values do not sum to exactly 1, and the correction would swamp
    # a log-probability of -1e-20, which float32 itself can represent.
    return log_probabilities_of(arrays["mcd_log_softmax"], "mcd_log_softmax").amax(dim=-1)


_ENTRIES = (
    CSF(
        "MSR",
        ("logits",),
        lambda a: log_softmax(a["logits"]).amax(dim=-1),
        "Probability that the model gives to its own answer.",
        scale="log_probability",
    ),
    CSF(
        "PE",
        ("logits",),
        lambda a: -predictive_entropy(a["logits"]),
        "How little the model's probability is spread over the classes (negative entropy).",
        scale="nats",
    ),
    CSF(
        "MCD-MSR",
        ("mcd_log_softmax",),
        _mcd_log_response,
        "Probability of the answer, averaged over repeated runs with random parts of the model switched off.",
        prediction="mcd_log_softmax",
        scale="log_probability",
    ),
    CSF(
        "MCD-PE",
        ("mcd_log_softmax",),
        lambda a: -_mcd_predictive_entropy(a),
        "How little the averaged probability of repeated runs is spread over the classes (negative entropy).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
    CSF(
        "MCD-EE",
        ("mcd_entropy",),
        lambda a: -as_float64(a["mcd_entropy"], "mcd_entropy"),
        "How little each of the repeated runs spreads its probability, on average (negative entropy).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
    CSF(
        "ConfidNet",
        ("confidence_logit",),
        lambda a: learned_confidence(a["confidence_logit"]),
        "A second network's estimate of the probability that the model gives to the true class.",
        method="confidnet",
        scale="log_probability",
    ),
    CSF(
        "DG-MCD-MSR",
        # The reservation logit is not read, but distinguishes a Deep Gamblers network from any other.
        ("mcd_log_softmax", "reservation_logit"),
        _mcd_log_response,
        "Probability of the answer over repeated runs, for a model trained with the option to abstain.",
        prediction="mcd_log_softmax",
        method="deepgamblers",
        scale="log_probability",
    ),
    CSF(
        "DG-RES",
        ("logits", "reservation_logit"),
        lambda a: deep_gamblers_confidence(a["logits"], a["reservation_logit"]),
        "Probability that the model does not choose to abstain.",
        method="deepgamblers",
        scale="log_probability",
    ),
    CSF(
        "DeVries",
        ("confidence_logit",),
        lambda a: learned_confidence(a["confidence_logit"]),
        "Confidence that the model learned to state by asking for hints in training.",
        method="devries",
        scale="log_probability",
    ),
    CSF(
        "MCD-MI",
        ("mcd_log_softmax", "mcd_entropy"),
        _mcd_mutual_information,
        "How much the repeated runs agree with each other (negative mutual information).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
    CSF(
        "MaxLogit",
        ("logits",),
        lambda a: max_logit(a["logits"]),
        "Strength of the evidence for the answer, before it is turned into a probability.",
    ),
    CSF(
        "Energy",
        ("logits",),
        lambda a: energy(a["logits"]),
        "Strength of the evidence for all classes together (negative free energy).",
    ),
    CSF(
        "Margin",
        ("logits",),
        lambda a: logit_margin(a["logits"]),
        "How far the answer lies ahead of the second choice (logits).",
    ),
    CSF(
        "MaxLogit-pNorm",
        ("logits",),
        lambda a: max_logit_p_norm(a["logits"]),
        "How much the answer stands out from the other classes, at any overall strength; constant for two.",
    ),
)

CSFS = Registry(
    CSF,
    "monai_sf.scores",
    _ENTRIES,
    taken=("case_id", "prediction", "class", "defer"),  # the other columns of a table of predictions
)
"""Every registered score by its abbreviation: the paper's nine, further ones, those of other packages."""

PAPER_CSFS: tuple[str, ...] = tuple(csf.name for csf in _ENTRIES[:9])
"""The scores of the paper, in the order of its table."""


def register_csf(csf: CSF) -> CSF:
    """Register a score for evaluation, tables, reports, inference and ``Results.from_arrays``.

    This affects the running process. An entry point of the group ``monai_sf.scores`` that names the object
    registers it in every process, including those of the benchmark's tasks.

    Raises:
        TypeError: It is not a `CSF`.
        ValueError: Another score has its name, or the name is not valid for a column.
    """
    return CSFS.register(csf)


def usual_csfs() -> tuple[str, ...]:
    """Return the scores that tables show by default: the paper's and those of other packages."""
    extras = {csf.name for csf in _ENTRIES[9:]}
    return tuple(name for name in CSFS if name not in extras)


def csfs_for(method: str | None, available: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the CSFs that apply to a run, in the order of `CSFS`.

    As in the paper, a Deep Gamblers or DeVries network has its own scores only, and the scores of any network
    are taken from the classifier of the ConfidNet run.

    Args:
        method: One of `monai_sf.vocabulary.methods.METHODS`. For any other, such as that of a custom bundle,
            and for None, all scores that can be computed apply.
        available: Names of the available arrays.
    """
    there = set(available)
    known = METHODS.get(method or "")

    def judges(csf: CSF) -> bool:
        if known is None or csf.method == known.name:
            return True
        return csf.method is None if known.scores is None else csf.name in known.scores

    return tuple(name for name, csf in CSFS.items() if judges(csf) and there.issuperset(csf.needs))


def needs_dropout_samples(method: str | None) -> bool:
    """Return whether networks of a method need MC-dropout samples, because a score of theirs reads them.

    Args:
        method: As for `csfs_for`.
    """
    known = METHODS.get(method or "")
    if known is not None and not known.dropout_samples:
        return False
    everything = {array for csf in CSFS.values() for array in csf.needs}
    scores = csfs_for(method, everything)
    return any(array.startswith("mcd_") for name in scores for array in CSFS[name].needs)


def deciding_csf(method: str | None) -> str:
    """Return the name of the CSF by which an inference defers cases by default.

    Args:
        method: As for `csfs_for`.
    """
    known = METHODS.get(method or "")
    return "MSR" if known is None else known.decides
