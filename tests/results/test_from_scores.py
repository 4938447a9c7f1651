"""Results of what is no classification: confidences and errors."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from monai_sf.results import Results, ResultsError, TestSet, load_results

N = 12
DICE = np.linspace(0.1, 0.95, N)
SURE = np.linspace(0.2, 0.8, N)


def make(**more):
    return Results.from_scores(**{"confidences": SURE, "errors": 1 - DICE, **more})


def test_two_arrays_are_enough():
    run = make()
    assert not run.is_classification
    assert run.scores == {"confidence": "score_1"}
    arrays = run.test_sets["iid"].arrays
    # float32 would move 0.7 to the other side of 0.7
    np.testing.assert_array_equal(arrays["errors"], 1 - DICE)
    np.testing.assert_array_equal(arrays["score_1"], SURE)
    assert list(run.cases) == ["case_id"]
    assert run.run["class_names"] == []
    assert (run.run["method"], run.run["study"], run.failure_above) == ("model", "iid", 0.5)


def test_everything_else_is_as_for_a_classifier(tmp_path):
    domains = ["iid"] * 4 + ["clinic-b"] * 4 + ["corruption-blur-3"] * 4
    ids = [f"case{i}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3)]
    run = make(
        confidences={"Mean.P": torch.tensor(SURE), "Variance": pd.Series(-SURE)},
        features=np.eye(N),
        images=np.zeros((N, 8, 8), np.uint8),
        case_ids=ids,
        domains=domains,
        kinds={"clinic-b": "manifestation"},
        columns={"group": ids},
        dataset="organ",
        study="b",
        method="unet",
        seed=3,
        data_kind="phantom",
        failure_above=0.25,
    )
    run.save(tmp_path / "run")
    for found in (run, load_results(tmp_path / "run")):
        assert [s.kind for s in found.test_sets.values()] in (
            ["iid", "manifestation", "corruption"],
            ["iid", "corruption", "manifestation"],
        )
        assert found.test_sets["corruption-blur-3"].rows.tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(found.test_sets["clinic-b"].arrays["errors"], (1 - DICE)[4:8])
        assert list(found.scores) == ["Mean.P", "Variance"]
        assert found.cases["group"].tolist() == ids[:8]
        described = {key: found.run[key] for key in ("dataset", "study", "method", "seed", "data_kind")}
        assert list(described.values()) == ["organ", "b", "unet", 3, "phantom"]
        assert found.failure_above == 0.25
        assert set(found.test_sets["iid"].arrays) == {"errors", "features", "images", "score_1", "score_2"}


def test_which_kind_results_are():
    classes = Results.from_arrays(np.array([[2.0, 0.0], [0.5, 1.0]]), np.array([0, 0]))
    assert classes.is_classification
    assert classes.failure_above == 0
    with pytest.raises(ResultsError, match="there are no labels: these results hold errors, and no classes"):
        make().labels_of("iid")


def test_errors_may_exceed_the_range_by_rounding():
    errors = torch.tensor([1.0000001, -1e-8, 0.5]).float()
    run = make(confidences=[1, 2, 3], errors=errors)
    assert run.test_sets["iid"].arrays["errors"].tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"errors": 100 * DICE}, r"must be in \[0, 1\], as 1 - Dice is; 12 are not: case 0 10, case 1"),
        ({"errors": DICE * np.nan, "case_ids": list("abcdefghijkl")}, "12 are not: case a nan, case b nan"),
        ({"errors": DICE[:, None]}, r"errors must be \(N,\), got shape \(12, 1\)"),
        ({"errors": ["a"] * N}, "errors must be real numbers"),
        ({"confidences": SURE[:5]}, r"\['confidence'\] must be \(12,\), got shape \(5,\)"),
        ({"confidences": {}}, "confidences must hold at least one score"),
        ({"confidences": {"MSR": SURE}}, "MSR is the name of a registered score"),
        ({"confidences": {"my score": SURE}}, "must begin with a letter"),
        ({"confidences": np.where(SURE > 0.7, np.nan, SURE)}, "NaN or infinite for 2 cases: 10, 11"),
        ({"features": np.eye(3)}, "features must be a matrix with 12 rows"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, "images must be uint8"),
        ({"columns": {"label": list(range(N))}}, r"columns must not hold \['label'\]"),
        ({"method": "my net"}, "method must begin"),
        ({"data_kind": "fake"}, "data_kind must be one of"),
        ({"failure_above": 1}, r"failure_above 1 \(expected a number in \[0, 1\)\)"),
        ({"failure_above": -0.1}, "failure_above -0.1"),
        ({"failure_above": True}, "failure_above True"),
        ({"domains": ["iid"] * 3}, "domains must have 12 entries"),
        (
            {"errors": pd.Series(DICE), "confidences": pd.Series(SURE)[::-1]},
            r"errors and confidences\['confidence'\] have the same index in another order",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    import monai_sf.scores  # noqa: F401, the registered names

    with pytest.raises(ResultsError, match=message):
        make(**arguments)


def test_mixtures_are_refused():
    run = make()
    iid = run.test_sets["iid"]
    logits = np.zeros((N, 2))
    with pytest.raises(ResultsError, match="both logits and errors"):
        TestSet("iid", "iid", iid.rows, {**iid.arrays, "logits": logits})
    with pytest.raises(ResultsError, match="no logits among its arrays"):
        TestSet("iid", "iid", iid.rows, {"features": logits})
    with pytest.raises(ResultsError, match="errors in place of logits, though there are class_names"):
        Results({**run.run, "class_names": ["a", "b"]}, run.cases.assign(label=0), run.test_sets)
    classes = Results.from_arrays(np.eye(2)[[0, 1]] * 3, np.array([0, 1]))
    with pytest.raises(ResultsError, match=r"at least two classes, got class_names \[\]"):
        Results({**classes.run, "class_names": []}, classes.cases, classes.test_sets)
    bad = TestSet("iid", "iid", iid.rows, {**iid.arrays, "errors": np.where(np.arange(N) == 3, 1.5, 0.5)})
    with pytest.raises(ResultsError, match=r"test set iid: 1 errors are not in \[0, 1\]: 3"):
        Results(run.run, run.cases, {"iid": bad})


def test_the_description_holds_what_was_chosen(tmp_path):
    make(failure_above=0.3).save(tmp_path / "run")
    assert json.loads((tmp_path / "run/run.json").read_text())["failure_above"] == 0.3
