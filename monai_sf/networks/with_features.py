"""The network of an exported file, whose one pass gives logits and features."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from monai_sf.networks.classifier import ConfidenceClassifier


class LogitsAndFeatures(NamedTuple):
    """The outputs of an exported network.

    Attributes:
        logits: (N, C) of the classes.
        features: (N, F), the input of the head.
    """

    logits: Tensor
    features: Tensor


class WithFeatures(nn.Module):
    """Backbone and head of a classifier, which torch.jit.script and torch.export can compile.

    The head of a learned confidence and its encoder are left out: they would double the size of a file.

    Args:
        network: the classifier; its backbone and head are shared.
    """

    def __init__(self, network: ConfidenceClassifier) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        self.mean, self.std = network.mean, network.std

    def forward(self, images: Tensor) -> LogitsAndFeatures:
        """Compute logits and features of images (N, channels, H, W) in [0, 1]."""
        features = self.backbone((images - self.mean) / self.std)
        return LogitsAndFeatures(self.head(features), features)
