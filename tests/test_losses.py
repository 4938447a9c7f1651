"""The losses are their definitions, in float64, and stay so where a softmax is 0 or 1."""

import math

import pytest
import torch

from monai_sf.losses import ClassificationLoss, DeepGamblersLoss, DeVriesLoss, TrueClassProbabilityLoss
from monai_sf.networks import ClassifierOutput

LABELS = torch.tensor([0, 2, 1, 1, 0])


def outputs(scale=1.0, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)  # noqa: E731
    return ClassifierOutput(draw(5, 3), draw(5, 4), draw(5), draw(5))


def probabilities(output):
    p = [[math.exp(v) for v in row] for row in output.logits.tolist()]
    return [[v / sum(row) for v in row] for row in p]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_classification_is_cross_entropy():
    output = outputs()
    p = probabilities(output)
    expected = -sum(math.log(row[y]) for row, y in zip(p, LABELS.tolist(), strict=True)) / 5
    assert ClassificationLoss()(output, LABELS).item() == pytest.approx(expected, rel=1e-12)


def test_true_class_probability_definition_and_frozen_teacher():
    output = outputs()
    p = probabilities(output)
    c = [sigmoid(v) for v in output.confidence_logit.tolist()]
    expected = sum((ci - row[y]) ** 2 for ci, row, y in zip(c, p, LABELS.tolist(), strict=True)) / 5
    assert TrueClassProbabilityLoss()(output, LABELS).item() == pytest.approx(expected, rel=1e-12)
    logits = output.logits.clone().requires_grad_()
    confidence = output.confidence_logit.clone().requires_grad_()
    changed = output._replace(logits=logits, confidence_logit=confidence)
    TrueClassProbabilityLoss()(changed, LABELS).backward()
    assert logits.grad is None
    assert (confidence.grad != 0).all()


@pytest.mark.parametrize("reward", [0.5, 2.0, 20.0])
def test_deep_gamblers_definition(reward):
    output = outputs()
    total = 0.0
    for row, r, y in zip(
        output.logits.tolist(), output.reservation_logit.tolist(), LABELS.tolist(), strict=True
    ):
        z = sum(math.exp(v) for v in [*row, r])
        total -= math.log(math.exp(row[y]) / z + math.exp(r) / z / reward)
    assert DeepGamblersLoss(reward)(output, LABELS).item() == pytest.approx(total / 5, rel=1e-12)


@pytest.mark.parametrize("hinted", [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0]])
def test_devries_definition(hinted):
    output = outputs()
    p = probabilities(output)
    nll = charge = 0.0
    for row, s, y, h in zip(p, output.confidence_logit.tolist(), LABELS.tolist(), hinted, strict=True):
        c = sigmoid(s)
        nll -= math.log(c * row[y] + (1 - c)) if h else math.log(row[y])
        charge -= math.log(c)
    loss = DeVriesLoss(0.25, 0.3)(output, LABELS, torch.tensor(hinted, dtype=torch.bool))
    assert loss.item() == pytest.approx((nll + 0.25 * charge) / 5, rel=1e-12)


def gradcheck(function, *inputs):
    return torch.autograd.gradcheck(function, [x.clone().requires_grad_() for x in inputs])


def test_gradients():
    output, hinted = outputs(), torch.tensor([True, False, True, True, False])
    assert gradcheck(
        lambda c: TrueClassProbabilityLoss()(output._replace(confidence_logit=c), LABELS),
        output.confidence_logit,
    )
    assert gradcheck(
        lambda z, r: DeepGamblersLoss(2.0)(output._replace(logits=z, reservation_logit=r), LABELS),
        output.logits,
        output.reservation_logit,
    )
    assert gradcheck(
        lambda z, c: DeVriesLoss().eval()(output._replace(logits=z, confidence_logit=c), LABELS, hinted),
        output.logits,
        output.confidence_logit,
    )


@pytest.mark.parametrize("loss", [TrueClassProbabilityLoss(), DeepGamblersLoss(20.0), DeVriesLoss()])
def test_finite_with_gradients_where_a_softmax_is_zero(loss):
    output = outputs(scale=1000.0, dtype=torch.float32)
    leaves = [x.clone().requires_grad_() for x in output[:4]]
    value = loss(ClassifierOutput(*leaves), LABELS)
    value.backward()
    assert math.isfinite(value.item())
    assert all(x.grad is None or x.grad.isfinite().all() for x in leaves)


def test_a_wrong_answer_that_is_sure_still_teaches():
    """A clamped softmax would give no gradient here."""
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    output = ClassifierOutput(logits, torch.zeros(1, 4), torch.zeros(1), torch.tensor([-300.0]))
    DeepGamblersLoss(2.0)(output, torch.tensor([1])).backward()
    assert logits.grad[0].tolist() == pytest.approx([1.0, -1.0, 0.0])


def test_half_precision_is_computed_in_single():
    output = outputs(dtype=torch.float16)
    for loss in (
        TrueClassProbabilityLoss(),
        DeepGamblersLoss(20.0),
        DeVriesLoss().eval(),
        ClassificationLoss(),
    ):
        assert loss(output, LABELS).dtype == torch.float32


def test_lambda_follows_the_budget_in_training_only():
    sure = outputs()._replace(confidence_logit=torch.full((5,), 10.0, dtype=torch.float64))
    unsure = sure._replace(confidence_logit=torch.full((5,), -3.0, dtype=torch.float64))
    loss = DeVriesLoss(0.1, 0.3)
    loss(sure, LABELS)
    assert loss.lambda_.item() == pytest.approx(0.1 / 1.01, rel=1e-12)
    loss(unsure, LABELS)
    assert loss.lambda_.item() == pytest.approx(0.1 / 1.01 / 0.99, rel=1e-12)
    loss.eval()(unsure, LABELS)
    assert loss.lambda_.item() == pytest.approx(0.1 / 1.01 / 0.99, rel=1e-12)
    assert list(loss.state_dict()) == ["lambda_"]


def test_half_of_the_batch_gets_hints_in_training():
    n = 20
    logits = torch.tensor([[5.0, 0.0]]).repeat(n, 1).double().requires_grad_()
    output = ClassifierOutput(logits, torch.zeros(n, 1), torch.full((n,), -5.0).double())
    loss = DeVriesLoss()
    labels = torch.ones(n, dtype=torch.int64)  # all answers wrong: a hint takes most of the gradient
    seen = []
    for seed in range(2):
        torch.manual_seed(seed)
        (grad,) = torch.autograd.grad(loss(output, labels), logits)
        helped = grad[:, 1].abs() < 0.02 / n
        assert helped.sum() == n / 2
        seen.append(helped)
    assert not torch.equal(*seen)
    (grad,) = torch.autograd.grad(loss.eval()(output, labels), logits)
    assert (grad[:, 1].abs() > 0.5 / n).all()


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf])
def test_numbers_must_be_positive(bad):
    with pytest.raises(ValueError, match=f"reward must be a positive number, got {bad}"):
        DeepGamblersLoss(bad)
    with pytest.raises(ValueError, match=f"budget must be a positive number, got {bad}"):
        DeVriesLoss(budget=bad)
    with pytest.raises(ValueError, match=f"lambda_ must be a positive number, got {bad}"):
        DeVriesLoss(bad)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (TrueClassProbabilityLoss(), "confidence_logit"),
        (DeVriesLoss(), "confidence_logit"),
        (DeepGamblersLoss(2.0), "reservation_logit"),
    ],
)
def test_a_network_without_the_head_is_told_so(loss, name):
    output = ClassifierOutput(torch.zeros(1, 2), torch.zeros(1, 1))
    with pytest.raises(ValueError, match=f"network has no {name}: give ConfidenceClassifier a head"):
        loss(output, torch.tensor([0]))
