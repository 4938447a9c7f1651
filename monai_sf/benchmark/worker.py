"""A worker: the benchmark's end of a process that runs one task after the other."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_sf.benchmark.server import in_words

#: A fork of a process that has used Apple's frameworks, or any process on Windows, is not safe.
FORK = sys.platform.startswith("linux")

#: What every worker's processes get. Bars of several tasks would overwrite each other; and asking whether
#: there is a GPU must not open it, or the process could no longer fork.
ENVIRONMENT = {"TQDM_DISABLE": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        result: what it said; None where it failed.
        error: its error, in one line.
    """

    result: Mapping[str, Any] | None
    error: str = ""


class Worker:
    """Runs tasks in processes of their own, one after the other, and survives all of them.

    Args:
        environment: variables that tasks get.
        threads: of a task's process.
        log: file for what the process behind the worker prints outside of tasks.
    """

    def __init__(self, environment: Mapping[str, str], threads: int, log: Path) -> None:
        self.environment, self.threads, self.log = dict(environment), threads, log
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def run(self, request: Mapping[str, Any]) -> Outcome:
        """Run a task to its end, in a process that is made when there is none; blocks."""
        try:
            line = json.dumps({**request, "environment": self.environment}).encode() + b"\n"
            try:
                process = self._sent(line)
            except BrokenPipeError:  # it has died since its last task
                self._discard()
                process = self._sent(line)
            if process is None:
                return Outcome(None, "stopped")
            assert process.stdout is not None
            answer = process.stdout.readline()
        except OSError as error:
            return Outcome(None, "stopped" if self.stopped else f"the worker cannot be started: {error}")
        if not FORK or not answer:
            status = process.wait()
            self._process = None
        if answer:
            content = json.loads(answer)
            return Outcome(content.get("result"), content.get("error", ""))
        if self.stopped:
            return Outcome(None, "stopped")
        return Outcome(None, f"the worker's own process failed, {in_words(status)}; {self.log} may tell more")

    def _sent(self, line: bytes) -> subprocess.Popen[bytes] | None:
        """The process, with the request sent to it; None after :meth:`stop`."""
        process = self._started()
        if process is not None:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()
        return process

    def _discard(self) -> None:
        """Forget a process that has gone."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not sent cannot be sent now
                    if pipe is not None:
                        pipe.close()
            process.wait()

    def _started(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self.stopped or self._process is not None:
                return None if self.stopped else self._process
            self.log.parent.mkdir(parents=True, exist_ok=True)
            # like multiprocessing's spawn, but without running the caller's script once more
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"from monai_sf.benchmark.server import serve; serve(fork={FORK})"
            )
            with open(self.log, "ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **self.environment, "OMP_NUM_THREADS": str(self.threads)},
                    start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its workers
                )
            return self._process

    def stop(self) -> None:
        """End the process, and the task that it runs; a later task is not run."""
        with self._lock:
            self.stopped = True
            process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def join(self) -> None:
        """Wait until the process has gone."""
        if self._process is not None:
            self._process.wait()
