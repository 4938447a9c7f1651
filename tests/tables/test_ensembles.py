"""Runs that differ in the seed only give rows of their ensemble, against its definition."""

import numpy as np
import pytest

from monai_sf.metrics import aurc
from monai_sf.metrics.paired import group_counts
from monai_sf.results import Results
from monai_sf.tables import benchmark_table, table_of, write_tables
from monai_sf.tables.comparisons import significance
from monai_sf.tables.ensembles import ensemble_csfs, ensembles_of
from monai_sf.tables.figures import rank_figure
from monai_sf.tables.judge import failure_detection

DE = ["DE-MSR", "DE-PE", "DE-EE", "DE-MI"]
IID, COR, ACQ = (("chest_xray", group) for group in ("iid", "cor", "acq"))


def of_mean_softmax(members, name):
    """Confidence (MSR of the mean softmax) and error, in float64 without care for small numbers."""
    logits = [np.asarray(run.test_sets[name].arrays["logits"], np.float64) for run in members]
    mean = np.mean([np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits], axis=0)
    return mean.max(axis=1), (mean.argmax(axis=1) != members[0].labels_of(name)).astype(float)


def of_study(runs, study="iid", method="confidnet"):
    return [r for r in runs.results if (r.run["study"], r.run["method"]) == (study, method)]


def test_rows_are_those_of_the_mean_softmax_without_a_spread(runs):
    runs.matrix(("iid", "nih14"), ("confidnet", "devries"), (0, 1, 2))
    table = table_of(runs.collect())
    assert list(table.mean.index)[-4:] == DE
    units = ["corruption-noise-1", "corruption-noise-2", "corruption-blur-1", "corruption-blur-2"]
    for column, study, names in ((IID, "iid", ["iid"]), (COR, "iid", units), (ACQ, "nih14", ["target"])):
        expected = np.mean([aurc(*of_mean_softmax(of_study(runs, study), name)) for name in names])
        assert table.mean.loc["DE-MSR", column] == pytest.approx(100 * expected, rel=1e-5)
    assert table.spread.loc[DE].isna().all(axis=None)
    assert table.spread.loc["MSR"].notna().all()
    assert table.cell_notes == {} == table.column_notes
    assert table.comparable().loc[DE].notna().all(axis=None)
    assert len(table.ranks().dropna()) == len(table.mean)
    assert "DE-MSR" in [line.get_label() for line in rank_figure(table).legends[0].get_lines()]


def test_cells_have_one_value_and_name_the_members(runs):
    runs.matrix(("iid",), seeds=(2, 1, 7))
    cells = runs.collect().cells
    own = cells[cells["csf"].isin(DE)]
    assert set(own["members"]) == {"1 2 7"}
    assert set(own["seed"]) == {1}
    assert not own.duplicated(["test_set", "csf", "metric"]).any()
    assert set(cells.loc[~cells["csf"].isin(DE), "members"]) == {""}
    errors = of_mean_softmax(of_study(runs), "iid")[1].sum()
    assert set(own.loc[own["test_set"] == "iid", "errors"]) == {int(errors)}


def test_one_seed_and_methods_with_scores_of_their_own_have_no_ensemble(runs):
    runs.matrix(("iid",), ("confidnet",), (0,)).matrix(("iid",), ("deepgamblers", "devries"), (0, 1))
    collection = runs.collect()
    assert not set(DE) & set(collection.cells["csf"])
    assert collection.notes == ()
    assert ensemble_csfs("deepgamblers") == ensemble_csfs("devries") == ()
    assert ensemble_csfs("classifier") == ensemble_csfs("mine") == tuple(DE)


def test_without_its_scores_no_ensemble_is_computed(runs, monkeypatch):
    runs.matrix(("iid",), seeds=(0, 1))
    monkeypatch.setattr(Results, "ensemble", None)
    assert set(runs.collect(csfs=["MSR"]).cells["csf"]) == {"MSR"}


def test_ensembles_of_two_methods_are_two_rows(runs):
    runs.matrix(("iid",), ("classifier", "confidnet"), (0, 1))
    table = table_of(runs.collect(csfs=["MSR", "DE-MSR"]))
    assert list(table.mean.index) == ["MSR", "MSR (classifier)", "DE-MSR", "DE-MSR (classifier)"]
    expected = aurc(*of_mean_softmax(of_study(runs, method="classifier"), "iid"))
    assert table.mean.loc["DE-MSR (classifier)", IID] == pytest.approx(100 * expected, rel=1e-5)


def test_an_ensemble_is_compared_with_the_mean_of_its_members_on_the_same_patients(runs):
    runs.matrix(("iid",), seeds=(0, 1, 2))
    frame = significance(runs.collect(n_resamples=50, seed=3), reference="MSR")
    found = frame[
        (frame["scope"] == "column") & (frame["group"] == "iid") & (frame["first"] == "DE-MSR")
    ].iloc[0]
    members = of_study(runs)
    groups = members[0].cases_of("iid")["group"].to_numpy(str)
    names = sorted(set(groups))
    counts = dict(zip(names, group_counts(names, 50, 3).T, strict=True))

    def difference(rows):
        confidence, error = of_mean_softmax(members, "iid")
        single = [failure_detection(run, "iid", "MSR") for run in members]
        mean = np.mean([aurc(one.confidence[rows], one.error[rows]) for one in single])
        return 100 * (aurc(confidence[rows], error[rows]) - mean)

    assert found["difference"] == pytest.approx(difference(np.arange(len(groups))), rel=1e-5)
    draws = [difference(np.repeat(np.arange(len(groups)), [counts[g][r] for g in groups])) for r in range(50)]
    np.testing.assert_allclose([found["low"], found["high"]], np.quantile(draws, [0.025, 0.975]), rtol=1e-5)
    assert found["note"] == ""


def test_other_cases_give_a_note_and_the_other_rows_stay(runs):
    runs.add(seed=0)
    runs.add(seed=1, first=8)
    table = table_of(runs.collect())
    assert "MSR" in table.mean.index
    assert not set(DE) & set(table.mean.index)
    (note,) = table.notes
    start = "chest_xray: ensemble of iid, confidnet: these runs are no ensemble: seed 1 differs from seed 0"
    assert note.startswith(start)
    assert "other cases in iid" in note


def test_an_ensemble_of_fewer_members_is_marked_and_not_compared(runs):
    runs.matrix(("iid", "nih14"), seeds=(0, 1, 2))
    runs.add(study="chexpert", seed=0)
    runs.add(study="chexpert", seed=1)
    runs.add(study="chexpert", method="devries", seed=2)
    per_shift = table_of(runs.collect(csfs=["MSR", "DE-MSR", "DeVries"]), per_shift=True)
    column = (*ACQ, "chexpert")
    assert per_shift.cell_notes["DE-MSR", column] == "seeds 0, 1 of 0, 1, 2"
    assert np.isnan(per_shift.ranks().loc["DE-MSR", column])
    table = table_of(runs.collect(csfs=["MSR", "DE-MSR"]))
    assert table.column_notes[ACQ] == "chexpert without seed 2"  # as MSR, which has the same seeds


def test_an_undefined_metric_is_told_once(runs):
    runs.matrix(("iid",), seeds=(0, 1), wrong=False)
    runs.add(method="devries", seed=0)
    runs.add(method="devries", seed=1)
    table = table_of(runs.collect(metric="auroc_f"))
    assert table.cell_notes["MSR", IID] == "iid, seed 0: no failure; iid, seed 1: no failure"
    assert table.cell_notes["DE-MSR", IID] == "iid: no failure"


def test_a_damaged_member_is_left_out_of_the_ensemble(runs):
    runs.matrix(("iid",), seeds=(0, 1, 2))
    (runs.root / "chest_xray/iid-confidnet-1/results/iid/logits.npy").write_bytes(b"")
    cells = runs.collect().cells
    assert set(cells.loc[cells["csf"] == "DE-MSR", "members"]) == {"0 2"}


def test_runs_in_memory_and_in_folders_give_the_same_numbers(runs):
    runs.matrix(("iid", "nih14"), seeds=(0, 1))
    found = benchmark_table(runs.results)
    table = table_of(runs.collect())
    for csf in DE:
        np.testing.assert_allclose(100 * found.loc[csf], table.mean.loc[csf, "chest_xray"][found.columns])
    (first, second), missing = ensembles_of(runs.results)
    assert [run.run["study"] for run in (first, second)] == ["iid", "nih14"]
    assert missing == []
    # a stored ensemble is an ensemble in a table, and no member of another one
    assert ensembles_of([first, second]) == ([], [])
    first.save(runs.root.parent / "stored")
    stored = type(runs)(runs.root.parent / "stored").collect()
    assert set(stored.cells["csf"]) == set(DE)
    assert set(stored.cells["members"]) == {"0 1"}
    assert table_of(stored).seeds == (0, 1)
    assert table_of(stored).mean.loc["DE-MSR", IID] == pytest.approx(table.mean.loc["DE-MSR", IID])


def test_files_show_them(runs, tmp_path):
    runs.matrix(("iid",), seeds=(0, 1))
    written = write_tables([runs.root], tmp_path / "out", reference="MSR", n_resamples=20)
    text = written["text"].read_text()
    row = next(line for line in text.splitlines() if line.startswith("DE-MSR"))
    assert "±" not in row
    assert "Ensembles (DE) of these runs have one value" in text
    assert ",DE-MSR,confidnet,0,0 1,aurc," in written["cells"].read_text()
    assert "DE-MI" in written["html"].read_text()
    assert "DE-MI" in written["tex"].read_text()
