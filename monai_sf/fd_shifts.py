"""Results from the result folders of FD-Shifts, the code of the paper's benchmark.

A folder holds ``test_results`` with ``raw_logits.npz`` or ``raw_output.npz`` (columns: C logits or softmax
values, label, index of the test set), optionally ``raw_logits_dist.npz`` or ``raw_output_dist.npz``
(N, C, T), ``external_confids.npz`` (N,), ``encoded_output.npz`` (features, index of the test set) and
``attributions*.csv`` (image paths of every test set), and beside it ``hydra/config.yaml``, which names the
test sets in the order of their indices.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from monai_sf.bring_your_own import results_from_arrays
from monai_sf.results import Results, ResultsError

#: Their name of a corruption, and of its direction, to ours. Severity is how often the direction is written.
_CORRUPTION = re.compile(r"corr(?P<kind>br|motblr|gaunoi|elastic|letter)(?P<steps>(?:high)+|(?:low)+)?\d?$")
_KINDS = {
    "motblr": "motion_blur",
    "gaunoi": "gaussian_noise",
    "elastic": "elastic",
    "letter": "letter",
}
_METHODS = {"confidnet": "confidnet", "devries": "devries", "dg": "deepgamblers"}


def results_of_fd_shifts(path: str | os.PathLike[str]) -> Results:
    """Read one experiment; see :func:`monai_sf.results.read_fd_shifts`."""
    folder = Path(path)
    outputs = folder if (folder / "raw_output.npz").exists() else folder / "test_results"
    if (folder / "raw_logits.npz").exists():
        outputs = folder
    is_logits = (outputs / "raw_logits.npz").exists()
    stem = "raw_logits" if is_logits else "raw_output"
    raw = _array(outputs / f"{stem}.npz")
    if raw is None:
        raise FileNotFoundError(f"{folder} holds neither raw_logits.npz nor raw_output.npz")
    if raw.ndim != 2 or raw.shape[1] < 4:
        raise ResultsError(f"{stem}.npz must have at least two classes, label and index, got {raw.shape}")
    config = _config(outputs.parent if outputs.name == "test_results" else outputs)
    names = _test_set_names(config, int(raw[:, -1].max()) + 1)
    index = raw[:, -1].astype(np.int64)
    classes = raw.shape[1] - 2
    # validation is no test set, and images of classes that were never trained have no right answer
    keep = np.array([names[i] != "validation" for i in index]) & np.isin(raw[:, -2], np.arange(classes))
    if not keep.any():
        raise ResultsError(f"{folder}: no case of a test set has a label in 0..{classes - 1}")
    samples = _array(outputs / f"{stem}_dist.npz")
    features = _array(outputs / "encoded_output.npz")
    confidence = _array(outputs / "external_confids.npz")
    method = _method(config)
    files = _files(outputs, index)
    shown = [str(f) for f in files[keep]] if files is not None else []
    return results_from_arrays(
        **{"logits" if is_logits else "probabilities": raw[keep, :-2]},  # type: ignore[arg-type]
        labels=raw[keep, -2].astype(np.int64),
        mcd_samples=None if samples is None else samples[keep].transpose(0, 2, 1),
        features=None if features is None else features[keep, :-1],
        learned_confidence=(
            np.clip(confidence.reshape(len(raw))[keep], 0, 1)
            if confidence is not None and method != "classifier"
            else None
        ),
        case_ids=[f"{names[i]}-{k}" for i, k in zip(index[keep], np.flatnonzero(keep), strict=True)],
        domains=[names[i] for i in index[keep]],
        images=shown if shown and all(os.path.isfile(f) for f in shown) else None,
        dataset=str(_at(config, "data", "dataset") or folder.name),
        method=method,
        seed=int(_at(config, "exp", "global_seed") or 0),
    )


def _array(path: Path) -> NDArray[np.float64] | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["arr_0"], np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ResultsError(f"{path} cannot be read ({error})") from error


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "hydra" / "config.yaml"
    if not file.exists():
        return {}
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content if isinstance(content, Mapping) else {}


def _at(config: Mapping[str, Any], *keys: str) -> Any:
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _test_set_names(config: Mapping[str, Any], count: int) -> list[str]:
    names = ["validation"] if _at(config, "eval", "val_tuning") else []
    own = str(_at(config, "data", "dataset") or "")
    for study, listed in (_at(config, "eval", "query_studies") or {}).items():
        for entry in listed if isinstance(listed, list) else [listed]:
            name = str(entry.get("dataset") if isinstance(entry, Mapping) else entry)
            names.append("iid" if study == "iid_study" else _name(name.replace("${data.dataset}", own)))
    if not names:
        names = ["iid"]
    return names + [f"test-set-{i}" for i in range(len(names), count)]


def _name(name: str) -> str:
    found = _CORRUPTION.search(name)
    if not found:
        return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip("-_.") or "target"
    steps = found["steps"] or "high"
    direction = "high" if steps.startswith("high") else "low"
    kind = _KINDS.get(found["kind"]) or {"high": "brightness_up", "low": "brightness_down"}[direction]
    return f"corruption-{kind}-{min(len(steps) // len(direction), 5)}"


def _method(config: Mapping[str, Any]) -> str:
    name = str(_at(config, "model", "name") or "").lower()
    dg = _at(config, "model", "dg_reward")
    if isinstance(dg, (int, float)) and dg > 0:
        return "deepgamblers"
    return next((ours for theirs, ours in _METHODS.items() if theirs in name), "classifier")


def _files(outputs: Path, index: NDArray[np.int64]) -> NDArray[Any] | None:
    """The image path of every entry, None where they are not all known."""
    files = np.full(len(index), None, object)
    for i in np.unique(index):
        table = outputs / f"attributions{i}.csv"
        if not table.exists():
            table = outputs / "attributions.csv"
        if not table.exists():
            return None
        paths = pd.read_csv(table)
        if "filepath" not in paths or len(paths) != (index == i).sum():
            return None
        files[index == i] = paths["filepath"].astype(str)
    return files
