"""Data of users in a config: texts, numbers, lists and dictionaries that MONAI reads as what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from monai_sf.bundle.overrides import literal

_EVALUATED = ("$", "@", "%")
_SEPARATORS = ("#", "::")
#: Texts that a config's readers take for other values.
_WORDS = ("null", "true", "false", "None")


def plain(value: Any) -> Any:
    """Return a value that a config evaluates to the given one, whatever its texts mean to MONAI.

    Raises:
        ValueError: a key of a dictionary has a meaning to MONAI that cannot be taken from it; names it.
    """
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not _is_plain_key(str(key))]:
            raise ValueError(
                f"the name {wrong[0]!r} has a meaning in configs (it starts with $, @, %, + or _, or has # "
                "or ::): rename it in the table"
            )
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return literal(value) if isinstance(value, str) and not _is_plain(value) else value


def _is_plain(text: str) -> bool:
    special = text.startswith(_EVALUATED) or any(one in text for one in _SEPARATORS)
    return not special and text not in _WORDS and text.isprintable()


def _is_plain_key(text: str) -> bool:
    return not text.startswith((*_EVALUATED, "+", "_")) and not any(one in text for one in _SEPARATORS)


def as_yaml(value: Any) -> str:
    """Return a value as one line of YAML."""
    text: str = yaml.safe_dump(
        plain(value), default_flow_style=True, allow_unicode=True, sort_keys=False, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...").strip()
