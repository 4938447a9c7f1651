"""``metadata.json`` of an exported bundle: its bundle's, with the sizes, classes and versions of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from monai_sf.bundle.metadata import current_versions, own_metadata
from monai_sf.bundle.published import published_bundles
from monai_sf.files import read_json
from monai_sf.networks import ConfidenceClassifier
from monai_sf.vocabulary.data_kinds import warning_of

#: Number of folders above a run where its bundle is looked for: runs/benchmark/<dataset>/<run> is deepest.
_ABOVE = 4
#: Side of images of an example, where a config keeps each image's size.
_ANY_SIZE = 224
#: Author in the metadata of published bundles, which have no weights.
_PUBLISHER = "monai_sf contributors"


def exported_metadata(
    run_dir: Path, run: Mapping[str, Any], parser: ConfigParser, network: ConfidenceClassifier
) -> dict[str, Any]:
    """Return the metadata of an exported bundle.

    Texts are those of the bundle that the run lies in, or of the published one of its dataset, if they are
    of the same classes; other bundles get the texts of ``python -m monai_sf.bundle new``. Sizes, classes,
    versions and scores are the run's.

    Args:
        run_dir: the run's folder.
        run: content of its run.json.
        parser: holds the run's inference config.
        network: its network.
    """
    classes = [str(name) for name in run["class_names"]]
    names = {str(k): name for k, name in enumerate(classes)}
    channels, size = _channels(network), image_size(parser) or [_ANY_SIZE, _ANY_SIZE]
    found = next((base for base in _bases(run_dir, run) if _classes(base) == names), None)
    trained = run.get("trained_on", {})
    if found is None:
        modes = parser.get_parsed_content("image_modes") if "image_modes" in parser else ()
        mode = parser.get("picture_mode")
        found = own_metadata(
            str(run["dataset"]), classes=classes, channels=channels, is_colour=mode == "RGB", size=size,
            modes=modes or (), method=run["method"], n_cases=trained.get("train", 0) + trained.get("val", 0),
        )  # fmt: skip
    made = (
        f"exported by python -m monai_sf.bundle export: {run['study']}, {run['method']}, seed {run['seed']}"
    )
    image = found["network_data_format"]["inputs"]["image"]
    pred = found["network_data_format"]["outputs"]["pred"]
    shape = {"num_channels": channels, "spatial_shape": list(size)}
    description = found["description"]
    if list(image["spatial_shape"]) != list(size):  # the text may name the other
        description += f" This run takes images of {size[0]} x {size[1]} px."
    if (warning := warning_of(str(run["data_kind"]))) is not None:
        description += f" {warning[0]}: {warning[1]}"
    owners = {key: found[key] for key in ("authors", "copyright")}
    if any(_PUBLISHER in str(text) for text in owners.values()):  # of the configs, not of these weights
        owners = dict.fromkeys(owners, "those who trained this network")
    return {
        **found,
        "description": description,
        **owners,
        "changelog": {str(found["version"]): made},
        **current_versions(str(run["method"])),
        "network_data_format": {
            "inputs": {"image": {**image, **shape}},
            "outputs": {"pred": {**pred, "num_channels": len(classes), "channel_def": names}},
        },
    }


def _bases(run_dir: Path, run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield metadata of the bundle that the run lies in, and of the published one of its dataset."""
    folders = list(run_dir.resolve().parents[:_ABOVE])
    if (published := published_bundles().get(str(run["dataset"]))) is not None:
        folders.append(published)
    for folder in folders:
        path = folder / "configs" / "metadata.json"
        if path.is_file():
            yield read_json(path, "repair it")


def _classes(metadata: Mapping[str, Any]) -> Any:
    """Return number to name of the classes of some metadata; None if it has none."""
    try:
        return metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    except (KeyError, TypeError):
        return None


def _channels(network: ConfidenceClassifier) -> int:
    return next(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))


def image_size(parser: ConfigParser) -> list[int] | None:
    """Return (height, width) of the images that a config makes, None if they keep their own."""
    for key in ("image_size", "image_shape"):
        if key in parser and (size := parser.get_parsed_content(key)) is not None:
            return [int(side) for side in size]
    return None
