"""The workflow that runs a config, and the merged config that MONAI does not pass to its components.

The workflow that evaluates an expression is on the call stack meanwhile, where :func:`running` finds it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from monai_sf.bundle.overrides import as_written
from monai_sf.vocabulary.config_keys import TRACKING


def running() -> ConfigWorkflow | None:
    """Return the workflow that evaluates the calling expression, None outside of one."""
    frame = inspect.currentframe()
    while frame is not None:
        # MONAI's own frames end soon. Before Python 3.13 a frame that was asked for its variables keeps them
        # until it ends, even what it has deleted, and a caller's may last for days
        of_monai = frame.f_globals.get("__name__") == ConfigWorkflow.__module__
        if of_monai and isinstance(owner := frame.f_locals.get("self"), ConfigWorkflow):
            return owner
        frame = frame.f_back
    return None


def root() -> str:
    """Return the bundle's folder, the parent of ``configs`` with the running config; elsewhere ``"."``.

    As a config writes it: ``bundle_root: $monai_sf.bundle.root()``.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> config = {"imports": ["$import monai_sf", "$import monai_sf.bundle"]}
        >>> config["bundle_root"] = "$monai_sf.bundle.root()"
        >>> Path("xrays/configs").mkdir(parents=True)
        >>> _ = Path("xrays/configs/train.json").write_text(json.dumps(config))
        >>> workflow = ConfigWorkflow(
        ...     "xrays/configs/train.json", workflow_type="train", logging_file=False
        ... )
        >>> _ = workflow.initialize()
        >>> Path(workflow.bundle_root).name
        'xrays'
    """
    workflow = running()
    return str(workflow.config_root_path.resolve().parent) if workflow is not None else "."


def running_in(caller: str) -> ConfigWorkflow:
    """Return the workflow that evaluates the calling expression, or raise RuntimeError outside of one."""
    if (workflow := running()) is None:
        raise RuntimeError(f"{caller} is for expressions in a config that `monai.bundle run` runs")
    return workflow


def merged_config() -> dict[str, Any]:
    """Return the running config, with all files and overrides merged, and expressions as written.

    Raises:
        RuntimeError: no bundle config is being run.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> config = {"imports": ["$import monai_sf", "$import monai_sf.bundle"], "seed": 0}
        >>> config["run"] = "$print('seed', monai_sf.bundle.merged_config()['seed'])"
        >>> _ = Path("train.json").write_text(json.dumps(config))
        >>> _ = ConfigWorkflow(
        ...     "train.json", workflow_type="train", logging_file=False, seed=3
        ... ).run()
        seed 3
    """
    return config_of(running_in("merged_config()").parser)


def config_of(parser: ConfigParser) -> dict[str, Any]:
    """Return the config that a parser holds, as :func:`merged_config` does."""
    technical = (ConfigParser.meta_key, "save_execute_config")  # the latter is there for --tracking
    config = {key: value for key, value in parser.get().items() if key not in technical}
    config = dict(as_written(config))
    return dict(_without_tracking(config)) if is_tracked(config) else config


def is_tracked(config: Mapping[str, Any]) -> bool:
    """Return whether the config is run with MONAI's ``--tracking``."""
    return "is_not_rank0" in config  # which only MONAI's tracking adds


def tracked(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides for a benchmark's tasks, with the tracking of the benchmark itself.

    Args:
        overrides: config keys to values, see :func:`monai_sf.benchmark.run_benchmark`.

    Raises:
        RuntimeError: no bundle config is being run.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> config = {"imports": ["$import monai_sf", "$import monai_sf.bundle"]}
        >>> # with --tracking more keys
        >>> config["run"] = "$print(monai_sf.bundle.tracked({'epochs': 3}))"
        >>> _ = Path("benchmark.json").write_text(json.dumps(config))
        >>> _ = ConfigWorkflow(
        ...     "benchmark.json", workflow_type="train", logging_file=False
        ... ).run()
        {'epochs': 3}
    """
    parser = running_in("tracked()").parser
    if not is_tracked(parser.get()):
        return dict(overrides)
    own = {key: parser.get_parsed_content(key) for key in ("tracking_uri", "experiment_name")}
    return {"tracking": "mlflow", **own, **overrides}


def _without_tracking(config: Any) -> Any:
    """Return a config without the keys and handlers of ``--tracking mlflow``, which do not affect a run."""
    if isinstance(config, Mapping):
        return {key: _without_tracking(value) for key, value in config.items() if key not in TRACKING}
    if isinstance(config, list):
        return [
            _without_tracking(value)
            for value in config
            if not (isinstance(value, Mapping) and value.get("_target_") == "MLFlowHandler")
        ]
    return config
