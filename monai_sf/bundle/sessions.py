"""Process-wide settings of a workflow, which are in force only while its expressions are evaluated.

A config may be run in a process that also does other things, such as a notebook. MONAI's workflow has three
steps, of which the last is skipped when the second fails, and its components can be requested one by one. So
the settings apply while the workflow runs or a component is requested, and are restored outside.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import get_track_meta, set_track_meta
from monai.utils import get_seed, set_determinism


class Session:
    """The settings of one workflow.

    Attributes:
        seed: of Python's, NumPy's and torch's random numbers and MONAI's transforms, set whenever the session
            becomes active; None leaves them unchanged.
        stack: the contexts to exit at the end, while the session is active; else None.
    """

    def __init__(self) -> None:
        self.seed: int | None = None
        self.stack: ExitStack | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Apply the settings, and restore the former ones, even after an error; has no effect when nested."""
        if self.stack is not None:
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(_process_restored())
            # LoadImage builds every reader that it knows, and this one warns without being used
            warnings.filterwarnings("ignore", message="NvImgCodec", category=UserWarning)
            # nothing after the reader uses metadata, and tracking it makes transforms slower
            set_track_meta(False)
            if self.seed is not None:
                set_determinism(self.seed)
            self.stack = stack
            stack.callback(setattr, self, "stack", None)
            yield


def session_of(workflow: ConfigWorkflow) -> Session:
    """Return the session of a workflow; its steps and requests for its components now run within it."""
    there = vars(workflow).get("_monai_sf_session")
    if isinstance(there, Session):
        return there
    session = Session()
    workflow._monai_sf_session = session
    _run_within(session, workflow, "run")
    _run_within(session, workflow, "finalize")
    _run_within(session, workflow.parser, "get_parsed_content")
    return session


def _run_within(session: Session, owner: Any, name: str) -> None:
    inner = getattr(owner, name)

    @wraps(inner)
    def within(*arguments: Any, **options: Any) -> Any:
        with session.active():
            return inner(*arguments, **options)

    setattr(owner, name, within)


@contextmanager
def _process_restored() -> Iterator[None]:
    meta, seed, path = get_track_meta(), get_seed(), sys.path[:]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    cudnn = torch.backends.cudnn
    deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if cuda else ()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        if not cuda:  # its generators begin with the seed of the CPU's
            stack.callback(lambda: torch.cuda.manual_seed_all(torch.initial_seed()))
        stack.enter_context(torch.random.fork_rng(devices))
        try:
            yield
        finally:
            set_track_meta(meta)
            if get_seed() != seed:
                set_determinism(seed)  # this reseeds, so the rest comes after it
            cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            sys.path[:] = path
