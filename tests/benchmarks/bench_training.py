"""What the trainer costs beside the same steps of plain torch, on tensors that need no reading.

Run from the checkout: ``python tests/benchmarks/bench_training.py [--compile]``. On a GPU the published
networks, sides and batches are measured; elsewhere two small ones. Trainer and plain steps take turns. The
trainer gets bytes in main memory, makes float images of them, augments them as the bundle says, and checks
every loss; the plain loop gets one float batch on the device.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.utils import set_determinism
from monai_sf.transforms import BatchTransform
from torch import Tensor, nn
from torch.utils.data import Dataset

from monai_sf.engines import ClassifierTrainer, Stage
from monai_sf.losses import ClassificationLoss
from monai_sf.networks import ConfidenceClassifier, computing_in, to_device
from monai_sf.networks.backbones import backbone

BUNDLES = Path(__file__).parents[2] / "bundles"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: Seconds on a GPU; on a CPU those of this process, since others may be busy.
clock = time.perf_counter if DEVICE.type == "cuda" else time.process_time
#: Batches of a measurement, after those that warm up; and how often it is repeated.
WARM, TIMED, ROUNDS = 3, 12, 3


class Published(NamedTuple):
    """A network, and the sides, channels and classes of its images."""

    bundle: str
    network: str
    channels: int
    classes: int
    dropout: float
    side: int
    crop: int
    batch: int

    def make(self) -> ConfidenceClassifier:
        """Return the classifier with random weights on the device."""
        torch.manual_seed(0)
        net = backbone(
            self.network, in_channels=self.channels, num_classes=self.classes, dropout=self.dropout
        )
        return to_device(ConfidenceClassifier(net, self.classes), DEVICE)

    def images(self, side: int) -> Tensor:
        """Return a batch of random images on the device."""
        return torch.rand(self.batch, self.channels, side, side, device=DEVICE)

    def config(self) -> dict[str, Any]:
        """Return the bundle's training config."""
        return read(self.bundle)

    def augmentation(self) -> list[BatchTransform]:
        """Return the bundle's augmentation."""
        made: list[BatchTransform] = ConfigParser(self.config()).get_parsed_content("augmentation")
        return made


def read(bundle: str) -> dict[str, Any]:
    """Return the training config of a bundle."""
    config: dict[str, Any] = yaml.safe_load((BUNDLES / bundle / "configs" / "train.yaml").read_text())
    return config


def published() -> Iterator[Published]:
    """Yield what the bundles' configs say; on a CPU, smaller ones."""
    if DEVICE.type == "cpu":
        yield Published("chest_xray", "densenet121", 1, 8, 0.1, 64, 64, 8)
        yield Published("chest_xray", "densenet-small", 1, 2, 0.1, 32, 32, 64)
        return
    for name in ("lung_nodule_ct", "chest_xray", "fc_microscopy", "dermoscopy"):
        config = read(name)
        own, classes = config["network_def"]["backbone"], config["num_classes"]
        side = config.get("image_size", config.get("image_shape"))[0]
        crop = config.get("crop_size", [side])[0]
        shape = (own["in_channels"], classes, own["dropout"], side, crop, config["batch_size"])
        yield Published(name, own["name"], *shape)


def wait() -> None:
    """Wait until the device has finished."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak() -> float:
    """Return the peak of the GPU's memory since the last call, in GB."""
    if DEVICE.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return most


class Ready(Dataset[Any]):
    """Cases whose images need no reading: bytes in main memory."""

    transform = None

    def __init__(self, one: Published, side: int, count: int) -> None:
        self.images = (one.images(side).cpu() * 255).byte()
        self.classes, self.count = one.classes, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": self.images[i % len(self.images)], "label": i % self.classes, "case_id": str(i)}


def trained(
    data: Dataset[Any],
    one: Published,
    precision: str,
    augmentation: Sequence[BatchTransform] = (),
    *,
    workers: int = 0,
    compile: bool = False,
) -> float:
    """Return milliseconds per batch of the trainer, from its dataset to the optimiser's step.

    The mean, since batches of workers come in bursts.
    """
    marks: list[float] = []

    def mark() -> None:
        wait()
        marks.append(clock())

    with tempfile.TemporaryDirectory() as folder:
        trainer = ClassifierTrainer(
            device=DEVICE,
            max_epochs=1,
            stages=[Stage("classifier", 1, ClassificationLoss())],
            optimizer=partial(torch.optim.Adam, lr=1e-4),
            lr_scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=1),
            network=one.make(),
            dataset=data,  # type: ignore[arg-type]
            validation_dataset=Ready(one, one.crop, 2),  # type: ignore[arg-type]
            batch_size=one.batch,
            run_dir=folder,
            seed=0,
            num_workers=workers,
            augmentation=augmentation,
            precision=precision,
            compile=compile,
        )
        last = len(data) // one.batch  # type: ignore[arg-type]
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED(event_filter=lambda _, i: i in (WARM, last)), mark
        )
        trainer.run()
    return 1e3 * (marks[1] - marks[0]) / (last - WARM)


def plain(one: Published, precision: str) -> float:
    """Return milliseconds per step of plain torch, on one batch that is on the device."""
    network = one.make().train()
    images, labels = one.images(one.crop), torch.arange(one.batch, device=DEVICE) % one.classes
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=precision == "float16")
    backward = "float32" if precision == "float32" else "tf32"  # as the trainer's

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with computing_in(precision, DEVICE):
            loss = nn.functional.cross_entropy(network(images).float(), labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()

    with computing_in(backward, DEVICE):
        return milliseconds(step)


def milliseconds(call: Callable[[], object], warm: int = WARM, timed: int = TIMED) -> float:
    """Return the mean of calls whose results nobody waits for."""
    for _ in range(warm):
        call()
    wait()
    start = clock()
    for _ in range(timed):
        call()
    wait()
    return 1e3 * (clock() - start) / timed


def images_per_second(one: Published, times: Sequence[float]) -> str:
    """Return the rates of some times of a batch in ms, as columns."""
    return " ".join(f"{1e3 * one.batch / t:9.0f}" for t in times)


def main(compile: bool = False) -> None:
    """Print a line for each network and precision."""
    columns = ["plain steps", "the trainer", "with augmentation"] + ["compiled"] * compile
    print(f"\ntraining, images/s: {', '.join(columns)}; their share of the plain steps; GB at the peak")
    precisions = (
        ("float32", "bfloat16") if DEVICE.type == "cpu" else ("float32", "tf32", "bfloat16", "float16")
    )
    for one in published():
        data = Ready(one, one.crop, one.batch * (WARM + TIMED))
        ways: list[Callable[[str], float]] = [
            partial(plain, one),
            partial(trained, data, one),
            partial(trained, data, one, augmentation=one.augmentation()),
        ]
        if compile:
            ways.append(partial(trained, data, one, compile=True))
        for precision in precisions:
            peak()
            taken = np.min([[way(precision) for way in ways] for _ in range(ROUNDS)], axis=0)
            share = " ".join(f"{taken[0] / t:5.2f}" for t in taken[1:])
            name = f"{one.network} {one.batch}×{one.channels}×{one.crop}²"
            print(
                f"{name:28} {precision:9} {images_per_second(one, taken)}   {share} {peak():6.1f}", flush=True
            )


def prepare_process() -> None:
    """Set the process as every run of a bundle does, without its messages."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    os.environ["TQDM_DISABLE"] = "1"
    set_determinism(0)
    set_track_meta(False)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}, torch {torch.__version__}, {os.cpu_count()} CPU cores")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="also the trainer with torch.compile")
    arguments = parser.parse_args()
    prepare_process()
    main(arguments.compile)
