"""Write the rendered slices of a case table to disk, in parallel, each file atomically."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from monai_sf.datasets.lidc import index_nodules
from monai_sf.datasets.lidc_database import Contours, read_tables
from monai_sf.datasets.rendering import PATCH_SIZE, RENDERER_VERSION, render_slice
from monai_sf.datasets.tree import check_folder
from monai_sf.files.cores import usable_cores

__all__ = [
    "check_paths",
    "explained",
    "image_bytes",
    "is_whole",
    "write_rendered_slices",
    "write_whole",
]

_COLUMNS = ("image", "source", "group", "scan_id", "nodule", "slice_index")
_ABOUT = "rendered/about.json"
_WORTH_PROCESSES = 2000
_ABOUT_TEXT = "Slices rendered from the contours and ratings of LIDC-IDRI. They are not CT."

Job = tuple[dict[str, Any], int, Path]


def write_rendered_slices(cases: pd.DataFrame, dataset_dir: str | Path, *, workers: int | None = None) -> int:
    """Render the images of all cases whose ``source`` is "rendered" and that are not on disk yet.

    Every image is an ``.npy`` file, (64, 64) int16 in Hounsfield units, at ``dataset_dir / image``. Files are
    written atomically, so an interrupted run leaves only complete files, and the next one resumes; truncated
    files are rendered again, and so are all if the renderer has changed (``rendered/about.json`` holds its
    version).

    Args:
        cases: Case table of lung_nodule_ct.
        dataset_dir: Folder of the dataset.
        workers: Processes. Default: one per usable core, up to 8, and none for a few slices.

    Returns:
        Number of files written.

    Raises:
        ValueError: If columns are missing, an image path leaves ``dataset_dir``, ``workers`` is not positive,
            or a case names a nodule that the database lacks.
        FileNotFoundError: If the folder does not exist: a misspelt one is not created.
        FileExistsError: If it holds files that were not rendered, which are not overwritten.
        OSError: If the folder cannot be written (PermissionError) or the disk is full; names the folder.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.datasets import build_cases, write_rendered_slices
        >>> cases = build_cases("lung_nodule_ct", ".", rendered=True).head(2)
        >>> write_rendered_slices(cases, ".")
        2
        >>> image = np.load(cases["image"][0])
        >>> image.shape, image.dtype
        ((64, 64), dtype('int16'))
    """
    absent = [name for name in _COLUMNS if name not in cases.columns]
    if absent:
        raise ValueError(f"case table lacks the columns {', '.join(absent)}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    root = check_folder(dataset_dir)
    rendered = cases[cases["source"] == "rendered"]
    check_paths(rendered["image"])
    _check_ours(rendered["image"], root)
    with explained(root):
        _start_over_if_renderer_changed(rendered["image"], root)
    todo = rendered[[not is_whole(root / image) for image in rendered["image"]]]
    if todo.empty:
        return 0
    tables = read_tables()
    jobs = _jobs(todo, index_nodules(tables), root)
    count = usable_cores() if workers is None else workers
    if workers is None and len(todo) < _WORTH_PROCESSES:
        count = 1
    with tqdm(total=len(todo), desc="rendering slices (not CT)", unit="slice") as bar, explained(root):
        for written in _run(jobs, tables.contours, count):
            bar.update(written)
    return len(todo)


def check_paths(images: pd.Series) -> None:
    """Raise ValueError if a path leaves the folder that it is relative to."""
    for image in images:
        path = PurePosixPath(image)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"image must be a path below dataset_dir, got {image!r}")


def _check_ours(images: pd.Series, root: Path) -> None:
    """Raise FileExistsError if files at the images' paths are not known to be rendered."""
    ours, folder = (root / _ABOUT).is_file(), PurePosixPath(_ABOUT).parts[:1]
    others = [
        one
        for one in images
        if not (ours and PurePosixPath(one).parts[:1] == folder) and os.path.lexists(root / one)
    ]
    if others:
        raise FileExistsError(
            f"{len(others)} images are below dataset_dir {root} without the {_ABOUT} that marks them as "
            f"rendered (first: {', '.join(others[:5])}): move them out of the folder, or choose "
            "another"
        )


def _start_over_if_renderer_changed(images: pd.Series, root: Path) -> None:
    about = root / _ABOUT
    text = json.dumps({"about": _ABOUT_TEXT, "renderer": RENDERER_VERSION}, indent=1)
    if about.is_file() and about.read_text(encoding="utf-8") == text:
        return
    # Delete first, write the version last: after an interruption in between, this is repeated.
    for image in images:
        (root / image).unlink(missing_ok=True)
    write_whole(about, text.encode())


def _jobs(todo: pd.DataFrame, nodules: pd.DataFrame, root: Path) -> list[list[Job]]:
    """Return the jobs, one list per patient."""
    record = {
        (int(row["scan_id"]), int(row["nodule"])): {str(name): value for name, value in row.items()}
        for row in nodules.to_dict("records")
    }
    keys = list(zip(todo["scan_id"], todo["nodule"], strict=True))
    unknown = [f"scan {scan} nodule {nodule}" for scan, nodule in keys if (scan, nodule) not in record]
    if unknown:
        raise ValueError(f"{len(unknown)} cases name nodules that the database lacks (first: {unknown[0]})")
    by_patient: dict[str, list[Job]] = {}
    for key, group, k, image in zip(keys, todo["group"], todo["slice_index"], todo["image"], strict=True):
        by_patient.setdefault(str(group), []).append((record[key], int(k), root / str(image)))
    return list(by_patient.values())


def _run(jobs: list[list[Job]], contours: Contours, workers: int) -> Iterator[int]:
    """Run the jobs and yield the number of files after each patient."""
    if workers == 1:
        yield from (_render_patient(one, contours) for one in jobs)
        return
    # Spawned, not forked: the caller may have threads (torch, TensorBoard) that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _set_contours, (contours,)) as pool:
        yield from pool.map(_render_patient, jobs)  # an error cancels the jobs that have not begun


_contours_of_process: Contours | None = None


def _set_contours(contours: Contours) -> None:
    global _contours_of_process
    _contours_of_process = contours


def _render_patient(jobs: list[Job], contours: Contours | None = None) -> int:
    contours = contours if contours is not None else _contours_of_process
    assert contours is not None, "the process pool sets the contours"
    for nodule, slice_index, path in jobs:
        write_whole(path, image_bytes(render_slice(nodule, slice_index, contours).astype(np.int16)))
    return len(jobs)


def image_bytes(image: np.ndarray[Any, np.dtype[np.int16]]) -> bytes:
    """Return the content of an ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, image, allow_pickle=False)
    return buffer.getvalue()


_EMPTY_FILE = image_bytes(np.zeros((PATCH_SIZE, PATCH_SIZE), np.int16))
_HEADER = _EMPTY_FILE[: -PATCH_SIZE * PATCH_SIZE * 2]


def is_whole(path: Path) -> bool:
    """Return whether the file exists with the header and the length of a slice."""
    if not path.is_file():  # opening a pipe would block
        return False
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == len(_EMPTY_FILE) and file.read(len(_HEADER)) == _HEADER
    except FileNotFoundError:
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def explained(root: Path, what: str = "rendered slices") -> Iterator[None]:
    """Turn an error of writing into one that names the folder."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {what} below dataset_dir {root}: {error.strerror}; "
            f"free space, change its permissions, or choose another dataset_dir",
            error.filename,
        ) from error
