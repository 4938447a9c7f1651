"""Combinations of two scores: SIRC, and ranks among held-out cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from monai_sf.scores.csf import CSF, Arrays, Fit, Fitted
from monai_sf.scores.divergences import log_odds
from monai_sf.scores.functions import ArrayLike, as_float64, logits_of
from monai_sf.scores.gaussian import GAUSSIAN
from monai_sf.scores.principal_space import PRINCIPAL_SPACE, training_residuals
from monai_sf.scores.ranks import distribution, rank_among
from monai_sf.scores.reference import Reference
from monai_sf.scores.sirc import sirc, sirc_parameters


def _certainty(logits: ArrayLike) -> Tensor:
    """Return the log-odds (n,) of the answer, which rank as MSR does."""
    return log_odds(logits_of(logits, "logits"))


def _sirc(logits: ArrayLike, second: Tensor, fitted: Fitted) -> Tensor:
    shortfall = logsigmoid(-_certainty(logits))  # log(1 - p)
    return sirc(shortfall, second, a=float(fitted["a"][0]), b=float(fitted["b"][0]))


def _fit_sirc(second: Callable[[Reference], Tensor]) -> Callable[[Reference], Fitted]:
    def fit(reference: Reference) -> Fitted:
        if not len(reference["training_features"]):
            raise ValueError("there is no training case: give the features of at least one")
        reference.check("training_features")
        a, b = sirc_parameters(second(reference))
        return {"a": np.array([a]), "b": np.array([b])}

    return fit


def _norm(features: ArrayLike) -> Tensor:
    return as_float64(features, "features").abs().sum(dim=-1)


def _training_norms(reference: Reference) -> Tensor:
    return torch.cat([_norm(block) for (block,) in reference.blocks("training_features")])


SIRC_NORM = Fit(
    "sirc_norm",
    needs=("training_features",),
    reads=("logits", "features"),
    gives=("sirc_norm",),
    fit=_fit_sirc(_training_norms),
    derive=lambda arrays, fitted: {"sirc_norm": _sirc(arrays["logits"], _norm(arrays["features"]), fitted)},
)


def _used(reference: Reference, fit: Fit, part: str, name: str) -> Tensor:
    """Return an array that another fit derives from the training or validation cases."""
    fitted = {key: torch.as_tensor(value).cpu().numpy() for key, value in reference.shared(fit.fit).items()}
    return fit({"features": reference[f"{part}_features"]}, fitted)[name]


SIRC_RESIDUAL = Fit(
    "sirc_residual",
    needs=PRINCIPAL_SPACE.needs,
    reads=("logits", "features"),
    gives=("sirc_residual",),
    fit=_fit_sirc(lambda reference: -reference.shared(training_residuals)),
    derive=lambda arrays, fitted: {
        "sirc_residual": _sirc(arrays["logits"], -as_float64(arrays["residual_norm"], "residual"), fitted)
    },
    uses=PRINCIPAL_SPACE,
)


def _fit_ranks(reference: Reference) -> Fitted:
    part = reference.part_with("features", "logits")
    for kind in ("features", "logits"):
        reference.check(f"{part}_{kind}")
    first = torch.cat([_certainty(logits) for (logits,) in reference.blocks(f"{part}_logits")])
    fitted: dict[str, NDArray[np.float64]] = {}
    for name, confidence in (
        ("msr", first.clamp(-_LARGEST, _LARGEST)),
        ("mds", -_used(reference, GAUSSIAN, part, "mahalanobis_distance")),
    ):
        values, ranks = distribution(confidence)
        fitted |= {f"{name}_values": values.cpu().numpy(), f"{name}_ranks": ranks.cpu().numpy()}
    return fitted


def _ranks(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    distance = as_float64(arrays["mahalanobis_distance"], "mahalanobis_distance")
    found = {}
    for name, confidence in (("msr", _certainty(arrays["logits"])), ("mds", -distance)):
        values, ranks = (
            as_float64(fitted[f"{name}_{kind}"], name).to(confidence.device) for kind in ("values", "ranks")
        )
        found[name] = rank_among(confidence, values, ranks)
    return {"mean_rank": (found["msr"] + found["mds"]) / 2, "rank_product": found["msr"] * found["mds"]}


#: Of the log-odds of a reference's case: those of a case with one possible class are infinite.
_LARGEST = 1e300

RANKS = Fit(
    "ranks",
    needs=(*GAUSSIAN.needs, "validation_features", "validation_logits"),
    otherwise=(*GAUSSIAN.needs, "training_logits"),
    reads=("logits", "features"),
    gives=("mean_rank", "rank_product"),
    fit=_fit_ranks,
    derive=_ranks,
    uses=GAUSSIAN,
)
"""Ranks of MSR and MDS among the validation cases, or the training cases where there are none.

A case's rank does not depend on the other cases of a test set, unlike that of `rank_average`; see
`rank_among` for cases beyond the reference's. MSR is ranked by its log-odds, which keep confident cases
apart.
"""


def _score(name: str, array: str, fit: Fit, description: str) -> CSF:
    return CSF(name, (array,), lambda a: as_float64(a[array], array), description, fit=fit)


OF_COMBINATIONS: tuple[CSF, ...] = (
    _score(
        "SIRC-MSR-L1",
        "sirc_norm",
        SIRC_NORM,
        "Probability of the answer, lowered where the case's features are weaker than the training cases'.",
    ),
    _score(
        "SIRC-MSR-Res",
        "sirc_residual",
        SIRC_RESIDUAL,
        "Probability of the answer, lowered where the case shows what training cases hardly ever showed.",
    ),
    _score(
        "RankAvg-MSR-MDS",
        "mean_rank",
        RANKS,
        "Mean of two places among known cases: by the answer's probability, by likeness to training.",
    ),
    _score(
        "RankProd-MSR-MDS",
        "rank_product",
        RANKS,
        "Product of two places among known cases: by the answer's probability, by likeness to training.",
    ),
)
