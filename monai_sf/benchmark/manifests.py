"""The manifests that tasks leave: what was run, on what, and whether it was run to its end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_sf import __version__
from monai_sf.benchmark.configs import fingerprint, merge
from monai_sf.benchmark.names import manifest_path
from monai_sf.benchmark.tasks import Task
from monai_sf.engines.evaluator import evaluated
from monai_sf.files import read_json, write_json
from monai_sf.networks.checkpoints import check_checkpoint
from monai_sf.results.format import RUN_FILE, SET_ASIDE
from monai_sf.results.run_file import read_run
from monai_sf.scores import CSFS

_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """What the disk says about a task.

    Attributes:
        state: ``complete`` (same config and inputs, all outputs there), ``begun`` (same, but not run to its
            end), ``stale`` (begun or complete with another config or inputs), ``new``.
        reason: why it is stale.
        result: what a complete task said.
    """

    state: str
    reason: str = ""
    result: Mapping[str, Any] | None = None


def wanted(task: Task, output_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """What the task would be run with now: its merged config without places, and its inputs.

    To be asked when everything that the task needs is complete.

    Raises:
        OSError: a config or an input cannot be read.
        ValueError: a config or a manifest is damaged.
    """
    if task.files:
        config = fingerprint(merge(task.files, task.overrides))
    else:
        config = {"monai_sf": __version__, **{k: v for k, v in task.options.items() if k == "max_points"}}
    if task.kind == "table":  # what failed is not among the inputs, yet the table names it
        config["expected"] = task.expected()
    if task.kind in ("table", "report"):  # another package may have brought a score since
        config["scores"] = list(CSFS)
    inputs: dict[str, Any] = {}
    if task.kind in ("trial", "train", "evaluate"):
        inputs["data"] = result_of(output_dir, f"{task.dataset}/prepare", "digest")
    if task.kind == "evaluate":
        inputs["checkpoint"] = check_checkpoint(Path(task.folder) / "best.pt")
    if task.kind == "choose":
        inputs = {name: result_of(output_dir, name, "accuracy") for name in task.needs}
    if task.kind in ("table", "report"):
        results = task.options["results"]
        inputs = {name: digest_of(results[name]) for name in task.needs if name in results}
    plain: dict[str, Any] = json.loads(json.dumps({"config": config, "inputs": inputs}))
    return plain


def digest_of(results: str | os.PathLike[str]) -> str:
    """Return the digest of a folder of results: the hash of its manifest, which has that of every file.

    The files are not compared with it: :func:`examine` does so, and whoever loads them.

    Raises:
        OSError: the results are not complete.
        ValueError: run.json is damaged.
    """
    digest: str = read_run(Path(results) / RUN_FILE)["digest"]
    return digest


def read_manifest(output_dir: str | os.PathLike[str], task: str) -> dict[str, Any]:
    """A task's manifest; empty where there is none, or one that this version does not read, or a damaged one."""
    try:
        manifest = read_json(manifest_path(output_dir, task), "the task is run anew")
    except (FileNotFoundError, ValueError):
        return {}
    return manifest if manifest.get("version") == _VERSION else {}


def result_of(output_dir: str | os.PathLike[str], task: str, name: str) -> Any:
    """A part of what a complete task has said.

    Raises:
        ValueError: its manifest is gone or damaged; names the file.
    """
    try:
        return read_manifest(output_dir, task)["result"][name]
    except (KeyError, TypeError):
        raise ValueError(
            f"{manifest_path(output_dir, task)} is damaged or gone: remove it and give the same command again, "
            f"then {task} is run anew"
        ) from None


def write_manifest(
    output_dir: str | os.PathLike[str], task: str, state: str, want: Mapping[str, Any], **more: Any
) -> None:
    """Write a task's manifest, whole or not at all."""
    content = {"version": _VERSION, "task": task, "state": state, **want, **more, "time": time.time()}
    write_json(manifest_path(output_dir, task), content)


def examine(task: Task, want: Mapping[str, Any], output_dir: str | os.PathLike[str]) -> Finding:
    """Compare what a task left with what it would be run with now."""
    manifest = read_manifest(output_dir, task.name)
    if not manifest:
        left = [path for path in task.belongings() if path.exists()]
        return Finding("stale", f"{left[0]} is there, but without a manifest") if left else Finding("new")
    if reasons := _differences(manifest, want):
        return Finding("stale", "; ".join(reasons))
    result = manifest.get("result", {})
    # a prepare task always looks at the data again: that is how a change of the data is seen
    if manifest.get("state") != "complete" or task.kind == "prepare":
        return Finding("begun")
    if task.kind in ("train", "trial") and (best := Path(task.folder) / "best.pt").is_file():
        try:
            check_checkpoint(best)
        except ValueError as error:
            return Finding("stale", str(error))
    diverged = task.kind == "trial" and result["accuracy"] is None
    if not diverged and not all(path.is_file() for path in task.outputs()):
        return Finding("begun")
    if task.kind == "evaluate":
        try:
            run = evaluated(task.folder)
        except ValueError as error:
            return Finding("stale", str(error))
        if run is None or run["digest"] != result["results"]:
            return Finding("stale", "the results are not those that it has written")
    return Finding("complete", result=result)


def _differences(manifest: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    found = []
    for part in ("config", "inputs"):
        there, here = manifest.get(part, {}), want[part]
        keys = [key for key in sorted(there.keys() | here.keys()) if there.get(key) != here.get(key)]
        if keys and part == "config":
            found.append(f"another config ({_changes(there, here, keys)})")
        elif keys:
            found.append(f"other inputs ({', '.join(keys[:3])})")
    return found


def _changes(there: Mapping[str, Any], here: Mapping[str, Any], keys: Sequence[str]) -> str:
    changes = [f"{k}: {_short(there.get(k))} there, {_short(here.get(k))} now" for k in keys[:3]]
    return "; ".join(changes) + (f", and {len(keys) - 3} more" if len(keys) > 3 else "")


def check_unedited(task: Task, want: Mapping[str, Any]) -> None:
    """Refuse to run a task whose config files say something else than when it was given to the engine.

    Hours may lie between, and the manifest would say that it was run with the config of then.

    Raises:
        ValueError: they do; names what differs.
    """
    there, here = want["config"], fingerprint(merge(task.files, task.overrides)) if task.files else {}
    keys = [key for key in sorted(there.keys() | here.keys()) if there.get(key) != here.get(key)]
    if task.files and keys:
        raise ValueError(
            f"the config was edited while the benchmark ran ({_changes(there, here, keys)}): give the same "
            "command again, and what was run before the edit is run anew"
        )


def _short(value: Any, length: int = 40) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def set_aside(task: Task, output_dir: str | os.PathLike[str]) -> list[Path]:
    """Move what an earlier version of the task left to ``<output_dir>/set_aside``, beside what is there.

    Returns:
        The new places: the first time of the same name, then with ``~2``, ``~3``, ...

    Raises:
        OSError: something cannot be moved.
    """
    moved = []
    for path in task.belongings():
        if os.path.lexists(path):
            first = place = Path(output_dir) / SET_ASIDE / path.relative_to(output_dir)
            number = 1
            while os.path.lexists(place):  # days of training, or files that somebody has put beside it
                number += 1
                place = first.with_name(f"{first.name}~{number}")
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
            moved.append(place)
    return moved
