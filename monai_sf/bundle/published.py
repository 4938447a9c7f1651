"""The published bundles, as package data of an installation or in a checkout."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from monai_sf.files import atomic_folder

#: A link out of the bundle, which leads nowhere from a copy.
_LINK_OUT = re.compile(r"\[([^\]]+)\]\(\.\./\.\./[^)]*\)")


def published_bundles() -> dict[str, Path]:
    """Return the folder of each published bundle, by the name of its dataset."""
    here = Path(__file__).parent
    folders = [here / "published", here.parents[1] / "bundles"]  # setup.cfg maps the second into the package
    root = next((folder for folder in folders if folder.is_dir()), here)
    found = sorted(path.parents[1] for path in root.glob("*/configs/train.yaml"))
    return {folder.name: folder for folder in found}


def copy_bundle(dataset: str, folder: str | os.PathLike[str]) -> Path:
    """Write a published bundle to a folder, whole or not at all.

    Args:
        dataset: name of the dataset.
        folder: the new bundle's folder; it must be empty if it exists.

    Returns:
        The folder.

    Raises:
        ValueError: there is no published bundle of that name; names those there are.
        FileExistsError: the folder holds files.
        OSError: it cannot be written to.
    """
    published = published_bundles()
    if dataset not in published:
        raise ValueError(f"there is no published bundle {dataset!r}; there are {', '.join(published)}")
    with atomic_folder(folder) as partial:
        for place in ("configs", "docs"):
            for file in sorted((published[dataset] / place).iterdir()):
                (partial / place).mkdir(exist_ok=True)
                if file.suffix == ".md":
                    text = _LINK_OUT.sub(r"\1", file.read_text(encoding="utf-8"))
                    (partial / place / file.name).write_text(text, encoding="utf-8", newline="\n")
                elif file.is_file():
                    shutil.copyfile(file, partial / place / file.name)
    return Path(os.path.realpath(folder))
