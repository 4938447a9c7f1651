"""Shared configs under a bundle's own."""

import pytest
import yaml

from monai_sf.bundle import bases as wiring


@pytest.fixture
def shared(tmp_path, monkeypatch):
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(wiring, "SHARED", folder)

    def write(name, content):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
        return folder

    return write


def test_own_values_win_and_dictionaries_merge(shared, tmp_path):
    shared("train", {"epochs": 1, "lr": 2, "train": {"dataset": {"_target_": "A", "x": 1}, "handlers": []}})
    own = {"_base_": ["train"], "epochs": 3, "train": {"handlers": [1], "dataset": {"y": 2}}}
    merged = wiring.with_bases(own, tmp_path)
    assert merged == {
        "epochs": 3,
        "lr": 2,
        "train": {"dataset": {"_target_": "A", "x": 1, "y": 2}, "handlers": [1]},
    }
    assert own["train"] == {"handlers": [1], "dataset": {"y": 2}}


def test_another_target_replaces_the_component(shared, tmp_path):
    shared("train", {"dataset": {"_target_": "CacheDataset", "cache_rate": 1}})
    same = wiring.with_bases({"_base_": ["train"], "dataset": {"_target_": "CacheDataset", "n": 1}}, tmp_path)
    assert same["dataset"] == {"_target_": "CacheDataset", "cache_rate": 1, "n": 1}
    other = wiring.with_bases({"_base_": ["train"], "dataset": {"_target_": "Dataset", "n": 1}}, tmp_path)
    assert other["dataset"] == {"_target_": "Dataset", "n": 1}


def test_later_bases_lie_over_earlier_ones_and_imports_add_up(shared, tmp_path):
    shared("train", {"imports": ["$import a"], "stages": [1], "run": ["train"], "nested": {"x": 1}})
    shared("evaluate", {"imports": ["$import b", "$import a"], "run": ["evaluate"], "nested": {"x": 2}})
    merged = wiring.with_bases({"_base_": ["train", "evaluate"], "imports": "$import c"}, tmp_path)
    assert merged["run"] == ["evaluate"]
    assert merged["stages"] == [1]
    assert merged["imports"] == ["$import a", "$import b", "$import c"]
    assert merged["nested"]["x"] == 2


def test_a_file_beside_the_config_brings_its_own_bases_each_once(shared, tmp_path):
    shared("train", {"a": 1})
    shared("method", {"a": 2})
    (tmp_path / "train.yaml").write_text("_base_: [train]\nb: 1\n")
    files = wiring.base_files(["train", "method", "train.yaml"], tmp_path)
    assert [file.parent.name + "/" + file.name for file in files] == [
        "shared/train.yaml",
        "shared/method.yaml",
        f"{tmp_path.name}/train.yaml",
    ]
    assert wiring.with_bases({"_base_": ["train", "method", "train.yaml"]}, tmp_path)["a"] == 2


@pytest.mark.parametrize("name", ["nothing", "nothing.yaml", "../train", "sub/train.yaml"])
def test_unknown_names_list_those_that_exist(shared, tmp_path, name):
    shared("train", {})
    shared("report", {})
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.yaml").write_text("{}")
    with pytest.raises(ValueError, match="it must be one of report, train, or a config file in"):
        wiring.with_bases({"_base_": [name]}, tmp_path)


def test_without_bases_nothing_changes(tmp_path):
    assert wiring.with_bases({"a": 1, "imports": "$import x"}, tmp_path) == {"a": 1, "imports": "$import x"}


def test_what_is_called_later_keeps_its_arguments_with_another_target(shared, tmp_path):
    factory = {"_target_": "torch.optim.Adam", "_mode_": "callable", "lr": "@learning_rate"}
    shared("train", {"optimizer": factory})
    other = {"_target_": "torch.optim.SGD", "momentum": 0.9}
    merged = wiring.with_bases({"_base_": ["train"], "optimizer": other}, tmp_path)
    assert merged["optimizer"] == {**factory, **other}
    plain = wiring.with_bases({"_base_": ["train"], "optimizer": "$mine"}, tmp_path)
    assert plain["optimizer"] == "$mine"
