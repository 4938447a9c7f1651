"""The folder of a trained and evaluated run of the toy problem, with images that its config reads."""

import numpy as np
import torch
from PIL import Image

from helpers.toy_engines import RUN
from helpers.toy_fits import fitting_evaluator, network
from helpers.toy_problem import toy_cases, toy_records
from monai_sf.bundle.bases import SHARED, loaded
from monai_sf.files import write_json
from monai_sf.networks.checkpoints import save_checkpoint, summarise_training

#: What the training read, as train.config.json has it: the network is that of ``toy_fits``.
CONFIG = {
    "dataset_name": "toy",
    "study": "iid",
    "method": "confidnet",
    "seed": 3,
    "num_classes": 2,
    "class_names": ["dark", "bright"],
    "network_def": {
        "_target_": "monai_sf.networks.ConfidenceClassifier",
        "num_classes": "@num_classes",
        "backbone": {
            "_target_": "DenseNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": "@num_classes",
            "init_features": 4,
            "growth_rate": 4,
            "block_config": [1, 1],
            "dropout_prob": 0.2,
        },
        "confidence": {"_target_": "monai_sf.networks.ConfidNetHead", "_mode_": "callable"},
    },
    "image_size": [16, 16],
    "picture_mode": "L",
    "image_modes": ["grey uint8"],
    "image_kinds": None,
    "image_shape": None,
    "smallest_image": 8,
    "intensity": {"range": "type"},
    "preprocessing": loaded([SHARED / "pictures.yaml"])["preprocessing"],
    "train": {"preprocessing": "@preprocessing", "network": "@network_def"},
}
PASSES = {"mc_samples": 2, "test_time_augmentation": [], "evaluation_precision": "float32"}


class Unknown(torch.nn.Module):
    """A network that is no ConfidenceClassifier."""

    def __init__(self, network):
        super().__init__()


def train(run_dir, weights=0, **changes):
    """Write what a training leaves; the network is random."""
    run_dir.mkdir(parents=True)
    write_json(run_dir / "train.config.json", {**CONFIG, **changes})
    write_json(run_dir / "cases.json", {"train": 17, "val": 11, "sha256": ""})
    save_checkpoint(run_dir / "best.pt", {"network": network(weights).state_dict()})
    summarise_training(run_dir, {})
    return run_dir


def evaluate(run_dir, description=(), **changes):
    """Evaluate the run, with the config of its training."""
    about = {
        **{**RUN, "method": "confidnet", "config": {**CONFIG, **PASSES, **changes}},
        **{"trained_on": {"train": 17, "val": 11}, "sources": ["Ward 7"], "split_counts": {"x": {"iid": 9}}},
        **dict(description),
    }
    fitting_evaluator(run_dir, run_description=about).run()
    return run_dir


def write_images(folder):
    """Write the toy images as grey PNG files, and return their pixels as float32 (N, 1, 16, 16) in [0, 1]."""
    folder.mkdir()
    pixels = []
    for record in toy_records(toy_cases(), ""):
        grey = (record["image"][0] * 255).round().astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{record['case_id']}.png")
        pixels.append(grey[None].astype(np.float32) / 255)
    return np.stack(pixels)
