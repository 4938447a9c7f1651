"""From the evaluation's thresholds to a decision about a new image."""

import json
import logging
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import Compose, Transform
from PIL import Image
from scipy.special import softmax
from torch import nn

from helpers.forks import fork, status_of
from helpers.toy_fits import fitting_evaluator
from helpers.toy_prediction import evaluator, network, predictor
from helpers.toy_problem import tiny_network, toy_cases, toy_records
from monai_sf.files.locks import locked
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import GivenClassifier
from monai_sf.networks.heads import DeVriesHead
from monai_sf.prediction.checks import record_faults
from monai_sf.prediction.evaluations import stored_promise
from monai_sf.prediction.image_files import image_records
from monai_sf.results import ResultsError, load_results
from monai_sf.results.format import seal
from monai_sf.scores import CSFS
from monai_sf.tables.judge import available_csfs, failure_detection

PROMISED = ("threshold", "target_risk", "delta", "risk_bound", "calibration_groups", "groups_needed")
NAMES = ("MSR", "PE", "MCD-MSR", "MCD-PE", "MCD-EE", "ConfidNet")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """An evaluation with 20 calibration cases, some of them wrong, of an untrained network."""
    folder = tmp_path_factory.mktemp("run")
    torch.save({"network": network().state_dict()}, folder / "best.pt")
    evaluator(folder).run()
    return folder


def test_calibration_cases_give_thresholds_and_are_not_reported(run_dir):
    results = load_results(run_dir / "results")
    calibration = load_results(run_dir / "calibration")
    assert list(results.test_sets) == ["iid", "target"]
    assert set(results.cases["split"]) == {"iid", "target"}
    assert list(calibration.test_sets) == ["calibration"]
    expected = toy_cases()["case_id"]
    assert sorted(calibration.cases_of("calibration")["case_id"]) == [*expected[:10], *expected[22:32]]
    assert sorted(results.cases_of("target")["case_id"]) == list(expected[32:])
    stored = results.run["thresholds"]
    assert (stored["target_risk"], stored["delta"]) == (0.7, 0.9)
    assert stored["cases"] == stored["groups"] == 20
    assert set(NAMES) <= set(stored["csfs"])


def test_outputs_are_filed_under_their_own_case(run_dir):
    plain = network().eval()
    plain.load_state_dict(torch.load(run_dir / "best.pt", weights_only=True)["network"])
    images = {r["case_id"]: torch.from_numpy(r["image"]) for r in toy_records(toy_cases(), "")}
    for folder, name in (("results", "iid"), ("results", "target"), ("calibration", "calibration")):
        results = load_results(run_dir / folder)
        for case_id, logits, confidence in zip(
            results.cases_of(name)["case_id"],
            results.test_sets[name].arrays["logits"],
            results.test_sets[name].arrays["confidence_logit"],
            strict=True,
        ):
            with torch.no_grad():
                expected = plain.outputs(images[case_id][None])
            np.testing.assert_allclose(logits, expected.logits[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(confidence, expected.confidence_logit[0], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")  # of what scores were fitted to
@pytest.mark.parametrize("csf", ["MSR", "MCD-PE", "ConfidNet", "KL-Matching", "ASH"])
def test_the_decision_is_that_of_the_evaluation(run_dir, tmp_path, csf):
    predictor(run_dir, csf, output=tmp_path / "p.csv").run()
    table = pd.read_csv(tmp_path / "p.csv").set_index("case_id")
    assert set(NAMES) < set(table.columns)
    results = load_results(run_dir / "results")
    calibration = replace(load_results(run_dir / "calibration"), fitted=results.fitted)
    threshold = results.run["thresholds"]["csfs"][csf]["threshold"]
    confidence = failure_detection(calibration, "calibration", csf).confidence
    threshold = np.inf if threshold is None else threshold
    assert np.isinf(threshold) or threshold in confidence
    clear = np.abs(confidence - threshold) > 1e-5  # the outputs of another batch differ in the last digits
    assert clear.sum() >= 19
    deferred = table["defer"][calibration.cases_of("calibration")["case_id"]]
    np.testing.assert_array_equal(deferred[clear], (confidence < threshold)[clear])
    trusted = table[csf][~table["defer"]]
    assert trusted.empty or trusted.min() >= table[csf][table["defer"]].max()


def test_every_fitted_score_is_that_of_the_evaluation(tmp_path):
    fitting_evaluator(tmp_path, samples=2).run()
    results = load_results(tmp_path / "results")
    fitted = [csf for csf in available_csfs(results) if CSFS[csf].fit is not None]
    assert {"T-MSR", "ReAct", "ASH", "MDS", "kNN", "NNGuide"} <= set(fitted)
    predictor(tmp_path, "MDS", output=tmp_path / "p.csv", batch_size=7).run()
    table = pd.read_csv(tmp_path / "p.csv").set_index("case_id")
    for csf in fitted:
        expected = failure_detection(results, "iid", csf).confidence
        expected = np.exp(expected) if CSFS[csf].scale == "log_probability" else expected
        found = table.loc[results.cases_of("iid")["case_id"], csf]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5, err_msg=csf)


def test_without_a_deciding_score_nothing_else_is_needed(run_dir, tmp_path):
    predictor(run_dir, None, evaluation=tmp_path / "none.json", output=tmp_path / "p.csv").run()
    assert "defer" not in pd.read_csv(tmp_path / "p.csv").columns


@pytest.mark.parametrize(("needed", "said"), [(1234, "it would take about 1,234"), (None, "wrong too often")])
def test_without_a_promise_all_is_deferred_and_it_is_said_why(run_dir, tmp_path, caplog, needed, said):
    stored = json.loads((run_dir / "results" / "run.json").read_text())
    stored["thresholds"]["csfs"]["MSR"] |= {"threshold": None, "bound": None, "needed": needed}
    (tmp_path / "run.json").write_text(json.dumps(seal(stored)))
    with caplog.at_level(logging.WARNING, logger="monai_sf"):
        predictor(run_dir, evaluation=tmp_path / "run.json", output=tmp_path / "p.csv").run()
    assert pd.read_csv(tmp_path / "p.csv")["defer"].all()
    why = json.loads((tmp_path / "p.json").read_text())["promise"]
    assert why.startswith(
        "every image is deferred, since no threshold of MSR can promise at most 70 % errors"
    )
    assert "there are 20 groups of calibration cases" in why
    assert said in why
    assert why in caplog.text
    assert {k: v for k, v in json.loads((tmp_path / "p.json").read_text()).items() if k in PROMISED} == {
        **{"threshold": None, "target_risk": 0.7, "delta": 0.9, "risk_bound": None},
        **{"calibration_groups": 20, "groups_needed": needed},
    }


def test_what_is_promised_stands_in_the_json(run_dir, tmp_path, caplog):
    predictor(run_dir, "ASH", output=tmp_path / "p.csv").run()
    point = load_results(run_dir / "results").run["thresholds"]["csfs"]["ASH"]
    document = json.loads((tmp_path / "p.json").read_text())
    assert 0 < point["bound"] <= 0.7
    assert {name: document[name] for name in PROMISED} == {
        **{"threshold": pytest.approx(point["threshold"]), "target_risk": 0.7, "delta": 0.9},
        **{"risk_bound": point["bound"], "calibration_groups": 20, "groups_needed": None},
    }
    assert document["promise"] == (
        "of the predictions with ASH at or above its threshold at most 70 % are wrong, with a probability of "
        "10 % for all scores together, on cases of the population of the 20 groups of calibration cases"
    )
    assert "deferred" not in caplog.text


def test_an_evaluation_without_thresholds_or_with_those_of_another_version_is_named(run_dir, tmp_path):
    stored = json.loads((run_dir / "results" / "run.json").read_text())
    del stored["thresholds"]["delta"]
    (tmp_path / "run.json").write_text(json.dumps(seal(stored)))
    with pytest.raises(ResultsError, match=r"thresholds in run\.json must have .* evaluate the run again"):
        predictor(run_dir, evaluation=tmp_path / "run.json").load()
    del stored["thresholds"]
    (tmp_path / "run.json").write_text(json.dumps(seal(stored)))
    with pytest.raises(ValueError, match="no calibration cases of two classes: .* or set csf to null"):
        predictor(run_dir, evaluation=tmp_path / "run.json").load()
    predictor(run_dir, None, evaluation=tmp_path / "run.json", output=tmp_path / "p.csv").load()


def test_another_promise_needs_no_image(run_dir, tmp_path):
    """As docs/reference/bundles.md says: run.json is removed, and the target is another one."""
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    (run / "results" / "run.json").unlink()
    again = evaluator(run, target_risk=0.8, delta=0.5)
    again.dataset.transform = lambda record: pytest.fail("an image was read")
    again.run()
    now, before = (load_results(folder / "results").run["thresholds"] for folder in (run, run_dir))
    assert (now["target_risk"], now["delta"]) == (0.8, 0.5)
    assert now["csfs"]["ASH"]["coverage"] > before["csfs"]["ASH"]["coverage"] > 0


def test_refusals(run_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the evaluation first, or set csf to null"):
        stored_promise(tmp_path / "run.json", "MSR")
    with pytest.raises(ValueError, match=r"no threshold for csf 'DG-RES'; it has \[.*'ConfidNet'"):
        predictor(run_dir, "DG-RES").load()
    with pytest.raises(ValueError, match="between 0 and 1, exclusively: got target_risk 2 and delta 0"):
        evaluator(tmp_path, target_risk=2, delta=0)
    other = tiny_network(confidence=DeVriesHead)
    with pytest.raises(ValueError, match=r"best\.pt is a checkpoint of another network"):
        predictor(run_dir, network=other).run()


def test_thresholds_are_those_of_the_checkpoint_and_its_classes(run_dir, tmp_path):
    output = tmp_path / "p.csv"
    with pytest.raises(ValueError, match=r"class_names are \['bright', 'dark'\], those of .*order of the tr"):
        predictor(run_dir, output=output, class_names=["bright", "dark"]).load()
    torch.save({"network": network(9).state_dict()}, tmp_path / "best.pt")
    other = predictor(run_dir, output=output, checkpoint=tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"thresholds in .*run\.json were chosen for another checkpoint"):
        other.run()
    assert not output.exists()
    predictor(run_dir, None, output=output, checkpoint=tmp_path / "best.pt").load()
    for damaged in ("{", "[]"):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"run\.json is not (JSON|a results file)"):
            predictor(run_dir, evaluation=tmp_path / "run.json").load()


def test_passes_are_in_the_precision_of_the_evaluation(run_dir, tmp_path):
    short = MCDropoutInferer(2, precision="bfloat16")
    message = r"thresholds in .*run\.json were chosen from passes in float32, the passes here are in bfloat16"
    with pytest.raises(ValueError, match=message):
        predictor(run_dir, inferer=short).load()
    with pytest.raises(ValueError, match="device cpu is not computed in float16"):
        predictor(run_dir, inferer=MCDropoutInferer(2, precision="float16"))
    shutil.copy(run_dir / "best.pt", tmp_path / "best.pt")
    evaluator(tmp_path, inferer=short).run()
    predictor(tmp_path, inferer=short).run()
    with pytest.raises(ValueError, match="chosen from passes in bfloat16, the passes here are in float32"):
        predictor(tmp_path).load()
    results = load_results(tmp_path / "results")
    iid = results.test_sets["iid"].arrays["logits"]
    table = pd.read_csv(tmp_path / "predictions.csv").set_index("case_id")
    found = table.loc[results.cases_of("iid")["case_id"], "MSR"]
    exact = load_results(run_dir / "results").test_sets["iid"].arrays["logits"]
    np.testing.assert_allclose(found, softmax(iid, 1).max(1), rtol=1e-5)
    assert not np.allclose(softmax(iid, 1), softmax(exact, 1), rtol=1e-5)


def test_weights_may_be_a_plain_state_dict(run_dir, tmp_path):
    weights = torch.load(run_dir / "best.pt", weights_only=True)["network"]
    torch.save(weights, tmp_path / "model.pt")
    for checkpoint in (tmp_path / "model.pt", run_dir / "best.pt"):
        predictor(run_dir, None, checkpoint=checkpoint, output=tmp_path / f"{checkpoint.stem}.csv").run()
    plain, ours = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("model", "best"))
    assert len(set(ours["MSR"])) > 1
    pd.testing.assert_series_equal(plain["MSR"], ours["MSR"])


def test_a_threshold_that_was_changed_is_not_used(run_dir, tmp_path):
    stored = json.loads((run_dir / "results" / "run.json").read_text())
    stored["thresholds"]["csfs"]["MSR"]["threshold"] = 1e-9
    (tmp_path / "run.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"run\.json was changed after the evaluation"):
        stored_promise(tmp_path / "run.json", "MSR")


def test_a_damaged_evaluation_does_not_pass_for_a_complete_one(run_dir, tmp_path):
    """A flipped bit in an array, and what the message asks for."""
    for part in ("results", "validation", "calibration"):
        run = tmp_path / part
        shutil.copytree(run_dir, run)
        evaluator(run).run()
        path = next((run / part).glob("*/logits.npy"))
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(ResultsError, match=rf"{part}.*logits\.npy was changed; remove") as caught:
            evaluator(run).run()
        everything = f"remove {run / 'results'} and {run / 'validation'} and {run / 'calibration'}"
        assert part == "results" or everything in str(caught.value)
        shutil.rmtree(run / part)
        if part != "results":
            shutil.rmtree(run / "results")
        evaluator(run).run()
        again = load_results(run / "results")
        assert again.run["thresholds"] == load_results(run_dir / "results").run["thresholds"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("calibration", "the thresholds in .* were not chosen from .*calibration"),
        ("validation", "the scores in .* were not fitted to .*validation"),
    ],
)
def test_calibration_validation_and_results_belong_together(run_dir, tmp_path, part, said):
    shutil.copytree(run_dir, tmp_path / "run")
    evaluator(tmp_path / "run").run()
    path = tmp_path / "run" / part / "run.json"
    path.write_text(json.dumps(seal({**json.loads(path.read_text()), "seed": 4})))
    with pytest.raises(ResultsError, match=said):
        evaluator(tmp_path / "run").run()


def test_an_output_that_names_a_folder_or_that_another_process_writes(run_dir, tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*it is a folder; name a file in it"):
        predictor(run_dir, output=tmp_path).load()

    def second():
        said = f"another process writes {tmp_path / 'p.csv'}.*process {os.getppid()} on"
        with pytest.raises(RuntimeError, match=said):
            predictor(run_dir, output=tmp_path / "p.csv").load()

    with locked(tmp_path / ".p.csv.lock", "mine"):
        assert status_of(fork(second)) == 0


def test_an_image_with_nan_gets_no_answer_and_the_others_keep_theirs(run_dir, tmp_path):
    broken = predictor(run_dir, output=tmp_path / "p.csv")
    for i in (3, 17):
        broken.dataset.data[i]["image"] = np.full((1, 16, 16), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"2 of 40 images have no answer and are not in .*:\n  case03: has"):
        broken.run()
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table["case_id"]) == [c for c in toy_cases()["case_id"] if c not in ("case03", "case17")]
    assert table["MSR"].notna().all()


def test_the_network_can_be_traced_for_export():
    original = network().eval()
    traced = torch.jit.trace(original, torch.rand(1, 1, 16, 16))
    images = torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(traced(images), original(images))


def test_channels_with_the_same_name_in_different_folders_keep_their_own_fault(tmp_path):
    files = [tmp_path / "red" / "1.png", tmp_path / "green" / "1.png"]
    for file in files:
        file.parent.mkdir()
        Image.new("L", (16, 16)).save(file)
    record = {"case_id": "1", "image": [str(file) for file in files]}
    assert record_faults([record], intensity={"range": "type"}) == {}
    for bad, good in (files, files[::-1]):
        Image.new("L", (8, 8)).save(bad)
        Image.new("L", (16, 16)).save(good)
        faults = record_faults([record], intensity={"range": "type"}, smallest=16)
        assert faults == {"1": "1.png is 8 x 8, and must be at least 16 x 16"}


def test_images_of_a_folder_in_any_letter_case_and_with_a_file_a_channel(tmp_path):
    for name in ("b/B.PNG", "a.jpg", "notes.txt", "b/._B.PNG", ".cache/c.png", "__MACOSX/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    records = image_records(tmp_path, ["*.jpg", "*.png"])
    assert [record["case_id"] for record in records] == ["a.jpg", "b/B.PNG", "link.jpg"]
    assert records[0]["image"] == str(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"no file below .* matches \*\.dcm"):
        image_records(tmp_path, "*.dcm")


def test_unusable_images_are_left_out_and_all_named_after_the_others_have_their_answer(run_dir, tmp_path):
    predictor(run_dir, output=tmp_path / "all.csv").run()
    some = predictor(run_dir, output=tmp_path / "p.csv", batch_size=7)
    some.leave_out({"case00": "is CMYK", "case21": "is not there"})
    with pytest.raises(ValueError, match=r"2 of 40 .*\n  case00: is CMYK\n  case21: is not there\nDownload"):
        some.run()
    everything, left = pd.read_csv(tmp_path / "all.csv"), pd.read_csv(tmp_path / "p.csv")
    expected = everything[~everything["case_id"].isin(["case00", "case21"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(left, expected, atol=1e-5)


def test_images_that_fail_while_they_are_read_do_not_take_the_answers_of_the_others(run_dir, tmp_path):
    ids = list(toy_cases()["case_id"])

    class Fail(Transform):
        def __call__(self, record):
            if record["case_id"] in (ids[0], ids[21]):
                raise KeyError("x")
            return record

    some = predictor(run_dir, output=tmp_path / "p.csv", batch_size=7)
    some.dataset.transform = Compose([Fail(), some.dataset.transform])
    not_utf8 = os.fsdecode(b"caf\xe9.png")
    some.dataset.data[39]["case_id"] = not_utf8
    for _ in range(2):  # what failed once may be mended
        with pytest.raises(ValueError, match=r"3 of 40 images have no answer and are not in") as caught:
            some.run()
        assert f"{ids[0]}: cannot be read: KeyError: 'x'" in str(caught.value)
        assert f"{ids[21]}: cannot be read: KeyError: 'x'" in str(caught.value)
        assert r"caf\xe9.png: has bytes in its path that are not UTF-8" in str(caught.value)
    predictor(run_dir, output=tmp_path / "all.csv").run()
    everything, left = pd.read_csv(tmp_path / "all.csv"), pd.read_csv(tmp_path / "p.csv")
    expected = everything[~everything["case_id"].isin([ids[0], ids[21], ids[39]])].reset_index(drop=True)
    pd.testing.assert_frame_equal(left, expected, atol=1e-5)


class Choosy(nn.Module):
    """A model that fails on bright corners, and counts the images it is given."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 2))
        self.images = 0

    def forward(self, x):
        x = self.body(self.checked(x))
        return self.classifier(x)

    def checked(self, x):
        self.images += len(x)
        if (x[:, 0, 0, 0] == 1).any():
            raise RuntimeError("corner")
        return x


def choosy(run_dir, tmp_path, corners=(), sizes=(), **changes):
    """An inference by this model, some of whose images have a bright corner or another size."""
    torch.manual_seed(0)
    given = GivenClassifier(Choosy(), 2)
    changes = {"inferer": MCDropoutInferer(0), **changes}
    some = predictor(run_dir, None, output=tmp_path / "p.csv", network=given, method="given", **changes)
    for i, record in enumerate(some.dataset.data):
        record["image"] = record["image"].copy()
        record["image"][0, 0, 0] = i in corners
        if i in sizes:
            record["image"] = record["image"][:, :12]
    return some


def test_images_of_several_sizes_are_classified_in_the_order_of_their_files(run_dir, tmp_path):
    choosy(run_dir, tmp_path, sizes=range(0, 40, 3), batch_size=7).run()
    together = pd.read_csv(tmp_path / "p.csv")
    choosy(run_dir, tmp_path, sizes=range(0, 40, 3), batch_size=1).run()
    assert list(together["case_id"]) == list(toy_cases()["case_id"])
    pd.testing.assert_frame_equal(together, pd.read_csv(tmp_path / "p.csv"), atol=1e-6)


def test_images_that_the_network_fails_on_do_not_take_the_answers_of_the_others(run_dir, tmp_path):
    some = choosy(run_dir, tmp_path, corners=(0, 21), batch_size=7)
    fault = "the network fails on it: RuntimeError: corner"
    with pytest.raises(ValueError, match=rf"2 of 40 .*:\n  case00: {fault}\n  case21: {fault}"):
        some.run()
    left = pd.read_csv(tmp_path / "p.csv")
    choosy(run_dir, tmp_path, batch_size=7).run()
    everything = pd.read_csv(tmp_path / "p.csv")
    expected = everything[~everything["case_id"].isin(["case00", "case21"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(left, expected, atol=1e-6)
    (tmp_path / "p.csv").unlink()
    with pytest.raises(RuntimeError, match="corner"):
        choosy(run_dir, tmp_path, corners=range(40)).run()
    assert not (tmp_path / "p.csv").exists()


def test_a_lack_of_memory_is_no_fault_of_an_image(run_dir, tmp_path, monkeypatch):
    tried = []

    def full(self, x):
        tried.append(len(x))
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(Choosy, "checked", full)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="full"):
        choosy(run_dir, tmp_path).run()
    assert tried == [40]


def test_dropout_samples_of_a_given_network_share_what_comes_before(run_dir, tmp_path):
    some = choosy(run_dir, tmp_path, inferer=MCDropoutInferer(50))
    some.run()
    assert some.network.shared == "classifier"
    assert some.network.tapped.model.images < 60


def test_where_every_image_fails_nothing_is_written(run_dir, tmp_path):
    class Fail(Transform):
        def __call__(self, record):
            raise OSError("broken")

    none = predictor(run_dir, output=tmp_path / "p.csv")
    none.dataset.transform = Compose([Fail()])
    with pytest.raises(ValueError, match=r"40 of 40 .*; nothing was written:\n  case00: broken\n"):
        none.run()
    assert not (tmp_path / "p.csv").exists()


def test_linked_folders_are_looked_into_and_pipes_named(tmp_path, caplog):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.png").write_bytes(b"")
    here = tmp_path / "here"
    here.mkdir()
    (here / "more").symlink_to(tmp_path / "disk")
    (here / "loop").symlink_to(here)
    os.mkfifo(here / "pipe.png")
    assert [record["case_id"] for record in image_records(here, "*.png")] == ["more/a.png", "pipe.png"]
    assert f"more to {tmp_path}/disk" in caplog.text


def test_files_that_no_pattern_names_are_said(tmp_path, caplog):
    for name in ("a.jpg", "b.dcm", "c.DCM", "d/e.webp", "d/LICENSE"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    records = image_records(tmp_path, ["*.jpg", "*.webp"])
    assert [record["case_id"] for record in records] == ["a.jpg", "d/e.webp"]
    assert "3 of 5 files below" in caplog.text
    assert "do not match *.jpg or *.webp: 2 .dcm, 1 no ending" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"matches \*\.png: 2 \.dcm, 1 \.jpg, 1 no ending, 1 \.webp"):
        image_records(tmp_path, "*.png")
    caplog.clear()
    image_records(tmp_path, "*")
    assert caplog.text == ""


def test_where_no_image_can_be_used_nothing_is_written(run_dir, tmp_path):
    none = predictor(run_dir, output=tmp_path / "p.csv")
    for record in none.dataset.data:
        record["image"] = [str(tmp_path / f"a_w{i}.png") for i in (1, 2)]
    none.check_images(intensity={"range": "type"})
    said = r"40 of 40 .*; nothing was written:\n  case00: a_w1\.png is not there; a_w2\.png is not there\n"
    with pytest.raises(ValueError, match=said):
        none.run()
    assert not (tmp_path / "p.csv").exists()


def test_an_output_that_cannot_be_written_is_said_before_any_image_is_read(run_dir, tmp_path):
    (tmp_path / "file").write_text("")
    unwritable = predictor(run_dir, output=tmp_path / "file" / "p.csv")
    with pytest.raises(OSError, match=r"cannot write .*p\.csv"):
        unwritable.load()
    predictor(run_dir, output=tmp_path / "p.csv").load()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (tmp_path / "thesis.tex").write_text("years")
    for name in ("thesis.tex", "."):
        with pytest.raises(OSError, match="will not replace|it is a folder"):
            predictor(run_dir, output=tmp_path / name).load()


def test_text_of_predictions_comes_back(run_dir, tmp_path):
    names = ["a\rb", 'c,"\r\n']
    predictor(run_dir, None, output=tmp_path / "p.csv", class_names=names).run()
    predictor(run_dir, None, output=tmp_path / "p.csv", class_names=names).run()  # over its own
    table = pd.read_csv(tmp_path / "p.csv")
    assert len(table) == len(toy_cases())
    assert [names[c] for c in table["prediction"]] == list(table["class"])


def test_an_image_with_a_file_a_channel(tmp_path, caplog):
    for name in ("x_w1.png", "x_w2.png", "y_w1.png", "z_W1.PNG", "z_w2.Png", "a_w1_w1.png", "a_w1_w2.png"):
        (tmp_path / name).write_bytes(b"")
    assert image_records(tmp_path, "*_w1.png", ["_w1", "_w2"])[0] == {
        "image": [str(tmp_path / f"a_w1_w{i}.png") for i in (1, 2)],
        "case_id": "a_w1_w1.png",
    }
    assert caplog.text == ""  # further channels are no files that were left out
    assert image_records(tmp_path, "z*", ["_w1", "_w2"])[0]["image"] == [
        str(tmp_path / "z_W1.PNG"),
        str(tmp_path / "z_w2.Png"),
    ]
    (tmp_path / "P").mkdir()
    (tmp_path / "p").mkdir()
    for name in ("P/x_w1.png", "p/x_w2.png", "P/y_w1.png", "P/y_w2.png", "P/Y_w2.png"):
        (tmp_path / name).write_bytes(b"")
    x, y = (r for r in image_records(tmp_path, "?_w1.png", ["_w1", "_w2"]) if r["case_id"][0] == "P")
    assert x["image"][1] == str(tmp_path / "P" / "x_w2.png")  # which is not there, and of no other patient
    assert y["image"][1] == str(tmp_path / "P" / "y_w2.png")
    shutil.rmtree(tmp_path / "P")
    shutil.rmtree(tmp_path / "p")
    for name in ("z_W1.PNG", "z_w2.Png", "a_w1_w1.png", "a_w1_w2.png"):
        (tmp_path / name).unlink()
    (tmp_path / "w_w2.png").write_bytes(b"")
    assert image_records(tmp_path, "*.png", ["_w1", "_w2"]) == [
        {"image": [str(tmp_path / f"{case}_w{i}.png") for i in (1, 2)], "case_id": f"{case}_w1.png"}
        for case in "xy"  # the preflight says that a channel of y is not there
    ]
    assert "1 of 4 files below" in caplog.text.splitlines()[-1]
    assert "'_w1' in its name: 1 .png" in caplog.text.splitlines()[-1]
    with pytest.raises(FileNotFoundError, match="with '_ch0' in its name"):
        image_records(tmp_path, "*.png", ["_ch0", "_ch1"])
