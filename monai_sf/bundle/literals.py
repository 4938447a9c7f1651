"""Literal texts in a config, which MONAI would otherwise read as references to other keys."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any


def literal(text: str) -> str:
    """Return a config value that evaluates to this text, whatever its characters mean to MONAI."""
    plain = "".join(c if re.fullmatch(r"[\w./ -]", c, re.ASCII) else f"\\U{ord(c):08x}" for c in text)
    return f"$'{plain}'"


def as_written(config: Any) -> Any:
    """Return a config with the original texts that :func:`literal` has wrapped."""
    if isinstance(config, Mapping):
        return {key: as_written(value) for key, value in config.items()}
    if isinstance(config, list):
        return [as_written(value) for value in config]
    if isinstance(config, str) and re.fullmatch(r"\$'([\w./ -]|\\U[0-9a-f]{8})*'", config, re.ASCII):
        return ast.literal_eval(config[1:])
    return config
