"""Scores of features where the reference is degenerate: a defined value, or an error with the reason."""

from __future__ import annotations

import re

import numpy as np
import pytest

from helpers.feature_scores import NAMES, defined, make, scores
from monai_sf.scores import moments

GAUSSIAN = ("MDS", "RMDS", "DDU")


def changed(given_reference, **arrays):
    return {**given_reference, **{f"training_{name}": array for name, array in arrays.items()}}


def is_finite(found):
    return {name for name, values in found.items() if np.isfinite(values).all()}


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_column_is_a_direction_in_which_any_change_is_far(constant):
    given_reference, cases = make()
    features, new = given_reference["training_features"].astype(np.float64), cases["features"].copy()
    features[:, 3] = new[:, 3] = constant
    given_reference = changed(given_reference, features=features)
    found, failed = scores(given_reference, {**cases, "features": new})
    assert not failed
    assert is_finite(found) == set(NAMES)
    moved = new.astype(np.float64)
    moved[:, 3] += 1
    far, _ = scores(given_reference, {**cases, "features": moved}, ("MDS", "DDU"))
    assert (far["MDS"] < found["MDS"] - 1e4).all()
    assert (far["DDU"] < found["DDU"] - 1e4).all()
    # The other columns count as without it, but for the ridge of a millionth.
    without = {"training_features": np.delete(features, 3, axis=1)}
    without["training_labels"] = given_reference["training_labels"]
    plain, _ = scores(without, {"features": np.delete(new, 3, axis=1)}, ("MDS",))
    np.testing.assert_allclose(found["MDS"], plain["MDS"], rtol=1e-3)


def test_fewer_cases_than_features():
    given_reference, cases = make(n=10, m=30, width=50)
    found, failed = scores(given_reference, cases)
    assert not failed
    assert is_finite(found) == set(NAMES)
    expected = defined(given_reference, cases)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], 1e-5, 1e-5, err_msg=name)


def test_a_class_with_one_case_and_one_with_none():
    given_reference, cases = make(classes=5)
    labels = given_reference["training_labels"].copy()
    labels[labels == 4] = 0
    labels[labels == 1] = 0
    labels[0] = 1
    given_reference = changed(given_reference, labels=labels)
    found, failed = scores(given_reference, cases)
    assert not failed
    expected = defined(given_reference, cases)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], 1e-6, 1e-6, err_msg=name)
    # None is the pattern of the class without cases.
    assert (found["SHE"][cases["logits"].argmax(1) == 4] == 0).all()


def test_a_class_without_correct_cases_has_the_pattern_of_all_its_cases():
    given_reference, cases = make()
    logits = given_reference["training_logits"].copy()
    logits[:, 1] = -50
    given_reference = changed(given_reference, logits=logits)
    found, _ = scores(given_reference, cases, ("SHE",))
    own = cases["logits"].argmax(1) == 1
    pattern = given_reference["training_features"][given_reference["training_labels"] == 1].mean(0)
    np.testing.assert_allclose(found["SHE"][own], cases["features"][own] @ pattern.astype(float), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_training_features_are_counted_and_no_score_is_fitted(bad):
    given_reference, cases = make()
    features = given_reference["training_features"].copy()
    features[[3, 5, 99], [0, 1, 0]] = bad
    found, failed = scores(changed(given_reference, features=features), cases)
    assert not found
    for reason in failed.values():
        assert "3 of 400 cases of training_features are NaN or infinite" in reason


def test_undefined_training_logits_are_counted_and_other_scores_stay():
    given_reference, cases = make()
    logits = given_reference["training_logits"].copy()
    logits[[3, 5], 1] = np.nan
    found, failed = scores(changed(given_reference, logits=logits), cases)
    assert found.keys() == {"MDS", "RMDS", "DDU", "fDBD", "Residual"}
    own = {name: failed[name] for name in ("neighbours", "virtual_logit", "patterns")}
    assert all("2 of 400 cases of training_logits are NaN or infinite" in reason for reason in own.values())


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_all_features_constant(value):
    given_reference, cases = make()
    features = np.full((400, 12), value)
    found, failed = scores(changed(given_reference, features=features), cases)
    for name in ("gaussian", "class_densities"):
        assert "do not vary within the classes" in failed[name]
    if value == 0:
        assert "all features of the training cases are 0" in failed["neighbours"]
        assert "all features of the training cases are 0" in failed["boundaries"]
    assert is_finite(found) == set(found)
    assert {"ViM", "Residual", "SHE"} <= set(found)


def test_a_single_training_case():
    given_reference, cases = make()
    one = {n: a[:1] if n.startswith("training") else a for n, a in given_reference.items()}
    found, failed = scores(one, cases)
    assert "do not vary within the classes" in failed["gaussian"]
    assert "no class has two training cases" in failed["class_densities"]
    assert is_finite(found) == set(NAMES) - set(GAUSSIAN)
    unit = one["training_features"][0].astype(float)
    unit /= np.linalg.norm(unit)
    new = cases["features"] / np.linalg.norm(cases["features"].astype(float), axis=1)[:, None]
    np.testing.assert_allclose(found["kNN"], -np.linalg.norm(new - unit, axis=1), rtol=1e-6)


def test_no_training_case_at_all():
    given_reference, cases = make()
    none = {n: a[:0] if n.startswith("training") else a for n, a in given_reference.items()}
    found, failed = scores(none, cases)
    assert not found
    assert {failed[name] for name in ("gaussian", "neighbours", "boundaries", "patterns")} == {
        "there is no training case: give the features of at least one"
    }


def test_one_class_has_no_relative_distance():
    given_reference, cases = make()
    given_reference = changed(given_reference, labels=np.zeros(400, int))
    found, _ = scores(given_reference, cases, ("MDS", "RMDS"))
    np.testing.assert_allclose(found["RMDS"], 0, atol=1e-10)


def test_1139_classes(monkeypatch):
    given_reference, cases = make(n=3000, m=10, width=16, classes=1139)
    found, failed = scores(given_reference, cases)
    assert not failed
    expected = defined(given_reference, cases)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], 1e-5, 1e-6, err_msg=name)
    monkeypatch.setattr(moments, "CLASS_SCATTER_BYTES", 2**20)
    monkeypatch.setattr("monai_sf.scores.class_densities.CLASS_SCATTER_BYTES", 2**20)
    again, failed = scores(given_reference, cases)
    reason = "a covariance for each of 1139 classes of 16 features would need 0.0 GiB"
    assert failed["class_densities"].startswith(reason)
    assert found.keys() - again.keys() == {"DDU"}
    for name, values in again.items():
        np.testing.assert_allclose(values, found[name], 1e-9, err_msg=name)


def test_class_covariances_that_would_not_fit_into_memory_are_refused_before_they_are_computed():
    rng = np.random.default_rng(0)
    given_reference = {
        "training_features": rng.normal(size=(1139, 300)),
        "training_labels": np.arange(1139),
    }
    _, failed = scores(given_reference, {}, ())
    assert re.match(
        r"a covariance for each of 1139 classes .* 0.8 GiB, more than 0.5", failed["class_densities"]
    )


def test_classes_of_equal_weights_have_no_boundary():
    given_reference, cases = make(classes=4)
    weight = given_reference["last_layer_weight"].copy()
    weight[2] = weight[0]
    found, _ = scores({**given_reference, "last_layer_weight": weight}, cases, ("fDBD",))
    mean = given_reference["training_features"].mean(0, dtype=np.float64)
    for value, x, z in zip(found["fDBD"], cases["features"], cases["logits"], strict=True):
        top = z.argmax()
        gaps = [
            (z[top] - z[c]) / np.linalg.norm(weight[top] - weight[c])
            for c in range(4)
            if (weight[top] != weight[c]).any()
        ]
        assert value == pytest.approx(np.mean(gaps) / np.linalg.norm(x - mean))
    same = np.repeat(weight[:1], 4, axis=0)
    found, _ = scores({**given_reference, "last_layer_weight": same}, cases, ("fDBD",))
    assert (found["fDBD"] == 0).all()


def test_the_mean_itself_is_surest_and_finite():
    given_reference, cases = make()
    new = cases["features"].astype(np.float64)
    new[0] = given_reference["training_features"].astype(np.float64).mean(0)
    found, _ = scores(given_reference, {**cases, "features": new}, ("fDBD",))
    assert np.isfinite(found["fDBD"]).all()
    assert found["fDBD"].argmax() == 0


def test_features_of_0_have_no_direction():
    given_reference, cases = make()
    features, new = given_reference["training_features"].copy(), cases["features"].copy()
    features[:390], new[0] = 0, 0
    found, failed = scores(changed(given_reference, features=features), {**cases, "features": new})
    assert {"neighbours"}.isdisjoint(failed)
    assert found["kNN"][0] == pytest.approx(-1)  # not 0, the distance to cases that have none either
    assert is_finite({name: found[name] for name in ("kNN", "NNGuide")}) == {"kNN", "NNGuide"}


def test_virtual_logits_need_positive_logits_and_a_finite_layer():
    given_reference, cases = make()
    low = changed(given_reference, logits=given_reference["training_logits"] - 1000)
    found, failed = scores(low, cases)
    assert "largest logits, which must be positive and is -99" in failed["virtual_logit"]
    assert found.keys() == set(NAMES) - {"ViM"}
    broken = {**given_reference, "last_layer_bias": np.array([0, np.nan, 0])}
    assert "last layer hold NaN" in scores(broken, cases)[1]["principal_space"]
    assert scores(broken, cases)[0].keys().isdisjoint({"ViM", "Residual"})
    broken = {**given_reference, "last_layer_weight": given_reference["last_layer_weight"] * np.nan}
    assert "NaN" in scores(broken, cases)[1]["boundaries"]


def test_without_the_last_layer_or_logits_the_other_scores_are_there():
    given_reference, cases = make()
    only = {name: given_reference[name] for name in ("training_features", "training_labels")}
    found, _ = scores(only, cases, GAUSSIAN)
    assert found.keys() == set(GAUSSIAN)


@pytest.mark.parametrize("name", ["MDS", "kNN", "ViM", "DDU", "fDBD", "SHE"])
def test_other_numbers_of_features_are_refused(name):
    given_reference, cases = make()
    with pytest.raises(ValueError, match=r"features must be \(60, 12\), got \(60, 11\)"):
        scores(given_reference, {**cases, "features": cases["features"][:, :11]}, (name,))


@pytest.mark.parametrize("name", ["fDBD", "SHE"])
def test_other_numbers_of_classes_are_refused(name):
    given_reference, cases = make()
    with pytest.raises(ValueError, match="logits have 2 classes"):
        scores(given_reference, {**cases, "logits": cases["logits"][:, :2]}, (name,))
