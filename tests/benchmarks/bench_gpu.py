"""What training, evaluation, corruptions and reading cost on a GPU, beside plain torch in the same run.

Run from the checkout: ``python tests/benchmarks/bench_gpu.py [part ...]``, with parts of ``train``,
``evaluate``, ``corrupt``, ``load``; all of them by default, in a few minutes. The four published networks
have random weights, their published image sides and batches; images are random, or photographs in size.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import sys
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
from monai.data import Dataset, set_track_meta
from monai.utils import set_determinism
from monai_sf.transforms import CORRUPTIONS, BatchTransform, corrupt
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset as AnyDataset

from monai_sf.bundle.bases import SHARED
from monai_sf.data import TestBatches, TestPass
from monai_sf.engines import ClassifierTrainer, Stage
from monai_sf.files.cores import usable_cores
from monai_sf.inferers import MCDropoutInferer
from monai_sf.losses import ClassificationLoss
from monai_sf.networks import ConfidenceClassifier, to_device
from monai_sf.networks.backbones import backbone

BUNDLES = Path(__file__).parents[2] / "bundles"
CUDA = torch.device("cuda")
SAMPLES, TWO_VIEWS = 50, ("horizontal_flip", "vertical_flip")
#: Batches of a measurement, after those that warm up.
WARM, TIMED = 3, 8


class Published(NamedTuple):
    """A published network: its name and the sides, channels and classes of its images."""

    bundle: str
    network: str
    channels: int
    classes: int
    dropout: float
    side: int
    crop: int
    batch: int

    def make(self) -> ConfidenceClassifier:
        """Return the classifier with random weights on the GPU."""
        torch.manual_seed(0)
        net = backbone(
            self.network, in_channels=self.channels, num_classes=self.classes, dropout=self.dropout
        )
        return to_device(ConfidenceClassifier(net, self.classes), CUDA)

    def images(self, side: int) -> Tensor:
        """Return a batch of random images on the GPU."""
        return torch.rand(self.batch, self.channels, side, side, device=CUDA)


def published() -> Iterator[Published]:
    """Yield what the bundles' configs say."""
    for name in ("lung_nodule_ct", "chest_xray", "fc_microscopy", "dermoscopy"):
        config = yaml.safe_load((BUNDLES / name / "configs" / "train.yaml").read_text())
        own, classes = config["network_def"]["backbone"], config["num_classes"]
        side = config.get("image_size", config.get("image_shape"))[0]
        crop = config.get("crop_size", [side])[0]
        yield Published(
            name,
            own["name"],
            own["in_channels"],
            classes,
            own["dropout"],
            side,
            crop,
            config["batch_size"],
        )


def milliseconds(call: Callable[[], object], warm: int = WARM, timed: int = TIMED) -> float:
    """Return the median of single calls, by events of the GPU."""
    for _ in range(warm):
        call()
    torch.cuda.synchronize()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(timed + 1)]  # type: ignore[no-untyped-call]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize()
    return float(np.median([a.elapsed_time(b) for a, b in itertools.pairwise(marks)]))


@contextlib.contextmanager
def cudnn(deterministic: bool, tf32: bool = True) -> Iterator[None]:
    """Choose convolutions as a seeded run does (deterministic), or the fastest found."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, not deterministic
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.backends.cudnn.allow_tf32 = True


class Ready(AnyDataset[Any]):
    """Cases whose images are on the GPU already."""

    transform = None

    def __init__(self, images: Tensor, classes: int, count: int) -> None:
        self.images, self.classes, self.count = images, classes, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {
            "image": self.images[i % len(self.images)],
            "label": i % self.classes,
            "case_id": str(i),
        }


def trained(
    data: AnyDataset[Any], one: Published, workers: int = 0, augmentation: Sequence[BatchTransform] = ()
) -> float:
    """Return milliseconds per batch of the trainer, from reading to the optimiser's step."""
    marks: list[float] = []

    def mark(_: object) -> None:
        torch.cuda.synchronize()
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = ClassifierTrainer(
            device=CUDA,
            max_epochs=1,
            stages=[Stage("classifier", 1, ClassificationLoss())],
            optimizer=partial(torch.optim.Adam, lr=1e-4),
            lr_scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=1),
            network=one.make(),
            dataset=data,  # type: ignore[arg-type]
            validation_dataset=Ready(one.images(one.crop)[:2].cpu(), one.classes, 2),  # type: ignore[arg-type]
            batch_size=one.batch,
            run_dir=folder,
            seed=0,
            num_workers=workers,
            augmentation=augmentation,
            precision="float16",
        )
        trainer.add_event_handler(Events.ITERATION_COMPLETED, mark)
        trainer.run()
    after = marks[WARM - 1 :]
    # the mean, since batches of workers come in bursts
    return 1e3 * (after[-1] - after[0]) / (len(after) - 1)


def plain_step(one: Published, amp: torch.dtype | None) -> Callable[[], None]:
    """Return a training step of plain torch on a batch that is on the GPU."""
    network = one.make().train()
    images, labels = one.images(one.crop), torch.arange(one.batch, device=CUDA) % one.classes
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler("cuda", enabled=amp == torch.float16)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=amp, enabled=amp is not None):
            loss = nn.functional.cross_entropy(network(images), labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()

    return step


def train() -> None:
    """Print images per second of training."""
    print(
        "\ntraining, images/s: the trainer (fp16 mixed precision, deterministic); a plain step of torch, the "
        "same, bf16, TF32, and fp16 with the fastest convolutions; GB of the trainer at its peak"
    )
    for one in published():
        count = one.batch * (WARM + TIMED)
        torch.cuda.reset_peak_memory_stats()
        ours = trained(Ready(one.images(one.crop), one.classes, count), one)
        peak = torch.cuda.max_memory_allocated() / 1e9
        half, brain = torch.float16, torch.bfloat16
        found = [ours]
        for deterministic, amp in ((True, half), (True, brain), (True, None), (False, half)):
            with cudnn(deterministic):
                found.append(milliseconds(plain_step(one, amp)))
            torch.cuda.empty_cache()
        rates = " ".join(f"{1e3 * one.batch / t:9.0f}" for t in found)
        print(f"{one.bundle:15} {one.batch:4}×{one.channels}×{one.crop}² {rates} {peak:7.1f}", flush=True)


def evaluate() -> None:
    """Print images per second of an evaluation's passes."""
    print(
        f"\nevaluation, images/s with {SAMPLES} dropout samples and two views (the inferer, float32), and "
        "what that is in plain passes; images/s of a plain pass: float32 as run, TF32, bf16; GB at the peak"
    )
    for one in published():
        network, images = one.make().eval(), one.images(one.side)
        ids = [str(i) for i in range(one.batch)]
        # bound now: the loop goes on
        inferer = partial(MCDropoutInferer(SAMPLES, views=TWO_VIEWS), images, network, ids)
        forward = partial(network, images)
        with torch.no_grad():
            torch.cuda.reset_peak_memory_stats()
            ours = milliseconds(inferer, 1, 1)
            peak = torch.cuda.max_memory_allocated() / 1e9
            torch.cuda.empty_cache()
            with cudnn(True, tf32=False):
                as_run = milliseconds(forward)
            coarse = milliseconds(forward)
            with torch.autocast("cuda", dtype=torch.bfloat16):
                brain = milliseconds(forward)
        rates = " ".join(f"{1e3 * one.batch / t:9.0f}" for t in (as_run, coarse, brain))
        print(
            f"{one.bundle:15} {one.batch:4}×{one.channels}×{one.side}² {1e3 * one.batch / ours:9.1f} "
            f"{ours / as_run:6.1f} {rates} {peak:7.1f}",
            flush=True,
        )
        torch.cuda.empty_cache()


def corruptions(side: int = 512) -> None:
    """Print images per second of each corruption, and whether the CPU gives the same pixels."""
    print(f"\ncorruptions, 3×{side}², severity 3, images/s: GPU (batch of 64), {os.cpu_count()} CPU cores")
    batch = torch.rand(64, 3, side, side, generator=torch.Generator().manual_seed(1))
    there = batch.to(CUDA)
    for kind in CORRUPTIONS:
        gpu = milliseconds(partial(corrupt, there, kind, 3, seeds=range(64)), 1, 5)
        few = batch[:16]
        corrupt(few, kind, 3, seeds=range(16))
        start = time.perf_counter()
        expected = corrupt(few, kind, 3, seeds=range(16))
        seconds = time.perf_counter() - start
        found = corrupt(there[:16], kind, 3, seeds=range(16)).cpu()
        differ = (found != expected).double().mean().item()
        print(
            f"{kind:16} {64e3 / gpu:9.0f} {16 / seconds:7.0f}; other pixels: {differ:.2e} of all, by at most "
            f"{(found - expected).abs().max().item():.1e}",
            flush=True,
        )


def load() -> None:
    """Print what reading photographs leaves of the rates of training and evaluation."""
    one = next(one for one in published() if one.bundle == "dermoscopy")
    cores = usable_cores()
    config = yaml.safe_load((BUNDLES / one.bundle / "configs" / "train.yaml").read_text())
    shared = yaml.safe_load((SHARED / "pictures.yaml").read_text())
    parser = ConfigParser({**shared, **config, "imports": ["$import monai_sf.data"]})
    read, augment = (parser.get_parsed_content(key) for key in ("preprocessing", "augmentation"))
    print(
        f"\nreading, {one.bundle}: images/s of the trainer with images on the GPU already, and from files by "
        f"{cores} processes; of an evaluation's batches alone, by as many"
    )
    for ending, shape in ((".jpg", (600, 450)), (".png", (600, 450))):
        with tempfile.TemporaryDirectory() as name:
            records = photographs(Path(name), ending, shape, one.batch * 60)
            rate = 1e3 * one.batch / trained(Dataset(records, read), one, cores, augment)
            alone = (
                1e3
                * one.batch
                / trained(Ready(one.images(one.crop), one.classes, one.batch * (WARM + TIMED)), one)
            )
            batches = TestBatches(
                Dataset(records, read),
                [TestPass("iid", np.arange(len(records)), None)],
                batch_size=one.batch,
                num_workers=cores,
                device=CUDA,
            )
            start = time.perf_counter()
            for _ in batches:
                pass
            torch.cuda.synchronize()
            only = len(records) / (time.perf_counter() - start)
            print(f"{ending} {shape[0]}×{shape[1]}: {alone:8.0f} {rate:8.0f} {only:8.0f}", flush=True)


def photographs(folder: Path, ending: str, shape: tuple[int, int], count: int) -> list[dict[str, Any]]:
    """Write some smooth images, and name them as often as there are to be cases."""
    generator = np.random.default_rng(0)
    files = []
    for i in range(64):
        small = generator.integers(0, 255, (shape[1] // 15, shape[0] // 15, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(small).resize(shape, Image.Resampling.BICUBIC), np.float64)
        picture += generator.normal(0, 3, picture.shape)
        files.append(folder / f"{i}{ending}")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(files[-1])
    return [
        {"image": str(files[i % len(files)]), "label": i % 2, "case_id": str(i), "split": "iid"}
        for i in range(count)
    ]


PARTS = {"train": train, "evaluate": evaluate, "corrupt": corruptions, "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; by default all")
    parts = parser.parse_args().parts or list(PARTS)
    if not torch.cuda.is_available():
        print("there is no GPU here, and so nothing to measure")
        sys.exit(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    os.environ["TQDM_DISABLE"] = "1"
    set_determinism(0)  # as every run of a bundle does
    set_track_meta(False)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {os.cpu_count()} CPU cores")
    for part in parts:
        start = time.perf_counter()
        PARTS[part]()
        print(f"({part}: {time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
