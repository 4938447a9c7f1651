"""Detection of config keys that nothing reads, so that a misspelt override is an error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from monai_sf.bundle.bases import SHARED
from monai_sf.bundle.special_keys import STEPS

#: Keys that are read by name and need no reference from another key. Of MONAI's properties the required ones:
#: an optional one that no config refers to, such as ``val_interval``, has no effect.
_ENTRIES = {"seed"}.union(
    STEPS,
    *(
        (parts[0], "#".join(parts[:2]))
        for p in (*TrainProperties.values(), *InferProperties.values())
        if p[BundleProperty.REQUIRED]
        for parts in [str(p[BundlePropertyConfig.ID]).split("::")]
    ),
)


def check_keys(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse keys that nothing reads, so that a misspelt override is an error.

    Checks the keys of the config and of its plain groups (``train#dataset``); keys of a component are
    arguments, which the component checks itself.

    Args:
        config: the merged config.
        folder: of the bundle's configs.

    Raises:
        ValueError: a key is neither referred to in the bundle's configs nor one that MONAI reads; names the
            key, the closest existing ones, and all keys that exist.
    """
    # an overlay may hold values that another config reads
    files = (*folder.iterdir(), *SHARED.iterdir())
    read_elsewhere = [f.read_text(encoding="utf-8") for f in files if f.suffix in (".yaml", ".yml", ".json")]
    texts = [*strings(config), *read_elsewhere]
    referred = {
        key.replace("::", "#")
        for text in texts
        for key in re.findall(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)?)", text)
    }
    read = _ENTRIES | referred | {key.partition("#")[0] for key in referred}
    keys = [*config]
    for key, group in config.items():
        if isinstance(group, Mapping) and "_target_" not in group and key not in referred:
            keys += [f"{key}#{name}" for name in group if key in read]
    unknown = [key for key in keys if key not in read]
    if unknown:
        known = sorted(set(keys) - set(unknown))
        hints = {key: difflib.get_close_matches(key, known, 3) for key in unknown}
        raise ValueError(
            "; ".join(
                f"nothing reads the config key {key!r}"
                + (f" (did you mean {', '.join(near)}?)" if near else "")
                for key, near in hints.items()
            )
            + f". Keys that exist: {', '.join(known)}"
        )


def strings(config: Any) -> Iterator[str]:
    """Yield every text in a config, however deep."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from strings(value)
    elif isinstance(config, list):
        for value in config:
            yield from strings(value)
