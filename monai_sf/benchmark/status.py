"""The state of a benchmark in words; imports nothing that takes long."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_sf.benchmark.names import STATES

#: A benchmark that has not written its status for so long is taken for dead.
_SILENCE_S = 60.0


def failures(tasks: Mapping[str, Mapping[str, Any]], output_dir: str | os.PathLike[str]) -> Iterable[str]:
    """The lines that say what went wrong: every failed task with its error and log, and what was not run."""
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
    """The state of a benchmark in words, from its ``status.json``.

    Raises:
        FileNotFoundError: no benchmark was run there.
        ValueError: the file is damaged.
    """
    path = Path(output_dir) / "status.json"
    if not path.is_file():
        raise FileNotFoundError(f"no benchmark was run in {output_dir}: there is no {path.name}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        age = max(0.0, time.time() - content["updated"])
        state, tasks, counts = content["state"], content["tasks"], content["counts"]
        where = f"process {content['process']} on {content['host']}"
        left = content["time_left"]
        active = {name: task for name, task in tasks.items() if task["state"] == "running"}
        running = [(name, duration(task["seconds"])) for name, task in active.items()]
        problems = list(failures(tasks, output_dir))
        known = ", ".join(f"{counts[s]} {s}" for s in STATES if counts.get(s)) + f" of {len(tasks)} tasks"
        remaining = f"about {duration(left)} left" if left is not None and state == "running" else ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): it is written anew by the next run") from error
    if state == "running" and age > _SILENCE_S:
        state = "running when last heard of, so it was probably killed (the same command goes on)"
    lines = [f"{state}; {where}, {duration(age)} ago", known, *([remaining] if remaining else [])]
    lines += [f"running: {name}, {how_long}" for name, how_long in running]
    return "\n".join([*lines, *problems])


def duration(seconds: float) -> str:
    """Seconds in words, to two figures."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
