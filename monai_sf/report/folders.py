"""Results in folders, and those that cannot be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from monai_sf.results import Results, ResultsError, load_results
from monai_sf.tables.cells import find_runs
from monai_sf.tables.redaction import folder_label, reason_in

logger = logging.getLogger(__name__)


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
        given: results, or folders: a run's results, the folder that a bundle trained and evaluated into, or
            one that holds such at any depth.
        left_out: gets the unreadable and unfinished ones.
    """
    runs: list[tuple[Results, Path | None]] = []
    for entry in given:
        if isinstance(entry, Results):
            runs.append((entry, None))
            continue
        place = Path(entry).resolve()
        found = find_runs([place], lambda error: left_out.add(Path(error.filename), error))
        trained = (*place.glob("train.config.json"), *place.glob("*/train.config.json"))
        folders = {*found.finished, *found.unfinished}
        folders.update((file.parent / "results").resolve() for file in trained)
        for folder in sorted(folders) or [Path(entry)]:
            try:
                runs.append((load_results(folder), folder))
            except (ResultsError, OSError) as error:
                left_out.add(folder, error)
    return runs
