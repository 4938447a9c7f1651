"""What the report says of patients: one for all spellings, none where nobody knows, no interval from one."""

import dataclasses

import numpy as np
import pytest

from monai_sf.report.runs import evaluate
from monai_sf.results import Results, ResultsError


def with_groups(run, groups):
    return Results(run.run, run.cases.assign(group=groups), run.test_sets)


def intervals(run):
    return {at: judged.aurc_interval for at, judged in evaluate(run, 10, 0).shown.items()}


@pytest.fixture(scope="module")
def run(make_run):
    return make_run("iid", n=60, width=0)


def test_the_spelling_of_a_patient_does_not_matter_and_is_told_without_an_id(run):
    patient = np.arange(len(run.cases)) // 3
    spelled = [(p, f"{p:03d}", f"{p}.0")[i % 3] for i, p in enumerate(patient)]
    assert intervals(with_groups(run, spelled)) == intervals(with_groups(run, patient))
    notes = [note.text for note in evaluate(with_groups(run, spelled), 10, 0).notes]
    assert "groups (patients) are spelled in more than one way and count as one each." in " ".join(notes)
    assert "003" not in " ".join(notes)


def test_unknown_patients_are_not_one(run):
    alone = Results(run.run, run.cases.drop(columns="group", errors="ignore"), run.test_sets)
    unknown = with_groups(run, [None, "unknown", np.nan, ""] * (len(run.cases) // 4))
    judged, notes = evaluate(unknown, 10, 0).shown, evaluate(unknown, 10, 0).notes
    assert any("cases have no group (patient): each is one of its own." in note.text for note in notes)
    for at, expected in evaluate(alone, 10, 0).shown.items():
        assert judged[at].aurc_interval == expected.aurc_interval
        np.testing.assert_array_equal(judged[at].effective, expected.effective)


def test_one_patient_has_no_interval_and_the_page_says_so(run):
    found = evaluate(with_groups(run, ["p", "P "] * (len(run.cases) // 2)), 10, 0)
    assert {judged.aurc_interval for judged in found.shown.values()} == {None}
    assert not any(judged.effective.any() for judged in found.shown.values())
    assert not any(sizes.any() for sizes in found.effective.values())
    assert any(
        "No interval where all cases are of a single group (patient): iid" in note.text
        for note in found.notes
    )


def test_a_placeholder_is_refused(run):
    with pytest.raises(
        ResultsError, match=r"run .*, study iid, .*: 60 of 60 cases have the group 'anonymous'"
    ):
        evaluate(with_groups(dataclasses.replace(run), "anonymous"), 10, 0)
