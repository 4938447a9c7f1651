"""What is told from logits, and that logits of all kinds are left alone."""

import numpy as np
import pytest
import torch

from monai_sf.scores import (
    CSFS,
    energy,
    expected_entropy,
    maximum_softmax_response,
    mutual_information,
    predictive_entropy,
)
from monai_sf.vocabulary.outputs import check_labels, class_logits

RNG = np.random.default_rng(0)
SHARES = torch.softmax(torch.from_numpy(RNG.normal(size=(30, 4))), 1)


@pytest.mark.parametrize(
    "function",
    [maximum_softmax_response, predictive_entropy, expected_entropy, mutual_information, energy]
    + [lambda x, name=name: CSFS[name].confidence({"logits": x}) for name in ("MSR", "PE", "MaxLogit")],
)
@pytest.mark.parametrize("shares", [SHARES, SHARES.numpy(), SHARES.half(), torch.eye(4).repeat(8, 1).long()])
def test_scores_refuse_probabilities_and_one_hot_classes(function, shares):
    with pytest.raises(ValueError, match="probabilities or one-hot classes"):
        function(shares[None] if function in (expected_entropy, mutual_information) else shares)


@pytest.mark.parametrize("function", [maximum_softmax_response, predictive_entropy])
@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_scores_refuse_predicted_classes(function, shape):
    with pytest.raises(ValueError, match="classes after argmax"):
        function(SHARES.argmax(1).reshape(shape))


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_one_logit_gives_the_softmax_of_a_sigmoid(kind):
    z = RNG.normal(size=(30, 1)) * 3
    p = 1 / (1 + np.exp(-z[:, 0]))
    expected = np.maximum(p, 1 - p)
    np.testing.assert_allclose(maximum_softmax_response(kind(z)).numpy(), expected, rtol=1e-12)
    samples = np.stack([z, z * 2])
    np.testing.assert_allclose(
        mutual_information(kind(samples)).numpy(),
        mutual_information(np.concatenate([0 * samples, samples], 2)).numpy(),
        atol=1e-12,
    )


@pytest.mark.filterwarnings("ignore:all .* as after a sigmoid")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [1, 2, 5, 64])
def test_logits_are_never_refused(dtype, classes, rows):
    generator = torch.Generator().manual_seed(classes * rows)
    for spread, bias in ((0.02, 0.5), (0.3, 0.4), (3, 0), (200, 0)):  # untrained to overconfident
        for _ in range(200):
            logits = (torch.randn(rows, classes, generator=generator) * spread + bias).to(dtype)
            class_logits(logits.double(), "logits", "float")
            class_logits(logits.double().numpy(), "logits", "float")


def test_a_sigmoid_cannot_be_told_for_sure_and_is_warned_of():
    sigmoid = torch.from_numpy(RNG.random((30, 1)))
    with pytest.warns(UserWarning, match=r"all 30 values of logits lie in \[0, 1\], as after a sigmoid"):
        predictive_entropy(sigmoid)


@pytest.mark.parametrize("name", ["MCD-MSR", "MCD-PE", "MCD-MI", "DG-MCD-MSR"])
@pytest.mark.parametrize("wrong", [SHARES, SHARES.log() * 2, SHARES.log() + 3, SHARES.log()[:, :1]])
def test_mean_log_softmax_is_checked(name, wrong):
    arrays = {"mcd_log_softmax": wrong, "mcd_entropy": torch.ones(30), "reservation_logit": torch.ones(30)}
    with pytest.raises(ValueError, match=r"mcd_log_softmax must (be logarithms|hold at least 2)"):
        CSFS[name].confidence(arrays)
    arrays["mcd_log_softmax"] = SHARES.log().bfloat16()
    assert CSFS[name].confidence(arrays).isfinite().all()


def test_gradients_pass_through_the_check():
    z = torch.randn(5, 1, requires_grad=True)
    predictive_entropy(z).sum().backward()
    assert z.grad.isfinite().all()
    assert z.grad.any()


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_labels_are_whole_numbers_of_any_dtype(kind):
    for labels in ([0, 1, 2], [0.0, 1.0, 2.0], [[0], [1], [2]]):
        assert check_labels(kind(labels), 3, 3, "label").tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="2 of 3 are not: 2, 7"):
        check_labels(kind([1, 2, 7]), 3, 2, "label")
