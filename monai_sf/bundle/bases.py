"""What the configs of all bundles share: the files in ``monai_sf/bundle/configs``, laid under a bundle's own.

A bundle's config names them in its key ``_base_``; :func:`monai_sf.bundle.start` lays them, before anything
else is evaluated. MONAI resolves paths in a config against the working folder only, so that its macros
(``%file#id``) could not do it for a config that is run from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

#: The key of a config that names what it is laid over: names of shared files, or config files beside it.
BASE = "_base_"
SHARED = Path(__file__).parent / "configs"


def with_bases(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config with everything under it that its key ``_base_`` names.

    Later names lie over earlier ones, as with the config files of ``monai.bundle run``; the config lies over
    all of them: its values win, dictionaries are merged key by key, save that one with another ``_target_``
    replaces the whole component. One that is called later (``_mode_: callable``) keeps its arguments with
    another ``_target_`` too, so that another optimiser has the learning rate. All ``imports`` are kept.

    Args:
        config: expressions as they are written, ids as nested dictionaries.
        folder: where files that a name with a suffix (``train.yaml``) stands for are looked up.

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
    """The files that ``_base_`` stands for, bases of bases first, each once.

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
    """A file's content; the benchmark asks for each of them hundreds of times."""
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
