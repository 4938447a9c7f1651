"""Models that the library has not trained, in the forms in which people have them."""

import json
from pathlib import Path

import torch
from monai.networks.nets import DenseNet
from torch import Tensor, nn

#: What an audit of these declares: they tell dark from bright images, in the order dark, bright.
NORMALISATION = ("--mean", "0.4", "--std", "0.2")


class Brightness(nn.Module):
    """Logits of dark and bright from the mean of each quarter of the image."""

    def __init__(self, channels: int = 1, classes: int = 2) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.last = nn.Linear(4, classes)
        with torch.no_grad():
            self.pool[0].weight.fill_(1 / channels)
            self.pool[0].bias.zero_()
            self.last.bias.zero_()
            self.last.weight[0], self.last.weight[1] = -0.5, 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pool(x))


def write_script(path: Path, model: nn.Module, channels: int = 1) -> Path:
    torch.jit.trace(model.eval(), torch.rand(4, channels, 40, 40)).save(str(path))
    return path


PREPROCESSING = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
    {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32], "mode": "bilinear"},
    {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 0.5, "divisor": 0.2},
]
NETWORK = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "init_features": 8,
    "growth_rate": 8,
    "block_config": [2, 2],
    "dropout_prob": 0.1,
}


def write_zoo_bundle(folder: Path, preprocessing: list | None = None) -> Path:
    """Write a bundle in the layout of MONAI's model zoo; its network has dropout and random weights."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    transforms = PREPROCESSING if preprocessing is None else preprocessing
    config = {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "/workspace/data",
        "test_imagelist": "$list(sorted(glob.glob(@dataset_dir + '/*.png')))",
        "network_def": {"_target_": "DenseNet", **NETWORK},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @test_imagelist]",
            "transform": "@preprocessing",
        },
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network"},
        "run": ["$@evaluator.run()"],
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    torch.save(DenseNet(**NETWORK).state_dict(), folder / "models" / "model.pt")
    return folder
