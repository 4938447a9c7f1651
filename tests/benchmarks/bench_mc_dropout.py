"""What T dropout samples cost, in plain forward passes, beside T passes of the network, in one run.

The bound is a plain pass and T passes of the part behind the stem, all in one batch: what is above it is the
cost of masks and reductions.

Run ``python tests/benchmarks/bench_mc_dropout.py [samples]``. On a GPU, where there is one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import ConfidenceClassifier, dropout_layers, to_device
from monai_sf.networks.backbones import backbone

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: Name, image side, batch; the study's image sides on a GPU, a quarter of EfficientNet's on a CPU.
SETUPS = [
    ("densenet161", 64, 64 if DEVICE.type == "cuda" else 4),
    ("efficientnet-b4", 512 if DEVICE.type == "cuda" else 256, 16 if DEVICE.type == "cuda" else 4),
]
ROUNDS = 5


def seconds(call: Callable[[], object]) -> float:
    """Time of one call, until the device has finished."""
    start = time.perf_counter()
    call()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def naive(network: ConfidenceClassifier, images: torch.Tensor, samples: int) -> torch.Tensor:
    """The usual way: dropout layers in training mode, the whole network T times."""
    layers = dropout_layers(network)
    for layer in layers:
        layer.train()
    with torch.no_grad():
        stacked = torch.stack([network(images).softmax(1) for _ in range(samples)])
    for layer in layers:
        layer.eval()
    return stacked.mean(0)


def main(samples: int) -> None:
    """Print one line a backbone."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{samples} samples, torch {torch.__version__}, {name}; shortest of {ROUNDS}, taken in turns")
    for kind, side, batch in SETUPS:
        torch.manual_seed(0)
        channels = 3 if kind.startswith("eff") else 1
        network = ConfidenceClassifier(
            backbone(kind, in_channels=channels, num_classes=2, dropout=0.2 if channels == 3 else 0.1), 2
        )
        to_device(network, DEVICE).eval()
        images = torch.rand(batch, channels, side, side, device=DEVICE)
        ids = [str(i) for i in range(batch)]

        def forward(network: ConfidenceClassifier = network, images: torch.Tensor = images) -> object:
            with torch.no_grad():
                return network(images)

        def bound(network: ConfidenceClassifier = network, images: torch.Tensor = images) -> object:
            with torch.no_grad():
                stem = network.stem(images)
                network.plain(stem)
                return network.plain(torch.cat([stem] * samples))

        calls: dict[str, Callable[[], object]] = {
            "forward": forward,
            "bound": bound,
            "inferer": lambda n=network, x=images, i=ids: MCDropoutInferer(samples)(x, n, i),  # type: ignore[misc]
            "one by one": lambda n=network, x=images, i=ids: MCDropoutInferer(samples, max_batch=1)(x, n, i),  # type: ignore[misc]
            "naive": lambda n=network, x=images: naive(n, x, samples),  # type: ignore[misc]
        }
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(ROUNDS):
            for label, call in calls.items():
                best[label] = min(best[label], seconds(call))
        base = best["forward"]
        print(
            f"{kind} {batch}x{channels}x{side}x{side}: forward {1000 * base:.1f} ms; {samples} samples: "
            f"inferer {best['inferer'] / base:.2f} forwards, bound {best['bound'] / base:.2f}, "
            f"untiled {best['one by one'] / base:.2f}, "
            f"whole network each time {best['naive'] / base:.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
