"""What training, evaluation, corruptions and reading cost on a GPU, beside plain torch in the same run.

Run from the checkout: ``python tests/benchmarks/bench_gpu.py [part ...]``, with parts of ``train``,
``host``, ``evaluate``, ``whole``, ``corrupt``, ``load``; all of them by default, in some twenty minutes. The
four published networks have random weights, their published image sides and batches; images are random, or
photographs in size. ``--anyway`` also runs without a GPU, with small networks: only to see that it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import bench_training
import numpy as np
import pandas as pd
import torch
import yaml
from bench_training import (
    DEVICE,
    TIMED,
    WARM,
    Published,
    Ready,
    images_per_second,
    milliseconds,
    peak,
    plain,
    prepare_process,
    published,
    trained,
    wait,
)
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import Dataset
from monai_sf.transforms import CORRUPTIONS, BatchAugment, CorruptionSweep, corrupt
from PIL import Image

from monai_sf.bundle.bases import SHARED
from monai_sf.data import TestBatches, TestPass, case_preprocessing
from monai_sf.engines import TestSetEvaluator
from monai_sf.files.cores import usable_cores
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import computing_in, training_precision
from monai_sf.networks.checkpoints import save_checkpoint

SAMPLES, TWO_VIEWS = 50, ("horizontal_flip", "vertical_flip")


def train() -> None:
    """Print images per second of training."""
    bench_training.main()


def host() -> None:
    """Print what the host needs for a step of two small images, and for the augmentation of a batch."""
    print("\nms of a plain step of 2 images of 32 px; of the augmentation of a batch: host, with the device")
    for one in published():
        step = plain(one._replace(side=32, crop=32, batch=2), training_precision(DEVICE))
        augment, images = BatchAugment(one.augmentation()), one.images(one.side)
        call = partial(augment, images, range(one.batch))
        both = milliseconds(call)
        alone = 0.0
        for _ in range(TIMED):
            start = time.perf_counter()
            call()
            alone += 1e3 * (time.perf_counter() - start)
            wait()
        print(
            f"{one.bundle:15} {step:6.1f}; {one.batch:4} images: {alone / TIMED:6.1f} {both:6.1f}", flush=True
        )


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
        peak()
        ours, most = milliseconds(inferer, 1, 1), peak()
        passes = []
        for precision in ("float32", "tf32", "bfloat16"):
            with torch.no_grad(), computing_in(precision, DEVICE):
                passes.append(milliseconds(forward))
        print(
            f"{one.bundle:15} {one.batch:4}×{one.channels}×{one.side}² {1e3 * one.batch / ours:9.1f} "
            f"{ours / passes[0]:6.1f} {images_per_second(one, passes)} {most:7.1f}",
            flush=True,
        )


#: Of the evaluations that are measured whole: corruptions, one of the slow ones among them.
KINDS = ("brightness_down", "gaussian_noise", "elastic")


def whole() -> None:
    """Print images per second of evaluations from bytes in main memory, beside their passes."""
    print(
        f"\nevaluation with {len(KINDS)} corruptions, images/s: passes on one tensor, and from bytes in "
        "memory, with its share; the last batch's files are not waited for"
    )
    for one in published():
        data = evaluated_cases(one, WARM + 3)
        for inferer in (
            MCDropoutInferer(0, precision="bfloat16"),
            MCDropoutInferer(SAMPLES, views=TWO_VIEWS),
        ):
            network, images = one.make().eval(), one.images(one.side)
            passes = partial(inferer, images, network, [str(i) for i in range(one.batch)])
            alone = milliseconds(passes, 1, 2 if inferer.samples else TIMED)
            ours = evaluated(one, data, inferer)
            print(
                f"{one.bundle:15} {one.batch:4}×{one.channels}×{one.side}² {inferer.samples:3} samples, "
                f"{inferer.precision:9} {images_per_second(one, (alone, ours))} {alone / ours:5.2f}",
                flush=True,
            )


def evaluated_cases(one: Published, batches: int) -> Dataset:
    """Return cases of one test set: bytes in main memory."""
    pictures = (one.images(one.side).cpu() * 255).byte()
    return Dataset(
        [
            {"image": image, "label": i % 2, "case_id": f"{batch} {i}", "split": "iid"}
            for batch in range(batches)
            for i, image in enumerate(pictures)
        ]
    )


def evaluated(one: Published, data: Dataset, inferer: MCDropoutInferer) -> float:
    """Return milliseconds per batch of an evaluation, of all but its first ones."""
    table = pd.DataFrame([{k: v for k, v in record.items() if k != "image"} for record in data.data])
    table = table.assign(image="", label_name="", group=table["case_id"], source="here")
    marks: list[float] = []

    def mark() -> None:
        wait()
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        network = one.make()
        save_checkpoint(Path(folder) / "best.pt", {"network": network.state_dict()})
        evaluator = TestSetEvaluator(
            device=DEVICE,
            network=network,
            dataset=data,
            cases=table,
            run_dir=folder,
            target_kind="iid",
            sweep=CorruptionSweep(KINDS, [3]),
            inferer=inferer,
            thresholds=lambda *_: {},
            failure_metrics=lambda _: {},
            target_risk=0.05,
            delta=0.1,
            run_description={
                **{"dataset": "here", "study": "iid", "method": "classifier", "seed": 0},
                **{"class_names": [str(i) for i in range(one.classes)], "data_kind": "phantom"},
            },
            batch_size=one.batch,
        )
        first, last = WARM * (1 + len(KINDS)), (WARM + 3) * (1 + len(KINDS))
        evaluator.add_event_handler(
            Events.ITERATION_COMPLETED(event_filter=lambda _, i: i in (first, last)), mark
        )
        evaluator.run()
    return 1e3 * (marks[1] - marks[0]) / (last - first)


def corruptions(side: int = 512) -> None:
    """Print images per second of each corruption, and whether the CPU gives the same pixels."""
    print(f"\ncorruptions, 3×{side}², severity 3, images/s: GPU (batch of 64), {os.cpu_count()} CPU cores")
    batch = torch.rand(64, 3, side, side, generator=torch.Generator().manual_seed(1))
    there = batch.to(DEVICE)
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
    one, cores = [*published()][-1], usable_cores()  # on a GPU, dermoscopy
    shared = yaml.safe_load((SHARED / "pictures.yaml").read_text())
    own = {"imports": ["$import monai_sf.data"], "image_size": [one.side, one.side]}
    parser = ConfigParser({**shared, **one.config(), **own})
    read = case_preprocessing(parser.get_parsed_content("preprocessing"))
    augment = one.augmentation()
    print(
        f"\nreading, {one.bundle}: images/s of the trainer with images in memory, and from files by "
        f"{cores} processes; of an evaluation's batches alone, by as many"
    )
    precision = training_precision(DEVICE)
    for ending, shape in ((".jpg", (600, 450)), (".png", (600, 450))):
        with tempfile.TemporaryDirectory() as name:
            records = photographs(Path(name), ending, shape, one.batch * (WARM + TIMED) * 4)
            there = trained(Ready(one, one.crop, one.batch * (WARM + TIMED)), one, precision, augment)
            from_files = trained(Dataset(records, read), one, precision, augment, workers=cores)
            alone, rate = (1e3 * one.batch / milliseconds for milliseconds in (there, from_files))
            batches = TestBatches(
                Dataset(records, read),
                [TestPass("iid", np.arange(len(records)), None)],
                batch_size=one.batch,
                num_workers=cores,
                device=DEVICE,
            )
            start = time.perf_counter()
            for _ in batches:
                pass
            wait()
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


PARTS = {
    "train": train,
    "host": host,
    "evaluate": evaluate,
    "whole": whole,
    "corrupt": corruptions,
    "load": load,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; by default all")
    parser.add_argument("--anyway", action="store_true", help="also without a GPU, with small networks")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if DEVICE.type == "cpu" and not arguments.anyway:
        print("there is no GPU here, and so nothing to measure")
        sys.exit(1)
    prepare_process()
    for part in parts:
        start = time.perf_counter()
        PARTS[part]()
        print(f"({part}: {time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
