"""MLflow for these engines, on ``monai.bundle run --tracking mlflow``.

MONAI adds its ``MLFlowHandler`` to the handlers of a config. It expects other outputs than those of these
engines, and does not know stages and results, so it is configured before it is attached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

from monai_sf.files import read_json

#: MONAI's default name of all experiments.
_NAMELESS = "monai_experiment"


def attach(
    handler: Any, engine: Engine, run_dir: Path, stage: str, metrics: Callable[[], Mapping[str, float]]
) -> None:
    """Attach a handler to an engine; an ``MLFlowHandler`` is configured first.

    The experiment is named after the dataset and the MLflow run after stage and run, unless the config names
    them. Parameters are the plain values of the run's config, which is also an artefact; metrics are logged
    once per epoch.

    Args:
        handler: of any kind.
        engine: a trainer or evaluator.
        run_dir: folder of the run, claimed by :func:`monai_sf.bundle.claim_run_dir`.
        stage: "train" or "evaluate".
        metrics: called at the end of each epoch, for the metrics to log.
    """
    if isinstance(handler, MLFlowHandler):
        claimed = run_dir / f"{stage}.config.json"
        config = read_json(claimed, "remove the run's folder") if claimed.exists() else {}
        if handler.experiment_name == _NAMELESS:
            handler.experiment_name = str(config.get("dataset_name", run_dir.parent.name))
        if handler.run_name is None:
            handler.run_name = f"{stage} {run_dir.name}"
        handler.iteration_log = False  # it would need two database commits per batch
        handler.epoch_logger = partial(_log_metrics, handler, metrics)
        handler.artifacts = (*(path for path in handler.artifacts if path), str(claimed))
        plain = {
            key: value
            for key, value in config.items()
            if isinstance(value, str | int | float) and not str(value).startswith(("$", "@", "%"))
        }
        handler.attach(engine)
        engine.add_event_handler(Events.STARTED, _log_parameters, handler, plain)
    else:
        handler.attach(engine)


def _log_parameters(handler: Any, parameters: Mapping[str, Any]) -> None:
    run = handler.client.get_run(handler.cur_run.info.run_id)
    for name, value in parameters.items():
        if name not in run.data.params:  # a resumed run has them already, and they cannot be changed
            handler.client.log_param(run.info.run_id, name, value)


def _log_metrics(handler: Any, metrics: Callable[[], Mapping[str, float]], engine: Engine) -> None:
    for name, value in metrics().items():
        handler.client.log_metric(handler.cur_run.info.run_id, name, value, step=engine.state.epoch)
