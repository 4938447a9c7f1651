"""The inference config of a run: network, preprocessing, method and passes are those of its training."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser

from monai_sf.bundle.bases import SHARED, loaded
from monai_sf.bundle.claims import made_of, trained_config
from monai_sf.bundle.inference_config import decided_keys, inference_config
from monai_sf.bundle.manifest import check_exported
from monai_sf.bundle.overrides import as_meant, as_written, literal, written
from monai_sf.bundle.workflow import config_of, root, running_in
from monai_sf.files import differences
from monai_sf.networks.checkpoints import check_belongings, check_checkpoint
from monai_sf.networks.given_files import is_factory
from monai_sf.results.format import RUN_FILE, ResultsError, read_run

_CONFIG = "inference.json"
#: Keys of an audit that say where the files of its model are.
_MODEL = {"model", "weights"}


def run_config(checkpoint: str | os.PathLike[str], evaluation: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the config that a network was trained and evaluated with, as far as it is known.

    Args:
        checkpoint: the network's file; the config of its training lies beside it.
        evaluation: run.json of its evaluation; of one of another checkpoint nothing is taken. An audit, whose
            model lies elsewhere, has nothing else.

    Raises:
        ValueError: a file is damaged or was replaced.
    """
    folder, file = Path(checkpoint).parent, Path(evaluation)
    check_belongings(folder)
    found, trained = None, {}
    if Path(checkpoint).is_file():  # otherwise it is said when it is loaded
        found, trained = check_checkpoint(checkpoint), trained_config(folder)
    if not file.is_file():
        return trained
    try:
        run = read_run(file)
    except ResultsError as error:
        raise ResultsError(f"{file}: {error}") from error
    if run.get("sha256", {}).get("checkpoint") != found and not run.get("audit"):
        return trained
    config = {**trained, **run.get("config", {})}
    names, known = list(run["class_names"]), config.get("class_names")
    if isinstance(known, list) and len(known) == len(names):  # one without a case is called by its number
        names = [known[k] if name == f"class {k}" else name for k, name in enumerate(names)]
    return {**config, "class_names": names} if config else {}


class Inference(NamedTuple):
    """What classifies new images in a folder.

    Attributes:
        config: the inference config; of a run as it was trained and evaluated.
        checkpoint: the weights.
        evaluation: run.json of their evaluation.
    """

    config: dict[str, Any]
    checkpoint: Path
    evaluation: Path


def inference_in(folder: str | os.PathLike[str]) -> Inference:
    """Return what classifies new images in the folder of a run, or of a bundle with weights in ``models``.

    Raises:
        FileNotFoundError: it holds neither, or the files of an audited model are not where they were.
        ValueError: the run or the exported bundle was changed or damaged, or its config lacks what inference
            needs.
    """
    root = Path(folder).absolute()
    file = root / "configs" / _CONFIG
    checkpoint, evaluation = root / "best.pt", root / "results" / RUN_FILE
    config = loaded([SHARED / "evaluate.yaml"])  # the passes of a run that was not evaluated
    if not (checkpoint.is_file() or evaluation.is_file()):  # an audited run has no checkpoint
        checkpoint = root / "models" / "model.pt"
        evaluation = root / "models" / "evaluation" / RUN_FILE
        if not (file.is_file() and checkpoint.is_file()):
            raise FileNotFoundError(
                f"{root} holds neither best.pt, as the folder of a run, nor configs/{_CONFIG} and "
                "models/model.pt, as a bundle with its weights"
            )
        check_exported(root)
        config = _as_read(file)
    flat = inference_config({**config, **run_config(checkpoint, evaluation)})
    for key in sorted(_MODEL & flat.keys()):
        place = flat[key]
        if isinstance(place, str) and not is_factory(place) and not Path(place).exists():
            raise FileNotFoundError(
                f"{root} is the audit of a model whose {key} was {place}, which is not there any more: put "
                f"it back (a link will do), or run the bundle's configs/{_CONFIG} with --run_dir {root} and "
                f"--{key} as its new place"
            )
    return Inference({**flat, "bundle_root": literal(str(root))}, checkpoint, evaluation)


def made_of_network(config: Mapping[str, Any]) -> set[str]:
    """Return the top-level keys that the network's outputs depend on, besides its weights."""
    return made_of(config, "network_def", "preprocessing") | ({"method"} & config.keys())


def follow_run(
    ensemble: Sequence[str | os.PathLike[str]],
    checkpoint: str | os.PathLike[str],
    evaluation: str | os.PathLike[str],
) -> None:
    """Give the running inference config the network, preprocessing, method, passes and classes of a run.

    Overlays and overrides win over the run's values, such as the number of dropout samples, except where the
    network would get other images, or would be another one, than in its training: these are refused.

    Args:
        ensemble: folders of runs that differ in the seed only; empty for one run.
        checkpoint: the run's network, beside the config of its training.
        evaluation: run.json of its evaluation, which has the config too, as in an exported bundle.

    Raises:
        ValueError: an overlay or override contradicts the run, or the run or exported bundle was changed;
            names all differences.
        RuntimeError: no bundle config is being run.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> from monai_sf.bundle.published import copy_bundle
        >>> from monai_sf.networks.checkpoints import save_checkpoint
        >>> bundle = copy_bundle("pneumonia", "xrays")
        >>> Path("run").mkdir()
        >>> _ = Path("run/train.config.json").write_text(
        ...     json.dumps({"image_size": [64, 64]})
        ... )
        >>> save_checkpoint("run/best.pt", {})
        >>> file = str(bundle / "configs" / "inference.json")
        >>> "$monai_sf.bundle.follow_run(@ensemble, @checkpoint, @evaluation)" in Path(
        ...     file
        ... ).read_text()
        True
        >>> workflow = ConfigWorkflow(
        ...     file, workflow_type="infer", logging_file=False, run_dir="run"
        ... )
        >>> _ = workflow.initialize()
        >>> workflow.parser["image_size"]
        [64, 64]
    """
    workflow = running_in("follow_run()")
    check_exported(root())
    places = [(Path(folder) / "best.pt", Path(folder) / "results" / RUN_FILE) for folder in ensemble]
    places = places or [(Path(checkpoint), Path(evaluation))]
    runs = {str(place[0].parent): run for place in places if (run := run_config(*place))}
    if not runs:  # weights from elsewhere: the config says what they are
        return
    where, run = next(iter(runs.items()))
    parser = workflow.parser
    config = config_of(parser)
    flat = inference_config({**config, **run})
    placed = _MODEL & config.keys()  # where a given model is now; its SHA-256 tells whether it is the run's
    of_run = {key: flat[key] for key in decided_keys(flat) - placed}
    shaping = made_of_network(flat)
    own = _as_read(workflow.config_root_path / _CONFIG)
    given = {key for key in of_run if key in config and config[key] != own.get(key)} | {*map(_top, written())}
    refused = (given & (shaping | {"class_names"})) - placed
    if wrong := differences(as_written(flat), config, refused):
        raise ValueError(
            f"{where} was trained with another network, other images or classes ({wrong}). Its config is "
            "used as it is: leave these overlays and values out"
        )
    imports = [*config.get("imports", ()), *flat["imports"]]
    changed = {key: value for key, value in of_run.items() if key in shaping or key not in given}
    parser.set({**parser.get(), **changed, "imports": list(dict.fromkeys(imports))})
    parser.parse(reset=True)


def _as_read(file: Path) -> dict[str, Any]:
    """Return the config in a file as a running parser would hold it; empty without one."""
    if not file.is_file():
        return {}
    parser = ConfigParser()
    try:
        parser.read_config(str(file))
    except ValueError as error:  # of the JSON
        raise ValueError(f"{file} is damaged, it is no config ({error}): restore it") from error
    parser.set(as_meant(parser.get(), {}))
    parser.parse()
    return config_of(parser)


def _top(key: str) -> str:
    return re.split("#|::", key.lstrip("+"), maxsplit=1)[0]


def inference_config_of(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the complete inference config of an evaluated run.

    Raises:
        ValueError: its config lacks what inference needs, or is damaged.
    """
    folder = Path(run_dir)
    return inference_config(run_config(folder / "best.pt", folder / "results" / RUN_FILE))
