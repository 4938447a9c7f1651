"""What an evaluation fitted scores to decides about new images, or is refused."""

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.toy_fits import fitting_evaluator, network, toy_scores
from helpers.toy_prediction import predictor
from monai_sf.prediction import engine as predictor_module
from monai_sf.results import ResultsError, load_results
from monai_sf.tables.judge import failure_detection

FITTED = "_fitted/toy_distance.centre.npy"


@pytest.fixture(autouse=True)
def _only_toys():
    with toy_scores():
        yield


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    with toy_scores():
        fitting_evaluator(folder, target_risk=0.5).run()
    return folder


@pytest.fixture
def copied(run_dir, tmp_path):
    shutil.copytree(run_dir, tmp_path / "run")
    return tmp_path / "run"


def predicted(run_dir, tmp_path, csf="Toy-Distance", **changes):
    predictor(run_dir, csf, output=tmp_path / "p.csv", **changes).run()
    return pd.read_csv(tmp_path / "p.csv").set_index("case_id")


@pytest.mark.parametrize("csf", ["MSR", "Toy-Distance", None])
def test_confidence_and_decision_are_those_of_the_evaluation(run_dir, tmp_path, csf):
    table = predicted(run_dir, tmp_path, csf)
    results = load_results(run_dir / "results")
    for name in ("iid", "target"):
        confidence = failure_detection(results, name, "Toy-Distance").confidence
        ids = results.cases_of(name)["case_id"]
        np.testing.assert_allclose(table.loc[ids, "Toy-Distance"], confidence, rtol=1e-4, atol=1e-6)
    assert "Toy-Impossible" not in table
    if csf == "Toy-Distance":
        threshold = results.run["thresholds"]["csfs"][csf]["threshold"]
        assert (table["defer"] == (table[csf] < threshold)).all()
        assert set(table["defer"]) == {True, False}


@pytest.mark.parametrize("block", [1, 9])
def test_cases_are_scored_in_blocks_of_any_size(run_dir, tmp_path, monkeypatch, block):
    expected = predicted(run_dir, tmp_path, batch_size=3)
    monkeypatch.setattr(predictor_module, "BLOCK", block)
    pd.testing.assert_frame_equal(predicted(run_dir, tmp_path, batch_size=3), expected, rtol=1e-4)


@pytest.mark.parametrize("csf", ["MSR", "Toy-Distance", None])
def test_a_changed_file_is_refused_by_name(copied, tmp_path, csf):
    file = copied / "results" / FITTED
    intact = file.read_bytes()
    file.write_bytes(intact[:-1] + b"x")
    with pytest.raises(ResultsError, match=r"results: .*_fitted/toy_distance\.centre\.npy was changed"):
        predictor(copied, csf, output=tmp_path / "p.csv").run()
    file.unlink()
    with pytest.raises(ResultsError, match=r"_fitted/toy_distance\.centre\.npy is missing"):
        predictor(copied, csf, output=tmp_path / "p.csv").run()
    assert not (tmp_path / "p.csv").exists()


def test_a_damaged_evaluation_is_refused_even_if_it_decides_nothing(run_dir, tmp_path):
    (tmp_path / "run.json").write_text((run_dir / "results" / "run.json").read_text()[:-9])
    with pytest.raises(ResultsError, match=r"run\.json: run\.json is not JSON"):
        predicted(run_dir, tmp_path, None, evaluation=tmp_path / "run.json")


def test_thresholds_alone_do_for_scores_that_are_not_fitted(copied, tmp_path, caplog):
    shutil.rmtree(copied / "results" / "_fitted")
    table = predicted(copied, tmp_path, "MSR")
    assert "Toy-Distance" not in table
    assert "there is no folder" in caplog.text
    assert "(toy_distance, toy_impossible) are left out" in caplog.text
    with pytest.raises(ResultsError, match=r"_fitted/toy_distance\.centre\.npy is missing"):
        predicted(copied, tmp_path, "Toy-Distance")


def test_without_an_evaluation_of_this_network_fitted_scores_are_left_out(run_dir, tmp_path, caplog):
    table = predicted(run_dir, tmp_path, None, evaluation=tmp_path / "run.json")
    assert "MSR" in table
    assert "Toy-Distance" not in table
    assert f"no evaluation at {tmp_path / 'run.json'}: scores that are fitted" in caplog.text
    torch.save({"network": network(9).state_dict()}, tmp_path / "best.pt")
    assert "Toy-Distance" not in predicted(run_dir, tmp_path, None, checkpoint=tmp_path / "best.pt")
    assert f"run.json is of another checkpoint than {tmp_path / 'best.pt'}: scores" in caplog.text


def test_nothing_is_said_where_no_score_is_fitted(run_dir, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        predicted(run_dir, tmp_path, None, evaluation=tmp_path / "run.json", method="devries")
    assert "fitted" not in caplog.text


def test_an_undefined_confidence_is_an_empty_cell_and_defers(run_dir, tmp_path):
    expected = predicted(run_dir, tmp_path)
    trusted = list(expected.index[~expected["defer"]])[:2]
    some = predictor(run_dir, "Toy-Distance", output=tmp_path / "p.csv")
    infer = some.passes.inferer

    def broken(inputs, net, case_ids):
        outputs = infer(inputs, net, case_ids=case_ids)
        outputs["features"][[case_id in trusted for case_id in case_ids]] = float("nan")
        return outputs

    some.passes.inferer = broken
    some.run()
    table = pd.read_csv(tmp_path / "p.csv", dtype=str).set_index("case_id")
    assert table.loc[trusted, "Toy-Distance"].isna().all()
    assert list(table.loc[trusted, "defer"]) == ["True", "True"]
    assert table.loc[trusted, "MSR"].notna().all()
    others = table.index.difference(trusted)
    assert list(table.loc[others, "defer"]) == list(expected.loc[others, "defer"].astype(str))


def test_a_deciding_score_that_cannot_be_computed_is_named(run_dir, tmp_path):
    samples = predictor(run_dir, "MCD-MSR", output=tmp_path / "p.csv")
    samples.passes.inferer.samples = 0
    with pytest.raises(ValueError, match="MCD-MSR needs the arrays mcd_log_softmax, which are not computed"):
        samples.run()
    with (
        toy_scores(*predictor_module.CSFS._entries.values()),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.delitem(predictor_module.CSFS._entries, "Toy-Distance")
        with pytest.raises(ValueError, match="csf must be one of MSR, .*got 'Toy-Distance': install"):
            predictor(run_dir, "Toy-Distance")
