"""Atomic writing of files and folders, which never replaces what another program has written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def _temporary_beside(path: Path) -> Path:
    """Return a name in the same folder (renames are atomic only within a file system), hidden from globs."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def _clean_up(path: Path, partial: Path) -> Iterator[None]:
    """Remove the partial file when the block fails, with an error that names the file and the remedy."""
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


def _file_place(path: str | os.PathLike[str]) -> Path:
    """Return the place to write a file to: links are followed, or a rename would replace the link."""
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"cannot write {place}: it is a folder; name a file in it")
    if place.exists() and not place.is_file():  # a device or pipe would be replaced by a file
        raise FileExistsError(errno.EEXIST, f"cannot write {place}: it is not a regular file; name another")
    return place


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block ends without an error.

    Args:
        path: the file to write; missing parent folders are created, an existing file is replaced. A link is
            followed and kept.
        durable: whether the file survives a power cut as soon as the block has ended. Without, it may then be
            empty or torn, which its reader must recognise.

    Raises:
        OSError: ``path`` is a folder or a device, the folder cannot be written to, or the disk is full; the
            message names the file. No partial file remains, and an older ``path`` is left unchanged.
    """
    path = _file_place(path)
    partial = _temporary_beside(path)
    with _clean_up(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            with open(partial, "rb") as file:  # on disk before the name is
                os.fsync(file.fileno())
        os.replace(partial, path)


def strangers(folder: Path, own: Collection[str], at_most: int = 5) -> list[str]:
    """Return what a folder holds that is not in ``own``, as relative paths; at most ``at_most``.

    Args:
        folder: an existing folder. Links are not followed, and always strangers, as are empty folders.
        own: relative paths of files, with ``/``.
        at_most: limits the search, as a home folder can be large.
    """
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise error

    for place, below, files in os.walk(folder, onerror=refuse):
        where = Path(place)
        entries = files + [name for name in below if (where / name).is_symlink()]
        for name in sorted(entries):
            relative = (where / name).relative_to(folder).as_posix()
            if relative not in own or (where / name).is_symlink():
                found.append(relative)
        if not files and not below and where != folder:
            found.append(where.relative_to(folder).as_posix())
        if len(found) >= at_most:
            break
    return [name.encode("utf-8", "replace").decode() for name in found[:at_most]]


def remove_own(folder: Path, own: Callable[[str], bool]) -> None:
    """Remove only our files of a folder, and the folders that this leaves empty.

    Args:
        folder: may be missing; a link to a folder is left alone.
        own: returns whether this program wrote the file at a relative path, with ``/``.
    """
    if folder.is_symlink():
        return
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if own((Path(place) / name).relative_to(folder).as_posix()):
                (Path(place) / name).unlink(missing_ok=True)
        with suppress(OSError):  # it holds files of others
            os.rmdir(place)


def _nothing(folder: Path) -> Collection[str]:
    return ()


def _check_replaceable(path: Path, own: Callable[[Path], Collection[str]]) -> None:
    """Refuse a place that holds something that this program did not write."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, f"cannot write the folder {path}: a file of this name is there")
    with suppress(FileNotFoundError):  # the working folder was removed
        if path in (here := Path.cwd(), *here.parents):
            raise FileExistsError(
                errno.EEXIST,
                f"cannot write the folder {path}: it is or holds the working folder; name a folder in it",
            )
    if others := strangers(path, own(path)):
        raise FileExistsError(
            errno.EEXIST,
            f"will not replace {path}: it holds other files ({', '.join(others)}). "
            "Choose another folder, or move them away",
        )


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], own: Callable[[Path], Collection[str]] = _nothing
) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``, renamed to ``path`` when the block ends without an error.

    Args:
        path: the folder to write. An existing one is replaced only if it is empty or all its files are ours;
            a link to a folder is followed and kept.
        own: returns the relative paths of the files in an existing folder that this program wrote.

    Raises:
        FileExistsError: ``path`` is a file, the working folder, or a folder with other files. It is raised
            before anything is written.
        OSError: as :func:`atomic_path`.
    """
    path = Path(os.path.realpath(path))
    _check_replaceable(path, own)
    partial = _temporary_beside(path)
    with _clean_up(path, partial):
        partial.mkdir(parents=True)
        yield partial
        _check_replaceable(path, own)  # another program may have written there since
        if not path.exists():
            os.replace(partial, path)
            return
        ours, old = frozenset(own(path)), _temporary_beside(path)
        os.replace(path, old)
        try:
            os.replace(partial, path)
        except OSError:
            os.replace(old, path)
            raise
        remove_own(old, ours.__contains__)


def refuse_unwritable(path: str | os.PathLike[str], start: str = "") -> None:
    """Check before a long computation whether the file ``path`` can be written after it.

    Args:
        path: the file.
        start: the beginning of our files of this kind. An existing file with another beginning is not ours
            and must not be replaced; an empty one may be.

    Raises:
        FileExistsError: ``path`` is a file that is not ours.
        OSError: as :func:`atomic_path`.
    """
    path = _file_place(path)
    expected = start.encode()
    if expected and path.exists():
        with open(path, "rb") as file:
            found = file.read(len(expected))
        if found and found != expected:
            raise FileExistsError(
                errno.EEXIST,
                f"will not replace {path}, which was not written by this command: choose another file, "
                "or remove it",
            )
    folder = path.parent
    while not os.path.lexists(folder):  # it is created when there is something to write
        folder = folder.parent
    partial = _temporary_beside(folder / path.name)
    with _clean_up(path, partial):
        partial.touch()
        partial.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically (see :func:`atomic_path`)."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as strict JSON (no NaN), atomically (see :func:`atomic_path`)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], advice: str) -> dict[str, Any]:
    """Return the object in a JSON file that this program wrote.

    Args:
        path: the file.
        advice: the remedy if it is damaged, for the error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or not an object; names the file and tells the remedy.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, it is not JSON ({error}): {advice}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged, it holds not an object but {str(content)[:40]!r}: {advice}")
    return content


def differences(there: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str] | None = None) -> str:
    """Return which values differ between two JSON objects, as text; empty if none. All keys by default."""
    return "; ".join(
        f"{key}: {_short(there.get(key, 'absent'))} there, {_short(now.get(key, 'absent'))} now"
        for key in sorted(there.keys() | now.keys() if keys is None else keys)
        if there.get(key) != now.get(key)
    )


def _short(value: Any, length: int = 80) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= length else text[: length - 3] + "..."


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
