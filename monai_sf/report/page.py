"""One static HTML file from the results of runs."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
from bokeh.resources import Resources

from monai_sf.files import refuse_unwritable, write_text
from monai_sf.report import plots, words
from monai_sf.report.folders import LeftOut, load_runs, with_ensembles
from monai_sf.report.linker import link
from monai_sf.report.maps import with_maps
from monai_sf.report.packing import Packer, script_json
from monai_sf.report.payload import document
from monai_sf.report.privacy import Privacy, cleaned
from monai_sf.report.runs import Note, Run, evaluate
from monai_sf.report.thumbnails import Sheets
from monai_sf.results import Results, ResultsError
from monai_sf.scores import ALL
from monai_sf.tables.found_runs import refuse_unknown_csfs
from monai_sf.tables.redaction import redacted
from monai_sf.vocabulary.colours import page_style
from monai_sf.vocabulary.data_kinds import warning_of
from monai_sf.vocabulary.titles import title as title_of

__all__ = ["build_report"]

#: Results in memory, or the folder of a run.
RunLike: TypeAlias = "Results | str | os.PathLike[str]"

logger = logging.getLogger(__name__)

#: How ``page.html`` begins.
_START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="monai_sf.report">
"""


def build_report(
    results: RunLike | Sequence[RunLike],
    output: str | os.PathLike[str],
    *,
    title: str | None = None,
    coverage: int = 80,
    max_points: int = 3000,
    max_images: int = 10_000,
    thumbnail_size: int = 64,
    anonymous: bool = False,
    columns: Iterable[str] | None = None,
    csfs: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Write the report of one or several runs of one dataset: one file that opens without network.

    Args:
        results: results, or folders of a run's results, of a run, or of several runs. Unfinished or damaged
            ones are left out and named on the page, unless there are no others. The embedding is stored in
            the folder for the next report. Runs that differ in the seed only also give their deep ensemble
            (:meth:`monai_sf.results.Results.ensemble`), one more run of the page.
        output: the HTML file; an earlier report is replaced, whole or not at all.
        title: heading of the page; by default made from the dataset's name.
        coverage: the initial working point of scores that promise no risk: per cent of the ordinary (iid)
            cases that the system decides alone, 1 to 100. The others begin at their promised threshold.
        max_points: how many cases of each run are shown individually (pictures and map of the latent space).
            Failures on undisturbed images come first; see ``sampling``. The map's t-SNE takes about ten
            seconds for 1,000.
        max_images: maximum number of thumbnails on the page, about 1 kB each; failures come first.
        thumbnail_size: side of a thumbnail in pixels, a multiple of 16.
        anonymous: replace case ids by numbers, and leave out the configuration, descriptions, names of
            domains (unless ``columns`` has ``source``), names of classes that hold cases of one group only
            (unless it has ``label_name``), and all columns of the case table but the known harmless ones
            of a published dataset. The log names the omitted columns.
        columns: columns of the case table to show; None for all but paths, labels and DICOM's identifying
            attributes, or for the harmless ones in an anonymous report.
        csfs: names of the scores on the page, all of which are offered at once; None for all scores, of which
            :func:`monai_sf.scores.usual_csfs` are offered at first and the others on request.
        seed: of the sampling and the embedding.

    Returns:
        The path of the file.

    Raises:
        ResultsError: no results, runs of more than one dataset or kind of data, or nothing to show in them.
        FileNotFoundError: the only folder holds no results, or unfinished ones.
        ValueError: an argument is out of range, or a score or column does not exist or is never shown.
        FileExistsError: the output exists and is not a report.
        OSError: the file cannot be written.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.report import build_report
        >>> from monai_sf.results import Results
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> labels, where = [0, 0, 1, 0, 0, 1, 1, 0], ["iid"] * 4 + ["hospital B"] * 4
        >>> pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 32), np.uint8)
        >>> results = Results.from_arrays(logits, labels, images=pictures, domains=where)
        >>> page = build_report(results, "report.html", title="Two hospitals")
        >>> page.name, "<title>Two hospitals" in page.read_text()
        ('report.html', True)
    """
    if not 1 <= coverage <= 100:
        raise ValueError(f"coverage must be 1 to 100 (per cent), got {coverage}")
    if max_points < 1 or max_images < 0:
        raise ValueError(
            f"max_points must be positive and max_images not negative, got {max_points}, {max_images}"
        )
    given = [results] if isinstance(results, (Results, str, os.PathLike)) else list(results)
    if not given:
        raise ResultsError("results is empty: give at least one run")
    refuse_unwritable(output, _START)
    sheets = Sheets(thumbnail_size)
    left_out = LeftOut(anonymous)
    loaded = load_runs(given, left_out)
    if not loaded:
        left_out.refuse()
    kinds = {(str(r.run["dataset"]), str(r.run["data_kind"])) for r, _ in loaded}
    if len(kinds) > 1:
        raise ResultsError(f"a report is about one dataset, got {sorted(kinds)}: make one report for each")
    if len({(r.is_classification, r.failure_above) for r, _ in loaded}) > 1:
        raise ResultsError(
            "a report shows runs with classes, or runs of errors with one failure_above: make one for each"
        )
    chosen = [ALL] if csfs is None else csfs
    refuse_unknown_csfs(chosen, dict.fromkeys(name for r, _ in loaded for name in r.scores))
    loaded = with_ensembles(loaded, left_out, chosen)
    columns = None if columns is None else tuple(columns)
    hide = Privacy.of([r for r, _ in loaded], anonymous, columns)
    clean = cleaned([r for r, _ in loaded], anonymous, columns)
    runs: list[Run] = []
    caches: list[Path | None] = []
    for number, (run, (given_run, folder)) in enumerate(zip(clean, loaded, strict=True), 1):
        logger.info("run %d of %d: %s", number, len(clean), words.run_title(given_run.run))
        try:
            runs.append(evaluate(run, max_points, seed, chosen))
            caches.append(folder)
        except (ValueError, OSError) as error:  # ResultsError, and errors of a metric
            left_out.add(folder or given_run, error)
    if not runs:
        left_out.refuse()
    logger.info("maps of %d runs", len(runs))
    runs = with_maps(runs, seed, caches)
    packer = Packer()
    settings = {
        "coverage": coverage, "max_points": max_points, "max_images": max_images,
        "thumbnail_size": thumbnail_size, "anonymous": anonymous, "seed": seed,
        "columns": "by default" if columns is None else ", ".join(columns),
        "csfs": "by default" if csfs is None else ", ".join(csfs),
    }  # fmt: skip
    texts = [*left_out.notes, *hide.note([run.results for run in runs])]
    content = document(
        runs, packer, sheets,
        max_images=max_images, hide=hide, coverage=coverage, seed=seed, settings=settings, csfs=csfs,
        notes=[Note("report", text) for text in texts],
    )  # fmt: skip
    first, graded = runs[0].results.run, not runs[0].results.is_classification
    html = _render(
        content,
        packer,
        sheets.finish(),
        title=title
        or f"Where {title_of(str(first['dataset']))}{'' if graded else ' classification'} fails silently",
        question=words.question(first["class_names"]),
        kind=words.kind_of_model(first),
        failure_above=f"{runs[0].results.failure_above:g}",
        tested=words.tested([run.results.run for run in runs], [run.sets for run in runs]),
        banner=warning_of(str(first["data_kind"])),
    )
    path = Path(output)
    write_text(path, html)
    return path


def _render(content: dict[str, Any], packer: Packer, sheets: Sequence[bytes], **text: Any) -> str:
    files = resources.files("monai_sf.report")
    own = link({f.name: f.read_text(encoding="utf-8") for f in (files / "scripts").iterdir()}, "main.js")
    library = "\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((files / "page.html").read_text(encoding="utf-8"))
    return template.render(
        style=page_style() + (files / "style.css").read_text(encoding="utf-8"),
        script=own,
        library=library,
        policy=_policy([own, library]),
        data=script_json(content),
        figures=script_json(plots.items("Wrong" if text["question"] else "Mean error")),
        arrays=packer.base64(),
        sheets=[base64.b64encode(sheet).decode("ascii") for sheet in sheets],
        **redacted(text),
    )


def _policy(scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy: these scripts by hash, no others; no requests, eval or forms."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
