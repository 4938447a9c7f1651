"""Cases of none of the classes: label -1, in test sets of the kind new_class and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from helpers.toy_results import RUN
from monai_sf.results import Results, ResultsError, TestSet, load_results
from monai_sf.vocabulary.shifts import SHIFT_OF, SHIFTS, TARGET_KINDS, UNKNOWN

DOMAINS = ["iid", "iid", "iid", "rash", "rash"]


def given(labels, kinds=None, **more):
    logits = np.array([[2.0, 0.0], [0.5, 1.0], [3.0, 0.0], [4.0, 0.0], [0.0, 0.1]])
    kinds = {"rash": "new_class"} if kinds is None else kinds
    return Results.from_arrays(logits, np.array(labels), domains=DOMAINS, kinds=kinds, **more)


def results(labels=(0, 1, -1, -1), iid=(0, 1), new=(2, 3), kind="new_class"):
    cases = pd.DataFrame({"case_id": list("abcd"), "label": labels, "label_name": "x"})
    return Results(
        RUN,
        cases,
        {
            "iid": TestSet("iid", "iid", np.array(iid), {"logits": np.zeros((len(iid), 2))}),
            "target": TestSet("target", kind, np.array(new), {"logits": np.zeros((len(new), 2))}),
        },
    )


def test_it_is_the_last_kind_of_test_set_and_has_a_target():
    assert SHIFTS[-1].kind == "new_class"
    assert SHIFT_OF["new_class"].column == "new"
    assert "new_class" in TARGET_KINDS
    assert SHIFT_OF["new_class"].title == "A disease it was never shown"


@pytest.mark.parametrize("labels", [[0, 1, 0, -1, -1], [0, 1, 0, 2, 7], [0, 1, 0, -5, 2]])
def test_any_label_outside_the_classes_becomes_unknown(labels):
    run = given(labels)
    assert run.labels_of("rash").tolist() == [UNKNOWN, UNKNOWN]
    assert run.labels_of("iid").tolist() == [0, 1, 0]
    assert run.test_sets["rash"].kind == "new_class"
    assert run.run["study"] == "rash"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8])
def test_labels_of_any_integer_type(dtype):
    run = given(np.array([0, 1, 0, 2, 7], dtype))
    assert run.cases["label"].tolist() == [0, 1, 0, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ("new_class", "kinds must map target domains to their kinds, .*, got 'new_class'"),
        ({"rash": ["new_class"]}, r"kinds must be among .*, got \[\['new_class'\]\]"),
    ],
)
def test_kinds_are_a_mapping_to_known_kinds(kinds, message):
    with pytest.raises(ResultsError, match=message):
        given([0, 1, 0, -1, -1], kinds)


def test_other_labels_keep_their_number_as_name():
    names = given([0, 1, 0, 2, -1]).cases["label_name"].tolist()
    assert names == ["class 0", "class 1", "class 0", "class 2", "unknown"]


def test_a_label_of_a_class_is_no_new_class():
    with pytest.raises(ResultsError, match=r"must be outside 0\.\.1, such as -1: .*; 1 are not: 4$"):
        given([0, 1, 0, -1, 1])


@pytest.mark.parametrize("kinds", [{}, {"rash": "acquisition"}])
def test_elsewhere_a_label_outside_the_classes_is_refused(kinds):
    with pytest.raises(ResultsError, match=r"in 0\.\.1; 2 are not: 3, 4\. Cases of other classes belong to"):
        given([0, 1, 0, -1, -1], kinds=kinds)


def test_one_case_cannot_be_known_and_unknown():
    with pytest.raises(ResultsError, match="labels differ between entries of one case id: b"):
        given([0, 1, 0, -1, -1], case_ids=["a", "b", "c", "b", "d"])


def test_both_directions_are_checked_with_the_cases_named():
    assert results().labels_of("target").tolist() == [-1, -1]
    with pytest.raises(ResultsError, match=r"label must be -1 in test sets of kind new_class; 1 are not: d"):
        results(labels=(0, 1, -1, 1))
    with pytest.raises(ResultsError, match=r"in 0\.\.1; 1 are not: b\. .*; 1 are not: c"):
        results(labels=(0, -1, 0, -1))
    with pytest.raises(ResultsError, match="test set iid of kind iid holds 1 cases of new classes: c"):
        results(iid=(0, 1, 2))
    with pytest.raises(ResultsError, match=r"1 are not: c"):  # in no test set
        results(new=(3,))


def test_errors_without_classes_have_no_new_class():
    with pytest.raises(ResultsError, match="without classes none can be new: rash"):
        Results.from_scores(np.ones(5), np.ones(5), domains=DOMAINS, kinds={"rash": "new_class"})


def test_they_survive_the_disk_and_an_ensemble(tmp_path):
    given([0, 1, 0, -1, 3]).save(tmp_path / "run")
    first = load_results(tmp_path / "run")
    assert first.labels_of("rash").tolist() == [-1, -1]
    assert first.cases["label_name"].tolist()[3:] == ["unknown", "class 3"]
    both = Results.ensemble([first, given([0, 1, 0, -1, 3], seed=1)])
    assert both.labels_of("rash").tolist() == [-1, -1]
    assert both.test_sets["rash"].kind == "new_class"
