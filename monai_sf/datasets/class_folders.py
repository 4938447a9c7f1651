"""Case tables of one's own data, from one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from monai_sf.datasets.any_table import AnyTable
from monai_sf.datasets.image_paths import is_image_name
from monai_sf.datasets.own_cases import check_arguments
from monai_sf.datasets.own_rows import SPLIT_WORDS, Builder
from monai_sf.datasets.reading import Reading
from monai_sf.datasets.table_rows import TableError

__all__ = ["folder_cases"]


def folder_cases(
    dataset_dir: str | Path,
    *,
    classes: Sequence[str] | None = None,
    dataset: str = "own",
    unknown: Sequence[str] = (),
) -> pd.DataFrame:
    """Build the case table of images that lie in one folder per class; nothing is written.

    Above the classes may be one folder per split (train, val, calibration, test), as ``ImageFolder`` users
    have them. The images of a class may lie in any folders below its own. Every case is a group of its own.

    Args:
        dataset_dir: The folder that holds the folders of the classes.
        classes: Their order. None: alphabetical, or by number if all are whole numbers.
        dataset: Name of the dataset; that of a published one is refused.
        unknown: Names of folders that are none of the classes, see :func:`table_cases`.

    Returns:
        As :func:`table_cases`.

    Raises:
        TableError: If there is no image, or the folders are not of this layout; names them.
        ValueError: If an argument is wrong.
        FileNotFoundError: If the folder does not exist.

    Examples:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from monai_sf.datasets import folder_cases
        >>> for name in ("benign/1.png", "benign/2.png", "malignant/1.png"):
        ...     Path(name).parent.mkdir(exist_ok=True)
        ...     Image.new("L", (8, 8)).save(name)
        >>> folder_cases(".")[["case_id", "label", "label_name"]].values.tolist()
        [['benign/1.png', 0, 'benign'], ['benign/2.png', 0, 'benign'],
         ['malignant/1.png', 1, 'malignant']]
    """
    check_arguments({"image": "", "label": ""}, "raise", dataset)
    reading = Reading.of(dataset, dataset_dir)
    images = [file for file in reading.tree.files if is_image_name(file)]
    parts = [file.split("/") for file in images]
    first = {part[0] for part in parts if len(part) > 1}
    splits = {name for name in first if name.casefold() in SPLIT_WORDS}
    if splits and splits != first:
        raise TableError(
            f"{dataset_dir} has both folders of splits ({', '.join(sorted(splits))}) and others "
            f"({', '.join(sorted(first - splits))}): put one folder per class, or one per split, into it"
        )
    depth = 2 if splits else 1
    loose = [file for file, part in zip(images, parts, strict=True) if len(part) <= depth]
    rows = [(file, *part[:depth]) for file, part in zip(images, parts, strict=True) if len(part) > depth]
    if not rows:
        raise TableError(
            f"{dataset_dir} has no images in folders of classes: put them into one folder per class"
        )
    names = ["image", "split", "label"] if splits else ["image", "label"]
    columns = dict(zip(names, names, strict=True))
    frame = pd.DataFrame(rows, columns=names)
    own = AnyTable(f"folders of {Path(dataset_dir).name}", frame, lambda: range(1, len(rows) + 1))
    if loose:
        reading.dropped["image that is in no folder of a class"] = len(loose)
    return Builder(own, dataset_dir, columns, (), dataset, reading).build(classes, "raise", unknown)
