"""The live reports of the gallery, built into the site from stored results.

To make the stored results and the pictures anew, from runs of today's code::

    python -m monai.bundle run --config_file bundles/lung_nodule_ct/configs/demo.yaml
    python -m monai.bundle run --config_file bundles/chest_xray/configs/demo.yaml
    python -m monai.bundle run --config_file bundles/pneumonia/configs/benchmark.yaml --dataset_dir FOLDER
    python docs/gallery_reports.py store lung_nodule_ct bundles/lung_nodule_ct/runs/demo
    python docs/gallery_reports.py store chest_xray bundles/chest_xray/runs/demo
    python docs/gallery_reports.py store pneumonia bundles/pneumonia/runs/benchmark
    python docs/gallery_reports.py pictures

FOLDER holds ``pneumoniamnist.npz``. Stored is what a report of few cases shows: the runs of the method
confidnet, outputs of all cases, and features and pictures of the shown ones only.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import monai_sf
from monai_sf.report import build_report
from monai_sf.report.runs import Run, evaluate
from monai_sf.report.sweep import chosen_cases
from monai_sf.results import Results, load_results
from monai_sf.scores import PAPER_CSFS
from monai_sf.tables.found_runs import find_runs

DOCS = Path(__file__).parent
STORED = DOCS / "gallery" / "results"
PICTURES = DOCS / "images" / "gallery"

#: Where the pictures of a report come from, which the report itself says too.
SOURCES = {
    "pneumonia": "Images: a part of PneumoniaMNIST (MedMNIST v2, Yang et al., Scientific Data 10, 2023), "
    "from Kermany et al., Cell 172, 2018; CC BY 4.0"
}
#: Names of the reports: a file of stored results, a page and a picture each.
REPORTS = ("lung_nodule_ct", "chest_xray", "pneumonia")

#: Figures of the benchmark's table that the gallery shows, by the name of the report.
FIGURES = {"lung_nodule_ct": ("ranks_per_shift.svg", "risk_coverage_lung_nodule_ct.svg")}

METHOD = "confidnet"
#: Cases that are shown individually, per run; and of the sampling.
POINTS, SEED = 250, 0
#: Grey levels per colour of a stored picture are 256 / 4, which halves its size.
_LEVEL = 4
_ARRAYS = ("logits", "mcd_log_softmax", "mcd_entropy", "confidence_logit")


def store(name: str, folder: Path) -> Path:
    """Write the reduced results of a benchmark's runs to one zip file, and copy its figures.

    Args:
        name: one of :data:`REPORTS`.
        folder: holds the runs, at any depth.

    Returns:
        The file; equal results give equal bytes.

    Raises:
        ValueError: there is no finished run of the method, or a description names a path of this machine.
    """
    runs = [load_results(found) for found in sorted(find_runs([folder], _stop).finished)]
    runs = [run for run in runs if run.run["method"] == METHOD]
    if not runs:
        raise ValueError(f"{folder} holds no finished run of the method {METHOD}")
    for figure in FIGURES.get(name, ()):
        shutil.copyfile(next(folder.rglob(f"tables/{figure}")), PICTURES / figure)
    file = STORED / f"{name}.zip"
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as packed:
        for run in runs:
            reduced = _reduced(run, SOURCES.get(name))
            reduced.save(Path(temporary) / str(run.run["study"]))
        for path in sorted(Path(temporary).rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(temporary).as_posix())
                packed.writestr(entry, path.read_bytes(), zipfile.ZIP_LZMA)
    return file


def _stop(error: OSError) -> None:
    raise error


def _reduced(results: Results, source: str | None) -> Results:
    shown = shown_rows(evaluated(results))
    sets = {}
    for name, test_set in results.test_sets.items():
        arrays = {key: test_set.arrays[key] for key in _ARRAYS if key in test_set.arrays}
        unseen = np.ones(len(test_set), bool)
        unseen[shown[name]] = False
        arrays["features"] = np.array(test_set.arrays["features"], np.float32)
        arrays["images"] = np.array(test_set.arrays["images"]) // _LEVEL * _LEVEL
        for key in ("features", "images"):
            arrays[key][unseen] = 0
        sets[name] = replace(test_set, arrays=arrays)
    return Results(_described(results.run, source), results.cases, sets)


def evaluated(results: Results) -> Run:
    """Return a run as the report evaluates it, with the cases that it shows."""
    return evaluate(results, POINTS, SEED, PAPER_CSFS)


def shown_rows(run: Run) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return name of a test set to the positions of its cases of which the report shows the picture."""
    rows = chosen_cases(run, SEED)
    shown = {}
    for i, test_set in enumerate(run.sets):
        positions = run.sample.position[run.sample.test_set == i]
        if i == 0 or test_set.corruption:
            positions = np.union1d(positions, np.flatnonzero(np.isin(test_set.rows, rows)))
        shown[test_set.name] = positions
    return shown


def _described(run: Mapping[str, Any], source: str | None) -> dict[str, Any]:
    """Return the description of a run without this machine's paths, and with the source of its images."""
    text = json.dumps(run)
    for key, short in (("run_dir", "run"), ("output_dir", "runs"), ("dataset_dir", "data")):
        text = text.replace(json.dumps(run["config"][key])[1:-1], short)
    if left := re.findall(r'"/[^"]*"', text):
        raise ValueError(f"paths of this machine in run.json: {', '.join(left)}")
    described: dict[str, Any] = json.loads(text)
    if source:
        described["study_description"] += f". {source}"
    return described


def build(site: Path) -> None:
    """Write the reports into a site, ``gallery/reports/<name>.html``, unless they are newer than the code.

    Args:
        site: folder of the built site.
    """
    code = max(file.stat().st_mtime for file in Path(monai_sf.__file__).parent.rglob("*.*"))
    for name in REPORTS:
        stored = STORED / f"{name}.zip"
        page = site / "gallery" / "reports" / f"{name}.html"
        if page.is_file() and page.stat().st_mtime > max(code, stored.stat().st_mtime):
            continue
        page.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(stored) as packed:
            packed.extractall(temporary)
            build_report(temporary, page, max_points=POINTS, seed=SEED, csfs=PAPER_CSFS)


def take_pictures() -> None:
    """Write the picture of each report for the gallery's page."""
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(temporary))
        for name in REPORTS:
            page = Path(temporary) / "gallery" / "reports" / f"{name}.html"
            size = ["--width", "1200", "--height", "900"]
            command = [sys.executable, DOCS / "screenshot.py", page, PICTURES / f"{name}.png", *size]
            subprocess.run(command, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Store results, build the reports into a folder, or take their pictures."""
    parser = argparse.ArgumentParser(description="Make the live reports of the gallery.")
    commands = parser.add_subparsers(dest="command", required=True)
    storing = commands.add_parser("store", help="store the reduced results of runs")
    storing.add_argument("name", choices=REPORTS)
    storing.add_argument("runs", type=Path, help="folder of a benchmark")
    building = commands.add_parser("build", help="write the reports into a site")
    building.add_argument("site", type=Path)
    commands.add_parser("pictures", help="take the pictures of the gallery's page")
    options = parser.parse_args(arguments)
    if options.command == "store":
        file = store(options.name, options.runs)
        print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
    elif options.command == "build":
        build(options.site)
    else:
        take_pictures()


if __name__ == "__main__":
    main()
