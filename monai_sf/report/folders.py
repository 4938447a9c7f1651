"""Which results a folder means, and what to do with those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from monai_sf.results import Results, ResultsError, load_results


def run_folders(path: str | os.PathLike[str]) -> list[Path]:
    """The results that a folder means: itself, its ``results``, or those of the runs in it, by name.

    Args:
        path: the results of a run, the folder that a bundle trained and evaluated into, or a folder of such.

    Returns:
        At least one folder; one that holds nothing is returned as it is, for ``load_results`` to complain.
    """
    folder = Path(path)
    if _is_results(folder):
        return [folder]
    if _is_run(folder):
        return [folder / "results"]
    children = sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
    found = [c if _is_results(c) else c / "results" for c in children if _is_results(c) or _is_run(c)]
    return found or [folder]


def _is_results(folder: Path) -> bool:
    return (folder / "run.json").is_file() or (folder / "cases.csv").is_file()


def _is_run(folder: Path) -> bool:
    return (folder / "results").is_dir() or (folder / "train.config.json").is_file()


def load_runs(
    given: Sequence[Results | str | os.PathLike[str]], anonymous: bool
) -> tuple[list[tuple[Results, Path | None]], list[str]]:
    """Results and their folders, and a note about every folder that is left out.

    Args:
        given: results, or folders as in :func:`run_folders`.
        anonymous: name no folder in the notes.

    Raises:
        ResultsError: the only results are damaged, or none of several can be read; all reasons are named.
        FileNotFoundError: the only results are not there or not finished.
    """
    entries = [x for e in given for x in ([e] if isinstance(e, Results) else run_folders(e))]
    runs: list[tuple[Results, Path | None]] = []
    notes, reasons = [], []
    for entry in entries:
        if isinstance(entry, Results):
            runs.append((entry, None))
            continue
        try:
            runs.append((load_results(entry), entry))
        except (ResultsError, FileNotFoundError) as error:
            if len(entries) == 1:
                raise
            reasons.append(str(error))
            name = "a run" if anonymous else (entry.parent if entry.name == "results" else entry).name
            unfinished = isinstance(error, FileNotFoundError)
            why = "its evaluation has not finished" if unfinished else "its results cannot be read"
            notes.append(f"Left out: {name}, because {why}.")
    if not runs:
        raise ResultsError("no results can be read:\n" + "\n".join(reasons))
    return runs, notes
