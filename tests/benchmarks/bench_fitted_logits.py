"""Time of the temperature fit beside other minimisers, and of the scores of logits and reshaped features.

Run ``python tests/benchmarks/bench_fitted_logits.py``; all times are of the same run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from monai_sf.scores import CSFS, derived, fit_scores
from monai_sf.scores.temperature import fit_temperature


def shortest(call: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Return the shortest time of a call in seconds, and its result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return best, result


def by_scipy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Minimise over the logarithm of 1/T by Brent's bounded method, to the precision that it can reach."""
    own = logits[np.arange(len(labels)), labels]

    def likelihood(log_beta: float) -> float:
        beta = np.exp(log_beta)
        return float(np.mean(logsumexp(beta * logits, axis=1) - beta * own))

    found = minimize_scalar(
        likelihood, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-8}
    )
    return float(np.exp(-found.x))


def by_lbfgs(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Minimise over T by PyTorch's L-BFGS with a line search, as implementations of the paper do."""
    temperature = torch.ones((), dtype=logits.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [temperature], max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / temperature, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(temperature.detach())


def temperature(n: int, classes: int) -> None:
    """Print the times and the differences of the temperatures."""
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) * 3
    logits[np.arange(n), labels] += rng.normal(size=n) * 4 + 7
    logits *= 2
    tensor, targets = torch.from_numpy(logits), torch.from_numpy(labels)
    ours, found = shortest(lambda: fit_temperature(logits, labels))
    single, _ = shortest(lambda: fit_temperature(np.float32(logits), labels))
    line = f"{n:>7,} x {classes:<6,} {ours:7.3f} s   float32 {single:7.3f} s"
    for name, call in (
        ("scipy", lambda: by_scipy(logits, labels)),
        ("L-BFGS", lambda: by_lbfgs(tensor, targets)),
    ):
        seconds, other = shortest(call, 1)
        line += f"   {name} {seconds / ours:5.1f} x, T differs by {abs(other / found - 1):.0e}"
    print(line)


def scores(n: int, size: int, classes: int, training: int) -> None:
    """Print the times of all scores of logits and of reshaped features, fit and cases apart."""
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(classes, size)) / size).astype(np.float32)

    def cases(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        features = rng.gamma(1, 1, (count, size)).astype(np.float32)
        logits = features @ weight.T * 30
        return features, logits, (logits + rng.normal(size=logits.shape)).argmax(1)

    reference = {"last_layer_weight": weight, "last_layer_bias": np.zeros(classes, np.float32)}
    for part, count in (("training", training), ("validation", training // 5)):
        kinds = zip(("features", "logits", "labels"), cases(count), strict=True)
        reference |= {f"{part}_{kind}": values for kind, values in kinds}
    features, logits, _ = cases(n)
    arrays = {"features": features, "logits": logits}
    print(f"\n{n:,} cases, {size:,} features, {classes:,} classes, fitted to {training:,}: seconds")
    fitted: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name in ("DOCTOR", "GEN", "T-MSR", "KL-Matching", "Rel-U", "ReAct", "ASH", "SIRC-MSR-L1"):
        fit = CSFS[name].fit
        at_hand = dict(arrays)
        if fit is not None:
            needs = {key: reference[key] for key in fit.needs}
            seconds["fit"], found = shortest(lambda n=needs: fit_scores(n, None).arrays, 1)
            fitted |= found
            seconds["cases"], more = shortest(lambda f=fit, a=dict(fitted): derived(f, arrays, a), 1)
            at_hand |= more
        else:
            seconds = {"fit": 0.0, "cases": 0.0}
        more_seconds, _ = shortest(lambda c=CSFS[name], a=at_hand: c(a), 1)
        with_it = f" (with {', '.join(fit.gives)})" if fit is not None and len(fit.gives) > 1 else ""
        print(f"{name:12} fit {seconds['fit']:6.2f}   cases {seconds['cases'] + more_seconds:6.2f}{with_it}")


def main() -> None:
    """Print the measurements."""
    torch.set_num_threads(2)
    print("temperature          here             other minimisers (x the time here)")
    for n, classes in ((10_000, 8), (10_000, 1_139), (50_000, 8)):
        temperature(n, classes)
    scores(100_000, 2_208, 8, 50_000)
    scores(20_000, 2_208, 1_139, 20_000)


if __name__ == "__main__":
    main()
