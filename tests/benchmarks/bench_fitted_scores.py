"""Time and memory of the scores of features, fit included, beside the matrix products that they take.

``python tests/benchmarks/bench_fitted_scores.py`` makes up features as memory maps in a temporary folder,
fits the scores and computes them; ``--classes 8 --cases 10000`` and so on for other sizes. Where pytorch-ood
can be imported, both are timed on a smaller problem in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from monai_sf.scores import CSFS, Reference
from monai_sf.scores.moments import class_means, mean_feature, scatter
from monai_sf.scores.neighbours import BANK
from monai_sf.scores.of_features import OF_FEATURES

FITS = {csf.fit.name: csf.fit for csf in OF_FEATURES if csf.fit is not None}
FITS["virtual_logit"] = FITS.pop("virtual_logit")  # which reads what another one derives


def make_features(folder: Path, name: str, count: int, width: int) -> np.ndarray:
    """Non-negative features with a few strong and many weak directions, as a float32 memory map."""
    generator = torch.Generator().manual_seed(len(name))
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(0))
    mixing *= torch.arange(1, width + 1)[:, None] ** -0.5
    array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (count, width))
    for first in range(0, count, 5000):
        rows = torch.randn(min(5000, count - first), width, generator=generator) @ mixing
        array[first : first + 5000] = (0.3 * rows + 0.5).clamp(min=0).numpy()
    array.flush()
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def make_problem(
    folder: Path, cases: int, training: int, width: int, classes: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(0)
    weight, bias = 0.05 * rng.normal(size=(classes, width)).astype(np.float32), np.ones(classes, np.float32)
    features = make_features(folder, "training", training, width)
    bias -= weight @ features[:1000].mean(0)
    logits = features @ weight.T + bias
    new = make_features(folder, "test", cases, width)
    reference = {
        "training_features": features,
        "training_logits": logits,
        "training_labels": (logits + 0.5 * rng.normal(size=logits.shape)).argmax(1),
        "last_layer_weight": weight,
        "last_layer_bias": bias,
    }
    return reference, {"features": new, "logits": new @ weight.T + bias}


@contextmanager
def peak_of_anonymous_memory() -> Iterator[list[float]]:
    """Yield a list that holds the peak in GiB afterwards; mapped files, which are a cache, do not count."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            found = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            peak[0] = max(peak[0], found / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    done.set()
    thread.join()


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def products_per_second(width: int, dtype: torch.dtype) -> float:
    """Multiplications and additions per second of a matrix product of 4,096 cases."""
    x, y = torch.rand(4096, width, dtype=dtype), torch.rand(width, width, dtype=dtype)
    return 2 * 4096 * width**2 / min(timed(lambda: x @ y)[0] for _ in range(5))


def needed_products(cases: int, training: int, width: int, classes: int) -> dict[str, float]:
    """Seconds that the products of the definitions take at the measured speed, half for triangular ones."""
    double, single = products_per_second(width, torch.float64), products_per_second(width, torch.float32)
    inside = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    return {
        "moments": training * width**2 / double,
        "gaussian": cases * width**2 / double,
        "class_densities": classes * cases * width**2 / double,
        "principal_space": 2 * (cases + training) * width * inside / double,
        "neighbours": 2 * cases * width * min(BANK, training) / single,
    }


def bench_scores(options: argparse.Namespace, folder: Path) -> None:
    sizes = options.cases, options.training, options.width, options.classes
    reference_arrays, cases = make_problem(folder, *sizes)
    limits = needed_products(*sizes)
    reference = Reference(reference_arrays)
    print("{:,} cases, fitted on {:,}, {:,} features, {} classes".format(*sizes))
    print(f"{'':18}{'fit':>9}{'scores':>9}{'products alone':>17}")
    fitting, applying, fitted = {}, {}, {}
    with peak_of_anonymous_memory() as peak:
        shared = (mean_feature, class_means, scatter)
        fitting["moments"] = timed(lambda: [reference.shared(compute) for compute in shared])[0]
        for name, fit in FITS.items():
            try:
                fitting[name], found = timed(lambda fit=fit: fit.fit(reference))
            except ValueError as reason:
                print(f"{name:18}{reason}")
                continue
            fitted[name] = {key: np.asarray(value) for key, value in found.items()}
        for name, arrays in fitted.items():
            applying[name], derived = timed(lambda name=name, arrays=arrays: FITS[name](cases, arrays))
            cases.update(derived)
            scores = [csf(cases) for csf in OF_FEATURES if csf.fit is FITS[name]]
            assert all(score.isfinite().all() for score in scores), name
    for name, seconds in fitting.items():
        print(f"{name:18}{seconds:7.2f} s{applying.get(name, 0):7.2f} s{limits.get(name, 0):15.2f} s")
    total = sum(fitting.values()) + sum(applying.values())
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    mapped = sum(array.nbytes for array in (reference_arrays["training_features"], cases["features"])) / 2**30
    print(f"{'together':27}{total:7.2f} s{sum(limits.values()):15.2f} s")
    print(f"peak memory {peak[0]:.2f} GiB, with the mapped files ({mapped:.2f} GiB) {whole:.2f} GiB")
    print(f"load of the machine in the last minute: {os.getloadavg()[0]:.1f}")


def bench_others(options: argparse.Namespace, folder: Path) -> None:
    try:
        detector = importlib.import_module("pytorch_ood.detector")
    except ImportError as error:
        print(f"\npytorch-ood is not compared: {error}")
        return
    count = BANK, options.width, options.classes
    arrays, cases = make_problem(folder, 5000, *count)
    features, labels, weight, bias = (
        torch.from_numpy(np.array(arrays[name]))
        for name in ("training_features", "training_labels", "last_layer_weight", "last_layer_bias")
    )
    new = torch.from_numpy(np.array(cases["features"]))
    head = torch.nn.Linear(*weight.T.shape)
    head.weight.data, head.bias.data = weight, bias
    layer = {
        "MDS": (detector.Mahalanobis(None), detector.RMD(None)),
        "kNN": (detector.KNN(None, k=50), detector.NNGuide(None, head, k=10)),
        "Residual": (
            detector.ViM(None, 1000 if options.width >= 2048 else options.width // 2, weight, bias),
        ),
        "DDU": (detector.GMM(None),),
        "fDBD": (detector.fDBD(None, head),),
        "SHE": (detector.SHE(None, head),),
    }
    print(f"\n5,000 cases, fitted on {BANK:,}, fit included:     here   pytorch-ood")
    for name, others in layer.items():
        fit = CSFS[name].fit
        assert fit is not None

        def here(fit: Any = fit) -> Any:
            return fit(cases, {k: np.asarray(v) for k, v in fit.fit(Reference(arrays)).items()})

        def there(others: Any = others) -> None:
            for other in others:
                other.fit_features(features, labels).predict_features(new)

        scores = "+".join(csf.name for csf in CSFS.values() if csf.fit is fit)
        with torch.no_grad():
            ours, theirs = timed(here)[0], timed(there)[0]
        print(f"{scores:42}{ours:8.2f} s{theirs:10.2f} s  ({theirs / ours:.1f} x)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"cases": 100_000, "training": 50_000, "width": 2208, "classes": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bench_scores(given, Path(temporary))
        bench_others(given, Path(temporary))
