"""The manifest of an exported bundle, and its archive: the same files give the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_sf.files import read_json, sha256_of

#: The file in an exported bundle's root that holds the SHA-256 of all others.
MANIFEST = "manifest.json"
_FORMAT, _VERSION = "monai_sf.export", 1

#: Parts of a bundle that predictions are made from. The rest may be changed, as may a model card.
_USED = ("configs/inference.json", "models/")


def manifest_of(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a folder: what it was made of, and the hash of every file.

    Args:
        folder: holds the exported bundle, without a manifest.
        about: further entries.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    hashes = {name: sha256_of(folder / name) for name in files}
    return {"format": _FORMAT, "format_version": _VERSION, **about, "files": hashes}


def check_exported(root: str | os.PathLike[str]) -> None:
    """Refuse an exported bundle whose weights, thresholds, fitted scores or inference config were changed.

    Args:
        root: folder of the bundle; one without a manifest, which was not exported, is accepted.

    Raises:
        ValueError: files differ from the manifest, or it is damaged; names all of them.
    """
    path = Path(root) / MANIFEST
    if not path.is_file():
        return
    advice = "unpack the archive again"
    manifest = read_json(path, advice)
    files = manifest.get("files")
    if manifest.get("format") != _FORMAT or not isinstance(files, dict):
        raise ValueError(f"{path} is not the manifest of an exported bundle: {advice}")
    used = [name for name in files if name.startswith(_USED)]
    # another runtime's file may be removed; one that is needed and missing is an error where it is read
    there = [name for name in used if (Path(root) / name).is_file()]
    if changed := [name for name in there if sha256_of(Path(root) / name) != files[name]]:
        raise ValueError(
            f"changed since the export, so that predictions could be wrong: {', '.join(changed)} in {root}. "
            f"{advice[0].upper()}{advice[1:]}, and give other settings as overrides"
        )


def is_export(path: Path) -> bool:
    """Return whether a file is the archive of an exported bundle, and holds nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            content, names = json.loads(archive.read(MANIFEST)), archive.namelist()
    except (OSError, KeyError, ValueError, RecursionError, RuntimeError, zipfile.BadZipFile):
        return False
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return False
    files = content.get("files")
    return isinstance(files, dict) and sorted(names) == sorted([*files, MANIFEST])


def write_archive(folder: Path, path: Path) -> None:
    """Write the files of a folder to a ZIP file, uncompressed, sorted and without times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # of 1980, the oldest there is
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, whatever this system is
            large = file.stat().st_size > 2**31
            with archive.open(entry, "w", force_zip64=large) as there, open(file, "rb") as here:
                shutil.copyfileobj(here, there)
