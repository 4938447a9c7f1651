"""The numbers: cells against a slow reference, averages against sums written out."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from monai_sf.files import sha256_of
from monai_sf.results import ResultsError
from monai_sf.results.format import seal
from monai_sf.scores import PAPER_CSFS
from monai_sf.tables.aggregate import average, benchmark_table, table_of
from monai_sf.tables.cells import COVERAGES, RunKey, ScoreKey, collect
from monai_sf.tables.defaults import METRICS
from monai_sf.tables.found_runs import find_runs
from monai_sf.tables.measures import measure, measures


def confidence_and_error(results, name, csf):
    arrays = {k: np.asarray(v, np.float64) for k, v in results.test_sets[name].arrays.items()}
    used = "logits" if csf in ("MSR", "PE", "ConfidNet", "DG-RES", "DeVries") else "mcd_log_softmax"
    z = arrays[used]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    values = {"MSR": p.max(axis=1), "PE": (p * np.log(p)).sum(axis=1)}
    values["MCD-MSR"], values["MCD-PE"] = np.exp(arrays["mcd_log_softmax"].max(axis=1)), values["PE"]
    if csf in ("ConfidNet", "DeVries"):
        values[csf] = arrays["confidence_logit"]
    labels = results.cases["label"].to_numpy()[results.test_sets[name].rows]
    return values[csf], (z.argmax(axis=1) != labels).astype(np.float64)


def slow(metric, confidence, error):
    """Every metric from its definition, threshold by threshold or pair by pair."""
    n, e = len(error), error.mean()
    area = general = coverage = previous_g = 0.0
    risk = None
    reachable = 0.0
    for t in sorted(set(confidence), reverse=True):
        kept = error[confidence >= t]
        c, r, g = len(kept) / n, kept.mean(), kept.sum() / n
        area += (c - coverage) * (r + (r if risk is None else risk)) / 2
        general += (c - coverage) * (g + previous_g) / 2
        coverage, risk, previous_g = c, r, g
        reachable = c if r <= 0.2 else reachable
    wrong, right = confidence[error == 1], confidence[error == 0]
    wins = [(w < r) + (w == r) / 2 for w in wrong for r in right]
    return {
        "aurc": area,
        "eaurc": area - (e + (1 - e) * np.log(1 - e)),
        "augrc": general,
        "auroc_f": np.mean(wins),
        "accuracy": 1 - e,
        "coverage_at_risk": reachable,
    }[metric]


def one(cells, **where):
    found = cells
    for name, value in where.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("csf", ["MSR", "PE", "MCD-MSR", "ConfidNet"])
def test_cells_equal_the_definitions(runs, metric, csf):
    results = runs.add(study="nih14", n=40)
    cells = runs.collect(risk=0.2).cells
    for name in ("iid", "target"):
        cell = one(cells, test_set=name, csf=csf, metric=metric)
        assert cell["value"] == pytest.approx(
            slow(metric, *confidence_and_error(results, name, csf)), rel=1e-6
        )


def test_a_cell_says_where_it_comes_from(runs):
    runs.add(seed=3, method="devries", corruptions=("noise",), severities=(4,), n=20)
    cell = one(runs.collect().cells, kind="corruption", csf="DeVries", metric="aurc")
    expected = {
        "dataset": "chest_xray", "study": "iid", "test_set": "corruption-noise-4", "corruption": "noise",
        "severity": 4, "method": "devries", "seed": 3, "cases": 20, "data_kind": "real", "undefined": "",
    }  # fmt: skip
    assert {k: cell[k] for k in expected} == expected


def test_curves_are_the_risk_at_each_coverage(runs):
    results = runs.add(n=30)
    curve = runs.collect().curves[ScoreKey("chest_xray", "iid", "iid", "MSR", "confidnet", 0)]
    confidence, error = confidence_and_error(results, "iid", "MSR")
    assert curve[-1] == pytest.approx(error.mean())
    ranked = error[np.argsort(-confidence)]
    for kept in (3, 15, 27):
        assert curve[np.argmin(abs(COVERAGES - kept / 30))] == pytest.approx(ranked[:kept].mean())


def test_averages_of_the_paper(runs):
    runs.matrix(studies=("iid", "nih14", "chexpert"), seeds=(0, 1, 2))
    table = table_of(runs.collect())
    values = {
        (r.run["study"], r.run["seed"], s): slow("aurc", *confidence_and_error(r, s, "MSR"))
        for r in runs.results
        for s in r.test_sets
    }
    sets = ["corruption-noise-1", "corruption-noise-2", "corruption-blur-1", "corruption-blur-2"]
    per_seed = {
        "iid": [values["iid", s, "iid"] for s in range(3)],
        "cor": [np.mean([values["iid", s, name] for name in sets]) for s in range(3)],
        "acq": [np.mean([values[study, s, "target"] for study in ("nih14", "chexpert")]) for s in range(3)],
    }
    assert list(table.mean.columns) == [("chest_xray", group) for group in ("iid", "cor", "acq")]
    for group, seeds in per_seed.items():
        assert table.mean.loc["MSR", ("chest_xray", group)] == pytest.approx(100 * np.mean(seeds), rel=1e-6)
        assert table.spread.loc["MSR", ("chest_xray", group)] == pytest.approx(
            100 * np.std(seeds, ddof=1), rel=1e-5
        )
    assert table.cell_notes == table.column_notes == {}
    assert table.notes == ()


def test_each_shift_by_itself(runs):
    runs.matrix(studies=("iid", "nih14", "chexpert"), seeds=(0,))
    table = table_of(runs.collect(), per_shift=True)
    shifts = [("iid", "iid"), ("cor", "blur"), ("cor", "noise"), ("acq", "chexpert"), ("acq", "nih14")]
    assert list(table.mean.columns) == [("chest_xray", *shift) for shift in shifts]
    (iid,) = [r for r in runs.results if r.run["study"] == "iid"]
    both = [slow("aurc", *confidence_and_error(iid, f"corruption-blur-{s}", "PE")) for s in (1, 2)]
    assert table.mean.loc["PE", ("chest_xray", "cor", "blur")] == pytest.approx(100 * np.mean(both), rel=1e-6)


def test_rows_are_in_the_papers_order_and_datasets_beside_each_other(runs):
    for dataset in ("lung_nodule_ct", "dermoscopy"):
        runs.matrix(("iid",), ("confidnet", "deepgamblers", "devries"), (0,), dataset=dataset)
    table = table_of(runs.collect())
    assert list(table.mean.index) == list(PAPER_CSFS)
    assert list(table.mean.columns.unique(0)) == ["dermoscopy", "lung_nodule_ct"]


def test_it_has_the_numbers_of_the_report(runs):
    runs.matrix(("iid", "nih14", "chexpert"), ("confidnet", "deepgamblers", "classifier"), (0, 1))
    runs.add(study="texture", kind="manifestation", seed=0)
    short = table_of(runs.collect(csfs=["MSR", "MCD-EE", "DG-RES"])).mean["chest_xray"]
    same = 100 * benchmark_table(runs.results).loc[["MSR", "MCD-EE", "DG-RES"], list(short.columns)]
    own = short.loc[["MSR", "MCD-EE", "DG-RES"]]
    np.testing.assert_allclose(own.to_numpy(), same.to_numpy(), rtol=1e-12)


def test_networks_of_two_trainings_are_not_averaged(runs):
    runs.matrix(("iid",), ("classifier", "confidnet", "another"), (0,))
    table = table_of(runs.collect(csfs=["MSR"]))
    assert list(table.mean.index) == ["MSR", "MSR (another)", "MSR (classifier)"]
    for row, method in zip(table.mean.index, ("confidnet", "another", "classifier"), strict=True):
        (own,) = [r for r in runs.results if r.run["method"] == method]
        value = 100 * slow("aurc", *confidence_and_error(own, "iid", "MSR"))
        assert table.mean.loc[row, ("chest_xray", "iid")] == pytest.approx(value, rel=1e-6)
    assert "chest_xray: MSR is that of confidnet unless another method is named" in table.notes
    only = benchmark_table(runs.results).loc["MSR", "iid"]
    assert 100 * only == pytest.approx(table.mean.loc["MSR", ("chest_xray", "iid")], rel=1e-12)


def test_without_the_study_iid_the_others_stand_in_and_it_is_said(runs):
    runs.matrix(("nih14", "chexpert"), seeds=(0,))
    table = table_of(runs.collect())
    assert any("without the study iid" in note and "chexpert, nih14" in note for note in table.notes)
    same = benchmark_table(runs.results)
    assert table.mean.loc["MSR", ("chest_xray", "iid")] == pytest.approx(100 * same.loc["MSR", "iid"])


def test_a_missing_value_keeps_the_weight_of_its_test_set():
    values = np.array([[1.0, np.nan], [5.0, 7.0]])
    mean, spread = average(values)
    assert mean == (1 + 6) / 2
    assert np.isnan(spread)


def test_spread_is_of_seeds_that_have_everything():
    values = np.array([[1.0, 2.0, np.nan], [3.0, 6.0, 0.0]])
    assert average(values)[1] == pytest.approx(np.std([2.0, 4.0], ddof=1))


def test_ranks_shades_and_best_follow_the_direction(runs):
    runs.matrix(("iid",), ("confidnet", "devries"), (0,), n=60)
    low = table_of(runs.collect())
    high = table_of(runs.collect(metric="auroc_f"))
    for table, sign in ((low, 1), (high, -1)):
        values = sign * table.mean["chest_xray", "iid"]
        best = values.idxmin()
        assert table.ranks().loc[best, ("chest_xray", "iid")] == 1
        assert table.shades().loc[best, ("chest_xray", "iid")] == 0
        assert table.shades().loc[values.idxmax(), ("chest_xray", "iid")] == 1
        assert table.best()["chest_xray", "iid"].sum() == 1


def test_equal_values_share_rank_and_star(runs):
    runs.matrix(("iid",), seeds=(0,), classes=2)
    table = table_of(runs.collect(csfs=["MSR", "PE"]))  # two classes: the same order of cases
    assert table.ranks()["chest_xray", "iid"].tolist() == [1.5, 1.5]
    assert table.best()["chest_xray", "iid"].all()
    assert (table.shades()["chest_xray", "iid"] == 0).all()


def test_the_order_of_folders_does_not_matter(runs, tmp_path):
    runs.matrix()
    folders = find_runs([runs.root])[0]
    one_way, other = (collect(f, n_resamples=20) for f in (folders, folders[::-1]))
    assert one_way.cells.equals(other.cells)
    assert all(np.array_equal(one_way.resampled[k], other.resampled[k]) for k in one_way.resampled)


# --- bad input


def test_unknown_metric_lists_the_known():
    with pytest.raises(ValueError, match="metric must be one of aurc, eaurc, augrc, auroc_f, .*got 'auroc'"):
        measure("auroc")


def test_unknown_score_is_named(runs):
    runs.add()
    with pytest.raises(ValueError, match="csfs must be among MSR, .*got MRS"):
        runs.collect(csfs=["MSR", "MRS"])


@pytest.mark.parametrize("risk", [-0.1, 1.1])
def test_risk_out_of_range(risk):
    with pytest.raises(ValueError, match=r"risk must lie in \[0, 1\]"):
        measure("coverage_at_risk", risk)


def test_the_same_run_twice_names_both_folders(runs):
    runs.add()
    shutil.copytree(runs.root / "chest_xray", runs.root / "copy")
    with pytest.raises(ResultsError, match=r"confidnet/seed 0 occurs twice, in .*chest_xray.* and .*copy"):
        runs.collect()


def damage(folder, what):
    if what == "case table":
        (folder / "cases.csv").write_text("changed")
    elif what == "text":
        (folder / "run.json").write_text("{")
    elif what == "deep":
        (folder / "run.json").write_text("[" * 100_000)
    elif what == "seed":
        reseal(folder, seed=1.5)
    elif what == "NaN":
        file = folder / "iid/logits.npy"
        logits = np.load(file)
        logits[3] = np.nan
        np.save(file, logits)
        files = json.loads((folder / "run.json").read_text())["files"]
        reseal(folder, files=files | {"iid/logits.npy": sha256_of(file)})


def reseal(folder, **changes):
    mark = folder / "run.json"
    mark.write_text(json.dumps(seal(json.loads(mark.read_text()) | changes)))


@pytest.mark.parametrize("what", ["case table", "text", "deep", "seed", "NaN"])
def test_a_damaged_folder_is_left_out_and_named_with_the_reason(runs, what, caplog):
    runs.add()
    alone = runs.collect()
    runs.add(seed=1)
    folder = runs.root / "chest_xray/iid-confidnet-1/results"
    damage(folder, what)
    collection = runs.collect()
    pd.testing.assert_frame_equal(collection.cells, alone.cells)
    assert collection.runs == alone.runs
    assert collection.curves.keys() == alone.curves.keys()
    assert str(folder) in caplog.text
    (note,) = [n for n in table_of(collection).notes if "left out" in n]
    assert note.startswith("left out: chest_xray/iid-confidnet-1, its results cannot be read: ")
    assert str(runs.root) not in note
    damage(runs.root / "chest_xray/iid-confidnet-0/results", "text")
    with pytest.raises(ResultsError, match=r"(?s)no results can be read:.*confidnet-0.*confidnet-1"):
        runs.collect()


def test_no_folder_and_no_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        collect([tmp_path / "nowhere"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run/cases.csv").write_text("case_id\n")
    with pytest.raises(FileNotFoundError, match=r"no finished results.*not finished: .*run"):
        collect([tmp_path])


@pytest.mark.parametrize("role", ["training", "validation", "calibration"])
def test_results_of_training_and_validation_cases_are_no_test_set(runs, role):
    runs.add()
    make = runs.results[0]
    val = make.test_sets["iid"]
    renamed = type(val)("val", "iid", val.rows, val.arrays)
    folder = runs.root / "chest_xray/iid-confidnet-0" / role
    type(make)({**make.run, "role": role}, make.cases, {"val": renamed}).save(folder)
    assert [f.name for f in find_runs([runs.root])[0]] == ["results"]
    with pytest.raises(
        FileNotFoundError, match="1 of training, validation or calibration cases, which are not reported"
    ):
        collect([folder])
    (folder / "run.json").unlink()  # an evaluation that was killed is one, not two
    assert find_runs([runs.root])[1] == []


def test_a_test_set_may_be_called_val(runs):
    runs.add()
    make = runs.results[0]
    own = make.test_sets["iid"]
    renamed = type(own)("val", "iid", own.rows, own.arrays)
    type(make)({**make.run, "seed": 9}, make.cases, {"val": renamed}).save(runs.root / "mine")
    assert [f.name for f in find_runs([runs.root])[0]] == ["results", "mine"]


def test_a_folder_and_the_one_above_it_are_one(runs):
    runs.add()
    assert len(find_runs([runs.root, runs.root / "chest_xray"])[0]) == 1


def test_what_a_benchmark_has_set_aside_is_no_result(runs):
    runs.add()
    (runs.root / "set_aside").mkdir()
    shutil.move(runs.root / "chest_xray", runs.root / "set_aside/chest_xray")
    with pytest.raises(FileNotFoundError, match="no finished results"):
        collect([runs.root])
    assert len(find_runs([runs.root / "set_aside"])[0]) == 1  # when asked for


def test_links_are_followed_once(runs, tmp_path):
    runs.add()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "run").symlink_to(runs.root / "chest_xray")
    (linked / "again").symlink_to(linked)
    assert find_runs([linked])[0] == find_runs([runs.root])[0]


def test_a_folder_that_cannot_be_read_is_not_left_out(runs, monkeypatch):
    runs.add()
    (runs.root / "locked").mkdir()
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(PermissionError, match="locked"):
        find_runs([runs.root])


@pytest.mark.parametrize("seed", ["first", 1.5, True, None])
def test_seeds_that_are_no_integers(runs, seed):
    runs.add()
    reseal(runs.root / "chest_xray/iid-confidnet-0/results", seed=seed)
    with pytest.raises(ResultsError, match="seed must be an integer"):
        runs.collect()


def test_a_run_key_reads_well():
    assert str(RunKey("a", "b", "c", 1)) == "a/b/c/seed 1"


def test_the_help_names_the_metrics_that_there_are():
    assert tuple(measures()) == METRICS
