"""The inference config of a bundle or of a run: flat and complete, for every tool that reads bundles.

MONAI's own tools, MONAI Label and MONAI Deploy open ``inference.json`` with a plain ``ConfigParser`` and take
``network_def``, ``preprocessing``, ``inferer`` and ``postprocessing`` out of it, without its step
``initialize``. So base configs, which that step merges, must be merged before.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_sf.bundle.bases import SHARED, loaded, with_bases
from monai_sf.bundle.keys import texts
from monai_sf.bundle.overrides import is_literal
from monai_sf.bundle.plain_values import plain
from monai_sf.files import write_text

#: Keys of the shared inference config that a bundle decides: how its images are found.
_OF_THE_BUNDLE = ("pattern", "channel_marks", "columns", "table_options")
#: Its configs that say what inference needs, of which a bundle may have the last only.
_SOURCES = ("train.yaml", "evaluate.yaml")
_WIDTH = 110


def inference_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that classifies new images with a network as it was trained and evaluated.

    The wiring is that of the shared ``inference.yaml``; what it refers to and does not hold (network,
    preprocessing, method, passes, classes, ...) is taken from the given config, each key before the first one
    that refers to it. All other keys are left out.

    Args:
        config: of a training and its evaluation, bases merged, expressions as written: a bundle's
            ``train.yaml``, overlays and ``evaluate.yaml``, or a run's ``evaluate.config.json``.

    Raises:
        ValueError: the config lacks what inference needs; names all such keys.
    """
    shared = with_bases(loaded([SHARED / "inference.yaml"]), SHARED)
    given = {key: value for key, value in config.items() if key not in shared or key in _OF_THE_BUNDLE}
    known = {**shared, **given}
    flat: dict[str, Any] = {}
    missing: list[str] = []

    def add(key: str) -> None:
        if key in flat or key in missing:
            return
        if key not in known:
            missing.append(key)
            return
        value = known[key]
        while isinstance(value, str) and (other := re.fullmatch(r"@(\w+)", value)) and other[1] in given:
            value = given[other[1]]  # another name of the same fact
        if key == "class_names" and isinstance(value, list):  # a run's are unwrapped: no name is evaluated
            value = [name if is_literal(name) else plain(name) for name in value]
        for name in _referred(value):
            if name not in shared:
                add(name)
        flat[key] = value

    for key in shared:
        add(key)
    if missing:
        raise ValueError(f"inference needs the config keys {', '.join(missing)}, which are not there")
    flat["imports"] = _imports(flat, shared["imports"], config.get("imports", ()))
    return flat


def decided_keys(flat: Mapping[str, Any]) -> set[str]:
    """Return the keys of a flat inference config that a bundle or run decides, the rest being wiring."""
    shared = loaded([SHARED / "inference.yaml"])
    return {key for key in flat if key not in shared or key in _OF_THE_BUNDLE}


def _referred(value: Any) -> list[str]:
    """Return the top-level keys that a value refers to, in the order of their occurrence."""
    return [
        name
        for _, text in texts({"": value})
        if text.startswith(("$", "@"))  # elsewhere it is a character like others
        for name in re.findall(r"@([A-Za-z_]\w*)", text)
    ]


def _imports(config: Mapping[str, Any], own: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the own import statements, and those of the others whose module an expression names."""
    modules = {statement.split()[-1]: statement for statement in (*own, *others)}
    expressions = " ".join(text for _, text in texts({**config, "imports": []}) if text.startswith("$"))
    used = {
        max((module for module in modules if f"{name}.".startswith(f"{module}.")), key=len, default="")
        for name in re.findall(r"[\w.]+", expressions)
    }
    return [text for module, text in modules.items() if text in own or module in used]


def bundle_inference_config(configs: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the inference config of a bundle, from its ``train.yaml`` and ``evaluate.yaml``.

    Args:
        configs: folder of the bundle's configs. A bundle that trains nothing has no ``train.yaml``.

    Raises:
        FileNotFoundError: it has neither.
        ValueError: see :func:`inference_config`.
    """
    folder = Path(configs)
    files = [file for name in _SOURCES if (file := folder / name).is_file()]
    if not files:
        raise FileNotFoundError(f"{folder} holds no {' or '.join(_SOURCES)}: it is no bundle's configs")
    return inference_config(with_bases(loaded(files), folder))


def write_inference_config(configs: str | os.PathLike[str]) -> Path:
    """Write ``inference.json`` beside the configs that it follows from, and return it.

    Raises:
        FileNotFoundError, ValueError: see :func:`bundle_inference_config`.
        OSError: it cannot be written.
    """
    path = Path(configs) / "inference.json"
    write_text(path, as_text(bundle_inference_config(configs)))
    return path


def as_text(config: Mapping[str, Any]) -> str:
    """Return a config as indented JSON, with what fits into a line in one line."""
    return f"{_json(config, '', 0)}\n"


def _json(value: Any, indent: str, used: int) -> str:
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, Mapping | list) or not value:
        return short
    if indent and used + len(indent) + len(short) < _WIDTH:
        return short
    inner = indent + " " * 4
    if isinstance(value, Mapping):
        names = [f"{json.dumps(str(key), ensure_ascii=False)}: " for key in value]
        lines = [name + _json(one, inner, len(name)) for name, one in zip(names, value.values(), strict=True)]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _json(one, inner, 0) for one in value) + f"\n{indent}]"
