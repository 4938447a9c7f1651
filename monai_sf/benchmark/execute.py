"""What a task does in its process."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from monai.bundle import ConfigWorkflow

from monai_sf.benchmark import grid
from monai_sf.benchmark.manifests import check_unedited, digest_of, examine, set_aside, write_manifest
from monai_sf.benchmark.names import manifest_path
from monai_sf.benchmark.tasks import Task
from monai_sf.bundle.keys import PATHS
from monai_sf.bundle.overrides import literal
from monai_sf.data.errors import root_cause
from monai_sf.files import read_json
from monai_sf.files.locks import locked
from monai_sf.report import build_report
from monai_sf.results.case_table import encode_table
from monai_sf.tables import write_tables

#: Seconds to wait for a process of a killed benchmark to end.
_PATIENCE_S = 60.0


def execute(task: Task, want: Mapping[str, Any], output_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Run a task to completion, and write its manifest.

    An interrupted task of the same config and inputs is resumed; outputs of another one are set aside.

    Args:
        task: the task; everything that it needs is complete.
        want: see :func:`monai_sf.benchmark.manifests.wanted`.
        output_dir: of the benchmark.

    Returns:
        What the task returns, JSON-able, with the ``seconds`` it took.

    Raises:
        BusyError: another process works on the task.
        ValueError: a config file was edited after the task was submitted.
        Exception: whatever the task raises, without MONAI's wrapping.
    """
    lock = manifest_path(output_dir, task.name).with_suffix(".lock")
    with locked(lock, f"another process works on {task.name}", _PATIENCE_S):
        check_unedited(task, want)
        found = examine(task, want, output_dir)
        if found.state == "stale":
            for place in set_aside(task, output_dir):
                print(f"{found.reason}: set aside, to {place}")
        start = time.monotonic()
        if task.kind != "prepare":  # its manifest is an input of other tasks, and stays until it is replaced
            write_manifest(output_dir, task.name, "started", want)
        try:
            result = _run(task, want["inputs"])
        except RuntimeError as error:
            raise root_cause(error)  # noqa: B904
        result["seconds"] = time.monotonic() - start
        write_manifest(output_dir, task.name, "complete", want, result=result)
    return result


def _run(task: Task, inputs: Mapping[str, Any]) -> dict[str, Any]:
    results = [folder for name, folder in task.options.get("results", {}).items() if name in inputs]
    match task.kind:
        case "prepare":
            return _prepare(task)
        case "trial":
            return {"accuracy": _trial(task)}
        case "choose":
            return {"chosen": grid.choose(task.options["trials"], inputs, Path(task.options["overlay"]))}
        case "table":
            _table(task, results)
        case "report":
            chosen = {key: task.options[key] for key in ("max_points", "csfs")}
            build_report(results, Path(task.folder) / "report.html", **chosen)
        case _:
            _train(task)
    # the digest of an evaluation reveals when a part of it is lost
    return {"results": digest_of(Path(task.folder) / "results")} if task.kind == "evaluate" else {}


def _workflow(task: Task, run_id: str = "run") -> ConfigWorkflow:
    places = {key: literal(value) for key, value in task.overrides.items() if key in PATHS and "#" in value}
    workflow = ConfigWorkflow(list(task.files), run_id=run_id, **{**task.overrides, **places})
    workflow.initialize()
    return workflow


def _prepare(task: Task) -> dict[str, Any]:
    """Make the missing images, and take the data's fingerprint."""
    workflow = _workflow(task, "prepare")
    if "prepare" in workflow.parser:
        workflow.run()
    workflow.finalize()
    if "cases" not in workflow.parser:
        return {"digest": "", "cases": 0, "unavailable": {}}
    cases: pd.DataFrame = workflow.parser.get_parsed_content("cases")
    audit = workflow.parser.get("audit") is True
    return {
        **({"model": workflow.parser.get_parsed_content("network_def").sha256} if audit else {}),
        "digest": data_digest(cases, workflow.parser.get_parsed_content("dataset_dir")),
        "cases": len(cases),
        "unavailable": dict(cases.attrs.get("unavailable", {})),
    }


def data_digest(cases: pd.DataFrame, dataset_dir: str | os.PathLike[str]) -> str:
    """Return a hash of the case table's content, and of sizes and modification times of its images.

    Raises:
        FileNotFoundError: an image is missing.
    """
    text, schema = encode_table(cases)
    digest = hashlib.sha256((json.dumps(schema) + text).encode())
    for name in cases["image"].explode().unique():
        about = os.stat(os.path.join(dataset_dir, name))
        digest.update(f"{about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _train(task: Task) -> None:
    """Run a training or an evaluation."""
    workflow = _workflow(task)
    workflow.run()
    workflow.finalize()
    if missing := [str(path) for path in task.outputs() if not path.is_file()]:
        raise FileNotFoundError(
            f"the config ran to its end, but did not write {', '.join(missing)}: it must write to run_dir"
        )


def _trial(task: Task) -> float | None:
    """Train, and return the validation accuracy; None if the training diverges."""
    try:
        _train(task)
    except (RuntimeError, FloatingPointError) as error:
        if not isinstance(root_cause(error), FloatingPointError):
            raise
        print(f"diverged: {root_cause(error)}")
        return None
    summary = read_json(Path(task.folder) / "training.json", "remove the folder to try it again")
    return float(summary["best"]["accuracy"])


def _table(task: Task, results: list[str]) -> None:
    """Write the tables, which name failed runs as missing."""
    expected = {(d, s, m, n): kind for d, s, m, n, kind in task.expected()}
    paths = write_tables(results, task.folder, csfs=task.options["csfs"], expected=expected)
    print(paths["text"].read_text(encoding="utf-8"))
