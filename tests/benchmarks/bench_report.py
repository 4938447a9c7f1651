"""Size and speed of a report with many cases, in headless Chromium.

    python tests/benchmarks/bench_report.py [--cases 10000 50000]

The embedding is made up, since t-SNE is not what is measured. Every browser figure is the best of three.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

from monai_sf.report import build_report
from monai_sf.report import runs as runs_module
from monai_sf.results import Results

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
ROTATE = """async () => {
  const stage = document.getElementById('latent-stage');
  const before = Number(stage.dataset.frames), start = performance.now();
  const fire = (type, x, buttons) => stage.dispatchEvent(new PointerEvent(type,
    {bubbles: true, pointerId: 1, clientX: x, clientY: 300, buttons}));
  stage.setPointerCapture = () => {};
  fire('pointerdown', 300, 1);
  for (let i = 0; performance.now() - start < 2000; i++) {
    fire('pointermove', 300 + (i % 200), 1);
    await new Promise(done => requestAnimationFrame(done));
  }
  const rate = (Number(stage.dataset.frames) - before) / (performance.now() - start) * 1000;
  fire('pointerup', 300, 0);
  return rate;
}"""
RECOLOUR = """async mode => {
  const stage = document.getElementById('latent-stage'), chooser = document.getElementById('latent-colour');
  const before = Number(stage.dataset.frames), start = performance.now();
  chooser.value = mode;
  chooser.dispatchEvent(new Event('change'));
  while (Number(stage.dataset.frames) === before) await new Promise(done => requestAnimationFrame(done));
  return performance.now() - start;
}"""
SLIDE = """async step => {
  const stage = document.getElementById('latent-stage'), slider = document.getElementById('coverage');
  const before = Number(stage.dataset.frames), start = performance.now();
  slider.value = step;
  slider.dispatchEvent(new Event('input'));
  while (Number(stage.dataset.frames) === before) await new Promise(done => requestAnimationFrame(done));
  return performance.now() - start;
}"""


def made_up(n: int) -> Results:
    """A run of n cases with smooth 64-px images that compress as real ones do."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    latent = labels[:, None] * 1.5 + rng.normal(size=(n, 2))
    logits = np.stack([-latent.sum(1) + 1.5, latent.sum(1) - 1.5], axis=1)
    coarse = rng.normal(size=(200, 16, 16)).repeat(4, 1).repeat(4, 2) * 12
    y, x = np.mgrid[:64, :64] - 32
    blob = 120 * np.exp(-(x**2 + y**2) / 200)
    images = np.clip(70 + blob + coarse + rng.normal(0, 4, (200, 64, 64)), 0, 255).astype(np.uint8)
    return Results.from_arrays(
        logits,
        labels,
        features=latent,
        images=images[rng.integers(0, 200, n)],
        case_ids=[f"LIDC-IDRI-{i:05d}-slice-{i % 5}" for i in range(n)],
        columns=pd.DataFrame({"group": np.arange(n) // 5, "texture": np.round(rng.uniform(1, 5, n), 1)}),
    )


def main() -> None:
    """Print one line a number of cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, nargs="+", default=[10_000, 50_000])
    counts = parser.parse_args().cases
    print("cases  build s  HTML MB  first view s  complete s  frames/s  recolour ms  slider ms")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for n in counts:
            run = made_up(n)
            points = np.random.default_rng(1).normal(0, 0.35, (n, 3)).astype(np.float32)
            start = time.perf_counter()
            with mock.patch.object(runs_module, "embed", lambda *_, p=points: p):
                path = build_report(run, Path(folder) / f"{n}.html", max_points=n)
            built = time.perf_counter() - start
            views, ready, rates, recolours, slides = [], [], [], [], []
            for _ in range(3):
                page = browser.new_page(viewport={"width": 1400, "height": 900})
                start = time.perf_counter()
                page.goto(path.as_uri(), wait_until="commit")
                page.wait_for_selector("#cards article", timeout=60_000)
                views.append(time.perf_counter() - start)
                page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
                ready.append(time.perf_counter() - start)
                page.evaluate("document.getElementById('latent').scrollIntoView()")
                page.wait_for_timeout(300)
                rates.append(page.evaluate(ROTATE))
                recolours += [page.evaluate(RECOLOUR, mode) for mode in ("class", "confidence", "outcome")]
                slides += [page.evaluate(SLIDE, step) for step in (60, 90)]
                page.close()
            print(
                f"{n:5d}  {built:7.1f}  {path.stat().st_size / 1e6:7.1f}  {min(views):12.2f}  "
                f"{min(ready):10.2f}  {max(rates):8.0f}  {min(recolours):11.0f}  {min(slides):9.0f}",
                flush=True,
            )
        browser.close()


if __name__ == "__main__":
    main()
