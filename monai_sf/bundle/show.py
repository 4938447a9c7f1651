"""The merged config of a run, as text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from monai.bundle.utils import ID_SEP_KEY

from monai_sf.bundle.bases import BASE, SHARED, base_files
from monai_sf.bundle.initialize import complete_config
from monai_sf.bundle.workflow import config_of
from monai_sf.files import read_json

#: Files that claim_run_dir writes to a run's folder.
_CLAIMED = ("train.config.json", "evaluate.config.json")


def show_run(run_dir: str | os.PathLike[str]) -> str:
    """Return the configs that a run was trained and evaluated with, as YAML documents.

    Args:
        run_dir: folder of the run. Its files lack paths and settings of the machine.

    Raises:
        FileNotFoundError: the folder holds no config of a run.
        ValueError: a config is damaged.
    """
    files = [path for name in _CLAIMED if (path := Path(run_dir) / name).is_file()]
    if not files:
        raise FileNotFoundError(f"{run_dir} is not the folder of a run: it has none of {', '.join(_CLAIMED)}")
    return "---\n".join(f"# {f}\n{_yaml(read_json(f, 'restore it, or train again'))}" for f in files)


def show_config(files: Sequence[str], given: Mapping[str, str]) -> str:
    """Return the config that ``monai.bundle run`` would run, as YAML, with the origin of each key as comment.

    Nothing is run, and no data are read.

    Args:
        files: config files, later ones override earlier ones.
        given: overrides, key to text, as on the command line.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the config cannot be run; see :func:`monai_sf.bundle.initialize.complete_config`.
    """
    if missing := [file for file in files if not Path(file).is_file()]:
        raise FileNotFoundError(f"no config file {', '.join(missing)}")
    parser, folder = ConfigParser(), Path(files[0]).parent
    try:
        parser.read_config(list(files))
        parser.update({key: DefaultParseValue(text) for key, text in given.items()})
    except (KeyError, IndexError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{', '.join(files)} cannot be merged with {dict(given)}: {error}") from error
    bases = base_files(parser.get(BASE, ()), folder)
    complete_config(parser, folder, given)
    origins: dict[str, list[str]] = {}
    for file in dict.fromkeys([*bases, *map(Path, files)]):
        for key in dict.fromkeys(map(_top, ConfigParser.load_config_file(str(file)))):
            origins.setdefault(key, []).append(_name(file))
    for key in dict.fromkeys(map(_top, given)):
        origins.setdefault(key, []).append("command line")
    parts = groupby(config_of(parser).items(), key=lambda item: ", ".join(origins.get(item[0], [])))
    return "\n".join(f"# {origin}\n{_yaml(dict(items))}" for origin, items in parts)


def _name(file: Path) -> str:
    return str(file.relative_to(SHARED.parents[2]) if SHARED in file.parents else file)


def _top(key: str) -> str:
    """Return the top-level key of an id, such as ``+network_def#backbone``."""
    return key.lstrip("+").replace("#", ID_SEP_KEY).partition(ID_SEP_KEY)[0]


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120)
