"""Results in folders, and those that cannot be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from monai_sf.results import Results, ResultsError, load_results
from monai_sf.tables.redaction import folder_label, reason_in

logger = logging.getLogger(__name__)


def run_folders(path: str | os.PathLike[str]) -> list[Path]:
    """Find the results of a folder: itself, its ``results``, or those of the runs in it, by name.

    Args:
        path: the results of a run, the folder that a bundle trained and evaluated into, or a folder of such.

    Returns:
        At least one folder; one without results is returned itself, for ``load_results`` to report.
    """
    folder = Path(path)
    if place := _results_in(folder):
        return [place]
    children = sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
    found = [place for child in children if (place := _results_in(child))]
    return found or [folder]


def _results_in(folder: Path) -> Path | None:
    try:
        if (folder / "run.json").is_file() or (folder / "cases.csv").is_file():
            return folder
        is_run = (folder / "results").is_dir() or (folder / "train.config.json").is_file()
        return folder / "results" if is_run else None
    except OSError:
        return folder  # load_results reports the error


@dataclass
class LeftOut:
    """Runs that a report leaves out.

    Attributes:
        anonymous: whether the notes name neither folders nor reasons.
        notes: a sentence for the page on each run.
        errors: the reasons.
    """

    anonymous: bool
    notes: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def add(self, results: Results | Path, error: Exception) -> None:
        """Note and log a run that cannot be shown."""
        if isinstance(results, Path):
            place, name = str(results), folder_label(results)
        else:
            place = name = "{study}, {method}, seed {seed}".format(**results.run)
        self.errors.append(error)
        logger.warning("left out: %s: %s", place, error)
        why = "its results cannot be read"
        if isinstance(error, FileNotFoundError):
            why = "its evaluation has not finished"
        elif not self.anonymous:
            why += f": {reason_in(error, results if isinstance(results, Path) else None)}"
        self.notes.append(f"Left out: {'a run' if self.anonymous else name}, because {why}.")

    def refuse(self) -> NoReturn:
        """Raise the reasons why no run is left.

        Raises:
            ResultsError: all reasons, if there are several runs.
            Exception: the only reason, unchanged.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        raise ResultsError("no results can be read:\n" + "\n".join(map(str, self.errors)))


def load_runs(
    given: Sequence[Results | str | os.PathLike[str]], left_out: LeftOut
) -> list[tuple[Results, Path | None]]:
    """Load results with their folders.

    Args:
        given: results, or folders as in :func:`run_folders`.
        left_out: gets the unreadable ones.
    """
    runs: list[tuple[Results, Path | None]] = []
    for entry in given:
        if isinstance(entry, Results):
            runs.append((entry, None))
            continue
        for folder in run_folders(entry):
            try:
                runs.append((load_results(folder), folder))
            except (ResultsError, OSError) as error:
                left_out.add(folder, error)
    return runs
