"""What loading costs beside decoding and resizing alone, on one core, for the images of each bundle.

``python tests/benchmarks/bench_loading.py`` makes files of realistic sizes and reads them in turns: with
Pillow or NumPy alone; by a run's loader, from its files to batches of bytes; and so from the cache on disk,
and from memory. Both keep memory for the next picture, as a loader's workers do. Measured is processor time:
rates are the best of the rounds, the share is the median of their ratios. The peak is of the memory for a
batch of 16. ``--rounds`` and ``--count`` are the numbers of rounds and files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import Compose
from numpy.typing import NDArray
from PIL import Image

from monai_sf.data import CaseDataset, LoadImageFiled, PrepareImaged, SharedBatches, shared_loader
from monai_sf.data.batches import reuse_memory

RANGE, LUNG = {"range": "type"}, {"window": [-1000, 400]}
BATCH = 16


@dataclass(frozen=True)
class Kind:
    """Images of a bundle: files of one case, their side lengths, and what is made of them."""

    name: str
    ending: str
    shape: tuple[int, ...]
    size: tuple[int, int] | None
    files: int = 1
    few: int = 1  # by which the number of cases is divided

    @property
    def mode(self) -> str:
        return "RGB" if len(self.shape) == 3 else "L"

    @property
    def rule(self) -> dict[str, Any]:
        return LUNG if self.ending == "npy" else RANGE


KINDS = [
    Kind("dermoscopy, JPEG 768 x 512 to 512", "jpg", (512, 768, 3), (512, 512)),
    Kind("chest X-ray, JPEG 390 x 320 to 256", "jpg", (320, 390), (256, 256)),
    Kind("chest X-ray, PNG 1024 to 256", "png", (1024, 1024), (256, 256), few=2),
    Kind("microscopy, six PNG 512", "png", (512, 512), (512, 512), files=6, few=4),
    Kind("lung nodules, NPY 64", "npy", (64, 64), None),
    Kind("pneumonia, PNG 28", "png", (28, 28), None),
    Kind("dermoscopy, JPEG 6000 x 4000 to 512", "jpg", (4000, 6000, 3), (512, 512), few=16),
]


def picture(shape: Sequence[int], rng: np.random.Generator) -> Image.Image:
    """Return something that compresses as a photograph does: smooth shapes with a little noise."""
    height, width = shape[:2]
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, *shape[2:]), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray(np.clip(smooth + rng.integers(-6, 7, shape), 0, 255).astype(np.uint8))


def write(kind: Kind, folder: Path, count: int) -> list[list[str]]:
    """Write the files of each case."""
    rng = np.random.default_rng(0)
    cases = []
    for case in range(max(4, count // kind.few)):
        files = [folder / f"{case}_{channel}.{kind.ending}" for channel in range(kind.files)]
        for file in files:
            if kind.ending == "npy":
                np.save(file, rng.integers(-1000, 400, kind.shape).astype(np.int16))
            else:
                picture(kind.shape, rng).save(file, quality=90)
        cases.append([str(file) for file in files])
    return cases


def alone(files: Sequence[str], kind: Kind) -> list[NDArray[Any]]:
    """Decode and resize, and nothing else."""
    if kind.ending == "npy":
        return [np.clip((np.load(file).astype(np.float32) + 1000) / 1400, 0, 1) for file in files]
    decoded = []
    for file in files:
        image = Image.open(file)
        if kind.size is not None:
            image.draft(None, kind.size[::-1])
            image = image.resize(kind.size[::-1], Image.Resampling.BILINEAR)
        decoded.append(np.asarray(image))
    return decoded


def loader(
    kind: Kind, cases: Sequence[Sequence[str]], cache: Path | None = None, cache_rate: float = 0.0
) -> Any:
    """Return a run's loader of batches."""
    load = LoadImageFiled("image", size=kind.size if kind.rule is RANGE else None)
    prepare = PrepareImaged("image", mode=kind.mode, size=kind.size, intensity=kind.rule)
    records = [
        {"image": files[0] if len(files) == 1 else files, "label": 0, "case_id": str(i), "split": "train"}
        for i, files in enumerate(cases)
    ]
    dataset = CaseDataset(records, Compose([load, prepare]), image_cache=cache, cache_rate=cache_rate)
    return shared_loader(dataset, SharedBatches(len(dataset), BATCH, seed=None), 0)


def seconds(act: Callable[[], Any]) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    act()
    return time.process_time() - start


def read_alone(kind: Kind, cases: Sequence[Sequence[str]]) -> None:
    """Decode and resize all cases, a batch of which is in memory."""
    for first in range(0, len(cases), BATCH):
        batch = [alone(files, kind) for files in cases[first : first + BATCH]]
        del batch


def read_batches(batches: Any) -> None:
    """Read all batches."""
    for _ in batches:
        pass


def peak(act: Callable[[], Any]) -> float:
    """Return how many MiB a call needs at most besides what is there before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")

    def high() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

    before = high()
    act()
    return (high() - before) / 1024


def measure(kind: Kind, count: int, rounds: int) -> None:
    """Print a line of figures for one kind of image."""
    with tempfile.TemporaryDirectory() as folder:
        cases = write(kind, Path(folder), count)
        batches, held = loader(kind, cases), loader(kind, cases, cache_rate=1.0)
        cached = loader(kind, cases, Path(folder) / "cache")
        memory = peak(lambda: read_batches(batches))
        first = seconds(lambda: read_batches(cached))
        read_batches(held)
        times = [
            (
                seconds(lambda: read_alone(kind, cases)),
                seconds(lambda: read_batches(batches)),
                seconds(lambda: read_batches(cached)),
                seconds(lambda: read_batches(held)),
            )
            for _ in range(rounds)
        ]
    plain, ours, disk, ram = (len(cases) / min(each) for each in zip(*times, strict=True))
    share = statistics.median(one / other for one, other, *_ in times)
    rates = f"{plain:8.0f} {ours:9.0f} {share:6.2f} {len(cases) / first:8.0f} {disk:8.0f} {ram:9.0f}"
    print(f"{kind.name:38} {rates} {memory:5.0f}", flush=True)


def main() -> None:
    """Print a line per kind of image, each measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reuse_memory(0)
    set_track_meta(False)
    print(f"{'images per second':38}    alone    loader  share  to disk from disk  memory   MiB", flush=True)
    for kind in KINDS:
        one = multiprocessing.get_context("fork").Process(
            target=measure, args=(kind, options.count, options.rounds)
        )
        one.start()
        one.join()


if __name__ == "__main__":
    main()
