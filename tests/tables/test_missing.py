"""What is missing is visible, and what is not alike is not compared."""

import numpy as np
import pytest

from monai_sf.tables.aggregate import table_of
from monai_sf.tables.cells import RunKey

IID, COR, ACQ = (("chest_xray", group) for group in ("iid", "cor", "acq"))
DE = ["DE-MSR", "DE-PE", "DE-EE", "DE-MI"]


def test_a_missing_seed_of_one_method(runs):
    runs.matrix(seeds=(0, 1, 2)).matrix(methods=("devries",), seeds=(0, 1))
    table = table_of(runs.collect())
    assert {column: table.cell_notes["DeVries", column] for column in (IID, COR, ACQ)} == dict.fromkeys(
        (IID, COR, ACQ), "seeds 0, 1 of 0, 1, 2"
    )
    assert set(table.cell_notes) == {("DeVries", c) for c in (IID, COR, ACQ)}
    assert not np.isnan(table.mean.loc["DeVries", IID])
    assert np.isnan(table.comparable().loc["DeVries", IID])
    assert np.isnan(table.ranks().loc["DeVries", IID])
    assert not table.best().loc["DeVries"].any()
    assert table.column_notes == {}


def test_a_missing_study_of_one_method(runs):
    runs.matrix(("iid", "nih14", "chexpert"), seeds=(0,)).matrix(("iid", "nih14"), ("devries",), (0,))
    table = table_of(runs.collect())
    assert table.cell_notes == {("DeVries", ACQ): "chexpert missing"}
    assert table_of(runs.collect(), per_shift=True).cell_notes == {("DeVries", (*ACQ, "chexpert")): "not run"}


def test_a_method_that_was_not_run_on_a_column_is_empty(runs):
    runs.matrix(seeds=(0,)).matrix(("iid",), ("devries",), (0,))
    table = table_of(runs.collect())
    assert np.isnan(table.mean.loc["DeVries", ACQ])
    assert table.cell_notes == {("DeVries", ACQ): "not run"}


def test_a_missing_severity_of_one_seed(runs):
    runs.matrix(("iid",), seeds=(0,))
    runs.matrix(("iid",), seeds=(1,)).results.clear()
    runs.add(seed=2, corruptions=("noise", "blur"), drop=("corruption-blur-2",))
    table = table_of(runs.collect())
    assert table.column_notes == {COR: "blur 2 without seed 2"}  # all scores lack it alike
    # an ensemble of two networks is not mixed with those of three
    assert table.cell_notes == dict.fromkeys([(row, COR) for row in DE], "blur 2 missing")
    note = "chest_xray: ensemble of iid, confidnet: without the test sets corruption-blur-2, which not all "
    assert note + "of its runs have" in table.notes


def test_the_grid_of_corruptions_shows_what_no_run_has(runs):
    runs.add(corruptions=("noise", "blur"), drop=("corruption-blur-2",))
    assert table_of(runs.collect()).column_notes == {COR: "blur 2 missing"}


def test_a_whole_corruption_is_named_once(runs):
    runs.matrix(("iid",), seeds=(0,))
    runs.add(method="devries", corruptions=("noise",))
    assert table_of(runs.collect()).cell_notes == {("DeVries", COR): "blur missing"}


def test_a_seed_missing_in_one_dataset_only(runs):
    runs.matrix(("iid",), seeds=(0, 1)).matrix(("iid",), seeds=(0,), dataset="dermoscopy")
    table = table_of(runs.collect())
    derm = ("dermoscopy", "iid")
    assert table.column_notes == {
        derm: "seed 0 of 0, 1",
        ("dermoscopy", "cor"): "seed 0 of 0, 1",
    }
    assert table.ranks()[derm].drop(DE).notna().all()  # all alike, so they still compare
    assert {table.cell_notes[row, derm] for row in DE} == {"not run"}


def test_expected_runs_that_are_not_there(runs):
    runs.matrix(("iid",), seeds=(0,))
    keys = {RunKey("chest_xray", "iid", "confidnet", s): "iid" for s in (0, 1)}
    table = table_of(runs.collect(), expected=keys)
    assert "missing run: chest_xray/iid/confidnet/seed 1" in table.notes
    assert len([n for n in table.notes if n.startswith("missing run")]) == 1
    assert table.column_notes[IID] == "seed 0 of 0, 1"


def test_unfinished_evaluations_are_named(runs):
    runs.add()
    folder = runs.root / "chest_xray/iid-confidnet-1/results"
    folder.mkdir(parents=True)
    (folder / "cases.csv").write_text("case_id\n")
    (note,) = [n for n in table_of(runs.collect()).notes if n.startswith("not finished")]
    assert "iid-confidnet-1" in note


def test_a_metric_that_is_not_defined_is_not_averaged_silently(runs):
    runs.matrix(("iid",), seeds=(0,))
    runs.add(seed=1, corruptions=("noise", "blur"), wrong=False)
    table = table_of(runs.collect(metric="auroc_f"))
    assert table.column_notes[IID] == "iid, seed 1: no failure"
    only = table_of(runs.collect(metric="aurc"))
    assert only.column_notes == {}


def test_one_method_without_failures_has_a_note_of_its_own(runs):
    runs.matrix(("iid",), seeds=(0,))
    runs.add(method="devries", corruptions=("noise", "blur"), wrong=True)
    table = table_of(runs.collect(metric="auroc_f"))
    assert table.cell_notes["DeVries", IID] == "iid, seed 0: only failures"
    assert np.isnan(table.mean.loc["DeVries", IID])
    assert {row for row, column in table.cell_notes if column == IID} == {"DeVries"}


def test_other_cases_are_not_compared(runs):
    runs.matrix(("iid",), ("confidnet", "deepgamblers"), (0,))
    runs.add(method="devries", corruptions=("noise", "blur"), n=20)
    table = table_of(runs.collect())
    assert table.cell_notes["DeVries", IID] == "iid, seed 0: other cases than most"
    assert {row for row, _ in table.cell_notes} == {"DeVries"}


def test_the_same_number_of_other_cases_is_noticed_too(runs):
    runs.matrix(("iid",), ("confidnet", "deepgamblers"), (0,))
    runs.add(method="devries", corruptions=("noise", "blur"), first=4)
    assert ("DeVries", IID) in table_of(runs.collect()).cell_notes


def test_other_splits_of_other_seeds_are_fine(runs):
    runs.add(seed=0, first=0)
    runs.add(seed=1, first=8)
    table = table_of(runs.collect())
    assert table.cell_notes == table.column_notes == {}


def test_a_test_set_without_a_case(runs):
    runs.add()
    full = runs.results[0]
    empty = type(full.test_sets["iid"])(
        "target", "acquisition", np.zeros(0, np.int64),
        {k: v[:0] for k, v in full.test_sets["iid"].arrays.items()},
    )  # fmt: skip
    more = {**full.run, "study": "nih14"}
    type(full)(more, full.cases, {**full.test_sets, "target": empty}).save(runs.root / "b/results")
    table = table_of(runs.collect())
    assert table.column_notes[ACQ] == "nih14, seed 0: no case"
    assert np.isnan(table.mean.loc["MSR", ACQ])


@pytest.mark.parametrize("kind", ["phantom", "rendered", "simulated"])
def test_data_that_are_no_patients_are_named(runs, kind):
    runs.add(data_kind=kind)
    assert any(kind in n and "nothing about real patients" in n for n in table_of(runs.collect()).notes)


def test_mixed_kinds_of_data_are_named(runs):
    runs.add(data_kind="real")
    runs.add(data_kind="phantom", seed=1)
    assert any("mixed (phantom, real)" in note for note in table_of(runs.collect()).notes)


def test_two_targets_of_one_study_are_two_shifts(runs):
    runs.add(study="nih14")
    run = runs.results[0]
    target = run.test_sets["target"]
    other = type(target)(
        "other", "acquisition", target.rows[:10], {k: v[:10] for k, v in target.arrays.items()}
    )
    type(run)({**run.run, "seed": 1}, run.cases, {**run.test_sets, "other": other}).save(
        runs.root / "b/results"
    )
    table = table_of(runs.collect(), per_shift=True)
    assert {c[2] for c in table.columns if c[1] == "acq"} == {"nih14: target", "nih14: other"}
    assert table.column_notes[(*ACQ, "nih14: other")] == "seed 1 of 0, 1"


def test_a_study_without_any_run_is_named_at_the_average_that_lacks_it(runs):
    runs.matrix(("iid", "nih14"), seeds=(0,))
    kinds = {"iid": "iid", "nih14": "acquisition", "chexpert": "acquisition"}
    expected = {RunKey("chest_xray", study, "confidnet", 0): kind for study, kind in kinds.items()}
    table = table_of(runs.collect(), expected=expected)
    assert table.column_notes == {ACQ: "chexpert missing"}
    assert "missing run: chest_xray/chexpert/confidnet/seed 0" in table.notes
    del expected["chest_xray", "chexpert", "confidnet", 0]
    assert table_of(runs.collect(), expected=expected).column_notes == {}


def test_runs_of_different_versions_are_named(runs):
    runs.add(seed=0)
    same = {"monai-sf": "0.1.0", "monai": "1.6.1", "numpy": "2.0"}
    for seed, versions in ((1, same), (2, {**same, "numpy": "2.1"}), (3, {**same, "monai-sf": "0.2.0"})):
        runs.add(seed=seed, versions=versions)
    (note,) = table_of(runs.collect()).notes
    assert note == (
        "the runs were computed with different versions: monai-sf 0.1.0, monai 1.6.1 (2 runs); "
        "monai-sf 0.2.0, monai 1.6.1 (1 run); unknown (1 run)"
    )


def test_runs_of_one_version_need_no_note(runs):
    for seed in (0, 1):
        runs.add(seed=seed, versions={"monai-sf": "0.1.0"})
    assert table_of(runs.collect()).notes == ()
