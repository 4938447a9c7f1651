"""Results in folders, and those that cannot be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from monai_sf.report import words
from monai_sf.results import Results, ResultsError, load_results
from monai_sf.scores import is_chosen
from monai_sf.tables.ensembles import ensemble_csfs, ensembles_of
from monai_sf.tables.found_runs import find_runs
from monai_sf.tables.redaction import folder_label, reason_in, redacted_text

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
            place = name = words.run_title(results.run)
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


def with_ensembles(
    runs: Sequence[tuple[Results, Path | None]], left_out: LeftOut, chosen: Collection[str]
) -> list[tuple[Results, Path | None]]:
    """Return the runs and the ensembles of those that differ in the seed only.

    Args:
        runs: results with their folders.
        left_out: gets a note on seeds that are no ensemble.
        chosen: names of the scores to show, or ``all``; without one of ensembles there are none.
    """
    ensembles, missing = ensembles_of(
        results
        for results, _ in runs
        if any(is_chosen(name, chosen) for name in ensemble_csfs(str(results.run["method"])))
    )
    for no in missing:
        logger.warning("%s", no.text)
        text = redacted_text(f"{no.text[0].upper()}{no.text[1:]}.")
        left_out.notes.append("The seeds of a study are no ensemble." if left_out.anonymous else text)
    return [*runs, *((ensemble, None) for ensemble in ensembles)]


def load_runs(
    given: Sequence[Results | str | os.PathLike[str]], left_out: LeftOut
) -> list[tuple[Results, Path | None]]:
    """Load results with their folders.

    Args:
        given: results, or folders: a run's results, the folder that a bundle trained and evaluated into, or
            one that holds such at any depth. Of a folder of several runs those of the study iid come first.
        left_out: gets the unreadable and unfinished ones.
    """
    runs: list[tuple[Results, Path | None]] = []
    for entry in given:
        if isinstance(entry, Results):
            runs.append((entry, None))
            continue
        place = Path(entry).resolve()
        found = find_runs([place], lambda error: left_out.add(Path(error.filename), error))
        claimed = [file for depth in ("", "*/") for file in place.glob(f"{depth}*.config.json")]
        folders = {*found.finished, *found.unfinished}
        folders.update((file.parent / "results").resolve() for file in claimed)
        loaded: list[tuple[Results, Path | None]] = []
        for folder in sorted(folders) or [Path(entry)]:
            try:
                loaded.append((load_results(folder), folder))
            except (ResultsError, OSError) as error:
                left_out.add(folder, error)
        runs += sorted(loaded, key=lambda run: run[0].run["study"] != "iid")  # the page opens with the first
    return runs
