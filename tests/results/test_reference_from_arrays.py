"""Training cases, validation cases and the last layer, as arrays."""

import numpy as np
import pandas as pd
import pytest
import torch

from monai_sf.results import Results, ResultsError, load_results
from monai_sf.vocabulary.reference import REFERENCE_ARRAYS

RNG = np.random.default_rng(8)
N, M, V, C, F = 30, 50, 20, 3, 5
WEIGHT, BIAS = RNG.normal(size=(C, F)), RNG.normal(size=C)


def outputs(n, seed):
    features = np.random.default_rng(seed).normal(size=(n, F)).astype(np.float32)
    logits = (features @ WEIGHT.T + BIAS).astype(np.float32)
    return {"features": features, "logits": logits, "labels": np.arange(n) % C}


TEST, TRAINING, VALIDATION = outputs(N, 0), outputs(M, 1), outputs(V, 2)


def shares(logits):
    return torch.softmax(torch.from_numpy(logits).double(), -1).numpy()


def make(**more):
    options = {"training": TRAINING, "validation": VALIDATION, "last_layer": (WEIGHT, BIAS), **TEST, **more}
    return Results.from_arrays(**options)


def test_everything_that_is_given_is_kept_and_comes_back(tmp_path):
    run = make()
    assert sorted(run.reference) == sorted(REFERENCE_ARRAYS)
    run.save(tmp_path / "run")
    loaded = load_results(tmp_path / "run")
    for where in (run, loaded):
        for part, given in (("training", TRAINING), ("validation", VALIDATION)):
            for name, values in given.items():
                np.testing.assert_array_equal(where.reference[f"{part}_{name}"], values)
        np.testing.assert_array_equal(where.reference["last_layer_weight"], WEIGHT)
        np.testing.assert_array_equal(where.reference["last_layer_bias"], BIAS)


def test_part_of_it_is_enough():
    only = {"logits": VALIDATION["logits"], "labels": VALIDATION["labels"]}
    run = Results.from_arrays(TEST["logits"], TEST["labels"], validation=only)
    assert set(run.reference) == {"validation_logits", "validation_labels"}
    assert Results.from_arrays(TEST["logits"], TEST["labels"]).reference == {}


def test_features_on_disk_stay_there(tmp_path):
    maps = {}
    for name, given in (("test", TEST), ("training", TRAINING)):
        maps[name] = np.lib.format.open_memmap(
            tmp_path / f"{name}.npy", "w+", np.float32, given["features"].shape
        )
        maps[name][:] = given["features"]
    run = make(features=maps["test"], training={**TRAINING, "features": maps["training"]})
    assert np.shares_memory(run.reference["training_features"], maps["training"])
    assert np.shares_memory(run.test_sets["iid"].arrays["features"], maps["test"])
    tensor = torch.from_numpy(TRAINING["features"])
    assert np.shares_memory(
        make(training={"features": tensor}).reference["training_features"], tensor.numpy()
    )


@pytest.mark.parametrize("kind", [torch.tensor, pd.DataFrame, np.ndarray.tolist])
def test_numbers_of_any_kind_are_taken(kind):
    given = {"features": kind(TRAINING["features"]), "logits": kind(TRAINING["logits"].astype(float))}
    found = make(training=given, last_layer=(kind(WEIGHT), BIAS.tolist())).reference
    np.testing.assert_array_equal(found["training_features"], TRAINING["features"])
    np.testing.assert_array_equal(found["training_logits"], TRAINING["logits"])
    np.testing.assert_array_equal(found["last_layer_weight"], WEIGHT)


def test_probabilities_are_taken_in_the_form_of_the_test_cases():
    p = shares(TRAINING["logits"])
    options = {
        "logits": None,
        "probabilities": shares(TEST["logits"]),
        "last_layer": None,
        "validation": None,
    }
    found = make(**options, training={"probabilities": p}).reference["training_logits"]
    np.testing.assert_allclose(np.exp(found.astype(float)), p, rtol=1e-5)
    with pytest.raises(ResultsError, match="training holds logits, but the test cases have probabilities"):
        make(**options, training=TRAINING)
    with pytest.raises(ResultsError, match="training holds probabilities, but the test cases have logits"):
        make(training={"probabilities": p})
    with pytest.raises(ResultsError, match="last_layer gives logits, which probabilities do not tell"):
        make(**{**options, "last_layer": (WEIGHT, BIAS)}, training={"probabilities": p})


@pytest.mark.parametrize("column", [False, True])
def test_one_logit_of_a_binary_classifier_becomes_two_everywhere(column):
    weight, bias = WEIGHT[:1], BIAS[:1]

    def one(given):
        z = given["features"] @ weight[0] + bias[0]
        return {**given, "logits": z[:, None] if column else z, "labels": given["labels"] % 2}

    run = make(**one(TEST), training=one(TRAINING), validation=one(VALIDATION), last_layer=(weight, bias))
    found = run.reference
    assert found["last_layer_weight"].shape == (2, F)
    for arrays, part in ((run.test_sets["iid"].arrays, ""), (found, "training_"), (found, "validation_")):
        two = arrays[f"{part}features"] @ found["last_layer_weight"].T + found["last_layer_bias"]
        np.testing.assert_allclose(two, arrays[f"{part}logits"], atol=1e-5)
    flat = make(**one(TEST), training=None, validation=None, last_layer=(weight[0], bias[0])).reference
    np.testing.assert_array_equal(flat["last_layer_weight"], found["last_layer_weight"])
    two = {"logits": TRAINING["logits"][:, :2]}
    with pytest.raises(ResultsError, match=r"training\['logits'\] must have a single logit per case"):
        make(**one(TEST), training=two, validation=None, last_layer=None)
    with pytest.raises(ResultsError, match=r"training\['logits'\] must have 3 logits per case"):
        make(training=one(TRAINING))


SQUARE = np.random.default_rng(4).normal(size=(C, C))


@pytest.mark.parametrize(
    "layer",
    [(WEIGHT, BIAS * 0), (WEIGHT[::-1], BIAS), (2 * WEIGHT, BIAS), (WEIGHT + 0.05, BIAS)],
    ids=["no bias", "other order", "another layer", "a later epoch"],
)
def test_a_layer_that_does_not_give_the_logits_is_refused(layer):
    inputs = TEST["features"].astype(float)
    largest = np.abs(inputs @ layer[0].T + layer[1] - TEST["logits"]).max()
    with pytest.raises(ResultsError) as caught:
        make(last_layer=layer)
    assert f"the logits of the test cases from their features: they differ by up to {largest:.3g}" in str(
        caught.value
    )
    assert "of the training cases" in str(caught.value)
    assert "of the validation cases" in str(caught.value)


def test_a_transposed_weight_is_refused_even_if_it_is_square():
    features = TEST["features"][:, :C]
    options = {"features": features, "labels": TEST["labels"], "logits": features @ SQUARE.T}
    assert Results.from_arrays(**options, last_layer=(SQUARE, np.zeros(C))).reference
    with pytest.raises(ResultsError, match="its weight not transposed"):
        Results.from_arrays(**options, last_layer=(SQUARE.T, np.zeros(C)))
    with pytest.raises(ResultsError, match=r"a weight \(3, 5\) .* got \(5, 3\) \(transpose it\)"):
        make(last_layer=(WEIGHT.T, BIAS))


def test_rounded_outputs_are_warned_about_and_used(recwarn):
    make()
    half = {**TEST, "logits": torch.tensor(TEST["logits"]).half().float().numpy()}
    make(**half)
    assert not recwarn.list
    coarse = {**TEST, "logits": torch.tensor(TEST["logits"]).bfloat16().float().numpy()}
    with pytest.warns(
        UserWarning, match=r"of the test cases .* differ by up to 0\.0.*was one of them rounded"
    ) as w:
        assert "last_layer_weight" in make(**coarse).reference
    assert w[0].filename == __file__


def test_cases_with_broken_features_do_not_hide_the_others():
    broken = TEST["features"].copy()
    broken[::2] = np.nan
    assert "last_layer_bias" in make(features=broken).reference
    with pytest.raises(ResultsError, match="does not give the logits of the test cases"):
        make(features=broken, last_layer=(WEIGHT[::-1], BIAS))


BAD = {**TRAINING, "logits": TRAINING["logits"].copy()}
BAD["logits"][3] = np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"training": "x", "validation": 3}, "training must be a dict.* got a str; validation .* got a int"),
        ({"training": {}}, "training must hold some of features, logits, probabilities, labels, got nothing"),
        ({"training": {"feature": 1, "x": 2}}, "training must hold some of .*, got feature, x"),
        ({"training": {**TRAINING, "labels": [0, 1]}}, r"same cases, got features \(50, 5\).*labels \(2,\)"),
        ({"training": {"labels": 3}}, r"same cases, got labels \(\)"),
        ({"training": {"labels": []}}, "training holds no case"),
        (
            {"training": {"features": TRAINING["features"][:, :4]}},
            r"\['features'\] must be \(n, 5\).*\(50, 4\)",
        ),
        ({"training": {"features": [["a"] * F]}}, r"\['features'\] must be real numbers"),
        ({"training": {"features": [[1.0], [1.0, 2.0]]}}, "training must hold arrays"),
        ({"features": None, "last_layer": None}, r"training\['features'\] are of no use without features"),
        ({"features": None, "training": None, "validation": None}, "last_layer is of no use without"),
        ({"training": {"logits": TRAINING["logits"][:, :2]}}, r"\['logits'\] must be \(n, 3\).*\(50, 2\)"),
        ({"training": {"logits": shares(TRAINING["logits"])}}, r"training\['logits'\] .* are probabilities"),
        ({"training": {"logits": np.eye(C)[TRAINING["labels"]]}}, "probabilities or one-hot classes"),
        ({"training": BAD}, r"training\['logits'\] are NaN or infinite for 1 of 50 cases"),
        ({"training": {"labels": TRAINING["labels"] + 2}}, r"in 0\.\.2; 33 are not: 3, 4"),
        ({"training": {"labels": TRAINING["labels"] - 1}}, r"in 0\.\.2; 17 are not: -1"),
        ({"training": {"labels": TRAINING["labels"] * 1.0}}, r"must be \(n,\) integers.* float64"),
        ({"validation": {"labels": np.eye(C, dtype=int)}}, r"validation\['labels'\] must be \(n,\) integers"),
        ({"last_layer": WEIGHT}, "last_layer must be a pair"),
        ({"last_layer": (WEIGHT, BIAS[:2])}, r"a bias \(3,\), got \(3, 5\) and \(2,\)"),
        ({"last_layer": (WEIGHT * np.nan, BIAS)}, "last_layer holds NaN"),
        ({"last_layer": ([["a"]], BIAS)}, r"last_layer\[0\] must be real numbers"),
        (
            {
                "training": {
                    "logits": pd.DataFrame(TRAINING["logits"]),
                    "labels": pd.Series(TRAINING["labels"])[::-1],
                }
            },
            r"training\['logits'\] and training\['labels'\] have the same index in another order",
        ),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ResultsError, match=message):
        make(**arguments)


def test_all_faults_are_named_at_once():
    with pytest.raises(ResultsError) as caught:
        make(
            training={**BAD, "labels": TRAINING["labels"] + 9, "features": TRAINING["features"][:, :2]},
            validation={"labels": [7]},
            last_layer=(WEIGHT.T, BIAS),
        )
    for name in ("training['logits']", "training['labels']", "training['features']", "validation['labels']"):
        assert name in str(caught.value)
    assert "transpose it" in str(caught.value)
