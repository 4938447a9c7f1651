"""Restoration of override values as the user has written them.

MONAI's command line parses Python literals and drops ``None``, and its parser treats every text as a possible
reference to another key: ``2024_06_01`` becomes a number, ``#`` becomes ``::``. Paths must not be changed.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from monai_sf.bundle.keys import OPTIONAL_PATHS, PATHS, texts
from monai_sf.vocabulary.config_keys import TRACKING

#: Literals of YAML, which the command line passes on as text (``--weights null``), since it parses Python's.
_YAML_WORDS = {"null": None, "true": True, "false": False}

#: Arguments of ``monai.bundle run`` itself, which are not config keys.
_NO_KEYS = {
    *("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"),
    *("workflow_name", "workflow_type", "properties_path"),
}

#: First characters of texts that MONAI evaluates.
_EVALUATED = ("$", "@", "%")


def is_command_line() -> bool:
    """Return whether this process is ``python -m monai.bundle``, which runs nothing else."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name in ("monai.bundle", "monai.bundle.__main__")


def written(arguments: Sequence[str] | None = None) -> dict[str, str]:
    """Return the overrides on a command line, key to text.

    Args:
        arguments: of the command line; by default those of this process, or none if it is not
            ``python -m monai.bundle``.
    """
    if arguments is None:
        arguments = sys.argv[1:] if is_command_line() else []
    found: dict[str, str] = {}
    for this, following in zip(arguments, [*arguments, "--"][1:], strict=True):
        flag = re.fullmatch(r"--?([A-Za-z_][\w#:.-]*)(?:=(.*))?", this, re.DOTALL)
        if flag and (flag[2] is not None or not following.startswith("--")):
            key = flag[1].replace("-", "_")
            found[key] = flag[2] if flag[2] is not None else following
    return {key: text for key, text in found.items() if key not in _NO_KEYS}


def as_meant(config: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return a config with the values as they were written.

    - null, true and false for their names, except in lists, which may name classes;
    - paths as on the command line, with ``~`` for the home folder;
    - a torch device for its name.

    Args:
        config: the config, as MONAI has read it.
        given: see :func:`written`.

    Raises:
        ValueError: a path is not text, or MONAI has changed characters of a value; names all of them.
    """
    meant = {key: value if key in PATHS else _without_yaml_words(value) for key, value in config.items()}
    wrong: list[str] = []
    for key in meant.keys() & PATHS:
        try:
            meant[key] = _path(key, meant[key], given.get(key))
        except ValueError as error:
            wrong.append(str(error))
    if "weights" in meant and isinstance(
        text := _of_the_command_line(meant["weights"], given.get("weights")), str
    ):
        meant["weights"] = _literal_where_needed(os.path.expanduser(text))
    if "device" in meant:
        try:
            meant["device"] = _device(meant["device"])
        except ValueError as error:
            wrong.append(str(error))
    for key, text in texts({key: value for key, value in meant.items() if key not in TRACKING | {"_meta_"}}):
        if ("#" in text or "::" in text) and not text.startswith(_EVALUATED):
            wrong.append(
                f"{key} is {text!r}: MONAI replaces # by :: in the values of a config, so this is ambiguous. "
                "Use neither"
            )
    if wrong:
        raise ValueError("; ".join(sorted(wrong)))
    return meant


def _of_the_command_line(value: Any, text: str | None) -> Any:
    """Return the text that became a value, unless it is one that a config evaluates."""
    if text is None or text.startswith(("$", "%")) or re.fullmatch(r"@\w+((#|::)\w+)*", text):
        return value
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None if text == "null" else text
    return None if read is None else read if isinstance(read, str) else text


def _path(key: str, value: Any, text: str | None) -> Any:
    value = _of_the_command_line(value, text)
    if value is None and key in OPTIONAL_PATHS:
        return None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip() or value == "null":
        raise ValueError(
            f"{key} must be a path, got {value!r}: write it as text, such as "
            f"{f'./{value}' if value else './folder'!r}"
        )
    if value.startswith("~"):
        home = os.path.expanduser(value)
        if home == value:
            raise ValueError(f"{key} is {value!r}, and there is no such user: write ./{value} for a folder")
        value = home
    if "::" in value and text is not None and not value.startswith("$"):
        return literal(value)
    return _literal_where_needed(value)


def _literal_where_needed(value: str) -> str:
    return literal(value) if "#" in value and not value.startswith(_EVALUATED) else value


def _device(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"cuda:{value}"
    if not isinstance(value, str) or value.startswith(_EVALUATED):
        return value
    try:
        device = torch.device(value)
    except RuntimeError:
        raise ValueError(f"device must be cpu, cuda or cuda:0, cuda:1, ..., got {value!r}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {value!r}, and there are {torch.cuda.device_count()} GPUs here")
    return f"$torch.device({value!r})"


def _without_yaml_words(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {key: _without_yaml_words(value) for key, value in config.items()}
    return _YAML_WORDS.get(config, config) if isinstance(config, str) else config


def literal(text: str) -> str:
    """Return a config value that evaluates to this text, whatever its characters mean to MONAI."""
    plain = "".join(c if re.fullmatch(r"[\w./ -]", c, re.ASCII) else f"\\U{ord(c):08x}" for c in text)
    return f"$'{plain}'"


def is_literal(text: str) -> bool:
    """Return whether a text is one that :func:`literal` has made."""
    return re.fullmatch(r"\$'([\w./ -]|\\U[0-9a-f]{8})*'", text, re.ASCII) is not None


def as_written(config: Any) -> Any:
    """Return a config with the original texts that :func:`literal` has wrapped.

    Those that MONAI would evaluate or change stay wrapped, since the config of a run is evaluated again.
    """
    if isinstance(config, Mapping):
        return {key: as_written(value) for key, value in config.items()}
    if isinstance(config, list):
        return [as_written(value) for value in config]
    if isinstance(config, str) and is_literal(config):
        text: str = ast.literal_eval(config[1:])
        return config if text.startswith(("$", "@", "%")) or "::" in text else text
    return config
