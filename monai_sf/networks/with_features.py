"""The network of an exported file, whose one pass gives logits and features."""

from __future__ import annotations

from torch import Tensor, nn

from monai_sf.networks.classifier import ConfidenceClassifier

#: Names of the outputs of :class:`WithFeatures`, in their order.
OUTPUTS = ("logits", "features")


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

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits (N, C) and features (N, F) of images (N, channels, H, W) in [0, 1].

        A plain tuple: torch cannot rebuild a named one around MONAI's MetaTensor.
        """
        features = self.backbone((images - self.mean) / self.std)
        return self.head(features), features
