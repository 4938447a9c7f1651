"""Further scores of a case's logits, some of which are fitted to held-out logits."""

from __future__ import annotations

from monai_sf.scores.csf import CSF
from monai_sf.scores.functions import energy, logit_margin, max_logit, max_logit_p_norm

OF_LOGITS: tuple[CSF, ...] = (
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
