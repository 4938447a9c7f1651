"""Manifests of tasks: what was run, with which config and inputs, and whether it is complete."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from monai_sf import __version__
from monai_sf.benchmark.configs import fingerprint, merge
from monai_sf.benchmark.names import manifest_path
from monai_sf.benchmark.tasks import Task
from monai_sf.engines.evaluator import evaluated
from monai_sf.files import differences, read_json, write_json
from monai_sf.networks.checkpoints import check_checkpoint
from monai_sf.results.format import RUN_FILE, SET_ASIDE, read_run
from monai_sf.scores import CSFS


@dataclass(frozen=True)
class Finding:
    """What the disk holds of a task.

    Attributes:
        state: ``complete`` (same config and inputs, all outputs exist), ``started`` (same, but incomplete),
            ``stale`` (of another config or inputs), ``new``, ``unavailable`` (the data do not allow it).
        reason: why it is stale or unavailable.
        result: what a complete task returned.
    """

    state: str
    reason: str = ""
    result: Mapping[str, Any] | None = None


def wanted(task: Task, output_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the task would be run with now: its merged config without paths, and its inputs.

    Everything that the task needs must be complete.

    Raises:
        OSError: a config or an input cannot be read.
        ValueError: a config or a manifest is damaged.
    """
    if task.files:
        config = fingerprint(merge(task.files, task.overrides))
    else:
        config = {
            "monai_sf": __version__,
            **{k: v for k, v in task.options.items() if k in ("max_points", "csfs")},
        }
    inputs: dict[str, Any] = {}
    if task.kind == "table":  # failed runs are not among the inputs, yet the table names them
        config["expected"] = task.expected()
    if task.kind in ("table", "report"):
        config["scores"] = list(CSFS)  # another package may have added a score since
        results = task.options["results"]
        inputs = {name: digest_of(results[name]) for name in task.needs if name in results}
    if task.kind in ("trial", "train", "evaluate"):
        inputs["data"] = result_of(output_dir, f"{task.dataset}/prepare", "digest")
    if task.kind == "evaluate" and config.get("audit") is True:
        inputs["model"] = result_of(output_dir, f"{task.dataset}/prepare", "model")
    elif task.kind == "evaluate":
        inputs["checkpoint"] = check_checkpoint(Path(task.folder) / "best.pt")
    if task.kind == "choose":
        inputs = {name: result_of(output_dir, name, "accuracy") for name in task.needs}
    plain: dict[str, Any] = json.loads(json.dumps({"config": config, "inputs": inputs}))
    return plain


def digest_of(results: str | os.PathLike[str]) -> str:
    """Return the digest of a folder of results: the hash of its manifest, which has that of every file.

    The files are not compared with it; :func:`examine` does so, and so does every reader of results.

    Raises:
        OSError: the results are not complete.
        ValueError: run.json is damaged.
    """
    return str(read_run(Path(results) / RUN_FILE)["digest"])


def read_manifest(output_dir: str | os.PathLike[str], task: str) -> dict[str, Any]:
    """Return a task's manifest, empty if it is missing or damaged."""
    try:
        return read_json(manifest_path(output_dir, task), "the task is run anew")
    except (FileNotFoundError, ValueError):
        return {}


def result_of(output_dir: str | os.PathLike[str], task: str, name: str) -> Any:
    """Return a part of what a complete task returned.

    Raises:
        ValueError: its manifest is missing or damaged; names the file.
    """
    try:
        return read_manifest(output_dir, task)["result"][name]
    except (KeyError, TypeError):
        raise ValueError(
            f"{manifest_path(output_dir, task)} is damaged or missing: remove it and give the same command "
            f"again, which runs {task} anew"
        ) from None


def write_manifest(
    output_dir: str | os.PathLike[str], task: str, state: str, want: Mapping[str, Any], **more: Any
) -> None:
    """Write a task's manifest, whole or not at all."""
    content = {"task": task, "state": state, **want, **more, "time": time.time()}
    write_json(manifest_path(output_dir, task), content)


def examine(task: Task, want: Mapping[str, Any], output_dir: str | os.PathLike[str]) -> Finding:
    """Compare the outputs and the manifest of a task with what it would be run with now."""
    manifest = read_manifest(output_dir, task.name)
    if not manifest:
        left = [path for path in task.belongings() if path.exists()]
        return Finding("stale", f"{left[0]} exists, but no manifest of it") if left else Finding("new")
    if reason := _difference(manifest, want):
        return Finding("stale", reason)
    # a prepare task always examines the data again, which detects changes of the data
    if manifest.get("state") != "complete" or task.kind == "prepare":
        return Finding("started")
    result, best = manifest.get("result", {}), Path(task.folder) / "best.pt"
    diverged = task.kind == "trial" and result["accuracy"] is None
    try:
        if task.kind in ("train", "trial") and best.is_file():
            check_checkpoint(best)
        if not diverged and not all(path.is_file() for path in task.outputs()):
            return Finding("started")
        if task.kind == "evaluate" and (evaluated(task.folder) or {}).get("digest") != result["results"]:
            return Finding("stale", "the results are not those that the task wrote")
    except ValueError as error:
        return Finding("stale", str(error))
    return Finding("complete", result=result)


def _difference(manifest: Mapping[str, Any], want: Mapping[str, Any]) -> str:
    config, inputs = manifest.get("config", {}), manifest.get("inputs", {})
    changed = [f"another config ({changes})"] if (changes := differences(config, want["config"])) else []
    now = want["inputs"]
    if keys := [key for key in sorted(inputs.keys() | now.keys()) if inputs.get(key) != now.get(key)]:
        changed.append(f"other inputs ({', '.join(keys)})")
    return "; ".join(changed)


def check_unedited(task: Task, want: Mapping[str, Any]) -> None:
    """Refuse to run a task whose config files were edited after it was given to the engine.

    Hours may lie between, and the manifest would name the config of then.

    Raises:
        ValueError: they were; names what differs.
    """
    now = fingerprint(merge(task.files, task.overrides)) if task.files else want["config"]
    if changes := differences(want["config"], now):
        raise ValueError(
            f"the config was edited while the benchmark ran ({changes}): give the same command again, which "
            "runs anew what was run before the edit"
        )


def set_aside(task: Task, output_dir: str | os.PathLike[str]) -> list[Path]:
    """Move what an earlier version of the task left to ``<output_dir>/set_aside``, and replace nothing there.

    Returns:
        The new paths: the first of a name keeps it, later ones get ``~2``, ``~3``, ...

    Raises:
        OSError: something cannot be moved.
    """
    moved = []
    for path in filter(os.path.lexists, task.belongings()):
        place = first = Path(output_dir) / SET_ASIDE / path.relative_to(output_dir)
        numbers = count(2)
        while os.path.lexists(place):  # days of training, or files that somebody has put there
            place = first.with_name(f"{first.name}~{next(numbers)}")
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
        moved.append(place)
    return moved
