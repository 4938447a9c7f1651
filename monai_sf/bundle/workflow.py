"""The workflow that runs a config, and the merged config that MONAI does not hand to its components.

The workflow that evaluates an expression is on the call stack while it does so; that is where
:func:`running` finds it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from monai_sf.bundle.literals import as_written
from monai_sf.bundle.special_keys import TRACKING


def running() -> ConfigWorkflow | None:
    """Return the workflow that evaluates the expression that calls this, None outside of one."""
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(owner := frame.f_locals.get("self"), ConfigWorkflow):
            return owner
        frame = frame.f_back
    return None


def root() -> str:
    """The bundle's folder: the parent of ``configs`` with the config that is being run; elsewhere ``"."``."""
    workflow = running()
    return str(workflow.config_root_path.resolve().parent) if workflow is not None else "."


def merged_config() -> dict[str, Any]:
    """The config that is being run, all files and overrides merged, expressions as they are written.

    Raises:
        RuntimeError: no bundle config is being run.
    """
    workflow = running()
    if workflow is None:
        raise RuntimeError("merged_config() is for expressions in a config that `monai.bundle run` runs")
    return config_of(workflow.parser)


def config_of(parser: ConfigParser) -> dict[str, Any]:
    """Return the config that a parser holds, as :func:`merged_config` does."""
    config = {key: value for key, value in parser.get().items() if key != ConfigParser.meta_key}
    config = dict(as_written(config))
    return dict(_without_tracking(config)) if is_tracked(config) else config


def is_tracked(config: Mapping[str, Any]) -> bool:
    """Return whether the config is run with MONAI's ``--tracking``."""
    return "is_not_rank0" in config  # which only MONAI's tracking adds


def tracked(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of a benchmark's tasks, which are tracked as the benchmark itself is.

    Raises:
        RuntimeError: no bundle config is being run.
    """
    workflow = running()
    if workflow is None:
        raise RuntimeError("tracked() is for expressions in a config that `monai.bundle run` runs")
    if not is_tracked(workflow.parser.get()):
        return dict(overrides)
    there = {key: workflow.parser.get_parsed_content(key) for key in ("tracking_uri", "experiment_name")}
    return {"tracking": "mlflow", **there, **overrides}


def _without_tracking(config: Any) -> Any:
    """A config as it was before ``--tracking mlflow`` added its keys and handlers: they make no other run."""
    if isinstance(config, Mapping):
        return {key: _without_tracking(value) for key, value in config.items() if key not in TRACKING}
    if isinstance(config, list):
        return [
            _without_tracking(value)
            for value in config
            if not (isinstance(value, Mapping) and value.get("_target_") == "MLFlowHandler")
        ]
    return config
