"""The heads that training methods add to a classifier: small networks from features to one number per case.

Each head names the array that it gives (``output``), under which results store it and scores ask for it, and
states whether it has its own encoder. Any name that no other output has will do:
``confidence_logit`` and ``reservation_logit`` are fields of :class:`monai_sf.networks.ClassifierOutput`,
others are in its ``others``.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class ConfidenceHead(nn.Module):
    """A network ``self.layers`` from features (N, F) to one value per case (N,).

    A subclass is the head of a training method of one's own.

    Args:
        layers: from (N, F) to (N, 1).

    Attributes:
        output: the name of the values among the outputs of a network and in results.
        own_encoder: whether the features are those of a copy of the backbone, which may be fine-tuned.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.networks import ConfidenceClassifier, ConfidenceHead
        >>> class Difficulty(ConfidenceHead):
        ...     output = "difficulty"  # read from results by a score of one's own
        ...
        ...     def __init__(self, num_features):
        ...         super().__init__(nn.Linear(num_features, 1))
        >>> plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> network = ConfidenceClassifier(plain, num_classes=2, confidence=Difficulty)
        >>> tuple(network.outputs(torch.rand(3, 1, 8, 8)).arrays()["difficulty"].shape)
        (3,)
    """

    output: ClassVar[str]
    own_encoder: ClassVar[bool] = False

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits (N,) from features (N, F)."""
        return self.layers(features).flatten()  # type: ignore[no-any-return]


class ConfidNetHead(ConfidenceHead):
    """ConfidNet: a perceptron of five layers, on a copy of the classifier's backbone that may be fine-tuned.

    Corbière et al., "Addressing Failure Prediction by Learning Model Confidence", NeurIPS 2019.

    Args:
        num_features: number F of features.
        width: of the four hidden layers (the paper: 400).

    Examples:
        >>> import torch
        >>> from monai_sf.networks import ConfidNetHead
        >>> head = ConfidNetHead(num_features=16)
        >>> tuple(head(torch.rand(5, 16)).shape), head.output, head.own_encoder
        ((5,), 'confidence_logit', True)
    """

    output = "confidence_logit"
    own_encoder = True

    def __init__(self, num_features: int, *, width: int = 400) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        layers: list[nn.Module] = [nn.Linear(num_features, width), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Linear(width, width), nn.ReLU()]
        super().__init__(nn.Sequential(*layers, nn.Linear(width, 1)))


class ReservationHead(ConfidenceHead):
    """Deep Gamblers: the logit of the class C + 1, which means "I do not bet".

    Liu et al., "Deep Gamblers: Learning to Abstain with Portfolio Theory", NeurIPS 2019. It is kept separate
    from the C class logits, so that it cannot be mistaken for a class.

    Args:
        num_features: number F of features.

    Examples:
        >>> import torch
        >>> from monai_sf.networks import ReservationHead
        >>> head = ReservationHead(num_features=16)
        >>> tuple(head(torch.rand(5, 16)).shape), head.output
        ((5,), 'reservation_logit')
    """

    output = "reservation_logit"

    def __init__(self, num_features: int) -> None:
        super().__init__(nn.Linear(num_features, 1))


class DeVriesHead(ConfidenceHead):
    """DeVries & Taylor: a linear confidence beside the class logits.

    "Learning Confidence for Out-of-Distribution Detection in Neural Networks", 2018.

    Args:
        num_features: number F of features.

    Examples:
        >>> import torch
        >>> from monai_sf.networks import DeVriesHead
        >>> head = DeVriesHead(num_features=16)
        >>> tuple(head(torch.rand(5, 16)).shape), head.output
        ((5,), 'confidence_logit')
    """

    output = "confidence_logit"

    def __init__(self, num_features: int) -> None:
        super().__init__(nn.Linear(num_features, 1))
