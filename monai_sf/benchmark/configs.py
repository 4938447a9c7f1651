"""What the benchmark reads of a bundle before it runs it: its config files, and what they say when merged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_sf.bundle.bases import with_bases
from monai_sf.bundle.special_keys import PLACES, TRACKING
from monai_sf.results.format import SET_ASIDE
from monai_sf.vocabulary.methods import METHODS

#: Keys that the matrix sets itself.
RESERVED = ("study", "method", "seed", "dataset_name", "dataset_dir", "output_dir", "run_dir")

#: What the benchmark itself calls the folders beside those of the datasets.
_TAKEN = ("all", "grid", "logs", SET_ASIDE, "tables", "tasks")


@dataclass(frozen=True)
class Bundle:
    """A MONAI bundle of one dataset.

    Attributes:
        folder: the bundle's folder, absolute; it holds ``configs/train.yaml`` and ``configs/evaluate.yaml``.
        dataset: its dataset, the key ``dataset_name`` of ``train.yaml``.
        overlays: config files that are laid over all others, absolute paths.
        overrides: config keys and values that are laid over all files.
    """

    folder: Path
    dataset: str
    overlays: tuple[str, ...] = ()
    overrides: Mapping[str, Any] | None = None

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        overlays: Sequence[str],
        overrides: Mapping[str, Any],
        dataset_dirs: Mapping[str, str | os.PathLike[str]],
    ) -> Bundle:
        """Find a bundle's files.

        Args:
            folder: the bundle's folder.
            overlays: names of files in its folder ``configs``, or paths of files elsewhere.
            overrides: config keys and values.
            dataset_dirs: dataset to the folder of its files, where that is not the config's own.

        Raises:
            FileNotFoundError: there is no such bundle, or it has no such overlay.
            ValueError: ``train.yaml`` does not name its dataset, or an override or overlay sets a key that
                the benchmark sets.
        """
        configs = Path(folder).expanduser().resolve() / "configs"
        for name in ("train.yaml", "evaluate.yaml"):
            if not (configs / name).is_file():
                raise FileNotFoundError(
                    f"{folder} is no bundle that can be benchmarked: no file configs/{name}"
                )
        if reserved := [key for key in overrides if key in RESERVED]:
            raise ValueError(
                f"the benchmark sets the config key {reserved[0]!r} itself: use its own arguments (bundles, "
                "studies, methods, seeds, dataset_dirs, output_dir)"
            )
        try:
            json.dumps(dict(overrides))
        except TypeError as error:
            raise ValueError(
                f"overrides must be plain values (numbers, texts, lists, ...): {error}"
            ) from None
        dataset = merge([str(configs / "train.yaml")], {}).get("dataset_name")
        if not isinstance(dataset, str) or dataset.startswith(("$", "@", "%")):
            raise ValueError(
                f"{configs / 'train.yaml'}: dataset_name must be the dataset's name, it is {dataset!r}"
            )
        if dataset in _TAKEN or not re.fullmatch(r"\w[\w.-]*", dataset):
            raise ValueError(
                f"{configs / 'train.yaml'}: the dataset_name {dataset!r} cannot be that of a folder of the "
                f"benchmark: use letters, digits, '_', '-' and '.', and none of {', '.join(_TAKEN)}"
            )
        own = {"dataset_dir": os.path.abspath(dataset_dirs[dataset])} if dataset in dataset_dirs else {}
        files = tuple(str(_overlay(configs, name)) for name in overlays)
        for file in files:
            _check_overlay(file)
        merge([str(configs / "train.yaml"), *files], overrides)  # what cannot be merged is said now
        return cls(configs.parent, dataset, files, {**overrides, **own})

    def training_files(self, method: str) -> tuple[str, ...]:
        """Return the config files of a training, the overlays last.

        A file ``<method>.yaml`` of the bundle's own takes the place of the method's registered overlay.

        Raises:
            ValueError: there is no such method.
        """
        configs = self.folder / "configs"
        own = configs / f"{method}.yaml"
        registered = METHODS[method].overlay if method in METHODS else None
        overlay = own if own.is_file() or registered is None else Path(registered).absolute()
        files = [str(configs / "train.yaml"), *([str(overlay)] if overlay.is_file() else [])]
        if (found := merge(files, {}).get("method")) != method:
            raise ValueError(
                f"{self.folder} has no method {method!r}: train.yaml has {found!r}, and there is no "
                f"{overlay} that sets it; registered are {', '.join(METHODS)}"
            )
        return (*files, *self.overlays)

    def evaluation_files(self, method: str) -> tuple[str, ...]:
        """The config files of an evaluation, the overlays last."""
        training = self.training_files(method)
        own = len(training) - len(self.overlays)
        return (*training[:own], str(self.folder / "configs" / "evaluate.yaml"), *self.overlays)


def _overlay(configs: Path, name: str) -> Path:
    here, there = configs / name, Path(name).resolve()
    found = here if os.sep not in name else there
    if not found.is_file():
        have = ", ".join(sorted(path.name for path in configs.glob("*.yaml")))
        raise FileNotFoundError(
            f"no overlay {found}" + (f"; {configs} has {have}" if os.sep not in name else "")
        )
    return found


def _check_overlay(file: str) -> None:
    """Refuse what would be ignored, or give results the name of another run."""
    content = ConfigParser.load_config_file(file)  # alone: keys such as a#b are of what it is laid over
    if reserved := [key for key in content if key in RESERVED and key != "dataset_dir"]:
        raise ValueError(
            f"the overlay {file} sets {reserved[0]!r}, which the benchmark sets itself: use its own "
            "arguments (bundles, studies, methods, seeds, output_dir)"
        )


@lru_cache(maxsize=256)
def _load(files: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    return dict(ConfigParser.load_config_files([path for path, _ in files]))


def merge(files: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it is run: what it is laid over, all files, then the overrides; expressions as written.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not YAML, or an override is of a key within something that does not exist.
    """
    stamped = tuple((str(path), os.stat(path).st_mtime_ns) for path in files)
    try:
        parser = ConfigParser(deepcopy(_load(stamped)))
        parser.update(dict(overrides))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"cannot lay {dict(overrides)} over {', '.join(files)}: {error!r}") from error
    return with_bases(parser.get(), Path(files[0]).parent)


def fingerprint(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a merged config decides about the outcome: all but where things lie and how they are run.

    Returns:
        The config as JSON gives it back, so that it can be compared with one that was read from a file.
    """
    kept = {key: value for key, value in config.items() if key not in PLACES | TRACKING | {"tracking"}}
    plain: dict[str, Any] = json.loads(json.dumps(kept, sort_keys=True, default=str))
    return plain
