"""The state of a benchmark as text; imports nothing that takes long."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_sf.benchmark.names import STATES

#: A benchmark whose status.json is older than this is taken for dead.
_SILENCE_S = 60.0


def failures(tasks: Mapping[str, Mapping[str, Any]], output_dir: str | os.PathLike[str]) -> Iterable[str]:
    """Yield lines on what went wrong: each failed task with its error and log, and what was not run."""
    for name, task in tasks.items():
        if task["state"] == "failed":
            yield f"failed: {name}: {task['reason']}"
            yield f"        log: {Path(output_dir) / task['log']}"
    blocked = [name for name, task in tasks.items() if task["state"] == "not run"]
    if blocked:
        more = f", and {len(blocked) - 10} more" if len(blocked) > 10 else ""
        yield f"not run, since they need what failed: {', '.join(blocked[:10])}{more}"
    for name, task in tasks.items():
        if task["state"] == "unavailable" and not name.endswith("/evaluate"):
            yield f"unavailable: {name.removesuffix('/train')}: {task['reason']}"


def show_status(output_dir: str | os.PathLike[str]) -> str:
    """Return the state of a benchmark as text, from its ``status.json``.

    Raises:
        FileNotFoundError: no benchmark was run in this folder.
        ValueError: the file is damaged.
    """
    path = Path(output_dir) / "status.json"
    if not path.is_file():
        raise FileNotFoundError(f"no benchmark was run in {output_dir}: there is no {path.name}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        age = max(0.0, time.time() - content["updated"])
        state, tasks, counts, left = (content[key] for key in ("state", "tasks", "counts", "time_left"))
        if state == "running" and age > _SILENCE_S:
            state = "running when last heard of, so it was probably killed (the same command resumes it)"
        lines = [f"{state}; process {content['process']} on {content['host']}, {duration(age)} ago"]
        lines.append(
            ", ".join(f"{counts[s]} {s}" for s in STATES if counts.get(s)) + f" of {len(tasks)} tasks"
        )
        if left is not None and state == "running":
            lines.append(f"about {duration(left)} left")
        running = {name: task["seconds"] for name, task in tasks.items() if task["state"] == "running"}
        lines += [f"running: {name}, {duration(seconds)}" for name, seconds in running.items()]
        return "\n".join([*lines, *failures(tasks, output_dir)])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): the next run writes it anew") from error


def duration(seconds: float) -> str:
    """Return seconds as text, with two figures."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
