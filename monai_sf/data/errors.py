"""The root cause among chained errors, which is the one that a user should read."""

from __future__ import annotations

import sys
from types import TracebackType


def root_cause(error: BaseException) -> BaseException:
    """Return the original error, without those that MONAI wraps around it."""
    wrapped = ("Failed to evaluate", "Failed to instantiate", "applying transform")
    while isinstance(error, RuntimeError) and str(error).startswith(wrapped) and error.__cause__ is not None:
        error = error.__cause__
    return error


def say_the_cause_last() -> None:
    """Print the root cause after the traceback of an uncaught error, where MONAI would bury it."""
    show = sys.excepthook
    if getattr(show, "_says_the_cause_last", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        show(kind, error, traceback)
        cause = root_cause(error)
        if cause is not error:
            print(f"\n{type(cause).__name__}: {cause}", file=sys.stderr)

    hook._says_the_cause_last = True  # type: ignore[attr-defined]
    sys.excepthook = hook
