"""Images per second of each bundle's augmentation, beside MONAI's transforms of single images.

``python tests/benchmarks/bench_augmentation.py [--threads 1] [--repeats 7]``: the augmentation in a bundle's
train.yaml on a batch of its size, of float32 images, and its counterparts in MONAI, without metadata, on one
image after the other, as a loader would. The two take turns, and the mean counts, since what is drawn varies.
With a GPU also the batch on it: how long the host is busy, and the rate until the GPU is done.
"""

import argparse
import time
from pathlib import Path

import monai.transforms as single
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.utils import set_determinism
from monai_sf.transforms import BatchAugment

BUNDLES = Path(__file__).parents[2] / "bundles"
SIDES = {"lung_nodule_ct": (64, 64)}  # others say it in their config


def counterparts(name, arguments):
    """The transforms of single images that one of batches stands for."""
    match name.rpartition("BatchRand")[2]:
        case "ResizedCrop":
            size = arguments["spatial_size"]
            crop = single.RandSpatialCrop(arguments["roi_size"], random_size=True)
            return [crop, single.Resize(size, mode="bilinear", anti_aliasing=True)]
        case "Erase":
            return [single.RandCoarseDropout(holes=1, **arguments)]
        case other:
            return [getattr(single, f"Rand{other}")(**arguments)]


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(bundle, repeats):
    config = yaml.safe_load((BUNDLES / bundle / "configs/train.yaml").read_text())
    augment = BatchAugment(ConfigParser(config).get_parsed_content("augmentation"))
    entries = ConfigParser(config).get_parsed_content("augmentation", instantiate=False)
    parts = [counterparts(one.get_config()["_target_"], one.resolve_args()) for one in entries]
    alone = single.Compose([part for some in parts for part in some])
    size = config["batch_size"]
    channels = config["network_def"]["backbone"]["in_channels"]
    images = torch.rand(size, channels, *config.get("image_size", SIDES.get(bundle)))

    def singly():
        return [alone(image) for image in images]

    alone.set_random_state(seed=0)
    ours = theirs = 0.0
    for i in range(repeats):
        seeds = range(i * size, (i + 1) * size)
        ours += seconds(lambda seeds=seeds: augment(images, seeds)) / size / repeats
        theirs += seconds(singly) / size / repeats
    shape = "×".join(map(str, images.shape))
    print(f"{bundle:16}{shape:>16}{1 / ours:10.0f}{1 / theirs:10.0f}{theirs / ours:8.1f}", flush=True)
    if torch.cuda.is_available():
        there = images.cuda()
        for seeds in (range(size), range(size), range(size, 2 * size)):
            torch.cuda.synchronize()
            start = time.perf_counter()
            augment(there, seeds)
            host = time.perf_counter() - start
            torch.cuda.synchronize()
            whole = time.perf_counter() - start
        print(f"{'':16}GPU: {size / whole:.0f} images/s; the host is busy for {1e3 * host:.1f} ms a batch")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    set_track_meta(False)
    set_determinism(0)
    print(f"images/s, {options.threads} thread(s), mean of {options.repeats} batches, the two in turns")
    print(f"{'bundle':16}{'batch':>16}{'batches':>10}{'singly':>10}{'ratio':>8}")
    for name in ("lung_nodule_ct", "pneumonia", "chest_xray", "dermoscopy", "fc_microscopy"):
        measure(name, options.repeats)
