"""Names, paths and words that all modules of the benchmark share; imports nothing that takes long."""

from __future__ import annotations

import os
from pathlib import Path

ENGINES = ("local", "ray")

#: All states of a task. In the first four it has not ended.
STATES = (
    "waiting", "queued", "running", "stopped",
    "done", "skipped", "failed", "not run", "unavailable",
)  # fmt: skip


def manifest_path(output_dir: str | os.PathLike[str], task: str) -> Path:
    """Return the path of a task's manifest."""
    return Path(output_dir) / "tasks" / f"{task}.json"


def log_path(output_dir: str | os.PathLike[str], task: str) -> Path:
    """Return the path of a task's log, which holds all that the task prints."""
    return Path(output_dir) / "logs" / f"{task}.log"


def one_line(error: BaseException) -> str:
    """Return an error's type, and the line of its text that says most.

    That is the first line, with the next one if it ends in a colon, or the last line of a traceback in it.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    if "Traceback (most recent call last):" in str(error):  # of a process that loads data
        said = lines[-1]
    else:
        said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {said}".rstrip(": ")


class BenchmarkError(RuntimeError):
    """Tasks of a benchmark failed. All other tasks have ended, and their outputs are kept.

    The message names the failed tasks with their errors and logs. Once the cause is mended, the same call
    runs what is missing.

    Examples:
        >>> from monai_sf.benchmark import BenchmarkError
        >>> try:  # what run_benchmark raises at its end
        ...     raise BenchmarkError("1 of 5 tasks failed. Fix the cause and ...")
        ... except BenchmarkError as error:
        ...     print(str(error).partition(".")[0])
        1 of 5 tasks failed
    """
