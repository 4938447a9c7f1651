"""Base configs shared by all bundles, in ``monai_sf/bundle/configs``, which a bundle's config overrides.

A bundle's config names them in its key ``_base_``; :func:`monai_sf.bundle.start` merges them before anything
else is evaluated. MONAI resolves paths in a config relative to the working folder only, so its macros
(``%file#id``) do not work for a config that is run from anywhere.
"""

from __future__ import annotations

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
    laid: dict[str, Any] = {}
    for file in base_files(config.get(BASE, ()), folder):
        laid = _over(laid, _loaded(file))
    laid = _over(laid, config)
    laid.pop(BASE, None)
    return laid


def base_files(names: Sequence[str], folder: Path) -> list[Path]:
    """Return the files that ``_base_`` names, bases of bases first, each once.

    Raises:
        ValueError: there is no such file.
    """
    files: list[Path] = []
    for name in [names] if isinstance(names, str) else names:
        file = folder / name if Path(name).suffix else SHARED / f"{name}.yaml"
        if Path(name).name != name or not file.is_file():
            shared = sorted(path.stem for path in SHARED.glob("*.yaml"))
            raise ValueError(
                f"{BASE} names {name!r}: it must be one of {', '.join(shared)}, or a config file in {folder}"
            )
        own = _loaded(file).get(BASE, ())
        files += [path for path in (*base_files(own, file.parent), file) if path not in files]
    return files


@lru_cache(maxsize=64)
def _parsed(file: Path, modified: int) -> dict[str, Any]:
    return dict(ConfigParser.load_config_files([str(file)]))


def _loaded(file: Path) -> dict[str, Any]:
    """Return a file's content, cached, since the benchmark reads each hundreds of times."""
    return deepcopy(_parsed(file, file.stat().st_mtime_ns))


def _over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if key == "imports" and below is not None:
            merged[key] = list(dict.fromkeys([*_listed(below), *_listed(value)]))
        elif isinstance(below, Mapping) and isinstance(value, Mapping) and _same_kind(below, value):
            merged[key] = _over(below, value)
        else:
            merged[key] = value
    return merged


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _same_kind(below: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    target = below.get("_target_")
    return below.get("_mode_") == "callable" or value.get("_target_", target) == target
