"""A score of another package that is fitted to training cases: through every part, and back from disk."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.pages import payload
from monai_sf.report import build_report
from monai_sf.results import Results, load_results
from monai_sf.scores import CSF, CSFS, Fit, as_float64, register_csf
from monai_sf.tables import available_csfs, benchmark_table, failure_detection, write_tables
from monai_sf.tables.cells import collect
from monai_sf.tables.judge import unavailable_csfs
from monai_sf.tables.promises import thresholds

N, M, F, C = 40, 90, 6, 3


def class_means(reference):
    labels = reference.labels()
    if len(labels) < 20:
        raise ValueError(f"{len(labels)} training cases are too few: give at least 20")
    sums, counts = torch.zeros(C, F, dtype=torch.float64), torch.bincount(labels, minlength=C)
    first = 0
    for (block,) in reference.blocks("training_features"):
        sums.index_add_(0, labels[first : first + len(block)], block)
        first += len(block)
    return {"means": sums / counts[:, None]}


def distances(arrays, fitted):
    means = as_float64(fitted["means"], "means")
    return {"distance_to_mean": torch.cdist(as_float64(arrays["features"], "features"), means).amin(dim=1)}


FIT = Fit(
    "class_means",
    needs=("training_features", "training_labels"),
    reads=("features",),
    gives=("distance_to_mean",),
    fit=class_means,
    derive=distances,
)
NEAR = CSF("Near", ("distance_to_mean",), lambda a: -a["distance_to_mean"], "Nearness to a class.", fit=FIT)
STEEP = CSF("Steep", ("distance_to_mean", "logits"), lambda a: -(a["distance_to_mean"] ** 3), fit=FIT)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(CSFS, "_entries", dict(CSFS._entries))
    register_csf(NEAR)
    register_csf(STEEP)


def arrays(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % C
    features = (np.eye(C, F)[labels] * 2 + rng.normal(size=(n, F))).astype(np.float32)
    return {"features": features, "logits": features[:, :C] * 1.5, "labels": labels}


def make(n=M):
    domains = ["iid"] * 25 + ["clinic-b"] * 15
    return Results.from_arrays(**arrays(N, 0), domains=domains, training=arrays(n, 1))


def expected(test_set):
    training, test = arrays(M, 1), arrays(N, 0)
    means = [training["features"][training["labels"] == c].astype(float).mean(0) for c in range(C)]
    far = np.linalg.norm(test["features"].astype(float)[:, None] - np.stack(means), axis=2).min(1)
    return -far[:25] if test_set == "iid" else -far[25:]


@pytest.mark.parametrize("test_set", ["iid", "clinic-b"])
def test_it_is_fitted_to_the_given_training_cases(tmp_path, test_set):
    make().save(tmp_path / "run")
    for run in (make(), load_results(tmp_path / "run")):
        assert {"Near", "Steep"} <= set(available_csfs(run))
        near, steep = (failure_detection(run, test_set, name) for name in ("Near", "Steep"))
        np.testing.assert_allclose(near.confidence, expected(test_set), rtol=1e-9)
        np.testing.assert_allclose(steep.confidence, expected(test_set) ** 3, rtol=1e-9)
        assert near.error.tolist() == failure_detection(run, test_set, "MSR").error.tolist()


def test_it_is_in_table_and_report(tmp_path):
    make().save(tmp_path / "run")
    written = write_tables([tmp_path / "run"], tmp_path / "out", n_resamples=50)
    rows = pd.read_csv(written["csv"])
    table = benchmark_table([make()])
    near = rows[(rows["csf"] == "Near") & (rows["group"] == "iid")]
    assert near["mean"].item() == pytest.approx(100 * table.loc["Near", "iid"], rel=1e-9)
    assert "Near" in set(pd.read_csv(written["significance"])["first"])
    content = payload(build_report(tmp_path / "run", tmp_path / "r.html"))
    shown = content["csfs"]["Near"]
    assert (shown["description"], shown["usual"]) == ("Nearness to a class.", True)
    assert "fitted" in shown["group"]
    assert {"Near", "Steep"} <= {c["name"] for c in content["runs"][0]["csfs"]}
    assert "Near" in content["table"]["rows"]


def test_training_cases_that_do_not_allow_it_are_named_and_the_other_scores_are_there(tmp_path):
    run = make(10)
    why = "10 training cases are too few: give at least 20"
    assert {name: text for name, text in unavailable_csfs(run).items() if name in ("Near", "Steep")} == {
        "Near": why,
        "Steep": why,
    }
    assert "MSR" in available_csfs(run)
    run.save(tmp_path / "run")
    collection = collect([tmp_path / "run"], n_resamples=0)
    assert any(f"Near is left out: {why}" in note for note in collection.notes)
    assert "MSR" in set(collection.cells["csf"])
    notes = payload(build_report(tmp_path / "run", tmp_path / "r.html"))["runs"][0]["notes"]
    assert any(note["text"] == f"Near is left out: {why}." for note in notes)


def test_the_example_of_the_docs_does_what_it_says(monkeypatch):
    page = (Path(__file__).parents[2] / "docs/guides/add_a_score.md").read_text(encoding="utf-8")
    example = re.search(r"## A score that is fitted.*?```python\n(.*?)```", page, re.DOTALL)[1]
    names = {"CSF": CSF, "as_float64": as_float64}
    exec(example, names)
    monkeypatch.delitem(CSFS._entries, "Near")
    register_csf(names["NEAR"])
    centre = arrays(M, 1)["features"].astype(float).mean(0)
    far = np.linalg.norm(arrays(N, 0)["features"].astype(float)[:25] - centre, axis=1)
    np.testing.assert_allclose(failure_detection(make(), "iid", "Near").confidence, -far, rtol=1e-9)


def test_a_mistake_in_a_derivation_leaves_out_its_score_only(caplog):
    def mistaken(arrays, fitted):
        raise IndexError("index 7 is out of bounds")

    fit = dataclasses.replace(FIT, name="mistaken", gives=("mistake",), derive=mistaken)
    register_csf(CSF("Mistaken", ("mistake",), lambda a: a["mistake"], fit=fit))
    rng = np.random.default_rng(0)
    labels = np.arange(N) % C
    cases = {"features": rng.normal(size=(N, F)), "labels": labels}
    run = Results.from_arrays(rng.normal(size=(N, C)), labels, features=cases["features"], training=cases)
    rows = benchmark_table([run]).index
    assert {"MSR", "Near"} <= set(rows)
    assert "Mistaken" not in rows
    chosen = thresholds(run, "iid", 0.1, 0.1)["csfs"]
    assert "Near" in chosen
    assert "Mistaken" not in chosen
    assert "Mistaken cannot be computed on test set iid: IndexError: index 7 is out of bounds" in caplog.text
