"""A trained classifier from elsewhere behind the interface of :class:`monai_sf.networks.Classifier`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from monai_sf.networks.classifier import Classifier, ClassifierOutput, dropout_layers
from monai_sf.networks.given_features import tapped
from monai_sf.networks.given_outputs import class_scores, selected, width_of
from monai_sf.networks.tapped import AUTO
from monai_sf.vocabulary.outputs import OutputKind


class GivenClassifier(Classifier):
    """A model that was trained elsewhere: it is evaluated as it is, and never trained.

    The model is put into evaluation mode, and stays in it. Its features are the input of its last linear
    layer, if that gives the output. For a module this is found out in the first pass.

    Args:
        model: a module, a TorchScript module or an exported program, from images (N, channels, H, W) to its
            outputs: a tensor, or a tuple, of which the first of the declared shape is it, or a
            dictionary, of which the entry named after ``outputs``, or the only one of this shape.
        num_classes: number of classes C, at least 2.
        outputs: what the model gives: "logits" (N, C), "softmax" (N, C), or of a binary classifier "logit" or
            "sigmoid" (N,) or (N, 1), that of the second class. Probabilities become their logarithms; a
            single logit z becomes [-z/2, z/2].
        class_order: for each of the C classes its position among the model's outputs; by default the same
            order.
        mean: subtracted from the images, which are in [0, 1]; a number or one per channel.
        std: divisor after that; a number or one per channel.
        transposed: whether the model takes images whose rows and columns are exchanged, as those of some
            readers are.
        features: "auto", the name of the layer whose input they are, or None for no features.

    Attributes:
        files_sha256: that of the files which the model was loaded from, if there are some; of a function,
            with its name and arguments.

    Raises:
        ValueError: arguments do not fit together; names them all.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.networks import GivenClassifier
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Sigmoid())
        >>> network = GivenClassifier(
        ...     model, num_classes=2, outputs="sigmoid", mean=0.5, std=0.25
        ... )
        >>> output = network.outputs(torch.rand(3, 1, 8, 8))
        >>> # logarithms of both classes' probabilities
        >>> output.logits.exp().sum(1).allclose(torch.ones(3))
        True
    """

    keeps_layout = True

    def __init__(
        self,
        model: nn.Module | ExportedProgram,
        num_classes: int,
        *,
        outputs: OutputKind = "logits",
        class_order: Sequence[int] | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        transposed: bool = False,
        features: str | None = AUTO,
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        if faults := _faults(num_classes, outputs, class_order, mean, std):
            raise ValueError("; ".join(faults))
        self.num_classes, self.kind, self.transposed = num_classes, outputs, transposed
        self.class_order = list(range(num_classes)) if class_order is None else list(class_order)
        self.log_probabilities = outputs in ("softmax", "sigmoid")
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)
        self.tapped = tapped(model, features, self._selected)
        self.features_missing = self.tapped.missing
        self.files_sha256: str | None = None
        self.shared: str | None = None  # name of the part that each dropout sample computes; None: all of it
        self.train(False)

    @property
    def features_layer(self) -> str | None:
        """Return the name of the layer whose input is the features; None before the first pass."""
        return self.tapped.layer

    @property
    def sha256(self) -> str:
        """Return the SHA-256 that identifies the model: of its files, else of its tensors."""
        if self.files_sha256 is not None:
            return self.files_sha256
        total = hashlib.sha256()
        for name, tensor in self.tapped.model.state_dict().items():
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return total.hexdigest()

    def train(self, mode: bool = True) -> GivenClassifier:
        """Keep evaluation mode: a given model is not trained, whatever the mode asked for."""
        self.training = False
        self.tapped.eval()
        return self

    def _selected(self, raw: Any, cases: int) -> Tensor:
        return selected(raw, cases, width_of(self.kind, self.num_classes), self.kind)

    def stem(self, images: Tensor) -> Tensor:
        """Make the input of the model, and compute what samples share: see :meth:`share_before_dropout`.

        Raises:
            ValueError: mean and std are of another number of channels.
        """
        channels = max(self.mean.numel(), self.std.numel())
        if channels > 1 and channels != images.shape[1]:  # one channel would be broadcast to three
            raise ValueError(
                f"mean and std have {channels} channels, the images {images.shape[1]}: give one number per "
                "channel, or one for all"
            )
        x = (images - self.mean) / self.std
        x = x.transpose(-1, -2) if self.transposed else x
        # not contiguous(), which leaves the strides of a single channel, that make convolutions channels-last
        x = x.clone(memory_format=torch.contiguous_format)
        return x if self.shared is None else self.tapped.before(self.shared, x)

    def plain(self, x: Tensor) -> ClassifierOutput:
        """Compute logits and, where the model tells them, features, from the output of :meth:`stem`.

        Raises:
            ValueError: the model's output is not what was declared.
        """
        values, features = self.tapped(x, self.shared)
        self.features_missing = self.tapped.missing
        return ClassifierOutput(class_scores(values, self.kind)[:, self.class_order], features)

    def share_before_dropout(self, images: Tensor) -> None:
        """Let :meth:`stem` compute all that comes before the dropout, if that can be told from one pass.

        It can where all dropout layers are in one :class:`torch.nn.Sequential` that ends the model, such as
        the classifiers of EfficientNet or VGG. Else every sample is a pass of the whole model.

        Args:
            images: (N, channels, H, W) float in [0, 1].
        """
        self.shared = None
        self.shared = self.tapped.last_part(self.stem(images), dropout_layers(self))

    def outputs(self, images: Tensor, x: Tensor | None = None) -> ClassifierOutput:
        """Compute logits and features of images (N, channels, H, W) in [0, 1]; see :meth:`plain`."""
        return self.plain(self.stem(images) if x is None else x)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (N, C) of images (N, channels, H, W) in [0, 1]."""
        return self.outputs(images).logits

    def last_layer(self) -> tuple[Tensor, Tensor] | None:
        """Return weight (C, F) and bias (C,) from features to logits, in the order of the classes.

        None without features, and where the logits are not that layer's output, as for probabilities.
        """
        found = self.tapped.last_layer()
        if found is None or self.log_probabilities:
            return None
        weight, bias = found
        if self.kind == "logit":  # as class_scores does
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        return weight[self.class_order], bias[self.class_order]


def _faults(num_classes: Any, outputs: Any, order: Any, mean: Any, std: Any) -> list[str]:
    faults = []
    if not isinstance(num_classes, int) or num_classes < 2:
        faults.append(f"num_classes must be a whole number of at least 2, got {num_classes!r}")
        return faults
    if outputs not in get_args(OutputKind):
        faults.append(f"outputs must be one of {', '.join(get_args(OutputKind))}, got {outputs!r}")
    elif outputs in ("logit", "sigmoid") and num_classes != 2:
        faults.append(
            f"outputs is {outputs!r}, one number that tells two classes apart, but num_classes is "
            f"{num_classes}. Several independent numbers (multi-label: any of the classes may be present at "
            "once) predict no single class, so that there is no error to detect: make one model per class, "
            "or give a model whose outputs exclude each other"
        )
    if order is not None and (
        isinstance(order, (str, Mapping)) or sorted(order, key=str) != sorted(range(num_classes), key=str)
    ):
        faults.append(f"class_order must name each of the positions 0..{num_classes - 1} once, got {order!r}")
    if not _finite(mean):
        faults.append(f"mean must be a number or one per channel, got {mean!r}")
    if not _finite(std) or bool((torch.as_tensor(std) <= 0).any()):
        faults.append(f"std must be a positive number or one per channel, got {std!r}")
    sizes = {len(v) for v in (mean, std) if isinstance(v, Sequence)}
    if len(sizes) > 1:
        faults.append(f"mean and std must have equally many channels, got {mean!r} and {std!r}")
    return faults


def _finite(values: Any) -> bool:
    try:
        tensor = torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        return False
    return tensor.ndim < 2 and tensor.numel() > 0 and bool(tensor.isfinite().all())


def _per_channel(values: float | Sequence[float]) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32)
    return tensor if tensor.ndim == 0 else tensor[:, None, None]
