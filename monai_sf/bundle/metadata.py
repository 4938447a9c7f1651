"""A bundle's ``metadata.json``: what follows from the package (scores, packages, tools) and from the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import torch

from monai_sf.scores import CSFS, applies_to

#: Tools that can use a bundle, by the names of their packages, to their version; empty for any.
SUPPORTED_APPS = {"monailabel": "", "monai-deploy-app-sdk": ""}

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_PACKAGE = "monai-sf"
#: Packages whose versions have their own keys.
_OWN_KEYS = {"monai", "torch", "numpy"}


def own_metadata(
    name: str,
    *,
    classes: Sequence[str],
    channels: int,
    is_colour: bool,
    size: Sequence[int],
    modes: Sequence[str],
    method: str,
    n_cases: int,
) -> dict[str, Any]:
    """Return the metadata of a bundle for images of one's own.

    Args:
        name: of the dataset.
        classes: names in the order of the labels.
        channels: of the network's input.
        is_colour: whether they are red, green and blue.
        size: (height, width) of the network's input.
        modes: of images that are accepted.
        method: of training.
        n_cases: number of cases.
    """
    names = {str(k): name for k, name in enumerate(classes)}
    channel_def = {str(k): f"channel {k}" for k in range(channels)}
    if channels == 1:
        channel_def = {"0": "grey value"}
    elif is_colour:
        channel_def = {"0": "red", "1": "green", "2": "blue"}
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by python -m monai_sf.bundle new"},
        **current_versions(method),
        "supported_apps": SUPPORTED_APPS,
        "name": f"Silent failures: {name}",
        "task": f"One of {len(classes)} classes per image, with confidence scores",
        "description": f"Classifies images of {name}, resized to {size[0]} x {size[1]} px, and "
        "scores how sure it is.",
        "authors": "the owners of the data",
        "copyright": "the owners of the data",
        "data_source": f"own images: {n_cases} cases",
        "data_type": "image files",
        "image_classes": ", ".join(modes),
        "label_classes": ", ".join(f"{k}: {name}" for k, name in names.items()),
        "pred_classes": f"after postprocessing, probabilities of {', '.join(classes)}, which sum to 1",
        "intended_use": "Research on silent failures and confidence scores. Not a medical device, not for "
        "diagnosis.",
        "references": [
            "Bungert, Kobelke, Jaeger: Understanding Silent Failures in Medical Image Classification. MICCAI "
            "2023"
        ],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "rgb" if is_colour else "magnitude",
                    "modality": "n/a",
                    "num_channels": channels,
                    "spatial_shape": list(size),
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": channel_def,
                }
            },
            "outputs": {
                "pred": {
                    "type": "raw",
                    "format": "logits",
                    "num_channels": len(classes),
                    "spatial_shape": [1, 1],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": names,
                }
            },
        },
    }


def current_versions(method: str) -> dict[str, Any]:
    """Return the entries that follow from what is installed: versions, and the scores of a method."""
    return {
        "monai_version": version_of("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": version_of("numpy"),
        "required_packages_version": required_packages(),
        "confidence_scores": confidence_scores(method),
    }


def confidence_scores(method: str) -> list[str]:
    """Return the names of the scores that an inference gives for one network of a method.

    Those that are fitted need what the network's evaluation fitted them to.

    Args:
        method: as for :func:`monai_sf.scores.csfs_for`.
    """
    return [
        name
        for name, csf in CSFS.items()
        if applies_to(csf, method) and csf.prediction != "ensemble_log_softmax"
    ]


def required_packages() -> dict[str, str]:
    """Return this package and all that it requires, with the installed versions, for that key.

    Optional packages have no key: MONAI would take it for that of the required ones.
    """
    try:
        declared = requires(_PACKAGE) or []
    except PackageNotFoundError:  # a source checkout that was not installed
        declared = []
    names = [re.split(r"[\s<>=!~;\[(]", one, maxsplit=1)[0] for one in declared if "extra ==" not in one]
    return {name: version_of(name) for name in (_PACKAGE, *names) if name not in _OWN_KEYS}


def version_of(package: str) -> str:
    """Return the installed version of a package; 0.0.0 if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "0.0.0"
