"""The losses of the training methods, computed from logits in log space, so that nothing is clamped.

Each takes the network's output for a batch (:class:`monai_sf.networks.ClassifierOutput`) and the labels, so
that one trainer serves all methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_sf.networks import ClassifierOutput, distributed


class ClassificationLoss(nn.Module):
    """A loss of the class logits, cross-entropy unless another is given; nothing else is learned.

    Args:
        loss: called with logits (N, C) float and labels (N,) int64, as losses of torch are; gives the
            mean of the batch.

    Examples:
        >>> import torch
        >>> from monai_sf.losses import ClassificationLoss
        >>> from monai_sf.networks import ClassifierOutput
        >>> output = ClassifierOutput(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
        >>> round(ClassificationLoss()(output, torch.tensor([0, 1])).item(), 3)
        0.41
        >>> smoothed = ClassificationLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
        >>> round(smoothed(output, torch.tensor([0, 1])).item(), 3)
        0.46
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.loss = loss or nn.CrossEntropyLoss()

    def forward(self, output: ClassifierOutput, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, cross-entropy in nats.

        Args:
            output: ``logits`` (N, C) float.
            labels: (N,) int64 in 0..C-1.
        """
        return self.loss(_wide(output.logits), labels)


class TrueClassProbabilityLoss(nn.Module):
    """Squared distance of the learned confidence to the classifier's probability of the true class.

    Corbière et al., "Addressing Failure Prediction by Learning Model Confidence", NeurIPS 2019:
    the mean of (sigmoid(confidence_logit) - p_y)^2. The classifier is the teacher: no gradient reaches it.

    Examples:
        >>> import torch
        >>> from monai_sf.losses import TrueClassProbabilityLoss
        >>> from monai_sf.networks import ClassifierOutput
        >>> output = ClassifierOutput(
        ...     torch.zeros(2, 2), confidence_logit=torch.tensor([0.0, 9.0])
        ... )
        >>> # (0^2 + 0.5^2) / 2
        >>> round(TrueClassProbabilityLoss()(output, torch.tensor([0, 1])).item(), 3)
        0.125
    """

    def forward(self, output: ClassifierOutput, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, in [0, 1].

        Args:
            output: ``logits`` (N, C) and ``confidence_logit`` (N,), float.
            labels: (N,) int64 in 0..C-1.

        Raises:
            ValueError: the network has no learned confidence.
        """
        confidence = _wide(_learned(output, "confidence_logit")).sigmoid()
        target = _log_probability(output.logits.detach(), labels).exp()
        return F.mse_loss(confidence, target)


class DeepGamblersLoss(nn.Module):
    """The doubling rate of a gambler who may keep the stake: ``-log(p_y + p_reservation / reward)``.

    Liu et al., "Deep Gamblers: Learning to Abstain with Portfolio Theory", NeurIPS 2019; the
    softmax is over the C classes and the reservation together.

    Args:
        reward: payoff of a right answer per unit of the stake, > 0; abstaining keeps the stake. At 1 and
            below it is best always to abstain; the higher, the less abstaining is worth.

    Raises:
        ValueError: ``reward`` is not a positive number.

    Examples:
        >>> import torch
        >>> from monai_sf.losses import DeepGamblersLoss
        >>> from monai_sf.networks import ClassifierOutput
        >>> output = ClassifierOutput(
        ...     torch.zeros(2, 2), reservation_logit=torch.tensor([-9.0, 9.0])
        ... )
        >>> labels = torch.tensor([0, 1])
        >>> round(DeepGamblersLoss(reward=1.5)(output, labels).item(), 2)
        0.55
        >>> # abstaining is worth less
        >>> round(DeepGamblersLoss(reward=10)(output, labels).item(), 2)
        1.5
    """

    def __init__(self, reward: float) -> None:
        super().__init__()
        self.log_reward = math.log(_positive("reward", reward))

    def forward(self, output: ClassifierOutput, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, in nats.

        Args:
            output: ``logits`` (N, C) and ``reservation_logit`` (N,), float.
            labels: (N,) int64 in 0..C-1.

        Raises:
            ValueError: the network has no reservation class.
        """
        logits, reservation = _wide(output.logits), _wide(_learned(output, "reservation_logit"))
        total = torch.cat([logits, reservation[:, None]], 1).logsumexp(1)
        answer = logits.gather(1, labels[:, None])[:, 0]
        return (total - torch.logaddexp(answer, reservation - self.log_reward)).mean()


class DeVriesLoss(nn.Module):
    """Cross-entropy in which the network may buy hints, at a price that follows a budget.

    DeVries & Taylor, "Learning Confidence for Out-of-Distribution Detection in Neural Networks", 2018:
    with confidence c the probabilities become c p + (1 - c) y, at a charge of -log c, weighted by lambda. A
    random half of each batch gets hints, or the network would come to rely on them. With several processes,
    this is half of the global batch. After every batch lambda falls (is divided by 1.01) if the mean charge
    is below the budget, and rises (is divided by 0.99) otherwise. In evaluation mode there are no hints, and
    lambda is constant.

    Args:
        lambda_: initial weight of the charge, > 0.
        budget: target of the mean charge, > 0, in nats.

    Raises:
        ValueError: a number is not positive.

    Examples:
        >>> import torch
        >>> from monai_sf.losses import DeVriesLoss
        >>> from monai_sf.networks import ClassifierOutput
        >>> output = ClassifierOutput(
        ...     torch.zeros(2, 2), confidence_logit=torch.tensor([-3.0, -3.0])
        ... )
        >>> labels, loss = torch.tensor([0, 1]), DeVriesLoss()
        >>> round(loss(output, labels).item(), 2)  # one of the two gets a hint
        0.66
        >>> # hints were bought for more than the budget: they become dearer
        >>> round(loss.lambda_.item(), 3)
        0.101
    """

    lambda_: Tensor

    def __init__(self, lambda_: float = 0.1, budget: float = 0.3) -> None:
        super().__init__()
        self.budget = _positive("budget", budget)
        start = torch.tensor(_positive("lambda_", lambda_), dtype=torch.float64)
        self.register_buffer("lambda_", start)  # in the state dict, from which training is resumed

    def forward(self, output: ClassifierOutput, labels: Tensor, hinted: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch, in nats.

        Args:
            output: ``logits`` (N, C) and ``confidence_logit`` (N,), float.
            labels: (N,) int64 in 0..C-1.
            hinted: (N,) booleans, the cases with a hint; by default a random half in training mode, else
                none.

        Raises:
            ValueError: the network has no learned confidence.
        """
        confidence = _wide(_learned(output, "confidence_logit"))
        if hinted is None and self.training:
            hinted = distributed.random_half(len(labels), labels.device)
        plain = _log_probability(output.logits, labels)
        log_c = F.logsigmoid(confidence)
        interpolated = torch.logaddexp(log_c + plain, F.logsigmoid(-confidence))
        charge = -log_c.mean()
        answered = plain if hinted is None else torch.where(hinted, interpolated, plain)
        loss = self.lambda_.to(charge.dtype) * charge - answered.mean()
        if self.training:  # without asking the device for a value
            spent = distributed.mean_of_all(charge.detach(), len(labels))
            self.lambda_ = torch.where(spent < self.budget, self.lambda_ / 1.01, self.lambda_ / 0.99)
        return loss


def _positive(name: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive number, got {value}")
    return float(value)


def _wide(x: Tensor) -> Tensor:
    """Return half precision as float32, since it cannot represent logarithms of small probabilities."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    return _wide(logits).log_softmax(1).gather(1, labels[:, None])[:, 0]


def _learned(output: ClassifierOutput, name: str) -> Tensor:
    value: Tensor | None = getattr(output, name)
    if value is None:
        raise ValueError(
            f"the network has no {name}: give ConfidenceClassifier a head that learns it "
            "(monai_sf.networks.heads)"
        )
    return value
