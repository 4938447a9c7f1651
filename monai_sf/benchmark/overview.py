"""What the benchmark shows while it runs: on the terminal, line by line in a log, and in ``status.json``."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from monai_sf.benchmark.names import STATES, log_path
from monai_sf.benchmark.status import duration
from monai_sf.benchmark.tasks import Task
from monai_sf.files import write_json

_ENDED = STATES[4:]

_WRITE_EVERY_S = 10.0

#: Kinds of tasks that take no time beside trainings.
_SHORT = ("choose", "table", "report")


class Overview:
    """States of all tasks, shown as they change.

    Args:
        tasks: all tasks.
        output_dir: of the benchmark; ``status.json`` goes there.
        slots: tasks that run side by side, for the estimate of the time left.
        stream: where to show it; a line that is drawn anew on a terminal, else one line a change.
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
        """Note and show that a task has come to another state.

        Args:
            name: of the task.
            state: one of :data:`STATES`.
            reason: why, for states that need one.
            seconds: how long it took, where that is known.
        """
        now = time.monotonic()
        if state == "running":
            self._since[name] = now
        else:
            self._since.pop(name, None)
        if seconds is not None:
            self.seconds[name] = seconds
        self.states[name] = state
        if reason:
            self.reasons[name] = reason
        if state in ("waiting", "queued"):
            return
        took = f" in {duration(self.seconds[name])}" if state == "done" and name in self.seconds else ""
        line = f"{name}: {state}{took}" + (f", {reason}" if reason else "")
        if not self.terminal or state == "failed":
            self.say(line if self.terminal else f"{self.summary()} {line}")
        self._written = -_WRITE_EVERY_S
        self.refresh()

    def counts(self) -> Counter[str]:
        """How many tasks are in each state."""
        return Counter(self.states.values())

    def time_left(self) -> float | None:
        """An estimate in seconds, from the tasks of the same kind that are done; None without such tasks.

        Tables, reports and choices are short, and come last: before the first one they count as nothing.
        """
        known: dict[str, list[float]] = {}
        for name, seconds in self.seconds.items():
            if self.states[name] in ("done", "skipped"):
                known.setdefault(self.kinds[name], []).append(seconds)
        left, now, estimates = 0.0, time.monotonic(), 0
        for name, state in self.states.items():
            if state in _ENDED:
                continue
            took = known.get(self.kinds[name])
            if took is None and self.kinds[name] in _SHORT:
                continue
            if took is None:
                return None
            estimates += 1
            left += max(0.0, sum(took) / len(took) - (now - self._since.get(name, now)))
        all_ended = all(state in _ENDED for state in self.states.values())
        return left / self.slots if estimates or all_ended else None

    def summary(self) -> str:
        """One line: how many tasks are done, run, failed and wait, and the time left."""
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
        """Draw the line of a terminal anew, and write ``status.json`` when it is old."""
        now = time.monotonic()
        if self.terminal:
            running = [f"{name} {duration(now - since)}" for name, since in self._since.items()]
            line = " ".join([self.summary(), *running])
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\033[K" + line[:width])
            self.stream.flush()
        if now - self._written >= _WRITE_EVERY_S:
            self._written = now
            self.write("running")

    def write(self, state: str) -> None:
        """Write ``status.json``; a full disk is said once, and stops nothing.

        Args:
            state: of the whole: running, complete, failed or stopped.
        """
        now = time.monotonic()
        left = self.time_left()
        tasks = {
            name: {
                "state": task,
                "reason": self.reasons.get(name, ""),
                "seconds": round(
                    now - self._since[name] if name in self._since else self.seconds.get(name, 0.0), 1
                ),
                "log": str(log_path("", name)),
            }
            for name, task in self.states.items()
        }
        content = {
            "state": state,
            "updated": time.time(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "counts": dict(self.counts()),
            "time_left": None if left is None else round(left, 1),
            "tasks": tasks,
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
        if self.terminal:
            self.stream.write("\r\033[K")
        self.say(self.summary())
        self.write(state)

    def say(self, line: str) -> None:
        """Show a line that stays."""
        self.stream.write(("\r\033[K" if self.terminal else "") + line + "\n")
        self.stream.flush()
