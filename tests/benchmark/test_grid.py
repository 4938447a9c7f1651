"""The grid search, from trials to the overlay that the matrix is run with."""

import json

import pandas as pd
import pytest
import yaml

from helpers.toy_bundle import write_bundle
from monai_sf.benchmark import BenchmarkError, grid
from monai_sf.benchmark.grid import GRID

SEARCH = {"learning_rate": [1e-3, 1e-4, 0.9], "weight_decay": [0.0, 0.01]}


def test_the_best_trial_becomes_the_config_of_the_matrix(toy):
    states, notes = toy.run(
        methods=["confidnet", "devries"], search=SEARCH, seeds=[1, 2], studies=["texture"]
    )
    assert set(states.values()) == {"done"}
    assert sum("grid-" in name for name in states) == 2 * (6 + 1)
    for method in ("confidnet", "devries"):
        overlay = toy.out / "grid" / f"lung_nodule_ct-{method}.yaml"
        # the toy's accuracy is best at 1e-4 and without weight decay; 0.9 diverges, which is an answer
        assert yaml.safe_load(overlay.read_text()) == {"learning_rate": 1e-4, "weight_decay": 0.0}
        table = pd.read_csv(overlay.with_suffix(".csv"), dtype=str)
        assert list(table["learning_rate"]) == ["0.001", "0.001", "0.0001", "0.0001", "0.9", "0.9"]
        assert list(table["validation_accuracy"][4:]) == ["diverged", "diverged"]
        assert table["validation_accuracy"][:4].astype(float).round(3).tolist() == [0.8, 0.79, 0.9, 0.89]
        assert list(table["chosen"]) == ["0", "0", "1", "0", "0", "0"]
        run = json.loads(
            (toy.out / "lung_nodule_ct" / f"texture-{method}-2" / "train.config.json").read_text()
        )
        assert run["learning_rate"] == 1e-4
        trial = toy.out / "grid" / f"lung_nodule_ct-{method}" / "learning_rate-0.001,weight_decay-0.01"
        config = json.loads((trial / "train.config.json").read_text())
        assert (config["study"], config["seed"], config["weight_decay"]) == ("iid", 1, 0.01)
        assert not (trial / "results").exists()
    states, notes = toy.run(search=SEARCH, seeds=[1, 2], studies=["texture"])
    assert notes == ["prepare"]
    assert {v for k, v in states.items() if not k.endswith("/prepare")} == {"skipped"}


def test_another_grid_runs_the_new_trials_and_keeps_the_matrix_when_the_choice_is_the_same(toy):
    toy.run(search=SEARCH, methods=["confidnet"])
    states, _ = toy.run(search={**SEARCH, "weight_decay": [0.0, 0.02]}, methods=["confidnet"])
    assert states["lung_nodule_ct/grid-confidnet/learning_rate-0.001,weight_decay-0"] == "skipped"
    assert states["lung_nodule_ct/grid-confidnet/learning_rate-0.001,weight_decay-0.02"] == "done"
    assert states["lung_nodule_ct/grid-confidnet/choose"] == "done"
    assert states["lung_nodule_ct/iid-confidnet-0/train"] == "skipped"


def test_without_the_grid_search_its_choice_is_not_used(toy):
    toy.run(methods=["confidnet"])
    config = json.loads((toy.out / "lung_nodule_ct" / "iid-confidnet-0" / "train.config.json").read_text())
    assert config["learning_rate"] == 0.001
    assert not (toy.out / "grid").exists()


def test_a_grid_of_which_all_diverge_says_so(toy):
    with pytest.raises(BenchmarkError, match="choose: ValueError: all 2 trials diverged"):
        toy.run(search={"learning_rate": [0.8, 0.9]}, methods=["confidnet"])


def test_a_trial_that_fails_otherwise_is_a_failure(toy, tmp_path):
    bundle = write_bundle(tmp_path / "broken")
    path = bundle / "configs" / "train.yaml"
    path.write_text(path.read_text().replace("@pause, @fail)", "@pause, 'iid-confidnet-0:error')"))
    with pytest.raises(BenchmarkError, match=r"failed: \S+weight_decay-0: ValueError: the images are upside"):
        toy.run(bundles=[bundle], search={"weight_decay": [0.0]}, methods=["confidnet"])


def test_a_grid_cannot_vary_what_the_benchmark_sets(toy):
    with pytest.raises(ValueError, match="the grid sets 'method', 'seed', which the benchmark sets itself"):
        toy.run(search={"seed": [1, 2], "method": ["devries"], "learning_rate": [1e-3]})


def test_a_value_cannot_be_set_and_searched_for(toy):
    with pytest.raises(ValueError, match="learning_rate is both searched for and set to a value"):
        toy.run(search=True, overrides={"learning_rate": 0.1})


def test_the_grid_is_that_of_the_study():
    points = grid.points(GRID)
    assert len(points) == 9
    assert {p["learning_rate"] for p in points} == {1e-3, 1e-4, 1e-5}
    assert min(p["weight_decay"] for p in points) == 0
    assert max(p["weight_decay"] for p in points) == 1e-5
    assert len({grid.label(p) for p in points}) == 9


@pytest.mark.parametrize("search", [{}, {"learning_rate": []}])
def test_an_empty_grid_is_refused(search):
    with pytest.raises(ValueError, match="the grid must name config keys and the values to try"):
        grid.points(search)


def test_the_first_of_equals_is_chosen(tmp_path):
    trials = {"a": {"x": 1.0}, "b": {"x": 2.0}, "c": {"x": 3.0}}
    chosen = grid.choose(trials, {"a": 0.5, "b": 0.7, "c": 0.7}, tmp_path / "o.yaml")
    assert chosen == {"x": 2.0}


def test_values_survive_yaml(tmp_path):
    grid.choose({"a": {"learning_rate": 1e-5}}, {"a": 0.5}, tmp_path / "o.yaml")
    assert yaml.safe_load((tmp_path / "o.yaml").read_text()) == {"learning_rate": 1e-5}


def test_trials_train_the_classifier_only():
    stages = [{"name": "classifier"}, {"name": "confidnet", "trains": ["confidence"]}]
    stages.append({"name": "finetuning", "trains": ["encoder", "confidence"]})
    assert grid.classifier_stages({"stages": stages}) == {"stages": stages[:1]}
    gamblers = [{"name": name, "trains": ["backbone", "head", "confidence"]} for name in "ab"]
    assert grid.classifier_stages({"stages": gamblers}) == {}
    assert grid.classifier_stages({}) == {}
    assert grid.classifier_stages({"stages": "$something()"}) == {}


def test_a_grid_over_what_an_override_has_fixed_is_refused():
    config = {
        "optimizer": {"lr": "@learning_rate", "weight_decay": 0.1},
        "train": {"optimizer": "@optimizer"},
    }
    grid.check_read({"learning_rate": [1, 2], "optimizer#momentum": [0, 0.9]}, config)
    with pytest.raises(
        ValueError, match="the grid varies weight_decay, which nothing in the config refers to"
    ):
        grid.check_read(GRID, config)
