"""A lock on a place that only one process may write to, released when its process ends."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: no locking there
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, IO[str]] = {}


class BusyError(RuntimeError):
    """Another process is working in the same place."""


def _let_go() -> None:
    for file in _held.values():
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):  # a worker that survives its parent must not keep the parent's locks
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(
    path: str | os.PathLike[str], what: str, seconds: float = 0.0, *, again: bool = False
) -> Iterator[None]:
    """Hold a lock file, which the system releases when the process ends, however it ends.

    Args:
        path: the lock file; it names its holder, and is removed at the end.
        what: the beginning of the error message.
        seconds: how long to wait for it.
        again: whether the process that holds it may enter again.

    Raises:
        BusyError: another process holds it; names process and host.
        OSError: the file cannot be created.
    """
    path = Path(os.path.abspath(path))
    if again and path in _held:
        yield
        return
    try:
        file = _opened(path, what, time.monotonic() + seconds)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise OSError(
                error.errno, f"cannot write {path.parent}: {error.strerror}. Choose another output folder"
            ) from error
        file = None  # where nothing can be written, nothing needs a lock
    if file is None:
        yield
        return
    _held[path] = file
    try:
        yield
    finally:
        if _held.pop(path, None) is not None:  # a forked process has released it
            with suppress(OSError):
                path.unlink()
            file.close()


def _opened(path: Path, what: str, deadline: float) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                break
        except FileNotFoundError:  # its holder has removed it meanwhile
            pass
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise BusyError(f"{what} ({path} is locked by {holder})") from None
            time.sleep(0.1)
        except BaseException:
            file.close()
            raise
        file.close()
    with suppress(OSError):  # on a full disk the lock does not name its holder
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}\n")
        file.flush()
    return file
