"""Folders with results at or below given ones, and the scores that a user chooses of their runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from monai_sf.files import read_json
from monai_sf.results.format import NOT_REPORTED, SCORES, SET_ASIDE
from monai_sf.scores import ALL, CSFS, usual_csfs


class FoundRuns(NamedTuple):
    """Folders with results, each list sorted.

    Attributes:
        finished: those that hold run.json.
        unfinished: those of unfinished evaluations.
        not_reported: finished ones on training and validation cases, which an evaluation writes beside the
            others.
    """

    finished: list[Path]
    unfinished: list[Path]
    not_reported: list[Path]


def _refuse(error: OSError) -> None:
    raise error


def find_runs(
    paths: Sequence[str | os.PathLike[str]], unreadable: Callable[[OSError], None] = _refuse
) -> FoundRuns:
    """Find folders with results at or below the given ones.

    Links are followed. Left out are hidden folders, and those that a benchmark has set aside.

    Args:
        paths: folders; without one, nothing is found.
        unreadable: called with the error of a folder that cannot be read; by default it is raised.
    """

    def failed(error: OSError) -> None:
        # unlike a deleted folder, an unreadable one may hold runs
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            unreadable(error)

    seen: set[Path] = set()
    finished: set[Path] = set()
    unfinished: set[Path] = set()
    for path in paths:
        for folder, below, files in os.walk(path, onerror=failed, followlinks=True):
            place = Path(folder).resolve()
            known = place in seen  # by a link, which may lead back to a folder above it
            seen.add(place)
            below[:] = [name for name in below if not (known or name.startswith(".") or name == SET_ASIDE)]
            if "run.json" in files:
                finished.add(place)
                below.clear()
            elif "cases.csv" in files and place.name not in NOT_REPORTED:
                unfinished.add(place)
                below.clear()
    not_reported = sorted(filter(_is_not_reported, finished))
    return FoundRuns(sorted(finished.difference(not_reported)), sorted(unfinished), not_reported)


def _is_not_reported(folder: Path) -> bool:
    try:
        return read_json(folder / "run.json", "").get("role") in NOT_REPORTED
    except (ValueError, RecursionError, OSError):
        return False  # opening it will say what is wrong


def chosen_csfs(paths: Sequence[str | os.PathLike[str]], csfs: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the scores to judge of runs, checked: those given, or the usual and the runs' own.

    Args:
        paths: folders of runs, or folders that hold them at any depth.
        csfs: names, registered or a run's own, or ``["all"]``; None for
            :func:`monai_sf.scores.usual_csfs` and the runs' own.

    Raises:
        FileNotFoundError: a path is not a folder.
        OSError: a folder cannot be read.
        ValueError: a name is neither registered nor in a run.
    """
    for path in paths:
        if not os.path.isdir(path):
            raise FileNotFoundError(
                f"{path} is not a folder: give folders of runs, or folders that hold them"
            )
    if csfs is not None and set(csfs) <= set(CSFS):
        return tuple(csfs)
    own: dict[str, None] = {}
    for folder in find_runs(paths).finished:
        try:
            own |= dict.fromkeys(map(str, read_json(folder / "run.json", "").get(SCORES, ())))
        except (ValueError, TypeError, AttributeError, RecursionError, OSError):
            continue  # opening it will say what is wrong
    if csfs is None or ALL in csfs:
        registered = usual_csfs() if csfs is None else tuple(CSFS)
        return (*registered, *(name for name in own if name not in CSFS))
    refuse_unknown_csfs(csfs, own)
    return tuple(csfs)


def refuse_unknown_csfs(csfs: Iterable[str], own: Iterable[str]) -> None:
    """Raise ValueError if names of scores are neither registered nor ``own`` ones of runs, nor ``all``."""
    known = [*CSFS, *own]
    if unknown := [name for name in csfs if name not in known and name != ALL]:
        raise ValueError(f"csfs must be among {', '.join(known)} or {ALL}, got {', '.join(unknown)}")
