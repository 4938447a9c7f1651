"""A run's own scores are rows like the registered ones."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from monai_sf.results import Results, ResultsError
from monai_sf.scores import CSF, CSFS, usual_csfs
from monai_sf.tables import benchmark_table, failure_detection, significance, write_tables
from monai_sf.tables.__main__ import main
from monai_sf.tables.cells import collect
from monai_sf.tables.judge import available_csfs, csf_of

N = 60


def make(seed=0, **more):
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(9).integers(0, 3, N)
    logits = np.eye(3)[labels] + rng.normal(0, 0.8, (N, 3))
    wrong = logits.argmax(1) != labels
    scores = {"Mine": 1.0 - wrong + rng.normal(0, 0.5, N), "A.Coin": rng.random(N)}
    groups = [f"p{i // 2}" for i in range(N)]
    options = {"scores": scores, "columns": {"group": groups}, "seed": seed, "method": "my-net", **more}
    return Results.from_arrays(logits, labels, **options)


@pytest.fixture
def folder(tmp_path):
    for seed in (0, 1):
        make(seed).save(tmp_path / "runs" / str(seed))
    return tmp_path / "runs"


def test_a_score_is_judged_by_the_prediction_of_the_logits():
    run = make()
    found, plain = (failure_detection(run, "iid", name) for name in ("Mine", "MSR"))
    np.testing.assert_array_equal(found.confidence, run.test_sets["iid"].arrays[run.scores["Mine"]])
    np.testing.assert_array_equal(found.error, plain.error)
    np.testing.assert_array_equal(found.prediction, plain.prediction)


def test_an_unknown_method_has_every_score_of_its_arrays_and_its_own_last():
    names = available_csfs(make())
    assert names[-2:] == ("Mine", "A.Coin")
    assert {"MSR", "PE", "Energy"} <= set(names)


def test_rows_follow_the_registered_ones(folder):
    table = benchmark_table([make(0), make(1)])
    assert list(table.index[-2:]) == ["Mine", "A.Coin"]
    written = write_tables([folder], folder.parent / "out", "auroc_f", n_resamples=200, reference="Mine")
    rows = pd.read_csv(written["csv"])
    mean = {}
    for name in ("Mine", "A.Coin"):
        found = [failure_detection(make(seed), "iid", name) for seed in (0, 1)]
        mean[name] = 100 * np.mean([roc_auc_score(1 - f.error, f.confidence) for f in found])
    shown = dict(zip(rows["csf"], rows["mean"], strict=True))
    assert shown["Mine"] == pytest.approx(mean["Mine"])
    assert shown["A.Coin"] == pytest.approx(mean["A.Coin"])
    assert [n for n in shown if n in CSFS] == list(shown)[:-2]
    differences = pd.read_csv(written["significance"])
    assert set(differences["second"]) == {"Mine"}
    coin = differences[(differences["first"] == "A.Coin") & (differences["scope"] == "column")]
    assert coin["difference"].item() == pytest.approx(mean["A.Coin"] - mean["Mine"])


def test_they_are_chosen_by_name(folder, tmp_path, capsys):
    assert main([str(folder), "-o", str(tmp_path / "t"), "--csfs", "A.Coin", "MSR", "--resamples", "0"]) == 0
    said = capsys.readouterr().out
    assert "A.Coin" in said
    assert "Mine" not in said
    assert main([str(folder), "-o", str(tmp_path / "t"), "--csfs", "Coin"]) == 1
    assert "csfs must be among MSR, " in (said := capsys.readouterr().err)
    assert "Mine, A.Coin or all, got Coin" in said


def test_by_default_the_usual_ones_and_the_runs_own_are_shown(folder):
    collection = collect([folder], n_resamples=50)
    shown = set(collection.cells["csf"])
    assert {"Mine", "A.Coin", "MSR", "PE"} <= shown
    assert shown <= {*usual_csfs(), "Mine", "A.Coin"}
    compared = significance(collection)
    assert {"Mine", "A.Coin"} <= {*compared["first"], *compared["second"]}


def test_a_name_that_is_registered_later_is_not_confused(monkeypatch, folder):
    run = make()
    monkeypatch.setitem(CSFS._entries, "Mine", CSF("Mine", ("logits",), lambda a: a["logits"][:, 0]))
    for ask in (lambda: available_csfs(run), lambda: csf_of(run, "Mine"), lambda: benchmark_table([run])):
        with pytest.raises(ResultsError, match="own score Mine has the name of a registered score: rename"):
            ask()
    with pytest.raises(ResultsError, match="own score Mine"):
        collect([folder])
