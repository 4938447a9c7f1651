"""How long a corruption takes, beside imagecorruptions and albumentations where they are installed.

Run from the checkout: PYTHONPATH=docs python tests/benchmarks/bench_corruptions.py [--repeats 15]

Severity 3 at 3×512×512 on one core; the shortest of many runs, all libraries taking turns, since other load
on the machine only ever adds time. With a GPU also images per second in a batch of 64.
"""

import argparse
import importlib
import time
from pathlib import Path

import numpy as np
import torch
from drawings import phantom
from monai_sf.transforms import CORRUPTIONS, CorruptionSweep, corrupt

SIZE = 512
TARGETS = {
    "brightness_up": 1.0,
    "brightness_down": 1.0,
    "elastic": 10.0,
    "motion_blur": 12.0,
    "gaussian_noise": 8.0,
}
# Brightness is one kind in the other libraries: the sums compare four.
SUMMED = ("brightness_up", "elastic", "motion_blur", "gaussian_noise")


def ours():
    image = torch.from_numpy(phantom("dermoscopy", SIZE))
    return {kind: lambda kind=kind: corrupt(image, kind, 3, seeds=1) for kind in CORRUPTIONS}


def imagecorruptions():
    library = importlib.import_module("imagecorruptions")
    image = (phantom("dermoscopy", SIZE).transpose(1, 2, 0) * 255).astype(np.uint8)
    names = {
        "brightness_up": "brightness",
        "elastic": "elastic_transform",
        "motion_blur": "motion_blur",
        "gaussian_noise": "gaussian_noise",
    }
    return {kind: lambda name=name: library.corrupt(image, 3, name) for kind, name in names.items()}


def albumentations():
    library = importlib.import_module("albumentations")
    importlib.import_module("cv2").setNumThreads(1)
    image = np.ascontiguousarray(phantom("dermoscopy", SIZE).transpose(1, 2, 0))
    steps = {
        "brightness_up": library.RandomBrightnessContrast((0.3, 0.3), (0, 0), p=1),
        "elastic": library.ElasticTransform(alpha=300, sigma=25, p=1),
        "motion_blur": library.MotionBlur((69, 69), p=1),
        "gaussian_noise": library.GaussNoise((0.12, 0.12), p=1),
    }
    return {kind: lambda step=step: step(image=image) for kind, step in steps.items()}


def shortest(functions, repeats):
    """Milliseconds of the fastest call of each, all taking turns in rounds of four calls."""
    for function in functions.values():
        function()
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            # A few in a row, as in a pass over a data set: each finds its memory warm.
            for _ in range(4):
                start = time.perf_counter()
                function()
                best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best


def measure_cpu(repeats):
    torch.set_num_threads(1)
    libraries = {"monai_sf": ours()}
    for load in (imagecorruptions, albumentations):
        try:
            libraries[load.__name__] = load()
        except ImportError as error:
            print(f"{load.__name__} is not compared: it cannot be imported ({error})")
    source = torch.rand(3, SIZE, SIZE)
    target = torch.empty_like(source)
    functions = {("copy", "copy"): lambda: target.copy_(source)}
    functions |= {(name, kind): f for name, kinds in libraries.items() for kind, f in kinds.items()}
    best = shortest(functions, repeats)
    copy = best["copy", "copy"]
    print(f"\none core, 3×{SIZE}×{SIZE}, severity 3, shortest of {4 * repeats}, milliseconds")
    print(f"reading and writing the image once: {copy:.3f} ({2 * source.nbytes / copy / 1e6:.1f} GB/s)")
    others = [name for name in libraries if name != "monai_sf"]
    print(
        f"{'':16}{'monai_sf':>10}{'target':>8}{'× copy':>8}" + "".join(f"{n:>18}{'ratio':>7}" for n in others)
    )
    for kind in CORRUPTIONS:
        mine = best["monai_sf", kind]
        row = f"{kind:16}{mine:10.2f}{TARGETS[kind]:8.0f}{mine / copy:8.1f}"
        for name in others:
            theirs = best.get((name, kind))
            row += f"{'':25}" if theirs is None else f"{theirs:18.2f}{theirs / mine:6.1f}×"
        print(row)
    mine = sum(best["monai_sf", kind] for kind in SUMMED)
    row = f"{'sum of four':16}{mine:10.2f}{sum(TARGETS[k] for k in SUMMED):8.0f}{'':8}"
    for name in others:
        theirs = sum(best[name, kind] for kind in SUMMED)
        row += f"{theirs:18.2f}{theirs / mine:6.1f}×"
    print(row)

    case = {"image": source, "case_id": "a"}
    sweep = CorruptionSweep()
    (seconds,) = shortest({"sweep": lambda: [None for _ in sweep(case)]}, max(3, repeats // 10)).values()
    print(f"all 25 corruptions of one case by CorruptionSweep: {seconds:.0f} ms")


def measure_gpu(repeats):
    if not torch.cuda.is_available():
        print("no GPU here: images per second on one are not measured")
        return
    print(f"\n{torch.cuda.get_device_name()}, batch of 64, 3×{SIZE}×{SIZE}, severity 3")
    batch = torch.rand(64, 3, SIZE, SIZE, device="cuda")
    for kind in CORRUPTIONS:

        def run(kind=kind):
            corrupt(batch, kind, 3, seeds=range(64))
            torch.cuda.synchronize()

        (milliseconds,) = shortest({kind: run}, repeats).values()
        print(f"{kind:16}{64e3 / milliseconds:12.0f} images/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    measure_cpu(repeats)
    measure_gpu(repeats)
