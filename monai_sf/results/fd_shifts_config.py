"""The content of ``hydra/config.yaml`` of an FD-Shifts experiment: test sets by their index, method and seed.

Two generations are read. Until 2023 the file is the config; since then the config is under ``config``, and
values that are None may be left out. In both, the index of a test set counts validation
(``eval.val_tuning``), then the iid test set, then the other studies of ``eval.query_studies`` in their order.
A data set of its ``new_class_study`` has classes of its own: its labels are those of that data set, even if
they look like one of the trained classes, and every answer counts as wrong. Interpolations such as
``${fd_shifts.random_seed:}`` may be stored unresolved. Ambiguous configs are refused.

Facts from IML-DKFZ/fd-shifts, ``main.py``, ``configs/__init__.py``, ``loaders/data_loader.py`` and
``analysis/studies.py``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from monai_sf.results.format import ResultsError
from monai_sf.vocabulary.shifts import NEW_CLASS, corruption_name

#: Their name of a corruption, and of its direction, to ours. The direction is repeated once per severity.
_CORRUPTION = re.compile(r"corr(?P<kind>br|motblr|gaunoi|elastic|letter)(?P<steps>(?:high)+|(?:low)+)?$")
_KINDS = {
    "motblr": "motion_blur",
    "gaunoi": "gaussian_noise",
    "elastic": "elastic",
    "letter": "letter",
}
#: The key of ``eval.query_studies`` of data sets whose cases are of none of the classes.
NEW_CLASS_STUDY = "new_class_study"
#: Targets that are unseen manifestations, not other acquisitions: sub-classes of lesions, nodules and cells.
_MANIFESTATION = re.compile(r"sub(small|big|class)|spiculation|texture|calcification")
#: Their name of a learned confidence to the training method that provides it.
_METHODS = {"tcp": "confidnet", "devries": "devries", "dg": "deepgamblers"}


class Named(NamedTuple):
    """A test set of the config: its name here (None if it is left out), and its kind."""

    theirs: str
    name: str | None = None
    kind: str | None = None


class Experiment(NamedTuple):
    """The content of the config.

    Attributes:
        sets: the test sets in the order of their index; None without a config.
        dataset: name of the data, None if unknown.
        method: training method, by its name in monai_sf.
        seed: of the training, None if unknown.
    """

    sets: list[Named] | None
    dataset: str | None
    method: str
    seed: int | None


def read_config(folder: Path) -> Experiment:
    """Read the config of an experiment's folder.

    Raises:
        ResultsError: it is not YAML, of neither generation, or does not identify the test sets.
    """
    file = folder / "hydra" / "config.yaml"
    if not file.exists():
        return Experiment(None, None, "classifier", None)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ResultsError(f"{file} is not YAML ({error})") from error
    nested, flat = _at(content, "config", "eval"), _at(content, "eval")
    if isinstance(nested, Mapping) == isinstance(flat, Mapping):
        raise ResultsError(
            f"{file} must hold a mapping under one of eval and config.eval, got "
            f"{'both' if isinstance(flat, Mapping) else 'neither'}: not a known config of FD-Shifts"
        )
    config = content["config"] if isinstance(nested, Mapping) else content
    own = _at(config, "data", "dataset")
    own = own if isinstance(own, str) and "${" not in own else None
    try:
        return Experiment(_sets(config, own or ""), own, _method(config), _seed(config))
    except ResultsError as error:
        raise ResultsError(f"{file}: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """Loader that reads tagged values, such as OmegaConf's paths, as the plain ones beneath."""


def _untagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_PlainLoader.add_multi_constructor("", _untagged)


def _at(config: Any, *keys: str) -> Any:
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _sets(config: Mapping[str, Any], own: str) -> list[Named]:
    tuning = _at(config, "eval", "val_tuning")
    if not isinstance(tuning, bool):
        raise ResultsError(
            f"eval.val_tuning must be true or false, got {tuning!r}: it tells whether the first test set is "
            "that of validation. Enter the experiment's value"
        )
    studies = _at(config, "eval", "query_studies")
    if studies is not None and not isinstance(studies, Mapping):
        raise ResultsError(f"eval.query_studies must map studies to datasets, got {studies!r:.80}")
    found = [Named("validation")] if tuning else []
    others = list(_listed(studies or {}, own))
    # Their loader tests the iid set unless only other studies are named; it is always the first.
    if "iid_study" in (studies or {}) or not others:
        found.append(Named("iid_study", "iid"))
    for study, theirs in others:
        found.append(_named(study, theirs, own, {s.name for s in found} | {"iid"}))
    return found


def _listed(studies: Mapping[str, Any], own: str) -> Iterator[tuple[str, str]]:
    """Yield study and dataset of the studies other than iid; a study may hold none, one or several."""
    for study, listed in studies.items():
        if study == "iid_study":
            continue
        for entry in listed if isinstance(listed, list) else [listed]:
            name = entry.get("dataset") if isinstance(entry, Mapping) else entry
            if name is None:
                continue
            name = str(name) if isinstance(name, (str, int)) else "${"
            name = name.replace("${data.dataset}", own or "${")
            if "${" in name:
                raise ResultsError(
                    f"eval.query_studies.{study} holds {entry!r:.80}, which names no dataset: enter the "
                    "datasets that were tested, in their order"
                )
            yield str(study), name


def _named(study: str, theirs: str, own: str, taken: set[str | None]) -> Named:
    if study == NEW_CLASS_STUDY:
        return Named(theirs, _name(theirs, None, taken), NEW_CLASS)
    corruption = _CORRUPTION.search(theirs)
    if corruption is None and study == "noise_study":
        warnings.warn(
            f"{theirs} of noise_study is left out: it does not give a case's corruption and severity",
            UserWarning,
            stacklevel=2,
        )
        return Named(theirs)
    rest = theirs.removeprefix(own) if own else ""
    if corruption is None and rest != theirs and rest.startswith("corr"):
        raise ResultsError(f"the corruption of {theirs} is not one of {sorted(('br', *_KINDS))}")
    kind = "manifestation" if _MANIFESTATION.search(theirs.removeprefix(own)) else None
    return Named(theirs, _name(theirs, corruption, taken), kind)


def _name(theirs: str, corruption: re.Match[str] | None, taken: set[str | None]) -> str:
    if corruption:
        steps = corruption["steps"] or "high"
        direction = "high" if steps.startswith("high") else "low"
        kind = (
            _KINDS.get(corruption["kind"]) or {"high": "brightness_up", "low": "brightness_down"}[direction]
        )
        severity = min(len(steps) // len(direction), 5)
        names = [corruption_name(kind, severity), corruption_name(f"{kind}_{direction}", severity)]
    else:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", theirs).lstrip("-_.") or "target"
        names = [plain, *(f"{plain}-{i}" for i in range(2, len(taken) + 3))]
    return next((name for name in names if name not in taken), f"target-{len(taken)}")


def _method(config: Mapping[str, Any]) -> str:
    """Return the learned confidence's method; older configs name only the model, all set ``dg_reward``."""
    confidence = str(_at(config, "eval", "ext_confid_name") or "").lower()
    if "${" in confidence:
        raise ResultsError(
            f"eval.ext_confid_name is {confidence!r}: enter the learned confidence, such as "
            f"{', '.join(_METHODS)}"
        )
    if confidence:
        return _METHODS.get(confidence, "classifier")
    model = str(_at(config, "model", "name") or "").lower()
    return next((name for name in ("confidnet", "devries") if name in model), "classifier")


def _seed(config: Mapping[str, Any]) -> int | None:
    seed = _at(config, "exp", "global_seed")
    if isinstance(seed, str) and re.fullmatch(r"\d{1,18}", seed):
        return int(seed)
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 else None
