"""Further scores of dropout samples and of other repeated passes over a case."""

from __future__ import annotations

from monai_sf.scores.csf import CSF
from monai_sf.scores.functions import as_float64
from monai_sf.scores.of_means import log_response, mutual_information_of, negative, predictive_entropy_of

OF_SAMPLES: tuple[CSF, ...] = (
    CSF(
        "MCD-MI",
        ("mcd_log_softmax", "mcd_entropy"),
        mutual_information_of("mcd_log_softmax", "mcd_entropy"),
        "How much the repeated runs agree with each other (negative mutual information).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
    CSF(
        "MCD-SV",
        ("mcd_softmax_variance",),
        negative("mcd_softmax_variance"),
        "How little the probabilities differ between repeated runs (negative variance).",
        prediction="mcd_log_softmax",
    ),
    CSF(
        "MCD-WAIC",
        ("mcd_waic",),
        lambda a: as_float64(a["mcd_waic"], "mcd_waic"),
        "Log-probability of the answer, averaged over repeated runs, minus its variance between them.",
        prediction="mcd_log_softmax",
    ),
    CSF(
        "TTA-MSR",
        ("tta_log_softmax",),
        log_response("tta_log_softmax"),
        "Probability of the answer, averaged over the image and its mirrored or turned copies.",
        prediction="tta_log_softmax",
        scale="log_probability",
    ),
    CSF(
        "TTA-PE",
        ("tta_log_softmax",),
        predictive_entropy_of("tta_log_softmax"),
        "How little the probability, averaged over the image and its mirrored or turned copies, is spread "
        "over the classes (negative entropy).",
        prediction="tta_log_softmax",
        scale="nats",
    ),
    CSF(
        "TTA-EE",
        ("tta_entropy",),
        negative("tta_entropy"),
        "How little the answer to each mirrored or turned copy of the image spreads its probability, on "
        "average (negative entropy).",
        prediction="tta_log_softmax",
        scale="nats",
    ),
    CSF(
        "TTA-MI",
        ("tta_log_softmax", "tta_entropy"),
        mutual_information_of("tta_log_softmax", "tta_entropy"),
        "How much the answers to the image and to its mirrored or turned copies agree with each other "
        "(negative mutual information).",
        prediction="tta_log_softmax",
        scale="nats",
    ),
)
