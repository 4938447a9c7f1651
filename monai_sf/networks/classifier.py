"""The interface to a classifier, and MONAI's classifiers: features, logits, and what precedes all dropout."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from monai.networks.nets import DenseNet, EfficientNet
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from monai_sf.networks.heads import ConfidenceHead

Network = TypeVar("Network", bound=nn.Module)


class ClassifierOutput(NamedTuple):
    """The outputs of one forward pass.

    Attributes:
        logits: (N, C) of the classes.
        features: (N, F), the input of the last linear layer; None where a given network does not tell.
        confidence_logit: (N,) learned confidence before its sigmoid, where the network has one.
        reservation_logit: (N,) logit of the reservation class, where the network has one.
        others: what a head gives that names another array, by that name, (N, ...).

    Examples:
        >>> import torch
        >>> from monai_sf.networks import ClassifierOutput
        >>> output = ClassifierOutput(torch.zeros(3, 2), confidence_logit=torch.zeros(3))
        >>> output.features is None, sorted(output.arrays())
        (True, ['confidence_logit', 'logits'])
    """

    logits: Tensor
    features: Tensor | None = None
    confidence_logit: Tensor | None = None
    reservation_logit: Tensor | None = None
    others: Mapping[str, Tensor] = MappingProxyType({})

    def arrays(self) -> dict[str, Tensor]:
        """Return everything that is there by the name under which results store it."""
        named = {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}
        return {**named, **self.others}


class Classifier(nn.Module, ABC):
    """What evaluation and inference ask of a classifier; images are (N, channels, H, W) float in [0, 1].

    Attributes:
        num_classes: number of classes C.
        log_probabilities: whether the logits are the logarithms of probabilities, which do not tell the
            constant that all logits of a case share.
        features_missing: why there are no features; empty if there are some, or if that is not known before
            the first pass.
        keeps_layout: whether weights and images must stay as they are in memory.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.inferers import MCDropoutInferer
        >>> from monai_sf.networks import Classifier, ClassifierOutput
        >>> # a network of one's own, which evaluation then takes as it is
        >>> class Mine(Classifier):
        ...     num_classes = 2
        ...
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.encoder, self.head = nn.Flatten(), nn.Linear(64, 2)
        ...
        ...     def stem(self, images):
        ...         return self.encoder(images)
        ...
        ...     def plain(self, x):
        ...         return ClassifierOutput(self.head(x), features=x)
        ...
        ...     def outputs(self, images, x=None):
        ...         return self.plain(self.stem(images) if x is None else x)
        ...
        ...     def last_layer(self):
        ...         return self.head.weight, self.head.bias
        >>> found = MCDropoutInferer(samples=0)(torch.rand(3, 1, 8, 8), Mine().eval())
        >>> {name: tuple(array.shape) for name, array in found.items()}
        {'logits': (3, 2), 'features': (3, 64)}
    """

    if TYPE_CHECKING:  # torch.jit.script cannot read annotations that are text
        num_classes: int
    log_probabilities = False
    features_missing = ""
    keeps_layout = False

    @abstractmethod
    def stem(self, images: Tensor) -> Tensor:
        """Compute the part (N, ...) that is the same for every dropout sample, the input of :meth:`plain`."""

    @abstractmethod
    def plain(self, x: Tensor) -> ClassifierOutput:
        """Compute logits and features, and nothing else, from the output of :meth:`stem`."""

    @abstractmethod
    def outputs(self, images: Tensor, x: Tensor | None = None) -> ClassifierOutput:
        """Compute all outputs of one pass; ``x`` is the output of :meth:`stem` where it is known."""

    @abstractmethod
    def last_layer(self) -> tuple[Tensor, Tensor] | None:
        """Return weight (C, F) and bias (C,) of the linear layer from features to logits, if there is one."""


class ConfidenceClassifier(Classifier):
    """A MONAI classifier split into backbone and head, to give access to features and dropout.

    The backbone's last linear layer becomes the head (with the dropout before it, where the backbone has one,
    as EfficientNet does); everything before it computes the features. The input of a method's learned
    confidence is that of the last layer, or, for ConfidNet, the features of a copy of the backbone
    (``encoder``), which always stays in evaluation mode: without dropout and with the classifier's batch
    statistics.

    Args:
        backbone: a MONAI classifier whose last linear layer gives the logits (DenseNet, EfficientNet, ResNet,
            SENet, ...). It is modified in place.
        num_classes: number of classes C, at least 2; must be the backbone's number of outputs.
        confidence: makes the method's head from the number of features (see :class:`ConfidenceHead`);
            None for a plain classifier.
        mean: subtracted from the image, which is in [0, 1].
        std: divisor of the image, after the mean was subtracted.

    Raises:
        ValueError: the backbone has no linear layer or not ``num_classes`` outputs, ``num_classes`` is below
            2, or ``std`` is not positive.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.networks import ConfidenceClassifier, ConfidNetHead
        >>> layers = [
        ...     nn.Flatten(),
        ...     nn.Linear(64, 16),
        ...     nn.ReLU(),
        ...     nn.Dropout(0.1),
        ...     nn.Linear(16, 2),
        ... ]
        >>> network = ConfidenceClassifier(
        ...     nn.Sequential(*layers), 2, confidence=ConfidNetHead
        ... )
        >>> output = network.eval().outputs(torch.rand(3, 1, 8, 8))
        >>> (
        ...     tuple(output.logits.shape),
        ...     tuple(output.features.shape),
        ...     tuple(output.confidence_logit.shape),
        ... )
        ((3, 2), (3, 16), (3,))
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        confidence: Callable[[int], ConfidenceHead] | None = None,
        mean: float = 0.5,
        std: float = 0.25,
    ) -> None:
        super().__init__()
        if std <= 0:
            raise ValueError(f"std must be positive, got {std}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, one logit per class, got {num_classes}")
        name, last = _last_linear(backbone)
        if last.out_features != num_classes:
            raise ValueError(
                f"backbone {type(backbone).__name__} has {last.out_features} outputs, "
                f"num_classes is {num_classes}"
            )
        dropout = 0.0
        if isinstance(backbone, EfficientNet):  # features are taken before the dropout
            dropout = backbone._dropout.p
            backbone._dropout = nn.Identity()  # type: ignore[assignment]
        backbone.set_submodule(name, nn.Identity())
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(dropout), last) if dropout else nn.Sequential(last)
        self.num_classes = num_classes
        self.num_features = last.in_features
        self.mean, self.std = mean, std
        self.confidence = confidence(last.in_features) if confidence is not None else None
        has_encoder = self.confidence is not None and self.confidence.own_encoder
        self.encoder = copy.deepcopy(backbone) if has_encoder else None
        self._frozen: tuple[nn.Module, ...] = ()
        self._encoder_is_backbone = False  # while it is not trained, a second pass would be redundant

    def stem(self, images: Tensor) -> Tensor:
        """Compute the part before the first dropout layer, the same for every dropout sample.

        Args:
            images: (N, channels, H, W) float in [0, 1].

        Returns:
            (N, ...) float, the input of :meth:`trunk`.
        """
        x = (images - self.mean) / self.std
        if not has_dropout(self.backbone):
            return self.backbone(x)  # type: ignore[no-any-return]
        if isinstance(self.backbone, DenseNet):
            before, layers, _ = _split(self.backbone)
            for block in before:
                x = block(x)
            return torch.cat([x, layers[:-1](x)], 1)
        return x

    def trunk(self, x: Tensor) -> Tensor:
        """Compute the features (N, F) from the output of :meth:`stem`."""
        if not has_dropout(self.backbone):
            return x
        if not isinstance(self.backbone, DenseNet):
            return self.backbone(x)  # type: ignore[no-any-return]
        _, layers, after = _split(self.backbone)
        new: Any = layers.get_submodule("conv2").out_channels
        x = torch.cat([x[:, :-new], layers[-1](x[:, -new:])], 1)
        for block in after:
            x = block(x)
        return self.backbone.class_layers(x)  # type: ignore[no-any-return]

    def features(self, images: Tensor) -> Tensor:
        """Compute the features (N, F) of images (N, channels, H, W) in [0, 1]."""
        return self.trunk(self.stem(images))

    def plain(self, x: Tensor) -> ClassifierOutput:
        """Compute logits and features, without learned confidence, from the output of :meth:`stem`."""
        features = self.trunk(x)
        with _without_autocast(features):
            return ClassifierOutput(self.head(self._widened(features)), features)

    def _widened(self, features: Tensor) -> Tensor:
        """Return features in the precision of the last layer's weights, whatever they were computed in."""
        return features.to(next(self.head.parameters()).dtype)

    def outputs(self, images: Tensor, x: Tensor | None = None) -> ClassifierOutput:
        """Compute all outputs of one pass over images (N, channels, H, W) in [0, 1].

        Args:
            images: the images.
            x: the output of :meth:`stem`, where it is known.
        """
        features = self.trunk(self.stem(images) if x is None else x)
        encoded = None
        if self.encoder is not None and not self._encoder_is_backbone:
            encoded = self.encoder((images - self.mean) / self.std)
        with _without_autocast(features):
            before_last = self.head[:-1](self._widened(features))
            output = ClassifierOutput(self.head[-1](before_last), features)
            if self.confidence is None:
                return output
            learned = self.confidence(before_last if encoded is None else self._widened(encoded))
        name = self.confidence.output
        known = name in ("confidence_logit", "reservation_logit")
        return output._replace(**({name: learned} if known else {"others": {name: learned}}))

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Return weight (C, F) and bias (C,) of the layer from features to logits; a missing bias is zero."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return weight_and_bias(last)

    def train_only(self, parts: Sequence[str]) -> list[nn.Parameter]:
        """Freeze all but some parts: no gradients, and evaluation mode even during training.

        Args:
            parts: of "backbone", "head", "encoder", "confidence".

        Returns:
            The parameters of these parts.

        Raises:
            ValueError: the network has no such part.
        """
        known = {name: part for name, part in self.named_children() if part is not None}
        if not parts or not set(parts) <= set(known):
            raise ValueError(f"parts to train must be some of {sorted(known)}, got {list(parts)}")
        for name, part in known.items():
            part.requires_grad_(name in parts)
        self._encoder_is_backbone = "encoder" not in parts
        self._frozen = tuple(part for name, part in known.items() if name not in parts)
        self.train(self.training)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def copy_encoder(self) -> None:
        """Copy the backbone into the encoder of the learned confidence, if there is one."""
        if self.encoder is not None:
            self.encoder.load_state_dict(self.backbone.state_dict())

    def train(self, mode: bool = True) -> ConfidenceClassifier:
        """Set training or evaluation mode; frozen parts and the encoder stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (N, C) of :meth:`outputs` from images (N, channels, H, W) in [0, 1].

        Uses the backbone as a whole, so that torch.jit.script can compile it.
        """
        logits: Tensor = self.head(self.backbone((images - self.mean) / self.std))
        return logits


def _split(backbone: DenseNet) -> tuple[list[nn.Module], nn.Sequential, list[nn.Module]]:
    """Return what precedes the first dense layer with dropout, that layer, and what follows.

    The input of a dense layer goes on beside its output, and its dropout is the last that it computes.
    """
    blocks: list[Any] = list(backbone.features)
    first = next(i for i, block in enumerate(blocks) if has_dropout(block))
    dense, *others = blocks[first]
    return blocks[:first], dense.layers, [*others, *blocks[first + 1 :]]


def weight_and_bias(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return weight (C, F) and bias (C,) of a linear layer; a missing bias is zero."""
    weight = layer.weight.detach()
    return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()


def _without_autocast(features: Tensor) -> AbstractContextManager[Any]:
    """Let the last layers compute in float32: in 16 bits many logits would be equal, and so confidences."""
    kind = features.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def dropout_layers(network: nn.Module) -> list[_DropoutNd]:
    """Return the network's active dropout layers (p > 0), in the order of definition.

    Alpha dropout is not among them: it keeps mean and variance by other values than zeros.

    Examples:
        >>> from torch import nn
        >>> from monai_sf.networks import dropout_layers
        >>> dropout_layers(nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 2), nn.Dropout(0.0)))
        [Dropout(p=0.2, inplace=False)]
    """
    other = (nn.AlphaDropout, nn.FeatureAlphaDropout)
    return [
        m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0 and not isinstance(m, other)
    ]


def has_dropout(network: nn.Module) -> bool:
    """Return whether the network has an active dropout layer, see :func:`dropout_layers`.

    Without one there are no MC-dropout scores.

    Examples:
        >>> from monai_sf.networks import backbone, has_dropout
        >>> images = {"in_channels": 1, "num_classes": 2}
        >>> [
        ...     has_dropout(backbone("densenet-small", dropout=p, **images))
        ...     for p in (0.0, 0.1)
        ... ]
        [False, True]
    """
    return bool(dropout_layers(network))


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    linear = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear) and name]
    if not linear:
        raise ValueError(f"backbone {type(network).__name__} has no linear layer that gives logits")
    return linear[-1]


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network, in channels-last layout where that is faster.

    Args:
        network: moved in place.
        device: where to.

    Returns:
        The network.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.networks import to_device
        >>> network = to_device(nn.Conv2d(3, 8, 3), torch.device("cpu"))
        >>> next(network.parameters()).device
        device(type='cpu')
    """
    network.to(device)
    if not gains_from_channels_last(network, device):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def gains_from_channels_last(network: nn.Module, device: torch.device) -> bool:
    """Return whether a network is to be in channels-last layout: convolutions are mostly twice as fast.

    A model that was given keeps its layout: its code may rely on it, such as ``x.view(len(x), -1)``. So does
    one with grouped convolutions on a GPU: cuDNN's deterministic gradients of depth-wise ones take many
    times as long in channels-last layout.
    """
    if isinstance(network, Classifier) and network.keeps_layout:
        return False
    grouped = any(isinstance(module, _ConvNd) and module.groups > 1 for module in network.modules())
    return not (grouped and device.type == "cuda")


def load_weights(
    network: nn.Module,
    state: dict[str, Tensor],
    source: str,
    advice: str = "Give the network_def that it was trained with, or another output folder",
) -> None:
    """Load a complete state dict, or raise an error that lists the differences.

    Args:
        network: the network to fill; unchanged when an error is raised.
        state: parameter and buffer names to tensors.
        source: the file of the state, for the message.
        advice: what to do if it is that of another network.

    Raises:
        ValueError: names or shapes differ, as with a checkpoint of another network, or kinds of numbers, as
            with quantised weights.

    Examples:
        >>> from torch import nn
        >>> from monai_sf.networks import load_weights
        >>> load_weights(nn.Linear(4, 2), nn.Linear(4, 3).state_dict(), "best.pt")
        Traceback (most recent call last):
        ...
        ValueError: best.pt is a checkpoint of another network: 0 entries missing [], 0
        unknown [], 2 of another shape ['weight: (3, 4) in the file, (2, 4) in the
        network', ...
    """
    own = network.state_dict()
    shapes = [
        f"{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} in the network"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or surplus or shapes:
        raise ValueError(
            f"{source} is a checkpoint of another network: {len(missing)} entries missing {missing[:3]}, "
            f"{len(surplus)} unknown {surplus[:3]}, {len(shapes)} of another shape {shapes[:3]}. {advice}"
        )
    if kinds := [
        f"{k}: {_name(state[k].dtype)} in the file, {_name(own[k].dtype)} in the network"
        for k in own
        if _kind(state[k].dtype) != _kind(own[k].dtype)
    ]:
        raise ValueError(
            f"{source} holds numbers of another kind than the network in {len(kinds)} entries, such as "
            f"{', '.join(kinds[:3])}: quantised weights, say, mean nothing without their scales. Give the "
            "weights as they were before"
        )
    network.load_state_dict(state)


def _kind(dtype: torch.dtype) -> str:
    """Return the kind of numbers; within one, another precision may be loaded."""
    if dtype.is_complex or dtype == torch.bool:
        return _name(dtype)
    return "real" if dtype.is_floating_point else "whole"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
