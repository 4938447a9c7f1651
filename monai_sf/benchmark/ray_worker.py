"""What runs in the processes that Ray starts: hands a task to a worker, as the local engine does.

Imports nothing that takes long, since Ray may start many processes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from monai_sf.benchmark.names import log_path
from monai_sf.benchmark.worker import ENVIRONMENT, Outcome, Worker

_worker: Worker | None = None


def run(request: Mapping[str, Any]) -> Outcome:
    """Run a task; the worker stays, with all that it has imported, for the next one."""
    global _worker
    if _worker is None or _worker.threads != request["threads"]:
        log = log_path(request["output_dir"], f"worker-{socket.gethostname()}-{os.getpid()}")
        _worker = Worker(ENVIRONMENT, request["threads"], log)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # Ray sets it for each task
    if visible is not None:
        _worker.environment["CUDA_VISIBLE_DEVICES"] = visible
    return _worker.run(request)


def trial(config: Mapping[str, Any]) -> None:
    """A trial of Ray Tune, which is told the validation accuracy; -1 where there is none."""
    from ray import tune

    outcome = run(config["request"])
    accuracy = None if outcome.result is None else outcome.result["accuracy"]
    tune.report(
        {
            "name": config["request"]["task"]["name"],
            "accuracy": -1.0 if accuracy is None else accuracy,
            "result": None if outcome.result is None else dict(outcome.result),
            "error": outcome.error,
        }
    )
