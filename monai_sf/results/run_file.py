"""The file run.json of a run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_sf.results.format import (
    FORMAT,
    FORMAT_VERSION,
    RUN_FILE,
    RUN_KEYS,
    ResultsError,
    seal,
)

AGAIN = "remove the folder and run the evaluation again"


def read_run(file: Path) -> dict[str, Any]:
    """Return the content of a run.json, after verifying that the evaluation wrote it.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it is damaged, was changed, or is of another format version.
    """
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{RUN_FILE} is not JSON ({error}): {AGAIN}") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ResultsError(f"{RUN_FILE} is not a results file of monai_sf")
    if run.get("format_version") != FORMAT_VERSION:
        raise ResultsError(
            f"results of format version {run.get('format_version')}, this monai_sf reads version "
            f"{FORMAT_VERSION}: {AGAIN}"
        )
    if missing := [key for key in (*RUN_KEYS, "test_sets", "files", "digest") if key not in run]:
        raise ResultsError(f"{RUN_FILE} lacks the keys {missing}")
    if seal(run)["digest"] != run["digest"]:
        raise ResultsError(f"{RUN_FILE} was changed after the evaluation: {AGAIN}")
    return run
