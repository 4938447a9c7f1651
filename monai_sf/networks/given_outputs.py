"""The outputs of a given model as class logits: which tensor, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_sf.vocabulary.outputs import SMALLEST, OutputKind


def width_of(kind: OutputKind, num_classes: int) -> int:
    """Return how many numbers per case the model gives."""
    return num_classes if kind in ("logits", "softmax") else 1


def selected(raw: Any, cases: int, width: int, name: str) -> Tensor:
    """Return the tensor (N, width) of a model's outputs.

    A tensor is it. Of a tuple or list it is the first that has this shape; of a dictionary the entry of the
    given name, or the only one that has this shape.

    Args:
        raw: what the model returned.
        cases: number N of images.
        width: numbers per case; (N,) counts as (N, 1).
        name: of the entry that is preferred.

    Raises:
        ValueError: there is no such tensor, or several in a dictionary; says what there is.
    """
    named: Mapping[str, Any] = {"": raw}
    if isinstance(raw, Mapping):
        named = {str(key): value for key, value in raw.items()}
    elif isinstance(raw, Sequence) and not isinstance(raw, str):
        named = {str(position): value for position, value in enumerate(raw)}
    fitting = {key: value for key, value in named.items() if _fits(value, cases, width)}
    if isinstance(raw, Mapping) and name in fitting:
        fitting = {name: fitting[name]}
    if not fitting:
        there = ", ".join(f"{key} {_about(value)}".strip() for key, value in named.items()) or "nothing"
        raise ValueError(
            f"the model gives {there} for {cases} images, expected ({cases}, {width}): one "
            f"real {'number' if width == 1 else 'number for each class'} per image. Correct num_classes or "
            "outputs, or give a model that returns this"
        )
    if isinstance(raw, Mapping) and len(fitting) > 1:
        raise ValueError(
            f"the model returns a dictionary with several entries of shape ({cases}, {width}): "
            f"{', '.join(fitting)}. Give a model that returns one, or names it {name!r}"
        )
    return next(iter(fitting.values())).reshape(cases, width)  # type: ignore[no-any-return]


def _fits(value: Any, cases: int, width: int) -> bool:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    shape = tuple(value.shape)
    return shape == (cases, width) or (width == 1 and shape == (cases,))


def _about(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
    return f"{tuple(value.shape)}{kind}"


def class_scores(values: Tensor, kind: OutputKind) -> Tensor:
    """Return logits (N, C) of a model's numbers (N, C) or (N, 1).

    A single logit z becomes [-z/2, z/2]. Probabilities become their logarithms, in float64: the largest from
    the sum of the others, which float32 tells more exactly than a share that it rounds to 1.
    """
    if kind == "logits":
        return values
    if kind == "logit":
        half = values / 2
        return torch.cat([-half, half], dim=1)
    shares = values.double()
    if kind == "sigmoid":
        shares = torch.cat([1 - shares, shares], dim=1)
    shares = shares.clamp(min=SMALLEST)  # NaN remains
    top = shares.argmax(dim=1, keepdim=True)
    ratios = shares / shares.gather(1, top)
    others = ratios.scatter(1, top, 0.0).sum(dim=1, keepdim=True)
    logarithms: Tensor = ratios.log() - others.log1p()
    return logarithms.float()
