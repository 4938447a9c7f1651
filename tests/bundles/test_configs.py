"""What the configs and metadata of the bundles say, without running them."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out
from monai_sf.transforms import BatchAugment

from helpers.metadata_of import disagreements
from monai_sf.bundle.bases import SHARED
from monai_sf.scores import CSFS, csfs_for

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ("dermoscopy", "chest_xray", "fc_microscopy", "lung_nodule_ct", "pneumonia")
METHODS = ("deepgamblers", "devries")


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_those_of_the_study(name):
    expected = {
        "dermoscopy": ("efficientnet-b4", 3, 0.2, 2, 16, 3e-5, 0, 20, 20, 10, 15),
        "chest_xray": ("densenet121", 1, 0.1, 8, 96, 5e-4, 1e-5, 40, 40, 10, 30),
        "fc_microscopy": ("densenet161", 6, 0.1, 1139, 70, 1.5e-4, 1e-5, 90, 120, 10, 90),
        "lung_nodule_ct": ("densenet161", 1, 0.1, 2, 512, 1.5e-4, 0.1, 45, 60, 20, 45),
        "pneumonia": ("densenet-small", 1, 0.1, 2, 32, 3e-3, 1e-4, 11, 11, 10, 11),
    }
    configs = BUNDLES / name / "configs"
    train, gamblers, devries = (
        yaml.safe_load((configs / f"{n}.yaml").read_text()) for n in ("train", "deepgamblers", "devries")
    )
    backbone = train["network_def"]["backbone"]
    assert expected[name] == (
        *(backbone[key] for key in ("name", "in_channels", "dropout")),
        *(train[key] for key in ("num_classes", "batch_size", "learning_rate", "weight_decay", "epochs")),
        *({**train, **gamblers}[key] for key in ("epochs", "reward")),
        {**train, **devries}["epochs"],
    )


@pytest.mark.parametrize("name", NAMES)
def test_augmentation_is_that_of_the_study(name):
    flips, turn = [("Flip", 0.5)], ("Rotate", 1.0)
    expected = {
        "dermoscopy": [*flips, *flips, ("Rotate", 0.5), ("ScaleIntensity", 0.5), ("AdjustContrast", 0.5)],
        "chest_xray": [*flips, turn],
        "fc_microscopy": [("ResizedCrop", 1.0), *flips, turn],
        "lung_nodule_ct": [*flips, turn, ("GaussianSmooth", 0.2), ("Erase", 0.25)],
        "pneumonia": [*flips, turn],
    }
    config = yaml.safe_load((BUNDLES / name / "configs/train.yaml").read_text())
    augmentation = ConfigParser(config).get_parsed_content("augmentation")
    found = [(type(one).__name__.removeprefix("BatchRand"), one.prob) for one in augmentation]
    assert found == expected[name]
    shape = config["network_def"]["backbone"]["in_channels"], *config.get("image_size", (64, 64))
    augmented = BatchAugment(augmentation)(torch.empty(16, *shape, device="meta"), range(16))
    assert augmented.shape == (16, shape[0], *config.get("crop_size", shape[1:]))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("dermoscopy", ([20, 5, 5], [15, 5], [15])),
        ("chest_xray", ([40, 10, 10], [30, 10], [30])),
        ("fc_microscopy", ([90, 30, 30], [90, 30], [90])),
        ("lung_nodule_ct", ([45, 15, 15], [45, 15], [45])),
        ("pneumonia", ([11, 5, 1], [8, 3], [11])),
    ],
)
def test_epochs_of_the_stages(name, epochs):
    configs = BUNDLES / name / "configs"
    for overlays, expected in zip(((), ("deepgamblers",), ("devries",)), epochs, strict=True):
        files = [str(configs / f"{n}.yaml") for n in ("train", *overlays)]
        workflow = ConfigWorkflow(files, logging_file=False)
        workflow.initialize()
        assert [stage.epochs for stage in workflow.parser.get_parsed_content("stages")] == expected


@pytest.mark.parametrize("overlays", [(), *((f"{method}.yaml",) for method in METHODS)])
def test_inference_defers_by_and_computes_what_the_method_has(overlays):
    files = [str(BUNDLES / "dermoscopy/configs" / name) for name in ("inference.json", *overlays)]
    workflow = ConfigWorkflow(files, workflow_type="infer", logging_file=False)
    workflow.initialize()
    csf, method = (workflow.parser.get_parsed_content(key) for key in ("csf", "method"))
    assert csf in csfs_for(method, {name for score in CSFS.values() for name in score.needs})
    views = ("horizontal_flip", "vertical_flip") if not overlays else ()
    assert workflow.parser.get_parsed_content("csf_inferer").views == views


@pytest.mark.parametrize("name", NAMES)
def test_metadata_passes_monais_check_against_the_local_schema(name):
    meta = BUNDLES / name / "configs" / "metadata.json"
    verify_metadata(meta_file=str(meta), filepath=str(BUNDLES.parent / "docs" / "metadata.schema.json"))


@pytest.mark.parametrize("name", NAMES)
def test_metadata_say_what_the_config_and_the_scores_say(name):
    assert disagreements(BUNDLES / name) == {}


def test_the_schema_refuses_what_is_wrong(tmp_path):
    metadata = json.loads((BUNDLES / "dermoscopy" / "configs" / "metadata.json").read_text())
    for wrong in (
        {"version": "new"},
        {"intended_use": ""},
        {"changelog": {}},
        {"surprise": 1},
        {"supported_apps": {}},
    ):
        (tmp_path / "m.json").write_text(json.dumps({**metadata, **wrong}))
        with pytest.raises(ValueError, match="Failed validating"):
            verify_metadata(
                meta_file=str(tmp_path / "m.json"),
                filepath=str(BUNDLES.parent / "docs" / "metadata.schema.json"),
            )


@pytest.mark.e2e
@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_and_gives_what_the_metadata_say(name):
    configs = BUNDLES / name / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
    )


def test_configs_that_all_bundles_have_alike_only_name_the_shared_one():
    files = {path.name for name in NAMES for path in (BUNDLES / name / "configs").iterdir()}
    alike = {
        file
        for file in files
        if all((BUNDLES / name / "configs" / file).is_file() for name in NAMES)
        and len({(BUNDLES / name / "configs" / file).read_bytes() for name in NAMES}) == 1
    }
    assert alike == {"logging.conf", "multi_gpu.yaml", "prepare.yaml", "report.yaml"}
    for file in alike - {"logging.conf"}:  # which MONAI reads beside the config, and nowhere else
        config = ConfigParser.load_config_file(str(BUNDLES / NAMES[0] / "configs" / file))
        assert config.keys() <= {"_base_", "+_base_", "initialize"}, file


@pytest.mark.parametrize("name", NAMES)
def test_no_config_repeats_what_a_shared_one_says(name):
    shared = {p.stem: ConfigParser.load_config_file(str(p)) for p in SHARED.glob("*.yaml")}
    configs = BUNDLES / name / "configs"
    for file in sorted(configs.glob("*.yaml")):
        own = ConfigParser.load_config_file(str(file))
        for base in (*own.get("_base_", ()), *own.get("+_base_", ())):
            for key in shared.get(base, {}).keys() & own.keys():
                value = shared[base][key]
                assert key in ("imports", "train", "evaluator", "handlers") or own.get(key) != value, (
                    file,
                    key,
                )
