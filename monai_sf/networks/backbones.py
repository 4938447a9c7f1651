"""The study's three backbones as MONAI networks, with the published ImageNet weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from monai.networks.nets import DenseNet, EfficientNetBN
from monai.networks.nets.densenet import DenseNet121
from torch import Tensor, nn

from monai_sf.networks.checkpoints import load_checkpoint
from monai_sf.networks.classifier import ConfidenceClassifier

#: torchvision's file; MONAI's own loader has DenseNet121, 169 and 201 only.
_DENSENET161_URL = "https://download.pytorch.org/models/densenet161-8d451a50.pth"
_DENSENET161 = {"init_features": 96, "growth_rate": 48, "block_config": (6, 12, 36, 24)}
_EFFICIENTNET = "efficientnet-b4"
_CLASSES = 1000

_SMALL = {"init_features": 16, "growth_rate": 8, "block_config": (2, 4, 4)}

#: Names of backbones. ``densenet-small`` is for laptops, tests and phantoms: 16 filters, 10 dense layers, no
#: published weights.
BACKBONES = ("densenet121", "densenet161", _EFFICIENTNET, "densenet-small")


def backbone(
    name: str,
    *,
    in_channels: int,
    num_classes: int,
    dropout: float,
) -> nn.Module:
    """Build a backbone for :class:`monai_sf.networks.ConfidenceClassifier`, with random weights.

    Args:
        name: one of :data:`BACKBONES`.
        in_channels: channels of the image; 1 or a multiple of 3 for :func:`start_from`.
        num_classes: number of outputs.
        dropout: probability, in every dense layer of a DenseNet, or before EfficientNet's last layer.

    Returns:
        The network on the CPU.

    Raises:
        ValueError: the backbone is unknown, or ``dropout`` is out of range.

    Examples:
        >>> import torch
        >>> from monai_sf.networks import ConfidenceClassifier, backbone
        >>> small = backbone("densenet-small", in_channels=1, num_classes=3, dropout=0.1)
        >>> network = ConfidenceClassifier(small, num_classes=3).eval()
        >>> tuple(network(torch.rand(2, 1, 32, 32)).shape), network.num_features
        ((2, 3), 56)
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {BACKBONES}, got {name!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
    network = _build(name, in_channels, num_classes, dropout)
    network.published_as = name  # type: ignore[assignment]
    return network


def start_from(
    network: ConfidenceClassifier, weights: str | os.PathLike[str] | None, run_dir: str | os.PathLike[str]
) -> None:
    """Load published weights into a classifier whose training has not started; a started one resumes.

    Separate from the network's construction, so that a config can be checked, exported and evaluated without
    a download.

    Args:
        network: its backbone was made by :func:`backbone`; modified in place.
        weights: None for random weights; "imagenet" downloads those of ImageNet, with MONAI's loader where it
            has one; else a file, in torchvision's layout of a DenseNet or in that of EfficientNet-PyTorch.
            All but the last layer is loaded, and the first convolution is adapted to the number of channels:
            one gets the sum over RGB, a multiple of three RGB repeated, scaled by 3 / channels.
        run_dir: folder of the run; if it contains ``last.pt``, nothing is loaded.

    Raises:
        ValueError: no weights are published for the network, or the file does not hold them.
        FileNotFoundError: there is no such file.
        ConnectionError: the weights cannot be downloaded.

    Examples:
        >>> from monai_sf.networks import ConfidenceClassifier, backbone, start_from
        >>> small = backbone("densenet-small", in_channels=1, num_classes=2, dropout=0.1)
        >>> network = ConfidenceClassifier(small, num_classes=2)
        >>> start_from(network, None, "run")  # random weights stay
        >>> start_from(network, "imagenet", "run")
        Traceback (most recent call last):
        ...
        ValueError: no published weights are known for densenet-small: set weights to
        null, or use one of ...
    """
    if weights is None or (Path(run_dir) / "last.pt").exists():
        return
    name = getattr(network.backbone, "published_as", None)
    if name not in BACKBONES[:3]:
        raise ValueError(
            f"no published weights are known for {name or type(network.backbone).__name__}: set weights to "
            f"null, or use one of {BACKBONES[:3]}"
        )
    in_channels = next(p for p in network.backbone.parameters() if p.ndim == 4).shape[1]
    if weights == "imagenet":
        _fill(network.backbone, _online(name), in_channels, "the download of ImageNet weights")
    else:
        _fill(network.backbone, convert(name, load_checkpoint(weights)), in_channels, str(weights))


def convert(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of a published state dict to those of MONAI's network of that name.

    Args:
        name: one of :data:`BACKBONES`.
        state: in torchvision's layout (``features.denseblock1.denselayer1.norm1.weight``, or the older
            ``norm.1.weight`` of the files), or in that of EfficientNet-PyTorch, whose blocks are numbered
            consecutively (``_blocks.5._bn0.weight``) where MONAI numbers them by stack. MONAI's own names
            are kept.
    """
    if name == _EFFICIENTNET:
        own = EfficientNetBN(_EFFICIENTNET, pretrained=False, num_classes=_CLASSES).state_dict()
        published = {re.sub(r"^(_blocks)\.\d+(\.\d+\.)", r"\1\2", key): key for key in own}
        return {key if key in own else published.get(key, key): value for key, value in state.items()}
    layer = re.compile(r"(denselayer\d+)\.(norm|conv)\.?([12])\.")
    return {
        layer.sub(r"\1.layers.\2\3.", key).replace("classifier.", "class_layers.out."): value
        for key, value in state.items()
    }


def inflate(weight: Tensor, channels: int) -> Tensor:
    """Adapt a first convolution for RGB to another number of channels.

    One channel gets the sum over RGB; a multiple of three gets RGB repeated, scaled by 3 / channels. For an
    image of equal channels both give the response of the original.

    Args:
        weight: (filters, 3, kh, kw).
        channels: 1 or a multiple of 3.

    Returns:
        (filters, channels, kh, kw).

    Raises:
        ValueError: the weight is not for three channels, or ``channels`` is neither 1 nor a multiple of 3.
    """
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise ValueError(f"weight must be (filters, 3, kh, kw), got {tuple(weight.shape)}")
    if channels == 1:
        return weight.sum(1, keepdim=True)
    if channels < 1 or channels % 3:
        raise ValueError(f"channels must be 1 or a multiple of 3 for RGB weights, got {channels}")
    return weight.repeat(1, channels // 3, 1, 1) * (3 / channels)


def _build(name: str, in_channels: int, num_classes: int, dropout: float) -> nn.Module:
    if name == "densenet121":
        return DenseNet121(2, in_channels, num_classes, dropout_prob=dropout)
    if name != _EFFICIENTNET:
        size: Mapping[str, Any] = _DENSENET161 if name == "densenet161" else _SMALL
        return DenseNet(2, in_channels, num_classes, dropout_prob=dropout, **size)
    network = EfficientNetBN(
        _EFFICIENTNET, pretrained=False, in_channels=in_channels, num_classes=num_classes
    )
    network._dropout = nn.Dropout(dropout)  # the constructor takes none, and has 0.4 for B4
    return network


def _online(name: str) -> dict[str, Tensor]:
    load: dict[str, Callable[[], dict[str, Tensor]]] = {
        "densenet121": lambda: DenseNet121(2, 3, _CLASSES, pretrained=True).state_dict(),
        "densenet161": lambda: convert(
            name, torch.hub.load_state_dict_from_url(_DENSENET161_URL, map_location="cpu", weights_only=True)
        ),
        _EFFICIENTNET: lambda: EfficientNetBN(
            _EFFICIENTNET, pretrained=True, num_classes=_CLASSES
        ).state_dict(),
    }
    try:
        return load[name]()
    except (URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f"cannot download the ImageNet weights of {name} ({error}). Fetch them on a machine with a "
            "network connection and give the file as weights, or set weights to null for random ones"
        ) from error


def _fill(network: nn.Module, state: Mapping[str, Tensor], in_channels: int, source: str) -> None:
    own = network.state_dict()
    last = tuple(key for key in own if key.startswith(("class_layers.out.", "_fc.")))
    first = next(key for key in own if key.startswith(("features.conv0.", "_conv_stem.")))
    # the oldest files lack the counters of batch norm, which nothing reads
    wanted = [key for key in own if key not in last and not key.endswith("num_batches_tracked")]
    missing = [key for key in wanted if key not in state]
    if missing:
        raise ValueError(
            f"{source} does not hold the weights of this backbone: {len(missing)} of {len(wanted)} entries "
            f"are missing, such as {missing[:3]}. Give a file of the same architecture"
        )
    filled = {key: inflate(state[key], in_channels) if key == first else state[key] for key in wanted}
    wrong = [key for key in wanted if filled[key].shape != own[key].shape]
    if wrong:
        raise ValueError(
            f"{source} holds weights of another architecture: {len(wrong)} entries differ in shape, such as "
            f"{wrong[0]}: {tuple(filled[wrong[0]].shape)} in the file, {tuple(own[wrong[0]].shape)} here"
        )
    network.load_state_dict({**own, **filled})
