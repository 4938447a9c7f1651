"""Further scores of dropout samples and of other repeated passes over a case."""

from __future__ import annotations

from monai_sf.scores.csf import CSF
from monai_sf.scores.functions import as_float64
from monai_sf.scores.of_means import mutual_information_of, negative

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
)
