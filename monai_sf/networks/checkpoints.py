"""Checkpoints with a record of their hash, verified whenever they are read.

Two files beside the checkpoints describe them. ``checkpoints.json`` is written before each checkpoint and
holds the hashes of the current file and of the next one, so that a kill in between leaves a consistent pair.
``training.json``, the manifest of a complete training, holds the hashes of the final ``best.pt`` and of the
files that state what it was trained on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from monai_sf.files import atomic_path, read_json, sha256_of, write_json

RECORD = "checkpoints.json"
TRAINING = "training.json"

#: Files beside the checkpoints that state the cases and the config of the training.
BELONGINGS = ("train.config.json", "cases.json")


def save_checkpoint(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write tensors and plain values atomically, and record the file's hash.

    Raises:
        OSError: the file cannot be written, as on a full disk; names it. An older file is left unchanged.

    Examples:
        >>> import torch
        >>> from monai_sf.networks.checkpoints import load_checkpoint, save_checkpoint
        >>> save_checkpoint("best.pt", {"weight": torch.ones(2), "epoch": 3})
        >>> load_checkpoint("best.pt")
        {'weight': tensor([1., 1.]), 'epoch': 3}
    """
    path = Path(path)
    with atomic_path(path) as partial:
        # given a path, torch stores the file's name in the file: equal weights would have different hashes
        with full_disk_is_an_os_error(), open(partial, "wb") as file:
            torch.save(dict(content), file)
        record = _record_of(path.parent)
        there = [sha256_of(path)] if path.exists() else []
        known = [sha for sha in there if sha in record.get(path.name, ())]
        write_json(path.parent / RECORD, {**record, path.name: [*known, sha256_of(partial)]})


@contextmanager
def full_disk_is_an_os_error() -> Iterator[None]:
    """Raise the system's error, which torch replaces by one about a position in the file.

    Examples:
        >>> from monai_sf.networks.checkpoints import full_disk_is_an_os_error
        >>> with full_disk_is_an_os_error():  # as torch does on a full disk
        ...     raise RuntimeError("unexpected pos 64 vs 0") from OSError(
        ...         28, "No space left on device"
        ...     )
        Traceback (most recent call last):
        ...
        OSError: [Errno 28] No space left on device
    """
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror) from error
        raise OSError(errno.EIO, f"writing failed ({str(error).splitlines()[0]})") from error


def _record_of(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    advice = f"remove {folder} and train again, or restore the file"
    return read_json(path, advice) if path.exists() else {}


def summarise_training(run_dir: str | os.PathLike[str], summary: Mapping[str, Any]) -> None:
    """Write ``training.json``, the manifest of a complete training, with the hashes of its files.

    Raises:
        FileNotFoundError: there is no ``best.pt``.
        ValueError: ``best.pt`` is not the file that the training wrote.
        OSError: the file cannot be written.

    Examples:
        >>> from monai_sf.networks.checkpoints import (
        ...     save_checkpoint,
        ...     summarise_training,
        ...     trained,
        ... )
        >>> trained(".") is None
        True
        >>> save_checkpoint("best.pt", {"epoch": 3})
        >>> summarise_training(".", {"epochs": 20})
        >>> sorted(trained("."))
        ['belongings', 'epochs', 'sha256']
    """
    folder = Path(run_dir)
    best = check_checkpoint(folder / "best.pt")
    belongings = {name: sha256_of(folder / name) for name in BELONGINGS if (folder / name).is_file()}
    write_json(folder / TRAINING, {**summary, "sha256": best, "belongings": belongings})


def trained(run_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the content of ``training.json``; None if no training was completed.

    Raises:
        ValueError: the file is damaged.

    Examples:
        >>> from monai_sf.networks.checkpoints import (
        ...     save_checkpoint,
        ...     summarise_training,
        ...     trained,
        ... )
        >>> save_checkpoint("best.pt", {"epoch": 3})
        >>> trained(".") is None  # interrupted, so far
        True
        >>> summarise_training(".", {"epochs": 20})
        >>> trained(".")["epochs"]
        20
    """
    path = Path(run_dir) / TRAINING
    if not path.exists():
        return None
    return read_json(path, "restore it, or remove the run's folder and train again")


def check_belongings(run_dir: str | os.PathLike[str]) -> None:
    """Refuse a run whose files come from different trainings.

    Raises:
        ValueError: files that state what the run was trained on differ from those of the training; names all.

    Examples:
        >>> from pathlib import Path
        >>> from monai_sf.networks.checkpoints import (
        ...     check_belongings,
        ...     save_checkpoint,
        ...     summarise_training,
        ... )
        >>> save_checkpoint("best.pt", {"epoch": 3})
        >>> _ = Path("cases.json").write_text("[]")
        >>> summarise_training(".", {"epochs": 20})
        >>> check_belongings(".")
        >>> _ = Path("cases.json").write_text("[1]")
        >>> check_belongings(".")
        Traceback (most recent call last):
        ...
        ValueError: cases.json: changed since the training ended, or from another run,
        so that they ...
    """
    folder = Path(run_dir)
    there: Mapping[str, str] = (trained(folder) or {}).get("belongings", {})
    files = [folder / name for name in there if (folder / name).exists()]
    if changed := [str(file) for file in files if sha256_of(file) != there[file.name]]:
        raise ValueError(
            f"{', '.join(changed)}: changed since the training ended, or from another run, so that they may "
            f"not say what {folder / 'best.pt'} was trained on. Restore them, or remove the folder and train "
            "again"
        )


def check_checkpoint(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a checkpoint, verified against the record of its training.

    Args:
        path: the file. Without a record beside it, as for a file from elsewhere, it is accepted as is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not the file that the training wrote; tells the remedy.

    Examples:
        >>> from monai_sf.networks.checkpoints import check_checkpoint, save_checkpoint
        >>> save_checkpoint("best.pt", {"epoch": 3})
        >>> first = check_checkpoint("best.pt")
        >>> save_checkpoint("best.pt", {"epoch": 4})
        >>> len(first), check_checkpoint("best.pt") == first
        (64, False)
    """
    path = Path(path)
    record, known = path.parent / RECORD, _record_of(path.parent).get(path.name, [])
    final = (trained(path.parent) or {}).get("sha256") if path.name == "best.pt" else None
    if final is not None:
        record, known = path.parent / TRAINING, [final]
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        gone = f", though {record} lists it: restore it, or remove {path.parent} and train again"
        raise FileNotFoundError(f"no checkpoint at {path}{gone if known else ': train first'}") from None
    if known and found not in known:
        raise ValueError(
            f"{path} is not the file that the training wrote: its SHA-256 is {found[:12]}..., {record} has "
            f"{' or '.join(f'{sha[:12]}...' for sha in known)}. It was damaged or replaced: put the original "
            f"back, or remove {path.parent} and train again"
        )
    return found


def refuse_foreign(path: str | os.PathLike[str]) -> None:
    """Refuse to overwrite a checkpoint that no training in this folder has written.

    Raises:
        ValueError: there is such a file.

    Examples:
        >>> from pathlib import Path
        >>> from monai_sf.networks.checkpoints import refuse_foreign, save_checkpoint
        >>> save_checkpoint("best.pt", {"epoch": 3})
        >>> refuse_foreign("best.pt")  # a training has written it: it may be replaced
        >>> Path("precious.pt").touch()
        >>> refuse_foreign("precious.pt")
        Traceback (most recent call last):
        ...
        ValueError: precious.pt exists, without a checkpoint to resume its training
        from, and would be ...
    """
    path = Path(path)
    if path.exists() and path.name not in _record_of(path.parent):
        raise ValueError(
            f"{path} exists, without a checkpoint to resume its training from, and would be overwritten: "
            "move it away, or choose another output_dir"
        )


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values (never a pickle) to the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not the one that the training wrote (see :func:`check_checkpoint`), is
            truncated, or holds more than tensors and plain values.

    Examples:
        >>> from pathlib import Path
        >>> from monai_sf.networks.checkpoints import load_checkpoint, save_checkpoint
        >>> save_checkpoint("best.pt", {"epoch": 3})
        >>> _ = Path("best.pt").write_bytes(b"something else")
        >>> load_checkpoint("best.pt")
        Traceback (most recent call last):
        ...
        ValueError: best.pt is not the file that the training wrote: its SHA-256 is ...
    """
    check_checkpoint(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for damaged files
        raise ValueError(f"{path} is no readable checkpoint ({type(error).__name__}): train again") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, expected a dictionary of weights")
    return state
