"""Scores that an evaluation fits: to the right arrays, once, and to the same bits after any kill."""

import contextlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Events

from helpers.forks import fork, status_of
from helpers.toy_fits import SPLITS, TOYS, fitting_evaluator, network, toy_scores
from helpers.toy_problem import toy_cases, toy_records
from monai_sf.engines import evaluator as evaluator_module
from monai_sf.engines.evaluator import evaluated
from monai_sf.engines.fitting import needs_training_cases
from monai_sf.results import ResultsError, ResultsWriter, load_results
from monai_sf.results.format import seal
from monai_sf.scores import CSF, Fit
from monai_sf.tables.found_runs import find_runs
from monai_sf.tables.judge import failure_detection, unavailable_csfs

TRAIN, CALIBRATION = (
    [f"case{i:02d}" for i, split in enumerate(SPLITS) if split == name] for name in ("train", "calibration")
)


@pytest.fixture(autouse=True)
def _only_toys():
    with toy_scores():
        yield


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    with toy_scores():
        fitting_evaluator(folder).run()
    return folder


def outputs_of(run_dir, case_ids):
    """Slow and obvious: one image at a time through the network without dropout."""
    plain = network().eval()
    plain.load_state_dict(torch.load(run_dir / "best.pt", weights_only=True)["network"])
    images = {r["case_id"]: torch.from_numpy(r["image"]) for r in toy_records(toy_cases(len(SPLITS)), "")}
    with torch.no_grad():
        found = [plain.outputs(images[case_id][None]) for case_id in case_ids]
    return [torch.cat([getattr(one, name) for one in found]).numpy() for name in ("features", "logits")]


def test_scores_are_fitted_to_clean_training_cases_without_dropout(run_dir):
    training = load_results(run_dir / "training")
    assert training.run["role"] == "training"
    assert list(training.cases_of("train")["case_id"]) == TRAIN
    assert set(training.test_sets["train"].arrays) == {"logits", "features"}
    assert set(load_results(run_dir / "validation").test_sets["val"].arrays) == {"logits", "features"}
    assert "mcd_entropy" in load_results(run_dir / "calibration").test_sets["calibration"].arrays
    features, logits = outputs_of(run_dir, TRAIN)
    np.testing.assert_allclose(training.test_sets["train"].arrays["features"], features, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(training.test_sets["train"].arrays["logits"], logits, rtol=1e-4, atol=1e-5)


def test_the_reference_is_that_of_the_run(run_dir):
    results = load_results(run_dir / "results")
    labels = toy_cases(len(SPLITS)).set_index("case_id")["label"]
    features, _ = outputs_of(run_dir, [case_id for case_id in TRAIN if labels[case_id] == 0])
    fitted = results.fitted
    assert set(fitted) == {"toy_distance.centre", "toy_distance.last_layer", "toy_distance.validation"}
    np.testing.assert_allclose(fitted["toy_distance.centre"], features.mean(0), rtol=1e-4, atol=1e-6)
    last = torch.load(run_dir / "best.pt", weights_only=True)["network"]
    expected = torch.cat([last["head.0.weight"], last["head.0.bias"][:, None]], dim=1)
    np.testing.assert_array_equal(fitted["toy_distance.last_layer"], expected)
    validation = load_results(run_dir / "validation").test_sets["val"].arrays["logits"]
    np.testing.assert_allclose(fitted["toy_distance.validation"], validation.mean(0), rtol=1e-6)


def test_a_fitted_score_is_one_like_any_other(run_dir):
    results = load_results(run_dir / "results")
    for name in ("iid", "target"):
        features, _ = outputs_of(run_dir, results.cases_of(name)["case_id"])
        expected = -np.linalg.norm(features - results.fitted["toy_distance.centre"], axis=1)
        found = failure_detection(results, name, "Toy-Distance").confidence
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    point = results.run["thresholds"]["csfs"]["Toy-Distance"]
    assert point["coverage"] > 0
    assert point["threshold"] < 0
    assert results.run["not_fitted"] == {"toy_impossible": "the training cases are too few: add some"}
    assert unavailable_csfs(results) == {"Toy-Impossible": "the training cases are too few: add some"}
    assert "Toy-Impossible" not in results.run["thresholds"]["csfs"]


def test_outputs_of_training_cases_are_not_reported(run_dir, tmp_path):
    found = find_runs([run_dir])
    assert [folder.name for folder in found.finished] == ["results"]
    assert [folder.name for folder in found.not_reported] == ["calibration", "training", "validation"]
    shutil.copytree(run_dir, tmp_path / "run")
    for part in ("training", "validation", "calibration", "results"):
        (tmp_path / "run" / part / "run.json").unlink()
    assert [folder.name for folder in find_runs([tmp_path])[1]] == ["results"]


@pytest.mark.parametrize("method", ["deepgamblers", "devries"])
def test_no_pass_over_training_cases_for_methods_without_fitted_scores(tmp_path, method):
    evaluator = fitting_evaluator(tmp_path, method)
    read, transform = [], evaluator.dataset.transform
    evaluator.dataset.transform = lambda record: read.append(record["split"]) or transform(record)
    evaluator.run()
    assert set(read) == {"val", "calibration", "iid", "target"}
    assert not (tmp_path / "training").exists()
    assert "training" not in load_results(tmp_path / "results").run["sha256"]


def test_a_run_without_validation_cases_has_the_scores_that_need_none(tmp_path):
    splits = ["train" if split == "val" else split for split in SPLITS]
    fitting_evaluator(tmp_path, splits=splits).run()
    results = load_results(tmp_path / "results")
    assert not results.fitted  # the toy score needs validation logits
    assert set(results.run["not_fitted"]) == {"toy_impossible"}
    assert "MSR" in results.run["thresholds"]["csfs"]


@pytest.mark.parametrize("calibration", [(), (0, 2, 4, 6)])
def test_without_calibration_cases_of_two_classes_there_are_no_thresholds(tmp_path, calibration):
    first = SPLITS.index("calibration")
    splits = [s if s != "calibration" or i - first in calibration else "unused" for i, s in enumerate(SPLITS)]
    fitting_evaluator(tmp_path, splits=splits).run()
    results = load_results(tmp_path / "results")
    assert "toy_distance.validation" in results.fitted
    assert "thresholds" not in results.run
    assert (tmp_path / "calibration").exists() == bool(calibration)
    assert evaluated(tmp_path) is not None


# --- killed, resumed, shared


def content(folder):
    """Everything in a run's folder but the images' folder times: names and bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for part in ("results", "training", "validation", "calibration")
        for file in sorted((folder / part).rglob("*"))
        if file.is_file()
    }


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_pass(evaluator, test_set):
    seen = []

    def count(engine):
        seen.append(engine.state.batch["test_set"])
        if seen.count(test_set) == 3:
            die()

    evaluator_module.CollectOutputs.__call__ = synced(evaluator_module.CollectOutputs.__call__)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, count)


def in_the_training_pass(evaluator):
    in_the_pass(evaluator, "train")


def in_the_calibration_pass(evaluator):
    in_the_pass(evaluator, "calibration")


def synced(call):
    def write(self, engine):
        call(self, engine)
        self.sync()

    return write


def in_the_fit(evaluator):
    evaluator_module.fit_to_outputs = lambda *args: die()


def before_run_json(evaluator):
    finish = ResultsWriter.finish

    def killed(self, run):
        if "role" not in run:
            assert (self.path / "_fitted" / "toy_distance.centre.npy").exists()
            die()
        finish(self, run)

    ResultsWriter.finish = killed


@pytest.mark.parametrize(
    "where", [in_the_training_pass, in_the_calibration_pass, in_the_fit, before_run_json]
)
def test_a_killed_evaluation_gives_the_bits_of_an_unbroken_one(run_dir, tmp_path, where):
    shutil.copyfile(run_dir / "best.pt", tmp_path / "best.pt")

    def killed():
        evaluator = fitting_evaluator(tmp_path)
        where(evaluator)
        evaluator.run()

    assert status_of(fork(killed)) == -signal.SIGKILL
    assert evaluated(tmp_path) is None
    resumed = fitting_evaluator(tmp_path)
    read, transform = [], resumed.dataset.transform
    resumed.dataset.transform = lambda record: read.append(record["case_id"]) or transform(record)
    resumed.run()
    assert content(tmp_path) == content(run_dir)
    # two batches of four were on disk
    for ids, killed_there in ((TRAIN, in_the_training_pass), (CALIBRATION, in_the_calibration_pass)):
        if where in (in_the_training_pass, killed_there):
            left = ids[8:] if where is killed_there else ids
        else:
            left = []
        assert [case_id for case_id in read if case_id in ids] == left


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_size_of_batches_changes_nothing(run_dir, tmp_path, batch_size):
    shutil.copyfile(run_dir / "best.pt", tmp_path / "best.pt")
    fitting_evaluator(tmp_path, batch_size=batch_size).run()
    one, two = load_results(run_dir / "results"), load_results(tmp_path / "results")
    assert one.fitted.keys() == two.fitted.keys()
    for name, array in one.fitted.items():  # the outputs are float32
        np.testing.assert_allclose(array, two.fitted[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_scores_that_are_installed_later_are_fitted_without_reading_an_image(run_dir, tmp_path):
    shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "run" / "results" / "run.json").unlink()
    again = fitting_evaluator(tmp_path / "run")
    again.dataset.transform = lambda record: pytest.fail("an image was read")
    with toy_scores(TOYS[0]):
        again.run()
    results = load_results(tmp_path / "run" / "results")
    assert results.run["not_fitted"] == {}
    assert "Toy-Distance" in results.run["thresholds"]["csfs"]


def test_the_training_cases_and_the_results_belong_together(run_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    assert evaluated(run) is not None
    path = run / "training" / "run.json"
    intact = path.read_text()
    path.write_text(json.dumps(seal({**json.loads(intact), "seed": 4})))
    with pytest.raises(ResultsError, match=r"the scores in .*run\.json were not fitted to .*training as"):
        evaluated(run)
    path.write_text(intact)
    logits = run / "training" / "train" / "logits.npy"
    damaged = bytearray(logits.read_bytes())
    damaged[-1] ^= 1
    logits.write_bytes(damaged)
    folders = ("results", "training", "validation", "calibration")
    said = f"remove {' and '.join(str(run / name) for name in folders)}"
    with pytest.raises(ResultsError, match=r"train.logits\.npy was changed") as caught:
        evaluated(run)
    assert said in str(caught.value)
    shutil.rmtree(run / "training")  # which only scores that are installed later need
    assert evaluated(run) is not None
    fitted = run / "results" / "_fitted" / "toy_distance.centre.npy"
    fitted.write_bytes(fitted.read_bytes()[:-1] + b"x")
    with pytest.raises(ResultsError, match=r"_fitted.toy_distance\.centre\.npy was changed"):
        evaluated(run)


def test_the_progress_bar_names_what_is_evaluated(tmp_path, monkeypatch):
    shown = []

    class Bar(contextlib.nullcontext):
        def set_postfix_str(self, text, refresh):
            shown.append(text)

        def update(self):
            pass

        def __enter__(self):
            return self

    monkeypatch.setattr(evaluator_module, "progress_bar", lambda **arguments: Bar())
    fitting_evaluator(tmp_path).run()
    assert list(dict.fromkeys(shown)) == ["train", "val", "calibration", "iid", "target"]


def fit(needs, otherwise=()):
    return CSF("Toy", ("x",), None, fit=Fit("toy", needs, ("logits",), ("x",), None, None, otherwise))


@pytest.mark.parametrize(
    ("score", "with_validation", "without"),
    [
        (fit(("training_features", "last_layer_weight")), True, True),
        (fit(("validation_logits",)), False, False),
        (fit(("validation_logits",), otherwise=("training_logits",)), False, True),
        (fit(("training_logits", "validation_logits")), True, False),
        (fit(("last_layer_bias",)), False, False),
    ],
)
def test_the_pass_over_training_cases_is_made_where_a_score_needs_it(score, with_validation, without):
    with toy_scores(score):
        assert needs_training_cases("confidnet", True) is with_validation
        assert needs_training_cases("confidnet", False) is without
        assert needs_training_cases("deepgamblers", True) is False
        assert needs_training_cases("a method of one's own", True) is with_validation
