"""Case table and images of a MedMNIST file: one ``.npz`` with the images, labels and splits of a data set.

Source: Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification", Scientific Data 10 (2023).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from monai_sf.datasets.faults import Faults
from monai_sf.datasets.own_labels import read_classes
from monai_sf.datasets.reading import Reading
from monai_sf.datasets.rendered_files import explained, write_whole
from monai_sf.datasets.studies import STUDIES
from monai_sf.datasets.table_rows import TableError
from monai_sf.datasets.tree import TableFile, check_folder
from monai_sf.files import sha256_of

__all__ = ["medmnist_cases", "write_medmnist_images"]

_SPLITS = {"train": "train", "val": "val", "test": "iid"}
_ABOUT = "about.json"
_ABOUT_TEXT = "Images of a MedMNIST file, written once"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def medmnist_cases(
    npz: str | Path,
    dataset_dir: str | Path,
    *,
    classes: Sequence[str] | None = None,
    dataset: str = "own",
    unknown: Sequence[str] = (),
) -> pd.DataFrame:
    """Build the case table of a MedMNIST file, with its splits train, val and test (iid).

    It has no calibration cases: :func:`monai_sf.datasets.split_cases` takes them from train.

    The images are written by :func:`write_medmnist_images`. MedMNIST does not tell patients: every case is a
    group of its own. Some of its files hold an image in two splits: the copy in the earlier one (of train,
    val, test) is left out, which is counted, so that the test set is the published one.

    Args:
        npz: The file, with ``{train,val,test}_images`` and ``{train,val,test}_labels``.
        dataset_dir: Folder that the images are written into.
        classes: Names of the classes 0..C-1. None: their numbers.
        dataset: Name of the dataset; that of a published one is refused.
        unknown: Numbers that are none of the classes, see :func:`monai_sf.datasets.table_cases`.

    Returns:
        As :func:`monai_sf.datasets.table_cases`.

    Raises:
        TableError: If the file is not MedMNIST's, or is of several labels per image or of volumes.
        ValueError: If an argument is wrong.
        FileNotFoundError: If the file or the folder does not exist.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.datasets import medmnist_cases
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
        >>> parts = dict(zip(["train", "val", "test"], np.split(images, 3)))
        >>> arrays = {f"{split}_images": part for split, part in parts.items()}
        >>> arrays |= {f"{split}_labels": np.array([[0], [1], [0], [1]]) for split in parts}
        >>> np.savez("mymnist.npz", **arrays)
        >>> cases = medmnist_cases("mymnist.npz", ".", classes=["normal", "pneumonia"])
        >>> cases.groupby("split").size().to_dict()
        {'iid': 4, 'train': 4, 'val': 4}
        >>> cases["image"][0], cases["label_name"][1]
        ('mymnist/train/000000.png', 'pneumonia')
    """
    if dataset in STUDIES:
        raise ValueError(f"dataset must not be the name of a published dataset, {dataset!r}: choose another")
    path = _file(npz)
    with _opened(path) as arrays:
        splits = _splits_of(path, arrays)
        label = {split: _labels_of(path, arrays, split) for split in splits}
    reading = Reading.of(dataset, dataset_dir)
    copies = _copies(path, splits)
    rows = [(split, k) for split in splits for k in range(len(label[split])) if (split, k) not in copies]
    faults = Faults(path.name, lambda: range(len(rows)))
    texts = [str(label[split][k]) for split, k in rows]
    labels = read_classes(texts, "labels", classes, faults, unknown)
    faults.check()
    case_id = pd.Series([f"{split}-{k:06d}" for split, k in rows], dtype="str")
    reading.note("the file does not tell patients: every case counts as a patient of its own")
    reading.notes += labels.notes
    if copies:
        reading.dropped["copy of an image in a later split"] = len(copies)
        reading.note(f"{len(copies)} images of train or val that are also in a later split are left out")
    frame = pd.DataFrame(
        {
            "case_id": case_id,
            "image": pd.Series([_image_path(path, split, k) for split, k in rows], dtype="str"),
            "label": labels.label,
            "label_name": pd.Series(labels.label_name, dtype="str"),
            "group": "image " + case_id,
            "source": pd.Series([dataset] * len(rows), dtype="str"),
            "split": pd.Series([_SPLITS[split] for split, _ in rows], dtype="str"),
        }
    )
    reading.add_located(TableFile(path.name), frame, np.ones(len(rows), np.bool_))
    cases = reading.finish("raise")
    cases.attrs |= {"dataset": dataset, "unavailable": {}, "classes": list(labels.names)}
    return cases


def write_medmnist_images(
    npz: str | Path, dataset_dir: str | Path, *, only: Collection[str] | None = None
) -> int:
    """Write the images of a MedMNIST file as PNG files that are not on disk yet, each whole or not at all.

    They go to ``dataset_dir/<name of the file>/<split>/<number>.png``; ``about.json`` beside the splits marks
    the folder as ours and holds the file's SHA-256. An interrupted call is resumed by the next one.

    Args:
        npz: The file.
        dataset_dir: An existing folder.
        only: Paths in it of the images to write; None for all.

    Returns:
        Number of files written.

    Raises:
        TableError: If the file is not MedMNIST's, or holds volumes.
        FileNotFoundError: If the file or the folder does not exist.
        FileExistsError: If the place holds other files, or the images of another file; nothing is written.
        OSError: If the folder cannot be written; names it.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.datasets import write_medmnist_images
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
        >>> parts = dict(zip(["train", "val", "test"], np.split(images, 3)))
        >>> arrays = {f"{split}_images": part for split, part in parts.items()}
        >>> arrays |= {f"{split}_labels": np.array([[0], [1], [0], [1]]) for split in parts}
        >>> np.savez("mymnist.npz", **arrays)
        >>> write_medmnist_images("mymnist.npz", ".")
        12
        >>> write_medmnist_images("mymnist.npz", ".")  # all are there
        0
    """
    path, root = _file(npz), check_folder(dataset_dir)
    _claim(path, root / _stem(path))
    count = 0
    with _opened(path) as arrays, explained(root, "images"):
        splits = _splits_of(path, arrays)
    with explained(root, "images"):
        for split in splits:
            for k, image in enumerate(_images(path, split, "writing {} images")):
                name = _image_path(path, split, k)
                place = root / name
                if (only is not None and name not in only) or _is_whole(place):
                    continue
                content = io.BytesIO()
                Image.fromarray(image).save(content, format="PNG")
                write_whole(place, content.getvalue())
                count += 1
    return count


def _copies(path: Path, splits: Sequence[str]) -> set[tuple[str, int]]:
    """Return split and number of the images that are also in a later split."""
    found: set[tuple[str, int]] = set()
    later: set[bytes] = set()
    for split in reversed(splits):
        own = [
            hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            for image in _images(path, split, "comparing {} images")
        ]
        found |= {(split, k) for k, one in enumerate(own) if one in later}
        later |= set(own)
    return found


def _file(npz: str | Path) -> Path:
    path = Path(npz)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: download it from medmnist.com, or with the package medmnist"
        )
    return path


def _stem(path: Path) -> str:
    return re.sub(r"[^\w.-]+", "_", path.stem).strip(".") or "medmnist"


def _image_path(path: Path, split: str, number: int) -> str:
    return f"{_stem(path)}/{split}/{number:06d}.png"


def _claim(path: Path, folder: Path) -> None:
    """Mark the folder as that of the file's images, or raise FileExistsError."""
    about = folder / _ABOUT
    text = json.dumps({"about": _ABOUT_TEXT, "file": path.name, "sha256": sha256_of(path)}, indent=1)
    if about.is_file() and about.read_text(encoding="utf-8") == text:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "the images of another file" if about.is_file() else "other files"
        raise FileExistsError(
            f"{folder} holds {what}: move it away, or choose another dataset_dir for those of {path.name}"
        )
    with explained(folder.parent, "images"):
        write_whole(about, text.encode())


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(_PNG_END)))
        return file.read() == _PNG_END


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise TableError(f"{path.name} is not a whole MedMNIST file ({error}). Download it again") from error
    except TableError:
        raise
    except ValueError as error:  # pickled objects, which could run anything
        raise TableError(f"{path.name} is not a MedMNIST file ({error})") from error


def _splits_of(path: Path, arrays: Any) -> list[str]:
    found = [name for name in _SPLITS if {f"{name}_images", f"{name}_labels"} <= set(arrays.files)]
    if "train" not in found:
        raise TableError(
            f"{path.name} is not a MedMNIST file: it needs train_images and train_labels, and has "
            f"{', '.join(arrays.files[:20])}"
        )
    return found


def _labels_of(path: Path, arrays: Any, split: str) -> npt.NDArray[np.int64]:
    label = arrays[f"{split}_labels"]
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.ndim != 1 or label.dtype.kind not in "iu":
        raise TableError(
            f"{path.name}: {split}_labels must be one whole number per image, it is {label.dtype} of shape "
            f"{label.shape}; files of several labels per image cannot be used"
        )
    return np.asarray(label, np.int64)


def _images(path: Path, split: str, doing: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images of a split, one in memory at a time: some files are larger than that.

    Raises:
        TableError: If they are not 8-bit images, or not as many as there are labels.
    """
    with _opened(path) as arrays:
        count = len(arrays[f"{split}_labels"])
    with zipfile.ZipFile(path) as archive, archive.open(f"{split}_images.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(file)
        flat = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if dtype != np.uint8 or by_columns or not flat or shape[0] != count:
            raise TableError(
                f"{path.name}: {split}_images must be 8-bit images (N, height, width) or (N, height, width, "
                f"3), one for each of {count} labels; it is {dtype} of shape {shape}"
            )
        size = math.prod(shape[1:])
        for _ in tqdm(range(count), desc=doing.format(split), unit="image", delay=1):
            content = file.read(size)
            if len(content) < size:
                raise TableError(f"{path.name} is not whole: {split}_images ends early. Download it again")
            yield np.frombuffer(content, np.uint8).reshape(shape[1:])
