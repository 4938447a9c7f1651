"""What a full run of each bundle costs in floating-point operations, and how long that is at a given rate.

Run: ``python tests/benchmarks/bench_cost.py [--tflops 100]``. Counts the operations of one forward pass of
each bundle's network (torch's flop counter) and of its part behind the first dropout layer, and multiplies
them with the published numbers of images, epochs, dropout samples and corruptions, and with the bundle's
views (of networks whose scores read them: one method in three). A pass with gradients counts three times. The
rate is what a GPU *sustains*, which must be measured: see ``bench_gpu.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from monai_sf.bundle.bases import SHARED  # noqa: E402
from monai_sf.networks import ConfidenceClassifier  # noqa: E402
from monai_sf.networks.backbones import backbone  # noqa: E402

#: Published images (labelled with one of the classes), studies, and the share of them in a study's training.
IMAGES = {"dermoscopy": 43_000, "chest_xray": 305_000, "fc_microscopy": 125_510, "lung_nodule_ct": 13_255}
STUDIES = {"dermoscopy": 4, "chest_xray": 3, "fc_microscopy": 2, "lung_nodule_ct": 3}
TRAIN, TEST, CORRUPTED, SAMPLES = 0.7, 0.2, 25, 50


def flops(function: Any, *inputs: torch.Tensor) -> int:
    """Operations (a multiply-add counts twice) of one call, on the meta device: nothing is computed."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*inputs)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tflops", type=float, default=100.0, help="what the GPU sustains, in 1e12 a second")
    rate = parser.parse_args().tflops * 1e12
    print(f"at {rate / 1e12:g} TFLOP/s sustained; hours of a run of iid with ConfidNet, T = {SAMPLES}")
    print("bundle            GFLOP behind dropout training h evaluation h  all runs h")
    shared = yaml.safe_load((SHARED / "evaluate.yaml").read_text())
    for name, images in IMAGES.items():
        config = yaml.safe_load((ROOT / "bundles" / name / "configs" / "train.yaml").read_text())
        own = config["network_def"]["backbone"]
        classes, channels = config["num_classes"], own["in_channels"]
        side = config.get("image_size", config.get("image_shape"))[0]
        crop = config.get("crop_size", [side])[0]
        with torch.device("meta"):
            net = ConfidenceClassifier(
                backbone(own["name"], in_channels=channels, num_classes=classes, dropout=own["dropout"]),
                classes,
            ).eval()
            image, small = torch.empty(1, channels, side, side), torch.empty(1, channels, crop, crop)
            whole, trained = flops(net, image), flops(net, small)
            behind = whole - flops(net.stem, image)
        epochs = config["epochs"]
        confidnet = epochs // (4 if epochs in (20, 40) else 3)
        train = images * TRAIN * trained * (3 * epochs + confidnet + 4 * confidnet)
        overridden = yaml.safe_load((ROOT / "bundles" / name / "configs" / "evaluate.yaml").read_text())
        views = len({**shared, **overridden}["test_time_augmentation"])
        case = 2 * whole + (SAMPLES - 1) * behind
        fitted = images * TRAIN * whole  # one pass over the training cases
        evaluate = fitted + images * TEST * (1 + CORRUPTED) * (case + views * whole)
        runs = STUDIES[name] * 9
        # studies with a target of their own are tested without corruptions, on about as many cases
        average = case + views * whole / 3
        tested = 9 * (1 + CORRUPTED) + (runs - 9) * 2
        total = runs * (train + fitted / 3) + images * TEST * tested * average
        print(
            f"{name:15} {whole / 1e9:7.1f} {behind / whole:14.0%} {train / rate / 3600:10.1f} "
            f"{evaluate / rate / 3600:12.1f} {total / rate / 3600:10.0f} ({runs} runs)"
        )


if __name__ == "__main__":
    main()
