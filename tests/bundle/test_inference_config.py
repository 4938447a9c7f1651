"""The flat inference config: complete, readable, and what the other configs of a bundle say."""

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties

from monai_sf.bundle.__main__ import main
from monai_sf.bundle.bases import loaded, with_bases
from monai_sf.bundle.inference_config import as_text, bundle_inference_config, inference_config
from monai_sf.inferers import VIEWS

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = sorted(path.name for path in BUNDLES.iterdir())
#: What readers of bundles look for by name.
ENTRIES = (
    *("device", "network_def", "network", "preprocessing", "dataset", "dataloader", "inferer"),
    *("postprocessing", "handlers", "evaluator", "run", "bundle_root", "dataset_dir"),
)


def merged(name, *overlays):
    folder = BUNDLES / name / "configs"
    return with_bases(loaded([folder / file for file in ("train.yaml", *overlays, "evaluate.yaml")]), folder)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_the_one_that_follows_from_the_other_configs(name):
    configs = BUNDLES / name / "configs"
    written = (configs / "inference.json").read_text(encoding="utf-8")
    assert written == as_text(bundle_inference_config(configs)), "run python -m monai_sf.bundle inference"
    assert len(written.splitlines()) < 200
    flat, whole = json.loads(written), merged(name)
    assert "_base_" not in flat
    assert set(ENTRIES) <= flat.keys()
    assert {
        str(one["id"]).split("::")[0] for one in InferProperties.values() if one["required"]
    } <= flat.keys()
    facts = "network_def num_classes image_modes image_shape image_size intensity preprocessing mc_samples"
    for key in (*facts.split(), "test_time_augmentation", "method"):
        assert flat.get(key) == whole.get(key), key
    assert set(flat["test_time_augmentation"]) <= VIEWS.keys()
    assert not {"epochs", "splits", "stages", "augmentation", "optimizer"} & flat.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_parser_finds_the_number_of_classes_and_their_names(name):
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / name / "configs" / "inference.json"))
    names = parser.get_parsed_content("class_names")
    assert len(names) == len(set(names)) == parser.get_parsed_content("num_classes")
    assert parser.get_parsed_content("run_dir") is None
    parser["bundle_root"] = "/somewhere"
    for key in ("checkpoint", "evaluation", "dataset_dir", "output"):
        assert parser.get_parsed_content(key).startswith("/somewhere/"), key


def test_a_method_s_overlay_is_in_the_config_of_its_run():
    flat = inference_config(merged("dermoscopy", "deepgamblers.yaml"))
    assert flat["method"] == "deepgamblers"
    assert flat["network_def"]["confidence"]["_target_"] == "monai_sf.networks.ReservationHead"


def test_names_of_classes_are_never_evaluated_and_what_is_missing_is_named():
    config = {**merged("pneumonia"), "classes": ["$1 + 1", "null"]}
    parser = ConfigParser(json.loads(as_text(inference_config(config))))
    assert parser.get_parsed_content("class_names") == ["$1 + 1", "null"]
    assert inference_config(inference_config(config)) == inference_config(config)
    for gone in ("network_def", "intensity"):
        del config[gone]
    with pytest.raises(ValueError, match="needs the config keys network_def, intensity, which are not there"):
        inference_config(config)


def test_imports_of_modules_that_the_config_s_own_expressions_name_are_kept():
    own = {"imports": ["$import os", "$import mine.images"], "image_size": "$mine.images.size()"}
    config = merged("dermoscopy") | {**own, "imports": [*merged("dermoscopy")["imports"], *own["imports"]]}
    imports = inference_config(config)["imports"]
    assert "$import mine.images" in imports
    assert "$import os" not in imports
    assert "$import monai_sf.engines" not in imports


def test_the_command_rewrites_the_file_and_refuses_a_folder_that_is_no_bundle(tmp_path, capsys):
    assert main(["new", str(tmp_path / "mine"), "--dataset", "chest_xray"]) == 0
    configs = tmp_path / "mine" / "configs"
    text = (configs / "train.yaml").read_text().replace("image_size: [256, 256]", "image_size: [64, 64]")
    (configs / "train.yaml").write_text(text)
    assert main(["inference", str(tmp_path / "mine")]) == 0
    assert json.loads((configs / "inference.json").read_text())["image_size"] == [64, 64]
    assert main(["inference", str(tmp_path)]) == 1
    assert "it is no bundle's configs" in capsys.readouterr().err
