"""Base configs shared by all bundles, in ``monai_sf/bundle/configs``, which a bundle's config overrides.

A bundle's config names them in its key ``_base_``; :func:`monai_sf.bundle.start` merges them before anything
else is evaluated. MONAI resolves paths in a config relative to the working folder only, so its macros
(``%file#id``) do not work for a config that is run from anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

#: The key of a config that names its base configs: shared files, or config files beside it.
BASE = "_base_"
SHARED = Path(__file__).parent / "configs"


def with_bases(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Merge a config with the base configs that its key ``_base_`` names.

    Later names override earlier ones, as with the config files of ``monai.bundle run``, and the config
    overrides all of them. Dictionaries are merged key by key, except that one with another ``_target_``
    replaces the whole component. One that is called later (``_mode_: callable``) keeps its arguments even
    then, so that another optimiser gets the learning rate. All ``imports`` are kept.

    Args:
        config: expressions as written, ids as nested dictionaries.
        folder: folder of the files that names with a suffix (``train.yaml``) refer to.

    Returns:
        A new config without ``_base_``.

    Raises:
        ValueError: there is no shared file, or no file beside the config, of such a name.
    """
    merged: dict[str, Any] = {}
    for file in base_files(config.get(BASE, ()), folder):
        merged = _over(merged, loaded([file]))
    merged = _over(merged, config)
    merged.pop(BASE, None)
    return merged


def base_files(names: str | Sequence[str], folder: Path) -> list[Path]:
    """Return the files that ``_base_`` names, bases of bases first, each once.

    Raises:
        ValueError: there is no such file.
    """
    files: list[Path] = []
    for name in _listed(names):
        file = folder / name if Path(name).suffix else SHARED / f"{name}.yaml"
        if Path(name).name != name or not file.is_file():
            shared = sorted(path.stem for path in SHARED.glob("*.yaml"))
            raise ValueError(
                f"{BASE} names {name!r}: it must be one of {', '.join(shared)}, or a config file in {folder}"
            )
        own = loaded([file]).get(BASE, ())
        files += [path for path in (*base_files(own, file.parent), file) if path not in files]
    return files


def loaded(files: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Return the merged content of config files, cached, since the benchmark reads each hundreds of times."""
    return deepcopy(_parsed(tuple((str(file), os.stat(file).st_mtime_ns) for file in files)))


@lru_cache(maxsize=256)
def _parsed(files: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    return dict(ConfigParser.load_config_files([path for path, _ in files]))


def _over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if key == "imports" and below is not None:
            merged[key] = list(dict.fromkeys([*_listed(below), *_listed(value)]))
            continue
        merged[key] = value
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            target = below.get("_target_")
            if below.get("_mode_") == "callable" or value.get("_target_", target) == target:
                merged[key] = _over(below, value)
    return merged


def _listed(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else value
