"""What the benchmark reads of a bundle before it runs it: its config files, and the merged config."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_sf.bundle.bases import loaded, with_bases
from monai_sf.bundle.naming import DATASET_NAME, TAKEN
from monai_sf.datasets import STUDIES, find_studies
from monai_sf.vocabulary.config_keys import PLACES, TRACKING
from monai_sf.vocabulary.methods import METHODS

#: Keys that the benchmark sets itself.
RESERVED = ("study", "method", "seed", "dataset_name", "dataset_dir", "output_dir", "run_dir")


@dataclass(frozen=True)
class Bundle:
    """A MONAI bundle of one dataset.

    Attributes:
        folder: the bundle's folder, absolute; it holds ``configs/evaluate.yaml``, and ``configs/train.yaml``
            unless it audits a given model.
        dataset: its dataset, the key ``dataset_name`` of ``train.yaml``, or in an audit of ``evaluate.yaml``.
        overlays: config files that override all others, absolute paths.
        overrides: config keys and values that override all files.
        studies: name to kind of its studies: the dataset's, and those of the key ``studies``; empty for
            unknown data without that key.
        audits: the method of the given model that it audits, which is not trained; None if it trains.
    """

    folder: Path
    dataset: str
    overlays: tuple[str, ...]
    overrides: Mapping[str, Any]
    studies: Mapping[str, str]
    audits: str | None = None

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        overlays: Sequence[str],
        overrides: Mapping[str, Any],
        dataset_dirs: Mapping[str, str | os.PathLike[str]],
    ) -> Bundle:
        """Find a bundle's files; the arguments are those of :func:`monai_sf.benchmark.run_benchmark`.

        Raises:
            FileNotFoundError: there is no such bundle, or it has no such overlay.
            ValueError: ``train.yaml`` does not name its dataset, or an override or overlay sets a key that
                the benchmark sets.
        """
        configs = Path(folder).expanduser().resolve() / "configs"
        train, evaluate = (configs / name for name in ("train.yaml", "evaluate.yaml"))
        audit = evaluate.is_file() and not train.is_file() and merge([str(evaluate)], {}).get("audit") is True
        for file in (evaluate,) if audit else (train, evaluate):
            if not file.is_file():
                raise FileNotFoundError(f"{folder} cannot be benchmarked: it has no file configs/{file.name}")
        refuse_reserved(overrides, "an override")
        try:
            json.dumps(dict(overrides))
        except TypeError as error:
            raise ValueError(
                f"overrides must be plain values (numbers, texts, lists, ...): {error}"
            ) from None
        base = evaluate if audit else train
        dataset = merge([str(base)], {}).get("dataset_name")
        if not isinstance(dataset, str) or dataset.startswith(("$", "@", "%")):
            raise ValueError(f"{base}: dataset_name must be the dataset's name, it is {dataset!r}")
        if dataset in TAKEN or not re.fullmatch(DATASET_NAME, dataset):
            raise ValueError(
                f"{base}: the dataset_name {dataset!r} cannot be that of a folder of the benchmark: use "
                f"letters, digits, '_', '-' and '.', and none of {', '.join(TAKEN)}"
            )
        own = {"dataset_dir": os.path.abspath(dataset_dirs[dataset])} if dataset in dataset_dirs else {}
        files = tuple(_overlay(configs, name) for name in overlays)
        both = [str(evaluate)] if audit else [str(train), str(evaluate)]
        merged = merge([*both, *files], overrides)  # fails now if they cannot be merged
        studies = _studies_of(dataset, merged.get("studies"), base)
        method = str(merged.get("method")) if audit else None
        return cls(configs.parent, dataset, files, {**overrides, **own}, studies, method)

    def files(self, method: str, *more: str) -> tuple[str, ...]:
        """Return the config files of a training, ``more`` of the bundle's (evaluate.yaml), and the overlays.

        Those of an audit are ``evaluate.yaml`` and the overlays. A file ``<method>.yaml`` of the bundle
        replaces the method's registered overlay.

        Raises:
            ValueError: there is no such method.
        """
        configs = self.folder / "configs"
        if self.audits is not None:
            return (str(configs / "evaluate.yaml"), *self.overlays)
        own = configs / f"{method}.yaml"
        registered = METHODS[method].overlay if method in METHODS else None
        overlay = own if own.is_file() or registered is None else Path(registered).absolute()
        files = [str(configs / "train.yaml"), *([str(overlay)] if overlay.is_file() else [])]
        if (found := merge(files, {}).get("method")) != method:
            raise ValueError(
                f"{self.folder} has no method {method!r}: train.yaml has {found!r}, and there is no "
                f"{overlay} that sets it; registered are {', '.join(METHODS)}"
            )
        return (*files, *(str(configs / name) for name in more), *self.overlays)

    def overrides_in_training(self, method: str) -> dict[str, Any]:
        """Return the overrides of a training: without those of keys that only its evaluation has.

        They would change nothing but the config that the training is compared with, and train it anew.

        Raises:
            ValueError: there is no such method.
        """
        if self.audits is not None:
            return dict(self.overrides)
        configs = (merge(self.files(method, *more), {}) for more in ((), ("evaluate.yaml",)))
        trained, evaluated = (config.keys() for config in configs)
        only = evaluated - trained
        return {key: one for key, one in self.overrides.items() if re.split("#|::", key)[0] not in only}


def _studies_of(dataset: str, own: Any, file: Path) -> dict[str, str]:
    if own is None and dataset not in STUDIES:
        return {}
    try:
        return {study.name: study.kind for study in find_studies(dataset, own)}
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _overlay(configs: Path, name: str) -> str:
    """Return the path of an overlay, which must not set keys that would be ignored or rename the run."""
    path = Path(name).resolve() if os.sep in name else configs / name
    if not path.is_file():
        have = ", ".join(sorted(path.name for path in configs.glob("*.yaml")))
        raise FileNotFoundError(f"no overlay {path}" + ("" if os.sep in name else f"; {configs} has {have}"))
    content = ConfigParser.load_config_file(str(path))  # alone: keys such as a#b refer to its base config
    refuse_reserved(content, f"the overlay {path}", set(RESERVED) - {"dataset_dir"})
    return str(path)


def refuse_reserved(keys: Iterable[str], where: str, reserved: Iterable[str] = RESERVED) -> None:
    """Raise ValueError if some of the keys that ``where`` sets are set by the benchmark."""
    if found := sorted({*keys} & {*reserved}):
        raise ValueError(
            f"{where} sets {', '.join(map(repr, found))}, which the benchmark sets itself: use its own "
            "arguments (bundles, studies, methods, seeds, dataset_dirs, output_dir)"
        )


def merge(files: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that is run: base configs, all files, then the overrides; expressions as written.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not YAML, or an override is of a key within something that does not exist.
    """
    try:
        parser = ConfigParser(loaded(files))
        parser.update(dict(overrides))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{dict(overrides)} cannot override {', '.join(files)}: {error!r}") from error
    return with_bases(parser.get(), Path(files[0]).parent)


def fingerprint(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a merged config that determines the outcome, without paths and machine settings.

    Returns:
        The config after a round trip through JSON, so that it can be compared with one read from a file. Of
        ``studies`` it holds only the one that is run: adding another one changes nothing.
    """
    kept = {key: value for key, value in config.items() if key not in PLACES | TRACKING | {"tracking"}}
    if isinstance(studies := kept.get("studies"), Mapping):
        kept["studies"] = {name: study for name, study in studies.items() if name == kept.get("study")}
    plain: dict[str, Any] = json.loads(json.dumps(kept, sort_keys=True, default=str))
    return plain
