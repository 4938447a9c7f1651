"""Files of the benchmark's tables and figures."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from monai_sf.files import refuse_unwritable, write_json, write_text
from monai_sf.results.case_table import csv_text
from monai_sf.tables.aggregate import Table, table_of
from monai_sf.tables.cells import RunKey, collect
from monai_sf.tables.cleaning import cleaned
from monai_sf.tables.comparisons import LEVEL, significance, verdicts, wins_and_losses
from monai_sf.tables.defaults import DEFAULT_RISK, RESAMPLES
from monai_sf.tables.format import tidy
from monai_sf.tables.found_runs import chosen_csfs
from monai_sf.tables.groups_file import groups_of_runs, worse_groups
from monai_sf.tables.html import html_of
from monai_sf.tables.latex import latex_of
from monai_sf.tables.paper import compare_with_paper
from monai_sf.tables.text import text_of, text_of_comparison

#: The manifest, which names the files that the next call may replace.
MANIFEST = "tables.json"
_MANIFEST_START = '{\n  "format": "monai_sf.tables",'
_TABLES = ("table.txt", "table.csv", "table.tex", "table.html", "per_shift.csv", "cells.csv", "groups.csv")


def write_tables(
    runs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    metric: str = "aurc",
    *,
    risk: float = DEFAULT_RISK,
    csfs: Sequence[str] | None = None,
    reference: str | None = None,
    compare_paper: bool = False,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    expected: Mapping[tuple[str, str, str, int], str] | None = None,
) -> dict[str, Path]:
    """Write Table 1, the table per shift, the significance and the figures of a collection of runs.

    Args:
        runs: folders of runs, or folders that hold them at any depth; any datasets, studies, methods, seeds.
        folder: output folder, created if missing. Files of an earlier call, which its ``tables.json`` names,
            are replaced.
        metric: ``aurc``, ``eaurc``, ``augrc``, ``auroc_f``, ``accuracy`` or ``coverage_at_risk``.
        risk: tolerated share of errors among trusted predictions for ``coverage_at_risk``, in [0, 1].
        csfs: names of the scores to show, or ``["all"]``; None for :func:`monai_sf.scores.usual_csfs` and the
            runs' own.
        reference: row to compare all others with; None compares all pairs, or all others with MSR if the
            resamples are too few to show any difference among all pairs.
        compare_paper: whether to add the paper's numbers for comparison (``aurc`` only).
        n_resamples: bootstrap resamples of the groups; 0: no significance tests.
        seed: of the resampling.
        expected: (dataset, study, method, seed) of each run that should exist to the kind of its study, such
            as "acquisition"; notes name the missing ones.

    Returns:
        The written files: ``text``, ``csv``, ``tex``, ``html``, ``per_shift``, ``cells`` (the long table),
        ``groups`` (who is affected, see :func:`monai_sf.tables.by_group`), ``significance`` (unless left
        out), and each figure as ``<name>.svg`` and ``<name>.pdf``.

    Raises:
        FileNotFoundError: no finished results.
        FileExistsError: the folder holds files of the same names that no earlier call wrote.
        ResultsError: all folders are damaged (a single damaged one is left out and noted with the reason), or
            two hold the same run.
        ValueError: an unknown metric, score or reference, or an argument out of range.
        OSError: a file cannot be written.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import write_tables
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> run = Results.from_arrays(logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="skin")
        >>> run.save("runs/seed_0")
        >>> written = write_tables(
        ...     ["runs"], "tables", metric="augrc", csfs=["MSR", "PE"], n_resamples=0
        ... )
        >>> sorted(path.name for path in written.values())
        ['cells.csv', 'groups.csv', 'per_shift.csv', 'ranks.pdf', 'ranks.svg',
         'ranks_per_shift.pdf', 'ranks_per_shift.svg', 'risk_coverage_skin.pdf',
         'risk_coverage_skin.svg', 'table.csv',
         'table.html', 'table.tex', 'table.txt']
    """
    # imported here, since it takes half a second
    from monai_sf.tables import figures

    folder = Path(folder)
    # checked before the long collection
    if compare_paper and metric != "aurc":
        raise ValueError(f"the paper's Table 1 is in aurc, so it cannot be compared with {metric}")
    refuse_unwritable(folder / MANIFEST, _MANIFEST_START)
    _check_ours(folder, _TABLES)
    csfs = chosen_csfs(runs, csfs)
    if reference is not None and reference.partition(" (")[0] not in csfs:
        raise ValueError(f"reference must be one of {', '.join(csfs)}, got {reference!r}")
    collected = collect(runs, metric=metric, risk=risk, csfs=csfs, n_resamples=n_resamples, seed=seed)
    subgroups, remarks = groups_of_runs(collected)
    collected = replace(collected, subgroups=subgroups, notes=(*collected.notes, *remarks))
    collection, wanted = cleaned(collected, {RunKey(*key): kind for key, kind in (expected or {}).items()})
    table = table_of(collection, expected=wanted)
    per_shift = table_of(collection, per_shift=True, expected=wanted)
    comparison = compare_with_paper(table) if compare_paper else None
    reference = reference or _reference_of(list(table.mean.index), n_resamples)
    differences = significance(collection, reference=reference) if n_resamples else None
    if differences is not None:
        table = with_warning(table, differences, n_resamples)
    if affected := worse_groups(collection.subgroups):
        table = replace(table, notes=(*table.notes, *affected))
    drawn = {
        "ranks": ("Rank of the scores in Table 1", figures.rank_figure(table)),
        "ranks_per_shift": ("Rank of the scores per shift", figures.rank_figure(per_shift)),
    }
    for dataset in per_shift.mean.columns.unique(0):
        key = "risk_coverage_" + re.sub(r"[^\w-]", "_", dataset)[:80]
        while key.casefold() in map(str.casefold, drawn):  # the names differ in other characters
            key += "_"
        name = f"Risk-coverage curves, {dataset}"
        drawn[key] = name, figures.risk_coverage_figure(collection, per_shift, dataset)
    files = {*_TABLES, *(f"{name}.{kind}" for name in drawn for kind in ("svg", "pdf"))}
    if differences is not None:
        files.add("significance.csv")
    before = _check_ours(folder, files)
    _write_manifest(folder, before | files)
    written: dict[str, Path] = {}

    def write(key: str, name: str, text: str) -> None:
        write_text(folder / name, text)
        written[key] = folder / name

    parts = [text_of(table), "Each shift by itself\n\n" + text_of(per_shift)]
    if comparison is not None:
        parts.append(text_of_comparison(comparison, table))
    write("text", "table.txt", "\n\n".join(parts))
    write("csv", "table.csv", _csv(tidy(table)))
    write("tex", "table.tex", latex_of(table))
    write("per_shift", "per_shift.csv", _csv(tidy(per_shift)))
    write("cells", "cells.csv", _csv(collection.cells))
    write("groups", "groups.csv", _csv(collection.subgroups))
    texts = None
    if differences is not None:
        write("significance", "significance.csv", _csv(differences))
        summary = verdicts if reference else wins_and_losses
        texts = summary(differences, table.columns)
    for name, (_, figure) in drawn.items():
        for kind in ("svg", "pdf"):
            written[f"{name}.{kind}"] = folder / f"{name}.{kind}"
            figures.save_figure(figure, written[f"{name}.{kind}"])
    pictures = {
        words: written[f"{name}.svg"].read_text(encoding="utf-8") for name, (words, _) in drawn.items()
    }
    page = html_of(
        table, per_shift, significant=texts, reference=reference, comparison=comparison, figures=pictures
    )
    write("html", "table.html", page)
    for old in before - files:  # not part of this call
        (folder / old).unlink(missing_ok=True)
    _write_manifest(folder, files)
    return written


def _check_ours(folder: Path, files: Collection[str]) -> set[str]:
    """Return the files that earlier calls wrote into a folder; refuse to replace any other."""
    ours: set[str] = set()
    if (folder / MANIFEST).is_file() and (folder / MANIFEST).stat().st_size:
        try:
            listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
            ours = {str(name) for name in listed if Path(str(name)).name == name}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / MANIFEST} is damaged ({error!r}): choose another folder") from error
    if others := sorted(name for name in files if name not in ours and os.path.lexists(folder / name)):
        raise FileExistsError(
            errno.EEXIST,
            f"will not replace {', '.join(others)} in {folder}, which no earlier call wrote: choose another "
            "folder, or move them away",
        )
    return ours


def _write_manifest(folder: Path, files: Collection[str]) -> None:
    write_json(folder / MANIFEST, {"format": "monai_sf.tables", "files": sorted(files)})


def _csv(frame: pd.DataFrame) -> str:
    return csv_text(frame, "%.10g")


def _needed(comparisons: int) -> float:
    """Return the number of resamples from which a p-value can stay below 5 % after Holm's correction."""
    return round(2 * comparisons / (1 - LEVEL), 6)


def _reference_of(rows: Sequence[str], n_resamples: int) -> str | None:
    """Return MSR if the resamples can show a difference from it, but none among all pairs; else None."""
    pairs, others = math.comb(len(rows), 2), len(rows) - 1
    return "MSR" if "MSR" in rows and _needed(others) < n_resamples + 1 <= _needed(pairs) else None


def with_warning(table: Table, differences: pd.DataFrame, n_resamples: int) -> Table:
    """Add a note to a table if no p-value can be small enough after Holm's correction.

    Args:
        table: Table 1.
        differences: see :func:`~.comparisons.significance`.
        n_resamples: their number.
    """
    per_column = differences[differences["scope"] == "column"]
    sizes = per_column.groupby(["dataset", "group"])["p_value"].count()
    family = int(sizes.max()) if len(sizes) else 0  # one score alone has nothing to be compared with
    if n_resamples + 1 > _needed(family) or not family:
        return table
    note = (
        f"significance: {n_resamples} resamples cannot show any difference among {family} comparisons; "
        f"take {math.ceil(_needed(family))} or more, or a reference"
    )
    return replace(table, notes=(*table.notes, note))
