"""Two processes give what one gives: the same weights, the same outputs of the same cases, nothing twice."""

import json

import numpy as np
import pytest
import torch

from helpers.forks import torchrun
from helpers.toy_engines import HEADS, weights
from helpers.toy_fits import toy_scores
from helpers.two_processes import COUNTS, STOPS, evaluator, fitting, main, put_checkpoint, stopped, trainer
from monai_sf.results import load_results


@pytest.fixture(scope="module")
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _float64):
    """What one process has done, stopped and begun, and what two have made of it."""
    folder = tmp_path_factory.mktemp("processes")
    for method in HEADS:
        trainer(method, folder / "one" / method).run()
        for stop in STOPS[method]:
            stopped(trainer(method, folder / f"to-resume-{stop}" / method), stop)
    for name, counts in COUNTS.items():
        put_checkpoint(folder / "one" / name)
        evaluator(folder / "one" / name, counts).run()
    put_checkpoint(folder / "to-resume" / "uneven")
    stopped(evaluator(folder / "to-resume" / "uneven", COUNTS["uneven"]), 5)
    with toy_scores():
        for name in ("one", "to-resume"):
            put_checkpoint(folder / name / "fitted")
        fitting(folder / "one" / "fitted").run()
        stopped(fitting(folder / "to-resume" / "fitted"), 3)
    done = torchrun(main, folder, "everything", folder)
    assert done.returncode == 0, done.stderr
    return folder


def assert_close(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("method", HEADS)
def test_two_processes_train_the_weights_of_one(folder, method):
    one, two = folder / "one" / method, folder / "two" / method
    for file in sorted(path.name for path in one.glob("*.pt")):
        assert_close(one / file, two / file)
    first, second = (json.loads((path / "training.json").read_text()) for path in (one, two))
    assert first["best"]["epoch"] == second["best"]["epoch"]
    for mine, other in zip(first["history"], second["history"], strict=True):
        assert mine["accuracy"] == other["accuracy"]
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-6)
    start = trainer(method, folder / "unused").network.state_dict()
    moved = [not torch.equal(tensor, start[name]) for name, tensor in weights(two / "last.pt").items()]
    assert sum(moved) > len(moved) // 2  # or all this compares two networks that have not learned


def test_only_one_process_writes(folder):
    for method in HEADS:
        events = [len([*(folder / n / method / "tensorboard").iterdir()]) for n in ("one", "two")]
        assert events[0] == events[1]
    assert not [*(folder / "two").rglob(".part-*"), *(folder / "two").rglob(".absorbed")]


@pytest.mark.parametrize(("method", "stop"), [(m, stop) for m in HEADS for stop in STOPS[m]])
def test_a_training_goes_on_with_another_number_of_processes(folder, method, stop):
    trainer(method, folder / f"stopped-{stop}" / method, seed=99).run()  # two began it, one ends it
    for name in (f"stopped-{stop}", f"to-resume-{stop}"):
        assert_close(folder / "one" / method / "last.pt", folder / name / method / "last.pt")


def assert_same_results(one, two):
    one, two = load_results(one), load_results(two)
    assert list(one.test_sets) == list(two.test_sets)
    assert one.cases.equals(two.cases)
    points = [run.run.get("thresholds", {"csfs": {}})["csfs"] for run in (one, two)]
    assert points[0].keys() == points[1].keys()
    for csf, point in points[0].items():
        for name, value in point.items():  # None where no threshold reaches the target
            assert value == (points[1][csf][name] if value is None else pytest.approx(points[1][csf][name]))
    for name, test_set in one.test_sets.items():
        other = two.test_sets[name]
        np.testing.assert_array_equal(test_set.rows, other.rows)
        assert set(test_set.arrays) == set(other.arrays)
        for key, array in test_set.arrays.items():
            # 32-bit floats on the disk: computed in other batches, the last bit may differ
            np.testing.assert_allclose(
                array, other.arrays[key], rtol=1e-6, atol=1e-9, err_msg=f"{name} {key}"
            )


@pytest.mark.parametrize("name", COUNTS)
def test_two_processes_evaluate_every_case_once(folder, name):
    found = load_results(folder / "two" / name / "results")
    iid, target = COUNTS[name][2:]
    assert [len(test_set) for test_set in found.test_sets.values()] == [iid] * 3 + [target] * bool(target)
    assert_same_results(folder / "one" / name / "results", folder / "two" / name / "results")
    if COUNTS[name][0]:
        for part in ("validation", "calibration"):
            assert_same_results(folder / "one" / name / part, folder / "two" / name / part)
        assert ("thresholds" in found.run) == (name == "uneven")  # one case is of one class


def test_an_evaluation_goes_on_with_another_number_of_processes(folder):
    parts = sorted((folder / "stopped" / "uneven").rglob(".part-1"))
    assert len(parts) == 3  # what rank 1 had done when both were stopped
    shares = {file.parent.name: len(np.load(file)) for part in parts for file in part.rglob("rows.npy")}
    assert shares[".val.partial"] == COUNTS["uneven"][0] // 2  # the work is shared, not done twice
    assert shares[".calibration.partial"] == COUNTS["uneven"][1] // 2
    evaluator(folder / "stopped" / "uneven", COUNTS["uneven"]).run()
    assert not [*(folder / "stopped" / "uneven").rglob(".part-*")]
    for begun in ("stopped", "to-resume"):
        assert_same_results(folder / "one" / "uneven" / "results", folder / begun / "uneven" / "results")


def test_scores_are_fitted_alike_by_any_number_of_processes(folder):
    assert [*(folder / "stopped" / "fitted").rglob(".part-1")]  # stopped within the training cases
    with toy_scores():
        fitting(folder / "stopped" / "fitted").run()  # two began it, one ends it
        first = load_results(folder / "one" / "fitted" / "results")
        for name in ("two", "stopped", "to-resume"):
            for part in ("training", "validation", "calibration", "results"):
                assert_same_results(folder / "one" / "fitted" / part, folder / name / "fitted" / part)
            other = load_results(folder / name / "fitted" / "results")
            assert set(other.fitted) == set(first.fitted) != set()
            for key, array in first.fitted.items():
                np.testing.assert_allclose(array, other.fitted[key], rtol=1e-6, atol=1e-9, err_msg=key)
            assert "Toy-Distance" in other.run["thresholds"]["csfs"]


def test_devries_price_and_hints_are_those_of_the_whole_batch(folder):
    found = [json.loads((folder / f"devries-{rank}.json").read_text()) for rank in (0, 1)]
    assert [about["lambda"] for about in found] == [pytest.approx(0.1 / 0.99)] * 2
    draws = np.array([a + b for a, b in zip(*(about["hints"] for about in found), strict=True)])
    assert draws.shape == (50, 5)
    assert (draws.sum(1) == 3).all()
    assert (draws.mean(0) > 0.3).all()
    assert (draws.mean(0) < 0.9).all()


def test_nan_in_the_share_of_one_process_is_the_error_of_both(folder):
    texts = {(folder / f"nan-{rank}.txt").read_text() for rank in (0, 1)}
    assert len(texts) == 1
    assert "case05" in texts.pop()


def test_a_network_that_is_not_finite_in_one_process_stops_both(folder):
    texts = {(folder / f"spoilt-{rank}.txt").read_text() for rank in (0, 1)}
    assert len(texts) == 1
    assert "end of epoch 1" in texts.pop()
    assert not [*(folder / "spoilt").glob("*.pt")]


@pytest.mark.parametrize("job", ["error", "kill"])
def test_the_end_of_one_process_ends_the_other(folder, tmp_path, job):
    done = torchrun(main, tmp_path, job, tmp_path)
    assert done.returncode != 0
    if job == "error":
        assert "KeyError" in done.stderr
    else:
        trainer("devries", tmp_path, seed=99).run()
        assert_close(folder / "one" / "devries" / "last.pt", tmp_path / "last.pt")
