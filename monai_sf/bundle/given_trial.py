"""A given model, tried on a sample of real images before its bundle is written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, Randomizable
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from monai_sf.bundle.bases import with_bases
from monai_sf.bundle.given_model import Declared, Understood
from monai_sf.bundle.plain_values import plain
from monai_sf.data import GivenPreprocessingd, case_records
from monai_sf.data.errors import root_cause
from monai_sf.data.given_preprocessing import known_range
from monai_sf.data.unit import as_unit
from monai_sf.datasets import write_medmnist_images
from monai_sf.files import read_json
from monai_sf.files.images import read_image
from monai_sf.files.intensity import as_input
from monai_sf.files.naming import shown
from monai_sf.networks import (
    GivenClassifier,
    bundle_preprocessing,
    check_network,
    dropout_layers,
    to_device,
)
from monai_sf.networks.given_files import is_factory
from monai_sf.vocabulary.shifts import UNKNOWN

#: Images that the model is tried on before the bundle is written.
_SAMPLE = 200
_BATCH = 16
#: Those that it is checked on, in batches and alone.
_CHECKED = 8
#: What to do about a random preprocessing.
_NOT_RANDOM = "give a config for inference, whose results can be repeated"
#: Share of the range of the sample's values by which all images' range may be larger, at each end.
_MARGIN = 0.25
#: By how much another order of the classes must be better to be named.
_CLEARLY_BETTER = 0.1
#: Side of the square that images are resized to, unless another is given: that of most classifiers.
_USUAL_SIDE = 224
#: Classes up to which the order that fits best is looked for.
_MOST_ORDERED = 50


def understand(
    declared: Declared,
    cases: pd.DataFrame,
    *,
    dataset_dir: Path | None,
    archive: Path | None,
    intensity: Mapping[str, Any],
    picture_modes: Sequence[str],
) -> Understood:
    """Load a model as an evaluation will, and try it on a sample of the images, read as an evaluation will.

    Args:
        declared: what is said of the model.
        cases: case table.
        dataset_dir: folder of the images; None with an archive.
        archive: MedMNIST file of the images, or None.
        intensity: the config key of that name.
        picture_modes: those in which images are tried, "L" or "RGB", the likeliest first; a bundle's own
            preprocessing has none.

    Raises:
        ValueError: the model cannot be loaded or is not what was declared; says all that is wrong.
        OSError: a file is missing or cannot be read.
    """
    classes = list(cases.attrs["classes"])
    model_classes = list(declared.model_classes or _named_outputs(declared, classes) or classes)
    declared = replace(declared, model_classes=model_classes)
    if declared.image_size is None and not declared.is_bundle:
        declared = replace(declared, image_size=(_USUAL_SIDE, _USUAL_SIDE))
    sample = _sample(cases)
    with _images_of(sample, dataset_dir, archive) as root:
        records = case_records(sample, "iid", root)
        if declared.is_bundle and declared.value_range is None:
            declared = _with_own_images(declared, records)
        network = _part(declared, classes, "network_def", intensity=dict(intensity))
        network = to_device(network, torch.device("cpu"))
        preprocessing, images, mode = _fitting(
            network, declared, classes, records[:_CHECKED], intensity, picture_modes
        )
        check_network(network, images)
        logits = _logits(network, preprocessing, records)
    agreement, warnings = _agreement(logits, sample["label"].to_numpy(), model_classes, classes)
    if is_factory(str(declared.place)) and declared.weights is None:
        warnings = (f"no --weights: {declared.model} must load trained weights itself", *warnings)
    layers = len(dropout_layers(network))
    features = network.features_layer
    height, width = images.shape[-2:]
    lines = (
        f"model: {_kind(declared, network)}",
        f"input: {images.shape[1]} x {height} x {width} (channels x height x width), {_input(declared)}",
        f"outputs: {declared.outputs}, in the order {', '.join(model_classes)}",
        f"features: the input of the layer {features or 'itself'}"
        if features is not None
        else f"features: none, so no map and no scores of features: {network.features_missing}",
        f"dropout: {layers} layers, which are sampled" if layers else "dropout: none, so no dropout samples",
        agreement,
    )
    size = (int(height), int(width))
    return Understood(declared, mode, int(images.shape[1]), size, layers > 0, lines, warnings)


def _named_outputs(declared: Declared, classes: Sequence[str]) -> list[str] | None:
    """Return the classes in the order of a bundle's metadata, None where that does not name them."""
    path = Path(str(declared.place)) / "configs" / "metadata.json"
    if not declared.is_bundle or not path.is_file():
        return None
    metadata = read_json(path, "repair it, or name the classes with --model_classes")
    try:
        named = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        found = [str(named[str(place)]).casefold() for place in range(len(named))]
    except (KeyError, TypeError):
        return None
    own = {name.casefold(): name for name in classes}
    return [own[name] for name in found] if sorted(found) == sorted(own) else None


def _sample(cases: pd.DataFrame) -> pd.DataFrame:
    """Return some cases of the classes, of those that the model was not trained on if that is known."""
    cases = cases[cases["label"] != UNKNOWN]
    tested = cases[cases["split"] == "iid"] if "split" in cases else cases
    pool = tested if len(tested) else cases
    chosen = np.random.default_rng(0).permutation(len(pool))[:_SAMPLE]
    return pool.iloc[np.sort(chosen)].assign(split="iid")


@contextmanager
def _images_of(sample: pd.DataFrame, dataset_dir: Path | None, archive: Path | None) -> Iterator[Path]:
    """Yield the folder of the sample's images; those of an archive are written to a temporary one."""
    if archive is None:
        yield Path(dataset_dir or ".")
        return
    with TemporaryDirectory() as folder:
        write_medmnist_images(archive, folder, only=set(sample["image"]))
        yield Path(folder)


def _part(declared: Declared, classes: Sequence[str], key: str, **more: Any) -> Any:
    """Return a part of the config that an evaluation will have."""
    bases = ["audit", "given_bundle" if declared.is_bundle else "pictures"]
    keys = plain({"classes": list(classes), **declared.keys(), **more})
    parser = ConfigParser(with_bases({"_base_": bases, **keys}, Path()))
    try:
        with warnings.catch_warnings():  # LoadImage builds every reader that it knows, and this one warns
            warnings.filterwarnings("ignore", message="NvImgCodec", category=UserWarning)
            return parser.get_parsed_content(key)
    except RuntimeError as error:
        cause = root_cause(error)
        if isinstance(cause, (ValueError, OSError)):
            raise cause from error
        raise


def _with_own_images(declared: Declared, records: Sequence[Mapping[str, Any]]) -> Declared:
    """Return what is declared with what the images tell that the bundle's own preprocessing gives.

    The range is what its transforms tell, if the sample keeps to it (they need not clip), else that of the
    sample with a margin. Rows and columns are
    exchanged if the images are, on average, more like their files that way.
    """
    transforms = bundle_preprocessing(declared.place)
    own, known = GivenPreprocessingd(transforms, (0, 1)), known_range(transforms)
    low, high, alike = np.inf, -np.inf, np.zeros(2)
    if random := [type(one).__name__ for one in _flat(transforms) if isinstance(one, Randomizable)]:
        raise ValueError(f"the bundle's preprocessing is random ({', '.join(random)}): {_NOT_RANDOM}")
    for place, record in enumerate(records):
        image = own.raw(record)
        if place < _CHECKED and not torch.equal(own.raw(record), image):
            raise ValueError(f"the bundle's preprocessing gives another image each time: {_NOT_RANDOM}")
        low, high = min(low, float(image.min())), max(high, float(image.max()))
        alike += _likeness(image.mean(0).double().numpy(), record["image"])
    if known is None or low < known[0] or high > known[1]:
        margin = _MARGIN * (high - low)
        known = (float(f"{low - margin:.4g}"), float(f"{high + margin:.4g}"))
    return replace(declared, value_range=known, transposed=bool(alike[1] > alike[0]))


def _flat(transforms: Compose) -> list[Any]:
    return list(transforms.flatten().transforms)  # type: ignore[no-untyped-call]


def _likeness(grey: NDArray[np.float64], files: str | Sequence[str]) -> NDArray[np.float64]:
    """Return how an image (H, W) correlates with its file, as it is and with rows and columns exchanged."""
    picture = read_image(files if isinstance(files, str) else files[0])
    found = np.zeros(2)
    for k, turned in enumerate((grey, grey.T)):
        upright = as_input(picture, None, mode="L", size=turned.shape)[0]
        if turned.std() > 0 and upright.std() > 0:
            found[k] = abs(np.corrcoef(turned.ravel(), upright.ravel())[0, 1])
    return found


def _fitting(
    network: GivenClassifier,
    declared: Declared,
    classes: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    intensity: Mapping[str, Any],
    modes: Sequence[str],
) -> tuple[Compose, Tensor, str]:
    """Return the preprocessing in the first mode whose channels the network takes, its images, the mode."""
    tried = []
    for mode in modes:
        own = {"picture_mode": mode, "intensity": dict(intensity)}
        preprocessing = _part(declared, classes, "preprocessing", **own)
        images = _stacked([_image(preprocessing(record)) for record in records])
        tried.append((preprocessing, images, mode))
        if _takes(network, images):
            return tried[-1]
        if declared.is_bundle:
            break
    return tried[0]


def _image(record: Mapping[str, Any]) -> Tensor:
    return as_unit(record["image"])


def _stacked(images: Sequence[Tensor]) -> Tensor:
    if len(shapes := sorted({tuple(image.shape) for image in images})) > 1:
        raise ValueError(
            f"images have several shapes after the preprocessing, such as {shapes[0]} and {shapes[-1]}, and "
            "cannot be one batch: it must resize them to one size"
        )
    return torch.stack([image.as_subclass(Tensor) for image in images])


@torch.no_grad()
def _takes(network: GivenClassifier, images: Tensor) -> bool:
    try:
        network.outputs(images)
    except ValueError:  # it takes them, but does not give what was declared, which is said later
        return True
    except Exception:  # whatever a foreign model raises
        return False
    return True


@torch.no_grad()
def _logits(
    network: GivenClassifier, preprocessing: Compose, records: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Return the logits (N, C) of the sample, of which only a batch is in memory.

    Raises:
        ValueError: some are NaN or infinite, or images have several shapes.
    """
    logits = []
    first = _image(preprocessing(records[0]))
    for start in range(0, len(records), _BATCH):
        images = [_image(preprocessing(record)) for record in records[start : start + _BATCH]]
        logits.append(network.outputs(_stacked([first, *images])[1:]).logits)
    found = torch.cat(logits).double().numpy()
    if wrong := [
        record["case_id"] for record, row in zip(records, found, strict=True) if not np.isfinite(row).all()
    ]:
        raise ValueError(
            f"the model gives NaN or infinity for {len(wrong)} of {len(records)} images, such as "
            f"{', '.join(map(shown, wrong[:5]))}: look at these images, or at how it normalises them"
        )
    return found


def _kind(declared: Declared, network: GivenClassifier) -> str:
    if declared.is_bundle:
        kind = "MONAI bundle"
    elif is_factory(str(declared.place)):
        kind = "function"
    else:
        kind = "TorchScript" if isinstance(network.tapped.model, torch.jit.ScriptModule) else "torch.export"
    count = sum(parameter.numel() for parameter in network.parameters())
    return f"{kind} {declared.model}, {count:,} parameters, SHA-256 {network.sha256[:12]}..."


def _input(declared: Declared) -> str:
    if declared.value_range is not None:
        low, high = declared.value_range
        turned = ", rows and columns exchanged (turned upright for the report)" if declared.transposed else ""
        return f"by the bundle's own preprocessing, whose values lie in [{low:g}, {high:g}]{turned}"
    mean, std = (", ".join(f"{one:g}" for one in numbers) for numbers in (declared.mean, declared.std))
    return f"values in [0, 1] minus {mean}, divided by {std}"


def _agreement(
    logits: NDArray[np.float64],
    label: NDArray[np.int64],
    model_classes: Sequence[str],
    classes: Sequence[str],
) -> tuple[str, tuple[str, ...]]:
    """Return how often the model is right, in words, and a warning if guessing is right more often.

    Guessing gives each answer as often as the model does, but for other images (as in Cohen's kappa).
    """
    count = len(classes)
    confusion = np.zeros((count, count))  # [label, answer]
    np.add.at(confusion, (label, logits.argmax(1)), 1)
    total = confusion.sum()
    right = np.trace(confusion) / total
    chance = float(confusion.sum(1) @ confusion.sum(0)) / total**2
    line = (
        f"accuracy on {int(total)} images: {100 * right:.1f} % (guessing: {100 * chance:.1f} %, always the "
        f"most frequent class: {100 * confusion.sum(1).max() / total:.1f} %)"
    )
    warnings = []
    if right <= chance:
        warnings.append(
            f"the model is right in {100 * right:.1f} % of {int(total)} images, and guessing would be in "
            f"{100 * chance:.1f} %: the order of classes may not fit its outputs, or image size, "
            "normalisation or weights are not those that it was trained with"
        )
    if count <= _MOST_ORDERED:
        labels, answers = linear_sum_assignment(-confusion)
        best = confusion[labels, answers].sum() / total
        if best > max(right, chance) + _CLEARLY_BETTER:
            named = list(model_classes)
            for truth, answer in zip(labels, answers, strict=True):
                named[model_classes.index(classes[answer])] = classes[truth]
            warnings.append(
                f"in the order {', '.join(named)} of its outputs the model would be right in "
                f"{100 * best:.1f} %: is that its order (--model_classes)?"
            )
    return line, tuple(warnings)
