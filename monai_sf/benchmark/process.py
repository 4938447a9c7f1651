"""What a task's process does around its task, on every engine: log, threads, and its error in one line.

Imports nothing that takes long: what torch reads from the environment must be set before it is imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from monai_sf.benchmark.names import log_path

if TYPE_CHECKING:
    from monai_sf.benchmark.tasks import Task

#: How long a task that is asked to stop may take to store what it has.
GRACE_S = 5.0

#: What the processes of all tasks get. Progress bars of several tasks would overwrite each other; and asking
#: whether there is a GPU must not open it, or the fork server could no longer fork.
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


def threads_of(share: int) -> int:
    """Return the threads of a task: ``OMP_NUM_THREADS`` where it is set, else its share of the cores."""
    own = os.environ.get("OMP_NUM_THREADS", "")
    return int(own) if own.isdecimal() and int(own) else max(1, share)


def request(
    task: Task, want: Mapping[str, Any], output_dir: str | os.PathLike[str], threads: int
) -> dict[str, Any]:
    """Return what a process needs to know to run a task: plain values, to be sent anywhere."""
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
        with contextlib.suppress(OSError):  # a full disk: the log cannot be written either
            traceback.print_exc()
        said = f"{type(error).__name__}: {gist(str(error))}".rstrip(": ")
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) and "cannot write" not in said:
            # most often the log itself, which can then say nothing more
            said += f"; free space (the task writes to {output_dir})"
        return Outcome(None, said)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()  # of a line without an end


def _print_to_log(path: os.PathLike[str]) -> None:
    """Append all that this process prints to a file, what C libraries and its own children print too."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(log, number)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _execute(request: Mapping[str, Any]) -> dict[str, Any]:
    # here, since torch and what it brings read the environment when they are imported
    import torch
    from threadpoolctl import threadpool_limits

    from monai_sf.benchmark.execute import execute
    from monai_sf.benchmark.tasks import Task

    threadpool_limits(request["threads"])  # what a fork server has imported may have read another number
    torch.set_num_threads(request["threads"])
    return execute(Task(**request["task"]), request["want"], request["output_dir"])


def gist(text: str) -> str:
    """Return the line of an error that says most: the first with what it announces, or a traceback's last."""
    lines = [line.strip() for line in text.strip().splitlines()] or [""]
    if "Traceback (most recent call last):" in text:  # of a process that loads data
        return lines[-1]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
