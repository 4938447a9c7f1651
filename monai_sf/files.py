"""Files that are written whole or not at all, and the hashes that tell one file from another."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def _temporary_beside(path: Path) -> Path:
    """A name in the same folder (a rename is atomic only within one file system), hidden from globs."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def _clean_up(path: Path, partial: Path) -> Iterator[None]:
    """Remove what was half written when the block fails, and say which file and what to do."""
    try:
        yield
    except BaseException as error:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with suppress(OSError):  # the first error is the one to report
                partial.unlink()
        if isinstance(error, OSError):
            raise OSError(
                error.errno,
                f"cannot write {path}: {error.strerror}. Free space or choose another output folder; "
                "what was complete before is kept",
            ) from error
        raise


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block ends without an error.

    Args:
        path: the file to write; missing parent folders are made, an existing file is replaced.

    Raises:
        OSError: the folder cannot be written to or the disk is full; the message names the file. Nothing
            half-written stays behind, and an older ``path`` stays as it was.
    """
    path = Path(path)
    partial = _temporary_beside(path)
    with _clean_up(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as file:  # on disk before the name is, or a power cut leaves an empty file
            os.fsync(file.fileno())
        os.replace(partial, path)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``, renamed to ``path`` when the block ends without an error.

    Args:
        path: the folder to write. An existing one is replaced.

    Raises:
        OSError: as :func:`atomic_path`.
    """
    path = Path(path)
    partial = _temporary_beside(path)
    with _clean_up(path, partial):
        partial.mkdir(parents=True)
        yield partial
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Find out before a long computation whether ``path`` can be written after it.

    Raises:
        OSError: as :func:`atomic_path`.
    """
    path = Path(path)
    partial = _temporary_beside(path)
    with _clean_up(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all (see :func:`atomic_path`)."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as strict JSON (no NaN), whole or not at all (see :func:`atomic_path`)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
