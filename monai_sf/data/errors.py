"""The error that a user should read, out of those that were raised on its way up."""

from __future__ import annotations

import sys
from types import TracebackType


def root_cause(error: BaseException) -> BaseException:
    """What went wrong, without the errors that MONAI puts around it."""
    wrapped = ("Failed to evaluate", "Failed to instantiate", "applying transform")
    while isinstance(error, RuntimeError) and str(error).startswith(wrapped) and error.__cause__ is not None:
        error = error.__cause__
    return error


def say_the_cause_last() -> None:
    """Let an uncaught error end with its cause, which MONAI's traceback hides some fifty lines above."""
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
