"""Scores of a case's features, fitted to those of the training cases."""

from __future__ import annotations

from monai_sf.scores.boundaries import BOUNDARIES
from monai_sf.scores.class_densities import CLASS_DENSITIES
from monai_sf.scores.csf import CSF
from monai_sf.scores.functions import as_float64, energy
from monai_sf.scores.gaussian import GAUSSIAN
from monai_sf.scores.neighbours import NEIGHBOURS
from monai_sf.scores.of_means import negative
from monai_sf.scores.patterns import PATTERNS
from monai_sf.scores.principal_space import PRINCIPAL_SPACE, VIRTUAL_LOGIT

OF_FEATURES: tuple[CSF, ...] = (
    CSF(
        "MDS",
        ("mahalanobis_distance",),
        negative("mahalanobis_distance"),
        "How near the case lies to the centre of the nearest class, in terms of how training cases vary.",
        fit=GAUSSIAN,
    ),
    CSF(
        "RMDS",
        ("relative_mahalanobis_distance",),
        negative("relative_mahalanobis_distance"),
        "How much nearer the case lies to one class than to the training cases as a whole.",
        fit=GAUSSIAN,
    ),
    CSF(
        "kNN",
        ("neighbour_distance",),
        negative("neighbour_distance"),
        "How similar the case is to the training cases that are most like it.",
        fit=NEIGHBOURS,
    ),
    CSF(
        "ViM",
        ("logits", "virtual_logit"),
        lambda a: energy(a["logits"]) - as_float64(a["virtual_logit"], "virtual_logit"),
        "Strength of the evidence for all classes, less what in the case training cases hardly ever showed.",
        fit=VIRTUAL_LOGIT,
        reads_level=True,
    ),
    CSF(
        "Residual",
        ("residual_norm",),
        negative("residual_norm"),
        "How little the case shows that training cases hardly ever showed, whatever the answer.",
        fit=PRINCIPAL_SPACE,
    ),
    CSF(
        "DDU",
        ("feature_log_density",),
        lambda a: as_float64(a["feature_log_density"], "feature_log_density"),
        "How usual the case is among the training cases, each class with its own spread.",
        fit=CLASS_DENSITIES,
    ),
    CSF(
        "NNGuide",
        ("logits", "neighbour_guidance"),
        lambda a: energy(a["logits"]) * as_float64(a["neighbour_guidance"], "neighbour_guidance"),
        "Strength of the evidence for all classes, as far as training cases with strong evidence look alike.",
        fit=NEIGHBOURS,
        reads_level=True,
    ),
    CSF(
        "fDBD",
        ("boundary_distance",),
        lambda a: as_float64(a["boundary_distance"], "boundary_distance"),
        "How far the case lies from where the answer would change, compared with how unusual it is.",
        fit=BOUNDARIES,
    ),
    CSF(
        "SHE",
        ("pattern_similarity",),
        lambda a: as_float64(a["pattern_similarity"], "pattern_similarity"),
        "How well the case agrees with the typical training case of the class that was answered.",
        fit=PATTERNS,
    ),
)
