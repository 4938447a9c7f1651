"""Combinations of two scores: SIRC by its formula, and ranks within cases and among a reference's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from helpers.feature_scores import defined
from monai_sf.scores import (
    CSFS,
    derivable,
    derived,
    fit_scores,
    rank_average,
    rank_product,
    sirc,
    sirc_parameters,
)
from monai_sf.scores.ranks import distribution, rank_among

NAMES = ("SIRC-MSR-L1", "SIRC-MSR-Res", "RankAvg-MSR-MDS", "RankProd-MSR-MDS")


def make(n=60, size=12, classes=4, seed=0):
    """Logits and features of test cases, and a reference, from one linear layer."""
    layer = np.random.default_rng(99)
    weight, bias = layer.normal(size=(classes, size)), layer.normal(size=classes)

    def cases(n, seed):
        rng = np.random.default_rng(seed)
        labels = rng.integers(classes, size=n)
        features = (
            rng.gamma(2, 1, (n, size)) + 2 * np.random.default_rng(97).normal(size=(classes, size))[labels]
        )
        return features, features @ weight.T + bias, labels

    features, logits, _ = cases(n, seed)
    reference = {"last_layer_weight": weight, "last_layer_bias": bias}
    for part, count, at in (("training", 300, 98), ("validation", 80, 96)):
        values = cases(count, at)
        reference |= {
            f"{part}_{kind}": x for kind, x in zip(("features", "logits", "labels"), values, strict=True)
        }
    return {"features": features, "logits": logits}, reference


def score(name, arrays, reference):
    csf = CSFS[name]
    fitted = fit_scores(reference, None)
    assert csf.fit.name not in fitted.failed, fitted.failed
    return csf(derived(csf.fit, arrays, fitted.arrays))


def doubt(logits):
    """1 - MSR, as the sum of the other classes' probabilities."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.sort(p / p.sum(1, keepdims=True))[:, :-1].sum(1)


def of_features(name, reference, cases):
    """A score of features by its published definition."""
    names = [f"training_{kind}" for kind in ("features", "logits", "labels")] + [*reference][:2]
    return defined({key: reference[key] for key in names}, cases)[name]


def plain_sirc(logits, second, of_training):
    a, b = of_training.mean() - 3 * of_training.std(), 1 / of_training.std()
    return -doubt(logits) * (1 + np.exp(-b * (second - a)))


def test_sirc_with_the_norm_of_the_features():
    arrays, reference = make()
    norm, of_training = (np.abs(x).sum(1) for x in (arrays["features"], reference["training_features"]))
    np.testing.assert_allclose(
        score("SIRC-MSR-L1", arrays, reference),
        plain_sirc(arrays["logits"], norm, of_training),
        rtol=1e-9,
    )


def test_sirc_with_the_residual_of_vim():
    arrays, reference = make()
    of_cases, of_training = (
        of_features("Residual", reference, {"features": features, "logits": logits})
        for features, logits in (
            (arrays["features"], arrays["logits"]),
            (reference["training_features"], reference["training_logits"]),
        )
    )
    np.testing.assert_allclose(
        score("SIRC-MSR-Res", arrays, reference),
        plain_sirc(arrays["logits"], of_cases, of_training),
        rtol=1e-8,
    )


def plain_rank(x, reference):
    """The place of one number among others: a share, drawn out by hyperbolas at both ends."""
    known = np.sort(np.unique(reference))
    ranks = [((reference < v).sum() + (reference == v).sum() / 2) / len(reference) for v in known]
    spread = known[-1] - known[0]
    if x < known[0]:
        return ranks[0] * spread / (spread + known[0] - x)
    if x > known[-1]:
        return 1 - (1 - ranks[-1]) * spread / (spread + x - known[-1])
    return np.interp(x, known, ranks)


@pytest.mark.parametrize("part", ["validation", "training"])
def test_ranks_of_msr_and_mds_are_those_among_held_out_cases(part):
    arrays, reference = make(seed=5)
    arrays["features"][:3] += 5  # further away than any case of the reference
    if part == "training":
        for kind in ("features", "logits", "labels"):
            del reference[f"validation_{kind}"]
    others = {kind: reference[f"{part}_{kind}"] for kind in ("features", "logits")}
    distance, of_others = (of_features("MDS", reference, cases) for cases in (arrays, others))
    doubts = -np.log(doubt(arrays["logits"])), -np.log(doubt(others["logits"]))
    certainty, of_certain = (x + np.log1p(-np.exp(-x)) for x in doubts)  # log p - log (1 - p)
    first = np.array([plain_rank(x, of_certain) for x in certainty])
    second = np.array([plain_rank(x, of_others) for x in distance])
    assert second.min() < 0.5 / len(of_others)
    np.testing.assert_allclose(score("RankAvg-MSR-MDS", arrays, reference), (first + second) / 2, rtol=1e-8)
    np.testing.assert_allclose(score("RankProd-MSR-MDS", arrays, reference), first * second, rtol=1e-8)


def test_ranks_of_the_reference_itself_are_those_within_it():
    _, reference = make()
    cases = {kind: reference[f"validation_{kind}"] for kind in ("features", "logits")}
    fitted = fit_scores(reference, None).arrays
    distance = derived(CSFS["MDS"].fit, cases, fitted)["mahalanobis_distance"]
    within = rank_average(-np.log(doubt(cases["logits"])), -distance)
    np.testing.assert_allclose(score("RankAvg-MSR-MDS", cases, reference), (within - 0.5) / 80)


def test_what_a_score_uses_fails_with_it_and_is_computed_once(monkeypatch):
    arrays, reference = make()
    bad = {**reference, "training_features": np.ones((300, 12))}
    failed = fit_scores(bad, None).failed
    assert failed["ranks"] == failed["gaussian"]
    fit = CSFS["RankAvg-MSR-MDS"].fit
    calls = []
    original = fit.uses.fit
    object.__setattr__(fit.uses, "fit", lambda reference: calls.append(1) or original(reference))
    try:
        fitted = fit_scores(reference, None).arrays
    finally:
        object.__setattr__(fit.uses, "fit", original)
    assert calls == [1]
    without = {key: value for key, value in fitted.items() if not key.startswith("gaussian.")}
    assert "mean_rank" in derivable(arrays, fitted)
    assert "mean_rank" not in derivable(arrays, without)
    of_mds = derived(CSFS["MDS"].fit, arrays, fitted)
    torch.testing.assert_close(derived(fit, {**arrays, **of_mds}, {**without}), derived(fit, arrays, fitted))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_cases_or_classes_give_a_value_or_a_reason(n):
    arrays, reference = make()
    few = {key: value if key.startswith("last") else value[:n] for key, value in reference.items()}
    found = fit_scores(few, None)
    for name in NAMES:
        fit = CSFS[name].fit
        if fit.name in found.failed:
            assert len(found.failed[fit.name]) > 20
        else:
            assert CSFS[name](derived(fit, arrays, found.arrays)).isfinite().all(), name
    assert "sirc_norm" not in found.failed


@pytest.mark.parametrize("name", [*NAMES, "ReAct", "ASH", "SCALE", "DICE", "GradNorm", "MDS"])
def test_features_make_a_ranking_of_its_own_for_two_classes(name):
    arrays, reference = make(classes=2)
    assert (rankdata(score(name, arrays, reference)) != rankdata(CSFS["Margin"](arrays))).any()


@pytest.mark.parametrize("classes", [2, 200])
def test_two_classes_and_many(classes):
    arrays, reference = make(classes=classes)
    for name in NAMES:
        assert score(name, arrays, reference).isfinite().all()


def test_sirc_keeps_confident_and_far_cases_apart():
    shortfall = torch.tensor([-1.0, -40, -50, -700], dtype=torch.float64)
    assert (sirc(shortfall, torch.zeros(4), a=0.0, b=1.0).diff() > 0).all()
    far = torch.tensor([-1e6, -2000, -601, -600, -599, 0, 5], dtype=torch.float64)
    found = sirc(torch.zeros(7), far, a=0.0, b=1.0)
    assert (found.diff() > 0).all()
    assert found.isfinite().all()
    torch.testing.assert_close(found[4:], -(1 + (-far[4:]).exp()))


def test_sirc_far_above_a_is_the_shortfall_and_a_constant_score_changes_no_rank():
    shortfall = torch.tensor([-3.0, -1, -0.1])
    torch.testing.assert_close(
        sirc(shortfall, torch.full((3,), 1e3), a=0.0, b=1.0), -shortfall.double().exp()
    )
    assert sirc_parameters(np.full(5, 0.1)) == (pytest.approx(0.1), 0)
    assert sirc_parameters(np.array([3.0])) == (3, 0)
    torch.testing.assert_close(sirc(shortfall, torch.zeros(3), a=3.0, b=0.0), -2 * shortfall.double().exp())
    values = np.array([1.0, 2, 6])
    assert sirc_parameters(values) == (pytest.approx(3 - 3 * values.std()), pytest.approx(1 / values.std()))


def test_two_scores_of_other_cases_are_not_combined():
    three, one = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0])
    for combine in (rank_average, rank_product):
        with pytest.raises(ValueError, match="of the same cases, got 3 and 1"):
            combine(three, one)
    with pytest.raises(ValueError, match=r"of the same cases, got shapes \(3,\) and \(1,\)"):
        sirc(three, one, a=0.0, b=1.0)


def test_what_sirc_cannot_read_is_named():
    for name in ("second", "log_shortfall"):
        given = {"second": torch.zeros(3), "log_shortfall": torch.zeros(3), name: torch.zeros(3).cfloat()}
        with pytest.raises(ValueError, match=f"^{name} must be real, got torch.complex64"):
            sirc(given["log_shortfall"], given["second"], a=0.0, b=1.0)
    with pytest.raises(ValueError, match=r"^second must be real, got torch.complex64"):
        sirc_parameters(torch.zeros(3).cfloat())


def test_sirc_goes_on_linearly_in_the_logarithm():
    far = torch.tensor([-600.0, -700, -1600], dtype=torch.float64)
    found = sirc(torch.zeros(3), far, a=0.0, b=1.0)
    torch.testing.assert_close(found / found[0], torch.tensor([1.0, 101, 1001]).double(), rtol=1e-12, atol=0)


def test_how_alike_a_second_score_may_be_is_relative_to_its_mean():
    assert sirc_parameters(np.zeros(3)) == (0, 0)
    assert sirc_parameters(np.array([1e6, 1e6 + 1e-7])) == (pytest.approx(1e6), 0)
    values = np.array([1e-9, 2e-9, 6e-9])
    assert sirc_parameters(values)[1] == pytest.approx(1 / values.std())


@pytest.mark.parametrize(
    ("second", "found"), [([], "0 numbers"), ([1.0, torch.nan, torch.inf], "2 of 3 NaN or infinite")]
)
def test_sirc_is_not_fitted_to_nothing_or_to_nan(second, found):
    with pytest.raises(ValueError, match=f"second must hold finite numbers, got {found}"):
        sirc_parameters(torch.tensor(second))


@pytest.mark.parametrize("combine", [rank_average, rank_product])
def test_ranks_within_the_given_cases(combine):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=50).round(1), rng.normal(size=50)
    ranks = rankdata(first), rankdata(second)
    assert len(np.unique(first)) < 50
    expected = sum(ranks) / 2 if combine is rank_average else ranks[0] * ranks[1]
    np.testing.assert_array_equal(combine(first, torch.from_numpy(second)), expected)
    np.testing.assert_array_equal(combine(np.exp(first), second * 3 - 1), expected)
    first[7] = np.nan
    found = combine(first, second)
    keep = np.arange(50) != 7
    assert found[7].isnan()
    others = rankdata(first[keep]), rankdata(second)[keep]
    np.testing.assert_array_equal(
        found[keep], sum(others) / 2 if combine is rank_average else others[0] * others[1]
    )
    assert combine(np.zeros(0), np.zeros(0)).shape == (0,)
    with pytest.raises(ValueError, match=r"second must be one number per case, got shape \(50, 1\)"):
        combine(first, second[:, None])


def test_a_rank_among_others_is_its_place():
    reference = torch.tensor([3.0, 1, 1, 2, 5]).double()
    values, ranks = distribution(reference)
    assert values.tolist() == [1, 2, 3, 5]
    assert ranks.tolist() == pytest.approx([0.2, 0.5, 0.7, 0.9])
    found = rank_among(
        torch.tensor([1.0, 1.5, 5, 4, -3, 9, -torch.inf, torch.inf, torch.nan]).double(), values, ranks
    )
    assert found[:-1].tolist() == pytest.approx([0.2, 0.35, 0.9, 0.8, 0.1, 0.95, 0, 1])
    assert found[-1].isnan()
    one = rank_among(torch.tensor([1.0, 2, 3]).double(), *distribution(torch.tensor([2.0]).double()))
    assert one.tolist() == [0.25, 0.5, 0.75]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=20),
    st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=30),
)
def test_ranks_among_others_rise_strictly_and_lie_between_0_and_1(reference, cases):
    values, ranks = distribution(torch.tensor(reference).double())
    ordered = torch.tensor(sorted(set(cases))).double() / 7
    found = rank_among(ordered, values, ranks)
    assert (found.diff() > 0).all()
    assert ((found > 0) & (found < 1)).all()
    at_reference = rank_among(torch.tensor(reference).double(), values, ranks)
    np.testing.assert_allclose(at_reference, (rankdata(reference) - 0.5) / len(reference))


@pytest.mark.parametrize("name", NAMES)
def test_a_case_is_scored_alike_whatever_the_others_and_their_order(name, monkeypatch):
    arrays, reference = make()
    expected = score(name, arrays, reference)
    rng = np.random.default_rng(0)
    of_features, of_classes, of_cases = rng.permutation(12), rng.permutation(4), rng.permutation(300)
    permuted = {
        "last_layer_weight": reference["last_layer_weight"][of_classes][:, of_features],
        "last_layer_bias": reference["last_layer_bias"][of_classes],
    }
    for part in ("training", "validation"):
        order = of_cases if part == "training" else rng.permutation(80)
        permuted |= {
            f"{part}_features": reference[f"{part}_features"][order][:, of_features],
            f"{part}_logits": reference[f"{part}_logits"][order][:, of_classes],
            f"{part}_labels": np.argsort(of_classes)[reference[f"{part}_labels"]][order],
        }
    changed = {"features": arrays["features"][:, of_features], "logits": arrays["logits"][:, of_classes]}
    torch.testing.assert_close(score(name, changed, permuted), expected, rtol=1e-8, atol=1e-9)
    monkeypatch.setattr("monai_sf.scores.reference.BLOCK", 7)
    monkeypatch.setattr("monai_sf.scores.csf.BLOCK", 3)
    torch.testing.assert_close(score(name, arrays, reference), expected, rtol=1e-9, atol=1e-12)
    alone = {key: value[5:6] for key, value in arrays.items()}
    torch.testing.assert_close(score(name, alone, reference), expected[5:6], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("array", ["features", "logits"])
@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_case(name, array):
    arrays, reference = make()
    expected = score(name, arrays, reference)
    arrays[array] = arrays[array].copy()
    arrays[array][3, 1] = np.nan
    found = score(name, arrays, reference)
    assert found.isnan().nonzero().flatten().tolist() == [3]
    keep = np.arange(60) != 3
    torch.testing.assert_close(found[keep], expected[keep])


@pytest.mark.parametrize("name", NAMES)
def test_confident_cases_of_the_same_features_stay_apart(name):
    arrays, reference = make(n=1)
    gaps = np.array([5.0, 20, 40, 50, 100, 300, 600])
    logits = np.stack([gaps, 0 * gaps, 0 * gaps - 1, 0 * gaps - 2], 1)
    found = score(name, {"features": arrays["features"].repeat(7, 0), "logits": logits}, reference)
    assert (found.diff() > 0).all()


def test_references_that_allow_no_sirc_say_why():
    _, reference = make()
    empty = fit_scores({"training_features": np.zeros((0, 12))}, None).failed
    assert empty["sirc_norm"] == "there is no training case: give the features of at least one"
    bad = reference["training_features"].copy()
    bad[2, 3] = np.nan
    failed = fit_scores({**reference, "training_features": bad}, None).failed
    assert failed["sirc_norm"].startswith("1 of 300 cases of training_features are NaN or infinite")
