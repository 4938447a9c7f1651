"""Scores of reshaped features: against the papers' formulas, case by case, and against pytorch-ood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy.special import logsumexp, softmax

from monai_sf.scores import CSFS, derived, fit_scores
from monai_sf.scores.activations import Layer, gradient_norm, percentile

NAMES = ("ReAct", "ASH", "SCALE", "DICE", "GradNorm")
TRAINED = ("ReAct", "DICE")


def make(n=40, size=30, classes=4, seed=0, negative=False):
    rng = np.random.default_rng(seed)
    features = rng.gamma(1, 2, (n, size)) * (rng.random((n, size)) < 0.7) - (0.5 if negative else 0)
    layer = np.random.default_rng(99)
    weight, bias = layer.normal(size=(classes, size)), layer.normal(size=classes)
    training = np.random.default_rng(98).gamma(1, 2, (200, size)) - (0.5 if negative else 0)
    reference = {"training_features": training, "last_layer_weight": weight, "last_layer_bias": bias}
    return features, reference


def score(name, features, reference):
    csf = CSFS[name]
    fitted = fit_scores(reference, None)
    assert csf.fit.name not in fitted.failed, fitted.failed
    return csf(derived(csf.fit, {"features": features}, fitted.arrays))


def plain(name, x, reference):
    """The definition of the paper for the features of one case."""
    weight, bias = reference["last_layer_weight"], reference["last_layer_bias"]
    training = reference["training_features"]
    if name == "ReAct":
        return logsumexp(weight @ np.minimum(x, np.percentile(training, 90)) + bias)
    if name == "DICE":
        contributions = weight * training.mean(0)
        return logsumexp((weight * (contributions > np.quantile(contributions, 0.9))) @ x + bias)
    if name == "GradNorm":
        gradient = np.outer(softmax(weight @ x + bias) - 1 / len(bias), x)
        return np.abs(gradient).sum()
    pruned = 0.9 if name == "ASH" else 0.85
    order = np.argsort(x)[::-1]
    kept = order[: len(x) - round(len(x) * pruned)]
    factor = np.exp(x.sum() / x[kept].sum())
    shaped = np.zeros_like(x)
    shaped[kept if name == "ASH" else order] = factor * x[kept if name == "ASH" else order]
    return logsumexp(weight @ shaped + bias)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(("size", "classes"), [(30, 4), (12, 2), (400, 60)])
@pytest.mark.parametrize("name", NAMES)
def test_each_score_is_that_of_its_paper(name, size, classes, kind):
    features, reference = make(size=size, classes=classes)
    found = score(name, kind(features), {key: kind(value) for key, value in reference.items()})
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, [plain(name, x, reference) for x in features], rtol=1e-10)


def test_grad_norm_is_the_norm_of_the_gradient():
    features, reference = make(n=6)
    layer = torch.nn.Linear(30, 4).double()
    layer.weight.data = torch.from_numpy(reference["last_layer_weight"])
    layer.bias.data = torch.from_numpy(reference["last_layer_bias"])
    for x, found in zip(features, score("GradNorm", features, reference), strict=True):
        layer.zero_grad()
        log_p = layer(torch.from_numpy(x)).log_softmax(0)
        torch.nn.functional.kl_div(log_p, torch.full((4,), 0.25).double(), reduction="sum").backward()
        assert float(layer.weight.grad.abs().sum()) == pytest.approx(float(found), rel=1e-12)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_classes_or_features_nor_the_block_matters(name, negative, monkeypatch):
    features, reference = make(negative=negative)
    expected = score(name, features, reference)
    rng = np.random.default_rng(0)
    of_features, of_classes, of_cases = rng.permutation(30), rng.permutation(4), rng.permutation(200)
    permuted = {
        "training_features": reference["training_features"][of_cases][:, of_features],
        "last_layer_weight": reference["last_layer_weight"][of_classes][:, of_features],
        "last_layer_bias": reference["last_layer_bias"][of_classes],
    }
    torch.testing.assert_close(score(name, features[:, of_features], permuted), expected, rtol=1e-9, atol=0)
    monkeypatch.setattr("monai_sf.scores.reference.BLOCK", 7)
    monkeypatch.setattr("monai_sf.scores.csf.BLOCK", 3)
    torch.testing.assert_close(score(name, features, reference), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(score(name, features[5:6], reference), expected[5:6], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_equal_features_do_not_depend_on_their_order(name):
    _, reference = make()
    features = np.repeat([[3.0, 1, 1, 1, 1, 1, 0, 0, 0, 2]], 3, 0).repeat(3, 1).reshape(3, 30)
    order = np.random.default_rng(0).permutation(30)
    permuted = {**reference, "last_layer_weight": reference["last_layer_weight"][:, order]}
    permuted["training_features"] = reference["training_features"][:, order]
    torch.testing.assert_close(score(name, features[:, order], permuted), score(name, features, reference))


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_case(name):
    features, reference = make()
    expected = score(name, features, reference)
    features[3, 1] = np.nan
    found = score(name, features, reference)
    assert found.isnan().nonzero().flatten().tolist() == [3]
    keep = np.arange(40) != 3
    torch.testing.assert_close(found[keep], expected[keep])


@pytest.mark.parametrize("name", NAMES)
def test_features_that_are_zero_or_negative_have_a_value(name):
    _, reference = make()
    bias = reference["last_layer_bias"]
    x = np.stack(
        [
            np.zeros(30),
            np.full(30, -1.0),
            np.linspace(-3, 1e-9, 30),
            np.linspace(-5, 5, 30),
            -1e-300 * np.arange(30),
        ]
    )
    found = score(name, x, reference)
    assert found.isfinite().all()
    if name == "GradNorm":
        assert float(found[0]) == 0
    else:
        assert float(found[0]) == pytest.approx(logsumexp(bias))


@settings(max_examples=60, deadline=None)
@given(arrays_of.arrays(np.float64, (5, 12), elements=st.floats(-1e3, 1e3)))
def test_any_features_have_a_value(features):
    _, reference = make(size=12)
    fitted = fit_scores(reference, None)
    for name in NAMES:
        assert CSFS[name](derived(CSFS[name].fit, {"features": features}, fitted.arrays)).isfinite().all(), (
            name
        )


@settings(max_examples=100, deadline=None)
@given(
    arrays_of.arrays(
        np.float64, st.integers(1, 40), elements=st.floats(-1e300, 1e300) | st.sampled_from([0.0, -0.0, 1.0])
    ),
    st.sampled_from([0, 0.1, 0.5, 0.85, 0.9, 1]),
    st.integers(1, 50),
)
def test_a_percentile_in_blocks_is_that_of_numpy(numbers, share, block):
    found = percentile(lambda: torch.from_numpy(numbers).split(block), share)
    assert found == pytest.approx(np.quantile(numbers, share), rel=1e-12, abs=1e-300)


def test_a_percentile_of_many_numbers_that_are_alike():
    numbers = np.random.default_rng(0).normal(size=100_000).clip(min=0).astype(np.float32)
    for share in (0.3, 0.49, 0.5, 0.51, 0.9):
        found = percentile(lambda: torch.from_numpy(numbers).double().split(999), share)
        assert found == pytest.approx(np.quantile(numbers.astype(np.float64), share), rel=1e-14)


def failed(reference):
    return fit_scores(reference, None).failed


def test_scores_of_the_last_layer_need_no_training_case():
    features, reference = make()
    del reference["training_features"]
    fitted = fit_scores(reference, None)
    assert {name.split(".")[0] for name in fitted.arrays} == {"last_layer"}
    for name in ("ASH", "SCALE", "GradNorm"):
        assert score(name, features, reference).isfinite().all()


def test_what_the_reference_lacks_is_said():
    _, reference = make()
    empty = failed({**reference, "training_features": np.zeros((0, 30))})
    assert empty["activations"] == "there is no training case: give the features of at least one"
    assert "last_layer" not in empty
    training = reference["training_features"].copy()
    training[[3, 5], 2] = np.nan, np.inf
    undefined = failed({**reference, "training_features": training})
    assert undefined["activations"].startswith("2 of 200 cases of training_features are NaN or infinite")
    assert "last_layer" not in undefined
    bias = reference["last_layer_bias"].copy()
    bias[0] = np.nan
    assert (
        "weight or bias of the last layer hold NaN"
        in failed({**reference, "last_layer_bias": bias})["last_layer"]
    )
    one = {"last_layer_weight": np.ones((1, 30)), "last_layer_bias": np.ones(1)}
    assert "give its weight w and bias b as those of two classes" in failed(one)["last_layer"]


def test_features_of_another_layer_are_refused():
    features, reference = make()
    for name in ("ASH", "ReAct"):
        with pytest.raises(ValueError, match=r"features have shape \(40, 29\), but the last layer reads 30"):
            score(name, features[:, :29], reference)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_cases_than_features_and_constant_ones(name):
    features, reference = make(n=1)
    assert score(name, features, {**reference, "training_features": features}).isfinite().all()
    constant = {**reference, "training_features": np.zeros((3, 30))}
    assert score(name, features, constant).isfinite().all()


def test_confident_cases_have_the_norm_of_their_features():
    layer = Layer(torch.tensor([[1000.0], [0.0]]).double(), torch.zeros(2).double())
    found = gradient_norm(torch.tensor([[1.0], [2.0]]).double(), layer)
    assert found.tolist() == [1, 2]


def pytorch_ood(name):
    return getattr(pytest.importorskip("pytorch_ood.detector", reason="no pytorch-ood here"), name)


@pytest.mark.parametrize(("name", "share"), [("ReAct", 0.9), ("ASH", 0.9), ("SCALE", 0.85)])
def test_agrees_with_pytorch_ood(name, share):
    features, reference = make(size=400, classes=10)
    weight, bias = (torch.from_numpy(reference[f"last_layer_{part}"]) for part in ("weight", "bias"))
    detector = pytorch_ood(name)(None, lambda x: x.flatten(1) @ weight.T + bias, percentile=share)
    maps = torch.from_numpy(features)[..., None, None]
    if name == "ReAct":
        training = torch.from_numpy(reference["training_features"])[..., None, None]
        detector.fit_feature_maps(training, torch.zeros(200))
    # Where all features of a case are 0 it gives NaN, here the logits are then the bias.
    torch.testing.assert_close(
        score(name, features, reference), -detector.predict_feature_maps(maps), rtol=1e-6, atol=1e-6
    )


def test_dice_agrees_with_pytorch_ood_to_its_float32():
    features, reference = make(size=400, classes=10)
    weight, bias = (torch.from_numpy(reference[f"last_layer_{part}"]) for part in ("weight", "bias"))
    detector = pytorch_ood("DICE")(None, weight, bias, 0.9)
    detector.fit_features(torch.from_numpy(reference["training_features"]), torch.zeros(200))
    found = -detector.predict_features(torch.from_numpy(features).float())
    torch.testing.assert_close(score("DICE", features, reference), found.double(), rtol=1e-6, atol=1e-4)


def test_grad_norm_agrees_with_pytorch_ood():
    features, reference = make(n=8)
    layer = torch.nn.Linear(30, 4).double()
    layer.weight.data = torch.from_numpy(reference["last_layer_weight"])
    layer.bias.data = torch.from_numpy(reference["last_layer_bias"])
    detector = pytorch_ood("GradNorm")(layer, param_filter=lambda name: name == "weight")
    torch.testing.assert_close(
        score("GradNorm", features, reference),
        -detector.predict(torch.from_numpy(features)),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("largest", [1e-3, 0, -1e-3])
def test_the_factor_of_negative_features_is_limited(largest):
    _, reference = make(size=12)
    x = np.full(12, -100.0)
    x[:2] = largest
    weight, bias = reference["last_layer_weight"], reference["last_layer_bias"]
    expected = logsumexp(np.exp(-12 / 2) * weight @ x + bias)
    assert float(score("SCALE", x[None], reference)) == pytest.approx(expected, rel=1e-12)
