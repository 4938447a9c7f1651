"""Bundles of MONAI from elsewhere: network, weights and preprocessing."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.saved_models import IMAGES, Ending, densenet, outputs, saved
from monai_sf.networks import bundle_preprocessing, given_network, model_files

NETWORK_DEF = {
    "_target_": "DenseNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [1, 1],
    "dropout_prob": 0.3,
}


@pytest.fixture
def bundle(tmp_path, state):
    """The folder of a bundle as MONAI's model zoo has them."""
    folder = tmp_path / "zoo"
    for name in ("configs", "models", "scripts"):
        (folder / name).mkdir(parents=True)
    (folder / "scripts" / "__init__.py").write_text("")
    (folder / "scripts" / "half.py").write_text("def half(image):\n    return image / 2\n")
    config = {
        "imports": ["$from scripts.half import half"],
        "bundle_root": "/somewhere/else",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": NETWORK_DEF,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "lazy": True,
            "transforms": [
                {"_target_": "LoadImaged", "keys": ["image", "label"], "image_only": True},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "AsDiscreted", "keys": "label", "to_onehot": 3},
                {"_target_": "Lambdad", "keys": "image", "func": "$half"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$no_such_name", "transform": "@preprocessing"},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save({"model": state}, folder / "models" / "model.pt")
    return folder


def test_a_monai_bundle_has_its_network_weights_and_preprocessing(bundle, state, tmp_path):
    network = given_network(bundle, num_classes=3)
    direct = densenet()
    direct.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network).logits, direct(IMAGES))
    scripts = [bundle / "scripts" / "__init__.py", bundle / "scripts" / "half.py"]
    files = [bundle / "configs" / "inference.json", bundle / "models" / "model.pt", *scripts]
    assert model_files(bundle) == files
    lines = sorted(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert network.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    transforms = bundle_preprocessing(bundle)
    assert [type(one).__name__ for one in transforms.transforms] == [
        "LoadImaged",
        "EnsureChannelFirstd",
        "Lambdad",
    ]
    assert transforms.lazy is True
    np.save(tmp_path / "x.npy", np.full((4, 5), 0.5, np.float32))
    image = transforms({"image": tmp_path / "x.npy"})["image"]
    torch.testing.assert_close(torch.as_tensor(image).as_subclass(torch.Tensor), torch.full((1, 4, 5), 0.25))
    assert str(bundle) not in sys.path


def test_two_bundles_in_one_process_run_their_own_code(bundle, tmp_path):
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    (other / "scripts" / "half.py").write_text("def half(image):\n    return image * 3\n")
    before = set(sys.modules)
    halves = [bundle_preprocessing(folder).transforms[-1] for folder in (bundle, other, bundle)]
    assert [half({"image": torch.ones(1)})["image"].item() for half in halves] == [0.5, 3, 0.5]
    assert not [name for name in sys.modules.keys() - before if name.startswith("scripts")]


def test_a_monai_bundle_with_torchscript_or_a_training_config_only(bundle, state):
    (bundle / "models" / "model.pt").unlink()
    file = saved(Ending(nn.Identity()), "scripted", bundle / "models")
    assert outputs(given_network(bundle, num_classes=3)).features.shape[0] == 5
    assert model_files(bundle)[1] == file
    (bundle / "configs" / "inference.json").rename(bundle / "configs" / "train.json")
    assert outputs(given_network(bundle, num_classes=3)).logits.shape == (5, 3)


def test_a_monai_bundle_that_is_incomplete(bundle, state):
    config = bundle / "configs" / "inference.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "network_def": {**NETWORK_DEF, "out_channels": 4}}))
    with pytest.raises(
        ValueError, match=r"model\.pt is a checkpoint of another network: .* 2 of another shape"
    ):
        given_network(bundle, num_classes=3)
    config.write_text(json.dumps({**content, "network_def": {**NETWORK_DEF, "depth": 4}}))
    with pytest.raises(ValueError, match=r"network_def of .*inference\.json cannot be had .*depth"):
        given_network(bundle, num_classes=3)
    config.write_text(
        json.dumps({k: v for k, v in content.items() if k not in ("network_def", "preprocessing")})
    )
    with pytest.raises(ValueError, match="there is no key network_def"):
        given_network(bundle, num_classes=3)
    with pytest.raises(ValueError, match="there is no key preprocessing"):
        bundle_preprocessing(bundle)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"none of configs/inference\.json, .*, configs/train\.yml"):
        given_network(bundle, num_classes=3)
    config.write_text(json.dumps(content))
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of models/model\.pt, models/model\.ts: download"):
        given_network(bundle, num_classes=3)
