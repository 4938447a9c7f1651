"""Config keys with a special meaning, and detection of keys that nothing reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from monai_sf.bundle.bases import SHARED
from monai_sf.vocabulary.config_keys import STEPS

#: Keys whose values are always paths.
PATHS = {
    *("dataset_dir", "table", "archive", "model", "output_dir", "run_dir", "checked_images"),
    *("image_cache", "checkpoint", "evaluation", "output", "report"),
    *("structured_reports", "image_table"),
}

#: Those of them that may be null, for no such folder or file.
OPTIONAL_PATHS = {"image_cache", "run_dir", "structured_reports", "image_table"}

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
    referred = {
        key.replace("::", "#")
        for text in (*(text for _, text in texts(config)), *read_elsewhere)
        for key in re.findall(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)?)", text)
    }
    read = _ENTRIES | referred | {key.partition("#")[0] for key in referred}
    if "dataloader" in config:  # an inference, of which other tools run this after the inferer
        read.add("postprocessing")
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


def texts(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield id and value of every text in a config, however deep; ``key`` is the id of the config itself."""
    if isinstance(config, str):
        yield key, config
    elif isinstance(config, Mapping | list | tuple):
        for name, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            yield from texts(value, f"{key}#{name}".lstrip("#"))
