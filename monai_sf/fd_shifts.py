"""Results from the result folders of FD-Shifts, the code of the paper's benchmark.

A folder holds ``test_results`` with ``raw_logits.npz`` or ``raw_output.npz`` (columns: C logits or softmax
values, label, index of the test set), optionally ``raw_logits_dist.npz`` or ``raw_output_dist.npz``
(N, C, T), ``external_confids.npz`` (N,), ``encoded_output.npz`` (features, index of the test set) and
``attributions*.csv`` (image paths of every test set), and beside it ``hydra/config.yaml``, which names the
test sets in the order of their indices (``eval.query_studies``, after validation where ``eval.val_tuning`` is
set) and the learned confidence (``eval.ext_confid_name``). Facts from IML-DKFZ/fd-shifts, README and
``models/devries_model.py``, and IML-DKFZ/sf-visuals, ``analyser.py``.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from monai_sf.bring_your_own import results_from_arrays
from monai_sf.results import Results, ResultsError

#: Their name of a corruption, and of its direction, to ours. Severity is how often the direction is written.
_CORRUPTION = re.compile(r"(?:corr)?(?P<kind>br|motblr|gaunoi|elastic|letter)(?P<steps>(?:high)+|(?:low)+)?$")
_KINDS = {
    "motblr": "motion_blur",
    "gaunoi": "gaussian_noise",
    "elastic": "elastic",
    "letter": "letter",
}
#: Targets that are unseen kinds of disease, not other places: sub-classes of lesions, nodules and cells.
_MANIFESTATION = re.compile(r"sub(small|big|class)|spiculation|texture|calcification")
#: Their name of a learned confidence to the way of training that brings it.
_METHODS = {"tcp": "confidnet", "devries": "devries", "dg": "deepgamblers"}

Float = NDArray[np.float64]


class _Named(NamedTuple):
    """A test set of the config: its name here, None for one that is no test set, and its kind."""

    name: str | None
    kind: str | None = None


def results_of_fd_shifts(path: str | os.PathLike[str]) -> Results:
    """Read one experiment; see :func:`monai_sf.results.read_fd_shifts`."""
    folder = Path(path)
    here = any((folder / f"{stem}.npz").exists() for stem in ("raw_logits", "raw_output"))
    outputs = folder if here else folder / "test_results"
    is_logits = (outputs / "raw_logits.npz").exists()
    stem = "raw_logits" if is_logits else "raw_output"
    raw = _array(outputs / f"{stem}.npz")
    if raw is None:
        raise FileNotFoundError(f"{folder} holds neither raw_logits.npz nor raw_output.npz")
    if raw.ndim != 2 or raw.shape[1] < 4:
        raise ResultsError(f"{stem}.npz must have at least two classes, label and index, got {raw.shape}")
    config = _config(outputs.parent if outputs.name == "test_results" else outputs)
    sets = _test_sets(config, int(raw[:, -1].max()) + 1)
    index = raw[:, -1].astype(np.int64)
    classes = raw.shape[1] - 2
    # images of classes that were never trained have no right answer
    keep = np.array([sets[i].name is not None for i in index]) & np.isin(raw[:, -2], np.arange(classes))
    if not keep.any():
        raise ResultsError(f"{folder}: no case of a test set has a label in 0..{classes - 1}")
    samples = _array(outputs / f"{stem}_dist.npz", len(raw))
    features = _array(outputs / "encoded_output.npz", len(raw))
    confidence = _array(outputs / "external_confids.npz", len(raw))
    method = _method(config)
    if confidence is None and method in ("devries", "deepgamblers"):
        raise ResultsError(f"{outputs} has no external_confids.npz, by which {method} is judged")
    scores = raw[:, :-2]
    # their Deep Gamblers writes softmax values, which lack the share of the reservation, as logits too
    are_logits = is_logits and not (method == "deepgamblers" and _are_shares(scores))
    files = _files(outputs, index, keep)
    shown = [str(f) for f in files[keep]] if files is not None else []
    domains = [str(sets[i].name) for i in index[keep]]
    return results_from_arrays(
        logits=_as_logits(scores[keep], are_logits),
        labels=raw[keep, -2].astype(np.int64),
        mcd_samples=None if samples is None else _as_logits(samples[keep], is_logits).transpose(0, 2, 1),
        features=None if features is None else features[keep, :-1],
        learned_confidence=(
            np.clip(confidence.reshape(len(raw))[keep], 0, 1)
            if confidence is not None and method in _METHODS.values()
            else None
        ),
        case_ids=_case_ids(domains, raw[keep, -2]),
        domains=domains,
        kinds={s.name: s.kind for s in sets if s.name in domains and s.kind},
        images=shown if shown and all(os.path.isfile(f) for f in shown) else None,
        dataset=str(_at(config, "data", "dataset") or folder.name),
        method=method,
        seed=int(_at(config, "exp", "global_seed") or 0),
    )


def _array(path: Path, length: int | None = None) -> Float | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = np.asarray(stored["arr_0"], np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ResultsError(f"{path} cannot be read ({error})") from error
    if length is not None and len(values) != length:
        raise ResultsError(f"{path} has {len(values)} entries, the raw outputs beside it have {length}")
    return values


def _as_logits(values: Float, are_logits: bool) -> Float:
    """Logits of (n, C, ...) values; the logarithm of shares, which need not add up to 1."""
    return values if are_logits else np.log(np.maximum(values, np.finfo(np.float32).tiny))


def _are_shares(values: Float) -> bool:
    return bool((values >= 0).all() and (values.sum(axis=1) <= 1 + 1e-3).all())


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "hydra" / "config.yaml"
    if not file.exists():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ResultsError(f"{file} is not YAML ({error})") from error
    return content if isinstance(content, Mapping) else {}


def _at(config: Mapping[str, Any], *keys: str) -> Any:
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _listed(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Study and dataset of the query studies, in their order; a study may hold nothing, one or several."""
    for study, listed in (_at(config, "eval", "query_studies") or {}).items():
        for entry in listed if isinstance(listed, list) else [listed]:
            name = entry.get("dataset") if isinstance(entry, Mapping) else entry
            if name is not None:
                yield str(study), str(name)


def _test_sets(config: Mapping[str, Any], count: int) -> list[_Named]:
    own = str(_at(config, "data", "dataset") or "")
    found = [_Named(None)] if _at(config, "eval", "val_tuning") else []
    for study, theirs in _listed(config):
        name = theirs.replace("${data.dataset}", own)
        if study == "iid_study":
            found.append(_Named("iid"))
        elif study == "new_class_study":
            found.append(_Named(None))
        else:
            kind = "manifestation" if _MANIFESTATION.search(name.removeprefix(own)) else None
            found.append(_Named(_name(name, {s.name for s in found}), kind))
    if not found:
        found = [_Named("iid")]
    return found + [_Named(f"test-set-{i}") for i in range(len(found), count)]


def _name(theirs: str, taken: set[str | None]) -> str:
    corruption = _CORRUPTION.search(theirs)
    if corruption:
        steps = corruption["steps"] or "high"
        direction = "high" if steps.startswith("high") else "low"
        kind = (
            _KINDS.get(corruption["kind"]) or {"high": "brightness_up", "low": "brightness_down"}[direction]
        )
        severity = min(len(steps) // len(direction), 5)
        names = [f"corruption-{kind}-{severity}", f"corruption-{kind}_{direction}-{severity}"]
    else:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", theirs).lstrip("-_.") or "target"
        names = [plain, *(f"{plain}-{i}" for i in range(2, len(taken) + 3))]
    return next((name for name in names if name not in taken), f"target-{len(taken)}")


def _method(config: Mapping[str, Any]) -> str:
    """From the learned confidence; older configs name only the model. ``dg_reward`` is set in all of them."""
    confidence = str(_at(config, "eval", "ext_confid_name") or "").lower()
    if confidence:
        return _METHODS.get(confidence, "classifier")
    model = str(_at(config, "model", "name") or "").lower()
    return next((name for name in ("confidnet", "devries") if name in model), "classifier")


def _case_ids(domains: list[str], labels: Float) -> list[str]:
    """Ids that a corrupted copy shares with its original.

    Corrupted test sets are the iid one in its order; one of another length or of other labels is not, and
    its cases get ids of their own.
    """
    where = np.array(domains, object)
    source = labels[where == "iid"]
    ids = np.empty(len(domains), object)
    for domain in dict.fromkeys(domains):
        members = np.flatnonzero(where == domain)
        copies = domain.startswith("corruption-") and np.array_equal(labels[members], source)
        ids[members] = [f"{'iid' if copies else domain}-{k}" for k in range(len(members))]
    return [str(i) for i in ids]


def _files(outputs: Path, index: NDArray[np.int64], keep: NDArray[np.bool_]) -> NDArray[Any] | None:
    """The image path of every kept entry, None where they are not all known."""
    files = np.full(len(index), None, object)
    for i in np.unique(index[keep]):
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
