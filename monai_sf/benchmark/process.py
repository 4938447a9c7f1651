"""What an engine is, and what each does in a task's process: log, threads, and an error in one line.

Imports nothing that takes long: what torch reads from the environment must be set before it is imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from monai_sf.benchmark.names import log_path, one_line

if TYPE_CHECKING:
    from monai_sf.benchmark.tasks import Task

#: Seconds in which a task that is asked to stop may store its state.
GRACE_S = 5.0

#: Environment variables of all tasks. Progress bars of several tasks would overwrite each other; and asking
#: whether there is a GPU must not open it, or the fork server could no longer fork.
ENVIRONMENT = {"TQDM_DISABLE": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        result: what it returned; None if it failed.
        error: its error, in one line.
    """

    result: Mapping[str, Any] | None
    error: str = ""


class Engine(Protocol):
    """Runs each task in a process of its own."""

    slots: int
    """Number of tasks that run at the same time."""

    def submit(self, task: Task, want: Any) -> Future[Outcome]:
        """Queue a task with its config and inputs (:func:`monai_sf.benchmark.manifests.wanted`)."""

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """Return whether a submitted task has started."""

    def close(self) -> None:
        """End all running tasks, and drop those in the queue."""


def threads_of(share: int) -> int:
    """Return the number of threads of a task: ``OMP_NUM_THREADS`` if set, else its share of the cores."""
    own = os.environ.get("OMP_NUM_THREADS", "")
    return int(own) if own.isdecimal() and int(own) else max(1, share)


def request(
    task: Task, want: Mapping[str, Any], output_dir: str | os.PathLike[str], threads: int
) -> dict[str, Any]:
    """Return what a process needs to run a task, as plain values, whose unpickling does not import torch."""
    return {"task": asdict(task), "want": dict(want), "output_dir": str(output_dir), "threads": threads}


def run(request: Mapping[str, Any]) -> Outcome:
    """Run a task in this process, whose output goes to the task's log from now on; never raises."""
    name, output_dir = request["task"]["name"], request["output_dir"]
    try:
        os.environ.update(ENVIRONMENT, OMP_NUM_THREADS=str(request["threads"]))
        _print_to_log(log_path(output_dir, name))
        print(f"\n==== {time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}: {name}")
        return Outcome(_execute(request))
    except BaseException as error:  # KeyboardInterrupt and SystemExit too
        with contextlib.suppress(OSError):  # on a full disk, the log cannot be written either
            traceback.print_exc()
        said = one_line(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) and "cannot write" not in said:
            # most often of the log itself, which cannot hold any explanation
            said += f"; free space (the task writes to {output_dir})"
        return Outcome(None, said)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()  # a last line without a line break


def _print_to_log(path: os.PathLike[str]) -> None:
    """Append the output of this process to a file, with that of C libraries and of its child processes."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(log, number)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _execute(request: Mapping[str, Any]) -> dict[str, Any]:
    # imported here, since torch and its libraries read the environment on import
    import torch
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    from monai_sf.benchmark.execute import execute
    from monai_sf.benchmark.tasks import Task

    # libraries that the fork server imported may have read another number
    threadpool_limits(request["threads"])
    torch.set_num_threads(request["threads"])
    # by default a semaphore too, which outlives the process and is then reported as leaked
    tqdm.set_lock(threading.RLock())
    return execute(Task(**request["task"]), request["want"], request["output_dir"])
