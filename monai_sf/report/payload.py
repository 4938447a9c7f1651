"""The content of the page as one JSON document, with packed arrays beside it."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf import __version__
from monai_sf.report import words
from monai_sf.report.concepts import concepts
from monai_sf.report.groups import affected
from monai_sf.report.packing import AsText, Packer
from monai_sf.report.privacy import Privacy
from monai_sf.report.probabilities import probabilities
from monai_sf.report.runs import Note, Run, shown_answers, shown_labels, truths
from monai_sf.report.sampling import water_fill
from monai_sf.report.studies import study_table
from monai_sf.report.sweep import sweep
from monai_sf.report.thumbnails import Sheets
from monai_sf.report.working_points import first_step, missed_and_caught, reaches_promise
from monai_sf.scores import GROUPS, group_of, in_groups, is_chosen
from monai_sf.tables.aggregate import table_of_cells
from monai_sf.tables.judge import csf_of, preferred_methods
from monai_sf.vocabulary.colours import REPORT
from monai_sf.vocabulary.titles import title

#: int16 coordinates reach from -FIELD to FIELD; what lies farther out is drawn at the border.
FIELD = 1.6
MISSING = -32768

_PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "bokeh", "pillow")


def document(
    runs: Sequence[Run],
    packer: Packer,
    sheets: Sheets,
    *,
    max_images: int,
    hide: Privacy,
    coverage: int,
    seed: int,
    settings: Mapping[str, Any],
    csfs: Collection[str] | None,
    notes: Sequence[Note],
) -> dict[str, Any]:
    """Return the page's content for ``script_json``; arrays go to ``packer``, pictures to ``sheets``."""
    first = runs[0].results.run
    table = table_of_cells(pd.concat([run.cells for run in runs], ignore_index=True))
    budgets = water_fill([len(run.sample.position) for run in runs], max_images)
    used = {name: csf_of(run.results, name) for run in runs for name in run.csfs}
    return {
        "dataset": title(str(first["dataset"])),
        "coverage": coverage,
        "tile": sheets.size,
        "groups": {
            shift.kind: {**dataclasses.asdict(shift), "meaning": words.meaning(shift, first)}
            for shift in words.KINDS
        },
        "colours": REPORT,
        "csfs": {
            name: {
                "scale": used[name].scale,
                "description": used[name].description,
                "group": GROUPS[group_of(name)],
                "usual": is_chosen(name, csfs),
            }
            for name in in_groups(used)
        },
        "table": {
            "columns": list(table.columns),
            "rows": list(table.index),
            "methods": preferred_methods([run.results for run in runs]),
            "values": [[None if math.isnan(v) else float(v) for v in row] for row in table.to_numpy()],
        },
        "studies": study_table(runs),
        "notes": [note._asdict() for note in notes],
        "runs": [
            _run(run, packer, sheets, budget, hide, seed, csfs)
            for run, budget in zip(runs, budgets, strict=True)
        ],
        "provenance": _provenance(runs, settings),
    }


def _run(
    run: Run,
    packer: Packer,
    sheets: Sheets,
    max_images: int,
    hide: Privacy,
    seed: int,
    csfs: Collection[str] | None,
) -> dict[str, Any]:
    rows = run.rows()
    used, case = np.unique(rows, return_inverse=True)
    cases = run.results.cases.iloc[used]
    thumbs = _thumbnails(run, sheets, max_images)
    description = run.results.run

    def name_of(row: int) -> str:
        return hide.numbers[str(run.results.cases["case_id"].iloc[row])]

    return {
        "study": str(description["study"]),
        "studyTitle": words.study_title(description),
        "description": words.study_description(description),
        "method": str(description["method"]),
        "seed": description["seed"],
        "title": f"{description['method']}, {words.trainings(description)}",
        "classes": [str(n) for n in description["class_names"]],
        "truths": truths(run.results),
        "sets": [
            {
                "name": s.name,
                "title": words.set_title(s),
                "description": words.set_description(s, description),
                "kind": s.kind,
                "domain": words.domain_title(s, description),
                "corruption": s.corruption,
                "severity": s.severity,
                "count": len(s),
                "probabilities": probabilities(run.results, s),
            }
            for s in run.sets
        ],
        "promise": run.promise and run.promise.of_run(),
        "unpromised": None if run.promise else words.unpromised(description),
        "csfs": [_csf(run, name, packer) for name in run.csfs],
        "missed": _missed(run, packer),
        "notes": [note._asdict() for note in run.notes],
        "affected": affected(run, packer, hide, csfs, seed),
        "concepts": concepts(run, seed, hide),
        "sweep": sweep(run, packer, sheets, seed, max_images > 0, name_of),
        "cases": {
            "id": [hide.numbers[str(i)] for i in cases["case_id"]],
            "columns": _columns(run, used, packer, hide),
        },
        "points": {
            "count": len(rows),
            "total": sum(len(s) for s in run.sets),
            "images": int((thumbs >= 0).sum()),
            "parts": _parts(run),
            "set": packer.add(run.sample.test_set, "uint16"),
            "case": packer.add(case, "uint32"),
            "label": packer.add(shown_labels(run.results)[rows], "uint16"),
            "error": None if run.results.is_classification else packer.add(run.errors(), "float32"),
            "thumb": packer.add(thumbs, "int32"),
            "xyz": None if run.embedding is None else packer.add(_quantise(run.embedding), "int16"),
        },
    }


def _parts(run: Run) -> list[list[str | int]]:
    """Return [words, shown, total] of wrong and correct cases."""
    shown = np.zeros((2, 2), np.int64)  # [disturbed, wrong by any score's prediction]
    total = np.zeros((2, 2), np.int64)
    for i, s in enumerate(run.sets):
        wrong = np.any([run.shown[s.name, c].detection.failed for c in run.csfs], axis=0)
        disturbed = int(s.corruption is not None)
        total[disturbed] += np.bincount(wrong, minlength=2)
        mine = run.sample.position[run.sample.test_set == i]
        shown[disturbed] += np.bincount(wrong[mine], minlength=2)
    names = {
        (0, 1): "mistakes on undisturbed images",
        (0, 0): "undisturbed images without a mistake",
        (1, 1): "mistakes on disturbed images",
        (1, 0): "disturbed images without a mistake",
    }
    return [[name, int(shown[k]), int(total[k])] for k, name in names.items() if total[k]]


def _csf(run: Run, name: str, packer: Packer) -> dict[str, Any]:
    found = run.sampled(name)
    scores = [run.shown[s.name, name] for s in run.sets]
    return {
        "name": name,
        "promise": run.promise and run.promise.of_csf(name),
        "thresholds": packer.add(run.thresholds[name], "float64"),
        "confidence": packer.add(found.confidence, "float32"),
        "step": packer.add(first_step(found.confidence, run.thresholds[name]), "uint8"),
        "promised": packer.add(reaches_promise(found.confidence, run.thresholds[name]), "uint8"),
        "prediction": packer.add(shown_answers(found), "uint16"),
        "effective": {
            kind: packer.add(sizes, "float32", "counts")
            for (kind, csf), sizes in run.effective.items()
            if csf == name
        },
        "seen": {kind: seen and seen.of_page() for (kind, csf), seen in run.seen.items() if csf == name},
        "sets": [
            {
                "aurc": None if math.isnan(j.aurc) else j.aurc,
                "aurcInterval": j.aurc_interval and list(j.aurc_interval),
                "errors": j.errors,
                "trusted": packer.add(j.trusted, "uint32", "counts"),
                "silent": packer.add(j.silent, "uint32", "counts"),
                "meanError": None if j.mean_error is None else packer.add(j.mean_error, "float32", "counts"),
                "effective": packer.add(j.effective, "float32", "counts"),
                "seen": j.seen and j.seen.of_page(),
                "coverage": packer.add(j.coverage, "float32"),
                "risk": packer.add(j.risk, "float32"),
            }
            for j in scores
        ],
    }


def _missed(run: Run, packer: Packer) -> dict[str, Any]:
    found = [[run.shown[s.name, c].detection for s in run.sets] for c in run.csfs]
    wrong = np.stack([np.concatenate([d.failed for d in sets]) for sets in found], axis=1)
    confidences = [np.concatenate([d.confidence for d in sets]) for sets in found]
    steps, promised = (
        np.stack([of(x, run.thresholds[c]) for c, x in zip(run.csfs, confidences, strict=True)], axis=1)
        for of in (first_step, reaches_promise)
    )
    counts = missed_and_caught(steps, promised, wrong)
    return packer.add(counts, "uint16" if counts.max() < 2**16 else "uint32")


def _quantise(embedding: NDArray[np.float32]) -> NDArray[np.int16]:
    scaled = np.clip(np.nan_to_num(embedding) / FIELD, -1, 1) * 32767
    return np.where(np.isnan(embedding), MISSING, np.rint(scaled)).astype(np.int16)


def _thumbnails(run: Run, sheets: Sheets, budget: int) -> NDArray[np.int64]:
    """Return the number of every sampled case's thumbnail, -1 without; failures come first."""
    failed = np.any([run.sampled(c).failed for c in run.csfs], axis=0)
    has = np.isin(run.sample.test_set, [i for i, s in enumerate(run.sets) if "images" in s.arrays])
    # spread the rest evenly over the test sets
    order = np.argsort(~failed, kind="stable")
    candidates = order[has[order]]
    n_failed = int((failed & has).sum())
    if len(candidates) > budget > n_failed:
        rest = candidates[n_failed:]
        even = np.linspace(0, len(rest) - 1, budget - n_failed).astype(np.int64)
        candidates = np.concatenate([candidates[:n_failed], rest[even]])
    numbers = np.full(len(failed), -1, np.int64)
    for i in np.sort(candidates[:budget]):
        images = run.sets[run.sample.test_set[i]].arrays["images"]
        numbers[i] = sheets.add(images[run.sample.position[i]])
    return numbers


def _columns(run: Run, rows: NDArray[np.int64], packer: Packer, hide: Privacy) -> list[dict[str, Any]]:
    columns = []
    for name, texts in hide.table(run.results, rows).items():
        codes, values = pd.factorize(texts)
        columns.append({"name": name, "values": list(values), "codes": packer.add(codes, "uint32")})
    return columns


def _provenance(runs: Sequence[Run], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "report": {
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "monai_sf": __version__,
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in _PACKAGES},
            "settings": dict(settings),
        },
        "runs": [
            {
                "title": words.run_title(run.results.run, " · "),
                "cases": [
                    [s.name, len(s), int((run.sample.test_set == i).sum())] for i, s in enumerate(run.sets)
                ],
                "run": AsText(dict(run.results.run)),
            }
            for run in runs
        ],
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
