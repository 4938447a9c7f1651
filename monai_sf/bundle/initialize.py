"""The first step of every config."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from monai_sf.bundle.bases import with_bases
from monai_sf.bundle.keys import check_keys
from monai_sf.bundle.overrides import as_meant, is_command_line, written
from monai_sf.bundle.plain_values import plain
from monai_sf.bundle.sessions import session_of
from monai_sf.bundle.workflow import config_of, is_tracked, running_in
from monai_sf.data.errors import say_the_cause_last
from monai_sf.datasets import find_study
from monai_sf.datasets.studies import remaining_classes

_SETTINGS: dict[str, Any] = DEFAULT_MLFLOW_SETTINGS
_PLACE = _SETTINGS["configs"]["output_dir"]


def start() -> None:
    """Prepare the running config, as the first step of every config (its key ``initialize``).

    Merge its base configs (its key ``_base_``), restore the values that MONAI's command line alters, let the
    classes be those of its study, and make the run reproducible by its key ``seed``. Settings of the process
    are changed only while the workflow runs.

    Raises:
        RuntimeError: no bundle config is being run.
        ModuleNotFoundError: tracking was requested, and MLflow is not installed.
        ValueError: a base config does not exist or cannot be merged, a key is misspelt, the study is unknown,
            or the seed is no integer.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> _ = Path("base.json").write_text(json.dumps({"seed": 0, "epochs": 20}))
        >>> config = {
        ...     "_base_": ["base.json"],
        ...     "initialize": {"_target_": "monai_sf.bundle.start"},
        ... }
        >>> config |= {"bundle_root": ".", "epochs": 5}
        >>> config["run"] = "$print(@epochs, 'epochs', round(torch.rand(1).item(), 3))"
        >>> _ = Path("train.json").write_text(json.dumps(config))
        >>> for attempt in range(2):
        ...     workflow = ConfigWorkflow(
        ...         "train.json", workflow_type="train", logging_file=False
        ...     )
        ...     _ = workflow.initialize(), workflow.run()
        5 epochs 0.496
        5 epochs 0.496
    """
    workflow = running_in("start()")
    if is_command_line():
        say_the_cause_last()
    if is_tracked(workflow.parser.get()) and importlib.util.find_spec("mlflow") is None:
        raise ModuleNotFoundError(
            "tracking needs MLflow, which is not installed: pip install 'monai-sf[mlflow]', or leave "
            "tracking out"
        )
    session = session_of(workflow)
    with session.active():
        complete_config(workflow.parser, workflow.config_root_path, written())
        follow_study(workflow.parser)
        # resolved here, with the workflow on the stack: later callers of the parser get this value
        workflow.parser.get_parsed_content("bundle_root")
        workflow._run_expr("join")  # joins several processes, if the config has that key
        seed = workflow.parser.get_parsed_content("seed")
        if not (seed is None or isinstance(seed, int)):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        session.seed = seed


def follow_study(parser: ConfigParser) -> None:
    """Set ``num_classes`` and ``class_names`` to those of a study that trains without some classes.

    Does nothing for any other study, for a config without a network of its own, and for an audit, whose model
    has its classes.

    Args:
        parser: holds a completed config, of which nothing has been evaluated.

    Raises:
        ValueError: the key ``studies`` is wrong.
    """
    config = parser.get()
    if not {"study", "studies", "dataset_name", "num_classes", "class_names"} <= config.keys():
        return
    name, dataset, own = (parser.get_parsed_content(key) for key in ("study", "dataset_name", "studies"))
    if not own or name not in own or config.get("audit") is True:  # no published study has new classes
        return
    classes = [str(one) for one in parser.get_parsed_content("class_names")]
    left = remaining_classes(find_study(name, dataset, own), classes)
    if left != classes:
        parser.set({**config, "num_classes": len(left), "class_names": plain(left)})
        parser.parse(reset=True)


def _without_trackings_place(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the output_dir that MONAI's tracking gives it for want of one.

    It does not see that of the base config. The same text in a file is another object, and is kept.
    """
    return {key: value for key, value in config.items() if not (key == "output_dir" and value is _PLACE)}


def complete_config(parser: ConfigParser, folder: Path, given: Mapping[str, str]) -> None:
    """Complete a config that MONAI has read.

    Merge its base configs (see :mod:`monai_sf.bundle.bases`), restore its values as they were written (see
    :mod:`monai_sf.bundle.overrides`), and check its keys.

    Args:
        parser: holds the config, of which nothing has been evaluated.
        folder: of its first file.
        given: see :func:`monai_sf.bundle.overrides.written`.

    Raises:
        ValueError: see :func:`check_keys`, :func:`monai_sf.bundle.bases.with_bases` and
            :func:`monai_sf.bundle.overrides.as_meant`.
    """
    for key, text in given.items():
        if text.strip() == "None":  # MONAI ignores such an override
            parser[key] = None
    config = with_bases(_without_trackings_place(parser.get()), folder)
    if is_tracked(config):
        config.setdefault("output_dir", _PLACE)
    parser.set(as_meant(config, given))
    parser.parse(reset=True)
    check_keys(config_of(parser), folder)
