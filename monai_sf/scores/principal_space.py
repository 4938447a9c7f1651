"""What a case's features have outside the training cases' principal space: ViM and its residual."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from monai_sf.scores.csf import Arrays, Fit, Fitted
from monai_sf.scores.functions import ArrayLike, as_float64
from monai_sf.scores.moments import class_means, scatter, training_logits
from monai_sf.scores.pieces import rowwise, squared_length, tensors
from monai_sf.scores.reference import Reference

#: Below this share of the squared length, the residual's is not the difference of two larger ones.
_CANCELS = 1e-8
#: A smaller share of the largest eigenvalue is a rounding error.
_NONE = 1e-12


def _fit(reference: Reference) -> dict[str, Tensor]:
    weight, bias = (reference.float64(f"last_layer_{name}") for name in ("weight", "bias"))
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise ValueError("weight or bias of the last layer hold NaN or infinity")
    found = reference.shared(class_means)
    origin = -(torch.linalg.pinv(weight) @ bias).to(found.means.device)
    moved = found.counts.sqrt()[:, None] * (found.means - origin)
    features = reference["training_features"]
    basis = _principal(reference.shared(scatter).within.addmm(moved.T, moved), len(features))
    return {"origin": origin, "basis": basis}


def training_residuals(reference: Reference) -> Tensor:
    """Return the norm (n,) float64 of the training cases' features outside the principal space.

    Raises:
        ValueError: the principal space cannot be fitted to them.
    """
    fitted = {name: np.asarray(value) for name, value in reference.shared(PRINCIPAL_SPACE.fit).items()}
    return _residuals(reference["training_features"], fitted)


def _fit_alpha(reference: Reference) -> dict[str, Tensor]:
    top = reference.shared(training_logits).amax(1)
    if not top.mean() > 0:
        raise ValueError(
            "ViM scales the residual by the mean of the training cases' largest logits, which must be "
            f"positive and is {float(top.mean()):.3g}"
        )
    return {"alpha": top.sum()[None] / reference.shared(training_residuals).sum()}


def _principal(moments: Tensor, cases: int) -> Tensor:
    # SciPy's, since PyTorch's takes 20 times as long on some processors.
    # Its "evd", the fastest driver, refuses a single feature in older versions.
    driver = "evd" if len(moments) > 1 else "ev"
    values, vectors = eigh(moments.cpu().numpy().T, driver=driver, overwrite_a=True)
    rank = min(cases, int((values > max(_NONE, len(values) * np.finfo(np.float64).eps) * values[-1]).sum()))
    if not rank:
        raise ValueError("all training cases have the features at which every logit is 0")
    usual = 1000 if len(values) >= 2048 else 512 if len(values) >= 768 else len(values) // 2
    size = usual if usual < rank else rank // 2
    return torch.from_numpy(np.ascontiguousarray(vectors[:, len(values) - size :])).to(moments.device)


def _residual_norm(x: Tensor, origin: Tensor, basis: Tensor) -> Tensor:
    x = x - origin
    whole = squared_length(x)
    square = whole - squared_length(x @ basis)
    cancels = ~(square > _CANCELS * whole)
    if cancels.any():
        rest = x[cancels]
        square[cancels] = squared_length(rest - (rest @ basis) @ basis.T)
    return square.sqrt()


def _residuals(features: ArrayLike, fitted: Fitted) -> Tensor:
    given = tensors(fitted, features)
    origin, basis = given["origin"], given["basis"]
    return rowwise(lambda x: _residual_norm(x, origin, basis), len(origin), features)


def _derive_alpha(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    residual = as_float64(arrays["residual_norm"], "residual_norm")
    return {"virtual_logit": tensors(fitted, residual)["alpha"] * residual}


PRINCIPAL_SPACE = Fit(
    name="principal_space",
    needs=(
        "training_features",
        "training_labels",
        "last_layer_weight",
        "last_layer_bias",
    ),
    reads=("features",),
    gives=("residual_norm",),
    fit=_fit,
    derive=lambda arrays, fitted: {"residual_norm": _residuals(arrays["features"], fitted)},
)
"""Norm of the features outside the principal space.

Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022. Features are taken from the
origin o = -W^+ b of the last layer W x + b. The principal space are the D eigenvectors of the training
cases' sum of x x' with the largest eigenvalues, D = 1000 if F >= 2048, 512 if F >= 768, else F // 2 (the
paper and its code); if the features span D dimensions or fewer, half of what they span, so that a residual
exists.
"""

VIRTUAL_LOGIT = Fit(
    name="virtual_logit",
    needs=("training_logits", *PRINCIPAL_SPACE.needs),
    reads=PRINCIPAL_SPACE.reads,
    gives=("virtual_logit",),
    fit=_fit_alpha,
    derive=_derive_alpha,
    uses=PRINCIPAL_SPACE,
)
"""Alpha times that norm: the sum of the training cases' largest logits over the sum of their norms, which
needs to be positive (Wang et al. 2022).
"""
