"""One pass of a network, or of several, as MONAI inferers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from monai_sf.inferers.dropout import MCDropoutInferer
from monai_sf.inferers.images import check_floating
from monai_sf.networks import Classifier, ClassifierOutput
from monai_sf.scores.functions import normalized
from monai_sf.scores.samples import mean_and_entropy_of


class OutputInferer(Inferer):
    """One pass that returns all outputs of the network, as training needs them.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.inferers import OutputInferer
        >>> from monai_sf.networks import ConfidenceClassifier, DeVriesHead
        >>> backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> network = ConfidenceClassifier(backbone, num_classes=2, confidence=DeVriesHead)
        >>> sorted(OutputInferer()(torch.rand(3, 1, 8, 8), network).arrays())
        ['confidence_logit', 'features', 'logits']
    """

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: Classifier
    ) -> ClassifierOutput:
        """Compute logits, features and learned confidence of float images (N, channels, H, W) in [0, 1].

        Raises:
            TypeError: the images are bytes.
        """
        return network.outputs(check_floating(inputs))


class LogitsInferer(Inferer):
    """One pass that returns the logits alone, as MONAI's other tools expect of an inferer.

    An exported network gives its features too; of a tuple, MONAI Deploy would take the first entry for the
    output of a single image, though it is that of a batch.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.inferers import LogitsInferer
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> tuple(LogitsInferer()(torch.rand(3, 1, 8, 8), network).shape)
        (3, 2)
    """

    def __call__(self, inputs: Tensor, network: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> Tensor:
        """Return the logits (N, C) of float images (N, channels, H, W) in [0, 1].

        Args:
            inputs: the images.
            network: gives the logits, or a tuple that begins with them.

        Raises:
            TypeError: the images are bytes.
        """
        check_floating(inputs)
        # TorchScript that is called with a MetaTensor gives no tuple of tensors
        output = network(inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs)
        return output if isinstance(output, Tensor) else output[0]


class EnsembleInferer(Inferer):
    """One plain pass of each of several networks, reduced to mean softmax and mean entropy.

    Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
    NeurIPS 2017; the same reduction as that of stored outputs, :meth:`monai_sf.results.Results.ensemble`.

    Args:
        precision: one of :data:`monai_sf.networks.PRECISIONS`, that of the passes.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.inferers import EnsembleInferer
        >>> from monai_sf.networks import ConfidenceClassifier
        >>> def member():
        ...     return ConfidenceClassifier(
        ...         nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), num_classes=2
        ...     )
        >>> networks = nn.ModuleList([member(), member(), member()]).eval()
        >>> found = EnsembleInferer()(torch.rand(4, 1, 8, 8), networks)
        >>> {name: tuple(array.shape) for name, array in found.items()}
        {'ensemble_log_softmax': (4, 2), 'ensemble_entropy': (4,)}
    """

    mean = "ensemble_log_softmax"

    def __init__(self, precision: str = "float32") -> None:
        super().__init__()
        self._single = MCDropoutInferer(0, precision=precision)

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: nn.ModuleList, case_ids: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Return the outputs of a batch.

        Args:
            inputs: (N, channels, H, W) float images in [0, 1].
            network: the networks, in evaluation mode, at least one.
            case_ids: not used.

        Returns:
            ``ensemble_log_softmax`` (N, C), the log of the mean softmax, and ``ensemble_entropy`` (N,), the
            mean of the networks' entropies in nats, both float32.

        Raises:
            TypeError: the images are bytes.
            ValueError: a network is in training mode.
        """
        logits = torch.stack(
            [self._single(inputs, one, plain=True)["logits"] for one in _classifiers(network)]
        )
        mean, entropy = mean_and_entropy_of(normalized(logits.double()))
        return {self.mean: mean, "ensemble_entropy": entropy.float()}


def _classifiers(networks: nn.ModuleList) -> Iterator[Classifier]:
    for one in networks:
        assert isinstance(one, Classifier)
        yield one
