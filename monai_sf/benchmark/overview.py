"""What the benchmark shows while it runs: on a terminal, line by line in a log, and in ``status.json``."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from monai_sf.benchmark.names import STATES, log_path
from monai_sf.benchmark.status import duration
from monai_sf.benchmark.tasks import Task
from monai_sf.files import write_json

_ENDED = STATES[4:]

_WRITE_EVERY_S = 10.0

#: Kinds of tasks that are short compared with trainings.
_SHORT = ("choose", "table", "report")


class Overview:
    """States of all tasks, shown as they change.

    Args:
        tasks: all tasks.
        output_dir: of the benchmark; ``status.json`` goes there.
        slots: number of parallel tasks, for the estimate of the time left.
        stream: where to show it: one line that is redrawn on a terminal, else one line per change.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        output_dir: str | os.PathLike[str],
        slots: int,
        stream: TextIO | None = None,
    ) -> None:
        self.output_dir, self.slots = Path(output_dir), slots
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.kinds = {task.name: task.kind for task in tasks}
        self.states = {task.name: "waiting" for task in tasks}
        self.reasons: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._written = -_WRITE_EVERY_S
        self._can_write = True

    def set(self, name: str, state: str, reason: str = "", seconds: float | None = None) -> None:
        """Record and show the new state of a task, with the reason, and the seconds it took if known."""
        self._since.pop(name, None)
        if state == "running":
            self._since[name] = time.monotonic()
        if seconds is not None:
            self.seconds[name] = seconds
        self.states[name] = state
        if reason:
            self.reasons[name] = reason
        if state == "queued":
            return
        took = f" in {duration(self.seconds[name])}" if state == "done" and name in self.seconds else ""
        line = f"{name}: {state}{took}" + (f", {reason}" if reason else "")
        if not self.terminal or state == "failed":
            self.say(line if self.terminal else f"{self.summary()} {line}")
        self._written = -_WRITE_EVERY_S
        self.refresh()

    def counts(self) -> Counter[str]:
        """Return the number of tasks in each state."""
        return Counter(self.states.values())

    def time_left(self) -> float | None:
        """Estimate the seconds left from the complete tasks of the same kind; None without such tasks.

        Tables, reports and choices are short, and come last: before the first of them they count as nothing.
        """
        known: dict[str, list[float]] = {}
        for name, seconds in self.seconds.items():
            known.setdefault(self.kinds[name], []).append(seconds)
        left = {name: self.kinds[name] for name, state in self.states.items() if state not in _ENDED}
        kinds = set(left.values()) - known.keys()
        if not kinds <= set(_SHORT) or (left and not known.keys() & left.values()):
            return None
        now, total = time.monotonic(), 0.0
        for name, kind in left.items():
            took = known.get(kind, [0.0])
            total += max(0.0, sum(took) / len(took) - (now - self._since.get(name, now)))
        return total / self.slots

    def summary(self) -> str:
        """Return one line: how many tasks are in which state, and the time left."""
        counts = self.counts()
        ended = sum(counts[state] for state in _ENDED)
        parts = [f"{counts[s]} {s}" for s in (*_ENDED, "running") if counts[s]]
        if waiting := counts["waiting"] + counts["queued"]:
            parts.append(f"{waiting} waiting")
        left = self.time_left()
        if ended < len(self.states) and left is not None:
            parts.append(f"about {duration(left)} left")
        return f"[{ended}/{len(self.states)}: {', '.join(parts)}]"

    def refresh(self) -> None:
        """Redraw the line of a terminal, and write ``status.json`` if it is old."""
        now = time.monotonic()
        if self.terminal:
            running = [f"{name} {duration(now - since)}" for name, since in self._since.items()]
            line = " ".join([self.summary(), *running])
            self.stream.write("\r\033[K" + line[: shutil.get_terminal_size().columns - 1])
            self.stream.flush()
        if now - self._written >= _WRITE_EVERY_S:
            self._written = now
            self.write("running")

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return state, reason, seconds and log of each task, as in ``status.json``."""
        now = time.monotonic()
        running = {name: now - since for name, since in self._since.items()}
        return {
            name: {
                "state": state,
                "reason": self.reasons.get(name, ""),
                "seconds": round(running.get(name, self.seconds.get(name, 0.0)), 1),
                "log": str(log_path("", name)),
            }
            for name, state in self.states.items()
        }

    def write(self, state: str) -> None:
        """Write ``status.json`` with the benchmark's state; report a full disk once, and go on."""
        left = self.time_left()
        content = {
            "state": state,
            "updated": time.time(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "counts": self.counts(),
            "time_left": None if left is None else round(left, 1),
            "tasks": self.tasks(),
        }
        try:
            write_json(self.output_dir / "status.json", content)
            self._can_write = True
        except OSError as error:
            if self._can_write:
                self.say(f"the overview cannot be written: {error}")
            self._can_write = False

    def close(self, state: str) -> None:
        """End the line of the terminal, and write the last ``status.json``."""
        self.say(self.summary())
        self.write(state)

    def say(self, line: str) -> None:
        """Show a line that stays."""
        self.stream.write(("\r\033[K" if self.terminal else "") + line + "\n")
        self.stream.flush()
