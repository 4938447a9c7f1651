"""What precedes the loss in a training step: images where the network is, and its outputs in a precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch, default_prepare_batch
from monai.inferers import Inferer
from torch import Tensor, nn

from monai_sf.data import as_unit
from monai_sf.networks import ClassifierOutput, ConfidenceClassifier
from monai_sf.networks.classifier import gains_from_channels_last
from monai_sf.networks.precision import computing_in

#: Called with images (N, channels, H, W) float in [0, 1] and the batch's case ids; returns such images.
Augment = Callable[[Tensor, Sequence[str]], Tensor]


class PrepareImages(PrepareBatch):
    """Copy a batch to the network's device, as float images in [0, 1] in the network's memory layout.

    Images travel as they are stored, mostly in 8 bits, and the host does not wait for the copy.

    Args:
        network: decides on the layout.
        device: of the network.
        augment: changes the images there; None for validation.
    """

    def __init__(self, network: nn.Module, device: torch.device, augment: Augment | None = None) -> None:
        channels_last = gains_from_channels_last(network, device)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.augment = augment

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return the images (N, channels, H, W) and labels (N,) of a batch with ``case_id``."""
        images, labels = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        images = as_unit(images.as_subclass(Tensor))  # nothing below needs MONAI's metadata
        if self.augment is not None:
            images = self.augment(images, batchdata["case_id"])
        layout = self.layout if images.ndim == 4 else torch.contiguous_format  # cases need not be images
        return images.contiguous(memory_format=layout), labels  # type: ignore[return-value]


class InPrecision(Inferer):
    """An inferer whose passes are computed in a precision; the loss of their outputs is not.

    Args:
        inferer: returns a :class:`monai_sf.networks.ClassifierOutput`.
        precision: one of :data:`monai_sf.networks.precision.PRECISIONS`.
        device: of the network.

    Raises:
        ValueError: the precision is unknown, or the device does not have it.
    """

    def __init__(self, inferer: Inferer, precision: str, device: torch.device) -> None:
        self.inferer, self.precision, self.device = inferer, precision, device
        with computing_in(precision, device):
            pass  # refused now, not by the first batch

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: ConfidenceClassifier
    ) -> ClassifierOutput:
        """Compute the outputs of float images (N, channels, H, W) in [0, 1]."""
        with computing_in(self.precision, self.device):
            return self.inferer(inputs, network)  # type: ignore[no-any-return]


class CompiledPasses(Inferer):
    """An inferer of a network whose passes are compiled by ``torch.compile``, for every batch size and stage.

    Only this inferer sees compiled code: the network, the names of its weights, and whatever else computes
    with it stay as they are.

    Args:
        inferer: calls ``network.outputs``.
        network: the only one that it is called with.
    """

    def __init__(self, inferer: Inferer, network: ConfidenceClassifier) -> None:
        self.inferer, self.view = inferer, _Compiled(network)

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: ConfidenceClassifier
    ) -> ClassifierOutput:
        """Compute the outputs of float images (N, channels, H, W) in [0, 1]."""
        return self.inferer(inputs, self.view)  # type: ignore[no-any-return]


class _Compiled:
    """A network with compiled ``outputs``; all other attributes are its own."""

    def __init__(self, network: ConfidenceClassifier) -> None:
        self._network = network
        self.outputs = torch.compile(  # type: ignore[call-overload]  # lacks the last two arguments
            network.outputs,
            dynamic=False,  # an epoch has two sizes of batches, whose code is faster and always the same
            options={"deterministic": True},  # no choice of kernels by time, whose sums differ in rounding
            isolate_recompiles=True,  # other trainings of the process do not count towards the limit
            recompile_limit=64,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, images: Tensor) -> Any:
        return self._network(images)
