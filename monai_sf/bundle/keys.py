"""Keys of a config that nothing reads, so that a misspelt override is an error and not a default."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from monai_sf.bundle.bases import SHARED, STEPS
from monai_sf.bundle.workflow import merged_config, running

#: Keys that are read by name and need not be referred to by another key. Of MONAI's properties the required
#: ones: an optional one that no config refers to, such as ``val_interval``, changes nothing.
_ENTRIES = {"seed"}.union(
    STEPS,
    *(
        (parts[0], "#".join(parts[:2]))
        for p in (*TrainProperties.values(), *InferProperties.values())
        if p[BundleProperty.REQUIRED]
        for parts in [str(p[BundlePropertyConfig.ID]).split("::")]
    ),
)


def check_keys() -> None:
    """Refuse keys that nothing reads, so that a misspelt override is an error and not a default.

    Looks at the keys of the config and of its plain groups (``train#dataset``); what stands in a component is
    an argument, which the component refuses itself.

    Raises:
        ValueError: a key is neither referred to in the bundle's configs nor one that MONAI reads; names the
            key, the closest existing ones, and all keys that exist.
    """
    config = merged_config()
    texts = [*strings(config)]
    if (workflow := running()) is not None:  # an overlay may hold numbers that another of the configs reads
        files = (*workflow.config_root_path.iterdir(), *SHARED.iterdir())
        texts += [f.read_text(encoding="utf-8") for f in files if f.suffix in (".yaml", ".yml", ".json")]
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
