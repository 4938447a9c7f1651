"""The first step of every config."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

from monai.bundle import ConfigParser

from monai_sf.bundle.bases import with_bases
from monai_sf.bundle.keys import check_keys
from monai_sf.bundle.overrides import as_meant, dropped, is_command_line, written
from monai_sf.bundle.sessions import session_of
from monai_sf.bundle.workflow import config_of, is_tracked, running
from monai_sf.data.errors import say_the_cause_last

logger = logging.getLogger(__name__)


def start() -> None:
    """What every config does first.

    Make its config the one that is meant (see :func:`lay`), and the run reproducible by its key ``seed``.
    What that changes in the process holds while the workflow runs (see :mod:`monai_sf.bundle.sessions`).

    Raises:
        RuntimeError: no bundle config is being run.
        ModuleNotFoundError: tracking was asked for, and MLflow is not installed.
        ValueError: see :func:`lay`.
    """
    workflow = running()
    if workflow is None:
        raise RuntimeError("start() is for the key initialize of a config that `monai.bundle run` runs")
    if is_command_line():
        say_the_cause_last()
    if is_tracked(workflow.parser.get()) and importlib.util.find_spec("mlflow") is None:
        raise ModuleNotFoundError(
            "tracking needs MLflow, which is not installed: pip install 'monai-sf[mlflow]', or leave "
            "tracking out"
        )
    session = session_of(workflow)
    with session.active():
        lay(workflow.parser, workflow.config_root_path, written())
        # resolved here, where the workflow is on the stack: who asks the parser later gets this value
        workflow.parser.get_parsed_content("bundle_root")
        workflow._run_expr("join")  # of several processes, where the config has that key
        seed = workflow.parser.get_parsed_content("seed")
        if not (seed is None or isinstance(seed, int)):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        session.seed = seed


def lay(parser: ConfigParser, folder: Path, given: Mapping[str, str]) -> None:
    """Make a config that MONAI has read the one that is meant.

    Lay the shared files under it (see :mod:`monai_sf.bundle.bases`), read its values as they were written
    (see :mod:`monai_sf.bundle.overrides`), and check its keys.

    Args:
        parser: holds the config; nothing of it has been evaluated.
        folder: of its first file.
        given: see :func:`monai_sf.bundle.overrides.written`.

    Raises:
        ValueError: see :func:`check_keys`, :func:`monai_sf.bundle.bases.with_bases` and
            :func:`monai_sf.bundle.overrides.as_meant`.
    """
    for key in dropped(given):
        parser[key] = None
    parser.set(as_meant(with_bases(parser.get(), folder), given))
    parser.parse(reset=True)
    check_keys(config_of(parser), folder)
