"""Several runs that differ in the seed only classify new images together."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.toy_prediction import evaluator, network, predictor
from helpers.toy_problem import toy_cases, toy_records
from monai_sf.engines.evaluator import evaluated
from monai_sf.inferers import EnsembleInferer, MCDropoutInferer
from monai_sf.results import Results, ResultsError, load_results
from monai_sf.results.format import seal
from monai_sf.results.given_numbers import log_softmax_of, mean_and_entropy
from monai_sf.tables import failure_detection, thresholds

DE = ["DE-MSR", "DE-PE", "DE-EE", "DE-MI"]


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory):
    """Evaluations of three untrained networks on the same cases."""
    folders = []
    for seed in (0, 1, 2):
        folder = tmp_path_factory.mktemp(f"run{seed}")
        torch.save({"network": network(seed).state_dict()}, folder / "best.pt")
        evaluator(folder, seed=seed, network=network(7)).run()
        folders.append(folder)
    return folders


def together(run_dirs, tmp_path, csf="DE-MSR", **changes):
    arguments = {"output": tmp_path / "p.csv", "ensemble": run_dirs, "thresholds": thresholds, **changes}
    return predictor(run_dirs[0], csf, **arguments)


def test_the_csv_holds_the_ensemble_s_classes_confidences_and_decision(run_dirs, tmp_path):
    together(run_dirs, tmp_path).run()
    table = pd.read_csv(tmp_path / "p.csv").set_index("case_id")
    assert list(table.columns) == ["prediction", "class", *DE, "defer"]
    images = {r["case_id"]: torch.from_numpy(r["image"]) for r in toy_records(toy_cases(), "")}
    assert list(table.index) == list(images)
    shares = []
    for seed in (0, 1, 2):
        plain = network(seed).eval()
        with torch.no_grad():
            shares.append(plain.outputs(torch.stack(list(images.values()))).logits.double().softmax(1))
    mean = torch.stack(shares).mean(0)
    assert table["prediction"].tolist() == mean.argmax(1).tolist()
    assert table["class"].tolist() == [["dark", "bright"][c] for c in mean.argmax(1)]
    np.testing.assert_allclose(table["DE-MSR"], mean.amax(1), rtol=1e-5)
    entropy = torch.stack([-(p * p.log()).sum(1) for p in shares]).mean(0)
    np.testing.assert_allclose(table["DE-EE"], -entropy, rtol=1e-5)
    np.testing.assert_allclose(table["DE-MI"], entropy + (mean * mean.log()).sum(1), atol=1e-6)


@pytest.mark.parametrize("csf", DE)
def test_it_decides_by_the_ensemble_s_calibration_cases(run_dirs, tmp_path, csf):
    together(run_dirs, tmp_path, csf).run()
    table = pd.read_csv(tmp_path / "p.csv").set_index("case_id")
    ensemble = Results.ensemble([load_results(folder / "calibration") for folder in run_dirs])
    point = thresholds(ensemble, "calibration", 0.7, 0.9)["csfs"][csf]
    found = failure_detection(ensemble, "calibration", csf)
    own = table.loc[ensemble.cases_of("calibration")["case_id"]]
    np.testing.assert_array_equal(own["prediction"], found.prediction)
    assert 1 - own["defer"].mean() == pytest.approx(point["coverage"], abs=0.051)  # rounding at the threshold


def test_without_a_decision_no_evaluation_is_needed(run_dirs, tmp_path):
    for i, folder in enumerate(run_dirs):
        (tmp_path / str(i)).mkdir()
        shutil.copy(folder / "best.pt", tmp_path / str(i))
    together([tmp_path / str(i) for i in range(3)], tmp_path, None, thresholds=None).run()
    assert list(pd.read_csv(tmp_path / "p.csv").columns) == ["case_id", "prediction", "class", *DE]


def test_each_image_is_read_once(run_dirs, tmp_path):
    made = together(run_dirs, tmp_path)
    read, transform = [], made.dataset.transform
    made.dataset.transform = lambda record: read.append(record["case_id"]) or transform(record)
    made.run()
    assert read == list(toy_cases()["case_id"])


def test_the_reduction_is_that_of_stored_outputs():
    networks = torch.nn.ModuleList([network(seed).eval() for seed in (0, 1, 2)])
    batch = torch.stack([torch.from_numpy(r["image"]) for r in toy_records(toy_cases(), "")])
    found = EnsembleInferer()(batch, networks)
    with torch.no_grad():
        logits = np.stack([one.outputs(batch).logits.numpy() for one in networks])
    mean, entropy = mean_and_entropy(log_softmax_of(logits.astype(np.float64)))
    np.testing.assert_array_equal(found["ensemble_log_softmax"], mean.astype(np.float32))
    np.testing.assert_allclose(found["ensemble_entropy"], entropy, rtol=1e-6)
    with pytest.raises(ValueError, match="training mode"):
        EnsembleInferer()(batch, networks.train())


def changed(folder, to, **changes):
    """A copy of a run with another description."""
    shutil.copytree(folder, to)
    for name in ("results", "calibration"):
        file = to / name / "run.json"
        run = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps(seal(run)))
    return to


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_what_it_says_of_lost_calibration_outputs_helps(run_dirs, tmp_path, damage):
    mended = tmp_path / "mended"
    shutil.copytree(run_dirs[1], mended)
    outputs, evaluation = mended / "calibration", mended / "results" / "run.json"
    asked = f"remove {outputs} and {evaluation} and evaluate again$"
    if damage == "removed":
        shutil.rmtree(outputs)
    else:
        file = outputs / "calibration" / "logits.npy"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        with pytest.raises(ResultsError, match="calibration/logits.npy was changed; remove ") as found:
            evaluated(mended)
        assert str(found.value).count("remove") == 1
    with pytest.raises(ResultsError, match=asked):
        together([run_dirs[0], mended], tmp_path).load()
    shutil.rmtree(outputs, ignore_errors=True)
    evaluation.unlink()
    evaluator(mended, seed=1, network=network(7)).run()
    together([run_dirs[0], mended], tmp_path).load()


def test_refusals_name_the_run(run_dirs, tmp_path):
    def refused(message, *folders, error=ValueError, csf="DE-MSR", **changes):
        with pytest.raises(error, match=message):
            together(list(folders) or run_dirs, tmp_path, csf, **changes).load()

    first, second = run_dirs[:2]
    refused("list of the folders of different runs", first)
    refused("list of the folders of different runs", first, first)
    refused("csf must be one of DE-MSR, DE-PE, DE-EE, DE-MI for an ensemble, got 'MSR'", csf="MSR")
    refused("nowhere", first, tmp_path / "nowhere", error=FileNotFoundError)
    refused("the method is 'mine', which these runs do not have: .*run0.* .*run1", method="mine")
    other = changed(second, tmp_path / "a", study="other")
    refused("is not what .*was written with", first, other)
    copied = tmp_path / "b"
    shutil.copytree(second, copied)
    torch.save({"network": network(5).state_dict()}, copied / "best.pt")
    refused(f"chosen for another checkpoint .* than {copied}", first, copied)
    file = copied / "results" / "run.json"
    run = json.loads(file.read_text())
    del run["thresholds"]["delta"]
    file.write_text(json.dumps(seal(run)))
    refused(f"{file}: the thresholds in run.json must have .* evaluate the run again", first, copied)
    del run["thresholds"]
    file.write_text(json.dumps(seal(run)))
    refused(f"evaluated without calibration cases, so without thresholds: {copied}", first, copied)
    unlike = tmp_path / "c"
    unlike.mkdir()
    torch.save({"network": network(3).state_dict()}, unlike / "best.pt")
    evaluator(unlike, seed=3, network=network(7), delta=0.1).run()
    refused("one delta, got .*run0.* 0.7 and 0.9, .*c 0.7 and 0.1", first, unlike)
    short = tmp_path / "d"
    short.mkdir()
    torch.save({"network": network(3).state_dict()}, short / "best.pt")
    evaluator(short, seed=3, network=network(7), inferer=MCDropoutInferer(2, precision="bfloat16")).run()
    refused(r"precision \('bfloat16', not 'float32'\)", first, short)
    refused(
        f"thresholds in {first}.*passes in float32, the passes here are in bfloat16",
        inferer=MCDropoutInferer(2, precision="bfloat16"),
    )


def test_runs_that_are_no_ensemble_are_named_by_folder(run_dirs, tmp_path):
    (tmp_path / "twin").mkdir()
    torch.save({"network": network(4).state_dict()}, tmp_path / "twin/best.pt")
    evaluator(tmp_path / "twin", seed=0, network=network(7)).run()
    with pytest.raises(ValueError, match=r"seed 0 occurs 2 times \(seed 0 is .*run0.*, seed 0 is .*twin"):
        together([run_dirs[0], tmp_path / "twin"], tmp_path).load()
