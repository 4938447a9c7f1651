"""Files: atomic writing, locks, and the one way to open images."""

from monai_sf.files.writing import (
    atomic_folder,
    atomic_path,
    differences,
    read_json,
    refuse_unwritable,
    remove_own,
    sha256_of,
    strangers,
    write_json,
    write_text,
)

__all__ = [
    "atomic_folder",
    "atomic_path",
    "differences",
    "read_json",
    "refuse_unwritable",
    "remove_own",
    "sha256_of",
    "strangers",
    "write_json",
    "write_text",
]
