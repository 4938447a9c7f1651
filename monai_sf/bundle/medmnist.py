"""The file of a MedMNIST data set: where it lies, or fetched where there is a network."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

_PLACE = "https://doi.org/10.5281/zenodo.10519652"


def medmnist_file(archive: str | os.PathLike[str], dataset_dir: str | os.PathLike[str]) -> Path:
    """Return the path of a MedMNIST file, and make the folder of its images.

    A file that is not there is fetched with the package ``medmnist``, if that is installed.

    Args:
        archive: the file, with the name that it has there, such as ``pneumoniamnist.npz`` or
            ``pneumoniamnist_64.npz``.
        dataset_dir: folder that the images are written into.

    Raises:
        FileNotFoundError: it is not there and cannot be fetched; tells where it is published.
        OSError: a folder cannot be created.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.bundle import medmnist_file
        >>> np.savez("pneumoniamnist.npz", train_images=np.zeros((1, 28, 28), np.uint8))
        >>> medmnist_file("pneumoniamnist.npz", "data").name
        'pneumoniamnist.npz'
    """
    path = Path(archive)
    if not path.is_file():
        _fetch(path)
    Path(dataset_dir).mkdir(parents=True, exist_ok=True)
    return path


def _fetch(path: Path) -> None:
    remedy = f"download {path.name} from {_PLACE} into {path.parent}, or name its place with --archive"
    try:
        medmnist = importlib.import_module("medmnist")
    except ImportError:
        raise FileNotFoundError(
            f"there is no file {path}: {remedy}; with a network, `pip install medmnist` lets this command "
            "fetch it"
        ) from None
    name, _, size = path.stem.partition("_")
    if path.suffix != ".npz" or name not in medmnist.INFO or (size and not size.isdigit()):
        raise FileNotFoundError(f"there is no file {path}, and {path.name} is the name of no MedMNIST file")
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = getattr(medmnist, medmnist.INFO[name]["python_class"])
    try:
        dataset(split="train", download=True, root=str(path.parent), size=int(size) if size else None)
    except Exception as error:  # of urllib, torchvision and medmnist
        raise FileNotFoundError(
            f"there is no file {path}, and it cannot be fetched ({error}): {remedy}"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"the package medmnist did not write {path}: {remedy}")
