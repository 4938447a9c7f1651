"""Export of an evaluated run as a self-contained MONAI bundle, in one archive."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from monai_sf.bundle.exported_metadata import exported_metadata, image_size
from monai_sf.bundle.manifest import MANIFEST, is_export, manifest_of, write_archive
from monai_sf.bundle.model_card import model_card
from monai_sf.bundle.portable import check_onnx, write_portable
from monai_sf.bundle.published import published_bundles
from monai_sf.bundle.run_config import inference_config_of, made_of_network
from monai_sf.engines.evaluator import evaluated
from monai_sf.files import atomic_path, read_json, refuse_unwritable, sha256_of, write_json, write_text
from monai_sf.networks import ConfidenceClassifier, load_weights
from monai_sf.networks.checkpoints import (
    RECORD,
    check_belongings,
    check_checkpoint,
    full_disk_is_an_os_error,
    load_checkpoint,
)
from monai_sf.results.format import FITTED, NOT_REPORTED, PRECISION, RUN_FILE, seal

#: Keys of run.json that an exported bundle keeps: nothing of cases, their sources, or machines.
_KEPT = (
    *("format", "format_version", "dataset", "study", "method", "seed", "class_names", "data_kind"),
    *("image_kinds", "thresholds", "versions", PRECISION),
)
#: Keys of the config whose values the thresholds were chosen with.
_PASSES = ("mc_samples", "test_time_augmentation", "evaluation_precision")

_LICENSE = """\
The configs of this bundle were written by monai_sf and may be used under the Apache License, Version 2.0
(http://www.apache.org/licenses/LICENSE-2.0).

The weights, what scores were fitted to, and the numbers in docs/README.md come from the data that the network
was trained and tested on. This file gives no licence for them: ask those who exported the bundle, who may
replace it by their terms.
"""


def export_run(run_dir: str | os.PathLike[str], output: str | os.PathLike[str]) -> Path:
    """Write an evaluated run as a bundle that needs no other file of the run, and print the progress.

    The archive is there whole, or not at all; the same run and versions give the same bytes.

    Args:
        run_dir: the run's folder.
        output: the ZIP file; an earlier export of any run is replaced, nothing else.

    Returns:
        The file.

    Raises:
        ModuleNotFoundError: ONNX is not installed.
        FileNotFoundError: there is no run, or it was not trained or evaluated; tells what to do.
        FileExistsError: ``output`` is a file that is no export.
        ValueError: the run is damaged, was evaluated with another checkpoint, or its network cannot be
            exported.
        OSError: the archive cannot be written.
    """
    check_onnx()
    folder, path = Path(run_dir), Path(output)
    _check_output(path)
    _say(f"check {folder}")
    run = _evaluation(folder)
    config = inference_config_of(folder)
    parser = ConfigParser(config)
    run["class_names"] = parser.get_parsed_content("class_names")
    network = _network(parser, folder, len(run["class_names"]))
    metadata = exported_metadata(folder, run, parser, network)
    _say("judge its scores on its test sets")
    card = model_card(folder / "results", run, metadata)
    with atomic_path(path) as partial, _room(path) as place:
        bundle = place / "bundle"
        _write_texts(bundle, config, metadata, card)
        _say("write models/model.pt")
        _write_model(bundle / "models", network.state_dict())
        _write_evaluation(bundle / "models", folder / "results", run, config)
        _say("write models/model.ts and models/model.onnx, which can take a minute")
        inputs = metadata["network_data_format"]["inputs"]["image"]
        write_portable(
            bundle / "models",
            network,
            bundle / "configs" / "inference.json",
            bundle / "configs" / "metadata.json",
            [inputs["num_channels"], *inputs["spatial_shape"]],
            any_size=image_size(parser) is None,
        )
        about = {name: run[name] for name in ("dataset", "study", "method", "seed")}
        write_json(bundle / MANIFEST, manifest_of(bundle, about))
        _say(f"write {path}")
        write_archive(bundle, partial)
    return path


def _say(text: str) -> None:
    print(text, flush=True)


def _check_output(path: Path) -> None:
    refuse_unwritable(path)
    if path.exists() and path.stat().st_size and not is_export(path):
        raise FileExistsError(
            errno.EEXIST, f"will not replace {path}, which is no exported bundle: choose another file"
        )


def _evaluation(run_dir: Path) -> dict[str, Any]:
    """Return run.json of the evaluation of the run's checkpoint, after checking all files of the run."""
    if not run_dir.is_dir():
        raise FileNotFoundError(f"no folder {run_dir}: give that of a run, such as runs/iid-confidnet-0")
    if not (run_dir / "train.config.json").is_file():
        claimed = run_dir / "evaluate.config.json"
        if claimed.is_file() and read_json(claimed, "restore it, or evaluate again").get("audit"):
            raise ValueError(
                f"{run_dir} is the audit of a model that was given: only networks that a bundle trains are "
                "exported. The model is a file already, under its own terms: hand it on with the bundle"
            )
        raise FileNotFoundError(
            f"{run_dir} is not the folder of a trained run: it has no train.config.json. Train first, or "
            "give the folder with best.pt"
        )
    check_belongings(run_dir)
    checkpoint, run = check_checkpoint(run_dir / "best.pt"), evaluated(run_dir)
    if run is None:
        raise FileNotFoundError(
            f"{run_dir} has no finished evaluation (results/{RUN_FILE}), so its failures are unknown and it "
            "has no thresholds: run the bundle's evaluate.yaml on it first"
        )
    if run.get("sha256", {}).get("checkpoint") != checkpoint:
        there = [str(run_dir / name) for name in ("results", *NOT_REPORTED) if (run_dir / name).exists()]
        raise ValueError(
            f"{run_dir / 'results'} is the evaluation of another checkpoint than {run_dir / 'best.pt'}: "
            f"remove {' and '.join(there)} and evaluate again"
        )
    return run


def _network(parser: ConfigParser, run_dir: Path, classes: int) -> ConfidenceClassifier:
    network = parser.get_parsed_content("network_def")
    if not isinstance(network, ConfidenceClassifier):
        raise ValueError(
            f"network_def of {run_dir} is a {type(network).__name__}: only a ConfidenceClassifier is exported"
        )
    if network.num_classes != classes:
        raise ValueError(
            f"{run_dir} has {classes} class names, and a network of {network.num_classes} classes"
        )
    best = run_dir / "best.pt"
    load_weights(network, load_checkpoint(best)["network"], str(best))
    network.eval()
    return network


@contextmanager
def _room(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the archive, on whose disk there must be space anyway."""
    with TemporaryDirectory(dir=path.resolve().parent, prefix=f".{path.name}.") as place:
        yield Path(place)


def _write_texts(bundle: Path, config: Mapping[str, Any], metadata: Mapping[str, Any], card: str) -> None:
    write_json(bundle / "configs" / "inference.json", config)
    write_json(bundle / "configs" / "metadata.json", metadata)
    logging = next(iter(published_bundles().values())) / "configs" / "logging.conf"
    shutil.copyfile(logging, bundle / "configs" / "logging.conf")
    write_text(bundle / "docs" / "README.md", card)
    write_text(bundle / "LICENSE", _LICENSE)


def _write_model(models: Path, state: Mapping[str, Tensor]) -> None:
    models.mkdir()
    # contiguous, so that the bytes do not depend on the layout of the training
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with full_disk_is_an_os_error(), open(models / "model.pt", "wb") as file:
        torch.save(plain, file)
    write_json(models / RECORD, {"model.pt": [sha256_of(models / "model.pt")]})


def _write_evaluation(models: Path, results: Path, run: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write run.json with thresholds and classes, and what scores were fitted to."""
    folder = models / "evaluation"
    fitted = {name: sha for name, sha in run["files"].items() if name.startswith(f"{FITTED}/")}
    (folder / FITTED).mkdir(parents=True)
    for name in fitted:
        shutil.copyfile(results / name, folder / name)
    keys = {*made_of_network(config), *_PASSES}
    about = {
        **{name: run[name] for name in _KEPT if name in run},
        "config": {name: value for name, value in config.items() if name in keys},
        "sha256": {"checkpoint": sha256_of(models / "model.pt")},
        "test_sets": [],
        "files": fitted,
    }
    write_json(folder / RUN_FILE, seal(about))
