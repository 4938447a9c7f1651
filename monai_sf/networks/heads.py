"""What a training method adds to a classifier: a small network from its features to one number a case.

Each head names the array that it gives (``output``, a field of
:class:`monai_sf.networks.ClassifierOutput` and a name of :data:`monai_sf.results.ARRAYS`), and says whether
it comes with an encoder of its own.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class ConfidenceHead(nn.Module):
    """From features (N, F) to (N,), by ``self.layers``.

    Args:
        layers: gives (N, 1).
    """

    output: ClassVar[str]
    own_encoder: ClassVar[bool] = False

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) features to (N,) logits."""
        return self.layers(features).flatten()  # type: ignore[no-any-return]


class ConfidNetHead(ConfidenceHead):
    """ConfidNet: a perceptron of five layers, on a copy of the classifier's backbone that may be fine-tuned.

    Corbière et al., "Addressing Failure Prediction by Learning Model Confidence", NeurIPS 2019.

    Args:
        num_features: number F of features.
        width: of the four hidden layers (the paper: 400).
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

    Liu et al., "Deep Gamblers: Learning to Abstain with Portfolio Theory", NeurIPS 2019. Apart from the C
    class logits, so that nothing that speaks of classes can take it for one.

    Args:
        num_features: number F of features.
    """

    output = "reservation_logit"

    def __init__(self, num_features: int) -> None:
        super().__init__(nn.Linear(num_features, 1))


class DeVriesHead(ConfidenceHead):
    """DeVries & Taylor: a linear confidence beside the class logits.

    "Learning Confidence for Out-of-Distribution Detection in Neural Networks", 2018.

    Args:
        num_features: number F of features.
    """

    output = "confidence_logit"

    def __init__(self, num_features: int) -> None:
        super().__init__(nn.Linear(num_features, 1))
