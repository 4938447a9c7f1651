"""Which results a folder means, and what to do with those that cannot be read."""

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
    found = [place for child in children if (place := _results_in(child))]
    return found or [folder]


def _results_in(folder: Path) -> Path | None:
    try:
        return folder if _is_results(folder) else folder / "results" if _is_run(folder) else None
    except OSError:
        return folder  # opening it will say what is wrong


def _is_results(folder: Path) -> bool:
    return (folder / "run.json").is_file() or (folder / "cases.csv").is_file()


def _is_run(folder: Path) -> bool:
    return (folder / "results").is_dir() or (folder / "train.config.json").is_file()


@dataclass
class LeftOut:
    """Runs that a report leaves out.

    Attributes:
        anonymous: name no folder and no reason in the notes.
        notes: what the page says of each.
        errors: what happened.
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
        """Say why nothing is left.

        Raises:
            ResultsError: all reasons, where there are several runs.
            Exception: the one reason as it came.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        raise ResultsError("no results can be read:\n" + "\n".join(map(str, self.errors)))


def load_runs(
    given: Sequence[Results | str | os.PathLike[str]], left_out: LeftOut
) -> list[tuple[Results, Path | None]]:
    """Results and their folders; those that cannot be read are added to ``left_out``.

    Args:
        given: results, or folders as in :func:`run_folders`.
        left_out: gets what cannot be read.
    """
    entries = [x for e in given for x in ([e] if isinstance(e, Results) else run_folders(e))]
    runs: list[tuple[Results, Path | None]] = []
    for entry in entries:
        if isinstance(entry, Results):
            runs.append((entry, None))
            continue
        try:
            runs.append((load_results(entry), entry))
        except (ResultsError, OSError) as error:
            left_out.add(entry, error)
    return runs
