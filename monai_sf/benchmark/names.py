"""Names and places that all modules of the benchmark share; imports nothing."""

from __future__ import annotations

import os
from pathlib import Path

ENGINES = ("local", "ray")

#: All that a task can be. The first four have still to come to an end.
STATES = (
    "waiting", "queued", "running", "stopped",
    "done", "skipped", "failed", "not run", "unavailable",
)  # fmt: skip


def manifest_path(output_dir: str | os.PathLike[str], task: str) -> Path:
    """Where a task's manifest lies."""
    return Path(output_dir) / "tasks" / f"{task}.json"


def log_path(output_dir: str | os.PathLike[str], task: str) -> Path:
    """Where all that a task prints goes."""
    return Path(output_dir) / "logs" / f"{task}.log"


def one_line(error: object, index: int = 0) -> str:
    """One line of what an error says, the first unless told; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[index] if lines else type(error).__name__


class BenchmarkError(RuntimeError):
    """Tasks of a benchmark failed. The others have been run to their end, and are kept."""


class Terminated(BaseException):
    """The benchmark was asked to end (SIGTERM)."""
