"""Further scores of dropout samples and of other repeated passes over a case."""

from __future__ import annotations

from torch import Tensor

from monai_sf.scores.csf import CSF, Arrays
from monai_sf.scores.functions import as_float64
from monai_sf.scores.of_the_paper import mcd_predictive_entropy


def _mcd_mutual_information(arrays: Arrays) -> Tensor:
    return as_float64(arrays["mcd_entropy"], "mcd_entropy") - mcd_predictive_entropy(arrays)


OF_SAMPLES: tuple[CSF, ...] = (
    CSF(
        "MCD-MI",
        ("mcd_log_softmax", "mcd_entropy"),
        _mcd_mutual_information,
        "How much the repeated runs agree with each other (negative mutual information).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
)
