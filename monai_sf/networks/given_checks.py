"""Checks of a given classifier on real images, before anything is measured with it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from monai_sf.networks.given import GivenClassifier
from monai_sf.networks.precision import computing_in
from monai_sf.vocabulary.outputs import ENOUGH, refuse_what_is_no_logit, share_tolerance

#: Fewer images hardly tell whether outputs depend on the rest of the batch.
MIN_IMAGES = 4
#: The most that outputs of an image may differ, relative to the largest: more than float32 rounds, also
#: in other algorithms for other batch sizes, and less than batch statistics change.
_ROUNDING = 1e-3

_SQUASHED = (
    "its outputs are declared as 'logits', but all lie in [0, 1] and do not add up to 1, as after a "
    "'sigmoid' of each. Independent probabilities (multi-label: any of the classes may be present at once) "
    "predict no single class, and are not evaluated; if the classes exclude each other, give a model that "
    "ends before the sigmoid, or in a softmax, and declare 'softmax' then"
)
_EVALUATION = "was it saved in training mode? Call model.eval() before it is scripted, traced or exported"


@torch.no_grad()
def check_network(network: GivenClassifier, images: Tensor) -> None:
    """Refuse a given classifier whose outputs on real images are not what was declared.

    Checked are the shapes of images and outputs, that outputs are finite, the same in a second pass, the same
    in a batch and alone, and logits or probabilities as declared. After that, dropout samples share what they
    can (:meth:`GivenClassifier.share_before_dropout`).

    Args:
        network: the classifier.
        images: (N, channels, H, W) float in [0, 1], N >= 4 different ones, on the network's device.

    Raises:
        ValueError: something is wrong; names all of it.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.networks import GivenClassifier, check_network
        >>> ends_in_softmax = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softmax(1))
        >>> network = GivenClassifier(ends_in_softmax, num_classes=3, outputs="logits")
        >>> check_network(
        ...     network, torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        ... )
        Traceback (most recent call last):
        ...
        ValueError: the given model cannot be evaluated: its outputs are not negative
        and add up to 1 (or 100): they are probabilities or one-hot classes. ...
    """
    if len(images) < MIN_IMAGES:
        raise ValueError(f"a network is checked with at least {MIN_IMAGES} images, got {len(images)}")
    with computing_in("float32", images.device):
        if faults := list(_faults(network, images)):
            raise ValueError("the given model cannot be evaluated: " + "; ".join(faults))
        network.share_before_dropout(images)


def _faults(network: GivenClassifier, images: Tensor) -> Iterator[str]:
    try:
        batch = network.outputs(images).logits
    except ValueError as error:
        yield str(error)
        return
    except Exception as error:  # whatever a foreign model raises
        yield _cannot_take(images, error)
        return
    if unusable := int((~batch.isfinite()).any(dim=1).sum()):
        yield f"its outputs are NaN or infinite for {unusable} of {len(images)} images"
        return
    yield from _meaning(network, images)
    again = _difference(network, batch, network.outputs(images).logits)
    if again > _ROUNDING:
        yield (
            f"two passes over the same images differ by up to {again:.1%} of the largest output: something "
            f"in it is random, such as active dropout; {_EVALUATION}"
        )
        return  # what follows would find the same
    try:
        alone = torch.cat([network.outputs(images[i : i + 1]).logits for i in range(len(images))])
    except Exception as error:
        yield (
            f"it takes a batch of {len(images)} images, but not one of 1 ({_reason(error)}): {_EVALUATION}, "
            "and with a batch of any size"
        )
        return
    batched = _difference(network, batch, alone)
    if batched > _ROUNDING:
        yield (
            f"its outputs of an image depend on the rest of the batch, and differ by up to {batched:.1%} of "
            f"the largest output from those of the image alone, as with batch norm in training mode; "
            f"{_EVALUATION}"
        )


def _meaning(network: GivenClassifier, images: Tensor) -> Iterator[str]:
    """Yield what speaks against the outputs that were declared."""
    values = network.tapped(network.stem(images))[0].double()
    if network.kind in ("logits", "logit"):
        within = values.numel() >= ENOUGH and bool(((values >= 0) & (values <= 1)).all())
        add_up = (values.sum(dim=1) - 1).abs() <= share_tolerance(values)
        if network.kind == "logits" and within and not add_up.all():
            yield _SQUASHED
            return
        try:
            refuse_what_is_no_logit(values, "its outputs", "float")
        except ValueError as error:
            other = "softmax" if network.kind == "logits" else "sigmoid"
            yield f"{error}; or declare the outputs as {other!r}, if that is what they are"
    elif network.kind == "softmax":
        off = (values.sum(dim=1) - 1).abs() > share_tolerance(values)
        if wrong := int(((values < 0).any(dim=1) | off).sum()):
            yield (
                f"its outputs are declared as 'softmax', but are negative or do not add up to 1 for {wrong} "
                f"of {len(images)} images: are they 'logits'? Independent probabilities (multi-label) "
                "predict no single class, and are not evaluated"
            )
    elif wrong := int(((values < 0) | (values > 1)).sum()):
        yield (
            f"its outputs are declared as 'sigmoid', but are not in [0, 1] for {wrong} of {len(images)} "
            "images: are they a 'logit'?"
        )


def _difference(network: GivenClassifier, one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest output; of probabilities as it is."""
    if network.log_probabilities:
        return float((one.exp() - other.exp()).abs().max())
    return float((one - other).abs().max() / one.abs().max().clamp(min=torch.finfo(one.dtype).tiny))


def _cannot_take(images: Tensor, error: Exception) -> str:
    shape = " x ".join(map(str, images.shape[1:]))
    reason = _reason(error)
    if channels := re.search(r"expected input\[[\d, ]*\] to have (\d+) channels, but got (\d+)", reason):
        return (
            f"it takes images of {_counted(channels[1])}, and these have {channels[2]} (channels x height x "
            f"width: {shape}): read them with as many channels as it was trained with"
        )
    if images.device.type != "cpu" and re.search(r"\bdevices?\b", reason):
        return (
            f"it fails on the device {images.device}: {reason}. A model that was traced or frozen keeps the "
            "device for new tensors: evaluate it with --device cpu, or save it again on this one"
        )
    return (
        f"it fails on {len(images)} images of {shape} (channels x height x width): {reason}. Give images of "
        "the size and the channels that it was trained with, and a model that takes a batch of any size"
    )


def _reason(error: BaseException) -> str:
    """Return the sentence of an error that tells most: TorchScript puts a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("RuntimeError: ")] or lines[:1] or [""]
    return f"{type(error).__name__}: {told[-1].removeprefix('RuntimeError: ')}"


def _counted(channels: str) -> str:
    return f"{channels} channel" + "s" * (channels != "1")
