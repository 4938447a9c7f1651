"""Loading of results from disk; every file is verified against the manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.files import sha256_of
from monai_sf.results.case_table import decode_table
from monai_sf.results.format import (
    AGAIN,
    COLUMNS_FILE,
    FITTED,
    REFERENCE,
    ROWS_FILE,
    RUN_FILE,
    SET_FILE,
    TABLE_FILE,
    ResultsError,
    load_array,
    read_run,
    slug,
    some,
)
from monai_sf.results.results import Results
from monai_sf.results.test_set import TestSet


def load_results(path: str | os.PathLike[str]) -> Results:
    """Open the results of a run; arrays are memory-mapped and read-only.

    Args:
        path: the run's folder.

    Raises:
        FileNotFoundError: there are no finished results there.
        ResultsError: the folder is damaged (files missing, truncated, changed), of another format version,
            or holds impossible values (see :class:`Results`).

    Examples:
        >>> from monai_sf.results import Results, load_results
        >>> results = Results.from_arrays([[2.0, 0], [1, 0]], [0, 1], seed=3)
        >>> results.save("run")
        >>> results = load_results("run")
        >>> results.run["seed"], list(results.test_sets)
        (3, ['iid'])
    """
    path = Path(path)
    run = check_results(path)
    with _damage_named(path):
        schema = json.loads((path / COLUMNS_FILE).read_text(encoding="utf-8"))
        cases = decode_table(path / TABLE_FILE, schema)
        return Results(
            run,
            cases,
            {name: _load_test_set(path, name, run["files"]) for name in run["test_sets"]},
            *(_load_shared(path, folder, run["files"]) for folder in (FITTED, REFERENCE)),
        )


def check_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of run.json, after verifying every file against the manifest.

    Raises:
        FileNotFoundError: there are no finished results there.
        ResultsError: the folder is damaged (files missing, truncated, changed) or of another format version.

    Examples:
        >>> from pathlib import Path
        >>> from monai_sf.results import Results, check_results
        >>> results = Results.from_arrays([[2.0, 0], [1, 0]], [0, 1], dataset="skin")
        >>> results.save("run")
        >>> run = check_results("run")
        >>> run["dataset"], run["counts"]
        ('skin', {'iid': 2})
        >>> Path("run/iid/logits.npy").write_bytes(b"damaged")
        7
        >>> check_results("run")
        Traceback (most recent call last):
        ...
        monai_sf.results.format.ResultsError: run: damaged after the evaluation:
        iid/logits.npy...
    """
    path = Path(path)
    if not (path / RUN_FILE).is_file():
        state = "an evaluation that has not finished" if (path / TABLE_FILE).exists() else "no results"
        raise FileNotFoundError(
            f"{path} holds {state} (no {RUN_FILE}): run the bundle's evaluation into it first"
        )
    with _damage_named(path):
        run = read_run(path / RUN_FILE)
        _compare(path, run["files"])
    return run


def load_fitted(path: str | os.PathLike[str], run: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Map what the scores of a run were fitted to, after verifying these files only.

    Args:
        path: the run's folder.
        run: content of its run.json, see :func:`monai_sf.results.format.read_run`.

    Returns:
        See :attr:`Results.fitted`.

    Raises:
        ResultsError: a file is missing or was changed; names it.
    """
    path = Path(path)
    with _damage_named(path):
        files = {name: digest for name, digest in run["files"].items() if name.startswith(f"{FITTED}/")}
        _compare(path, files)
        return _load_shared(path, FITTED, files)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn any error from a damaged folder into a ResultsError that names it."""
    try:
        yield
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from error
    except (
        *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError),
        *(RecursionError, EOFError, MemoryError),
    ) as error:
        raise ResultsError(f"{path} is damaged ({type(error).__name__}: {error}): {AGAIN}") from error


def _compare(path: Path, files: Mapping[str, str]) -> None:
    """Verify every file against the manifest, several in parallel, at the speed of the disk."""

    def fault(name: str) -> str:
        try:
            return "" if sha256_of(path / name) == files[name] else f"{name} was changed"
        except FileNotFoundError:
            return f"{name} is missing"

    with ThreadPoolExecutor() as pool:
        faults = [found for found in pool.map(fault, files) if found]
    if faults:
        raise ResultsError(f"damaged after the evaluation: {some(faults)}; {AGAIN}")


def _load_shared(path: Path, folder: str, files: Collection[str]) -> dict[str, NDArray[Any]]:
    names = [PurePosixPath(file).stem for file in sorted(files) if file.startswith(f"{folder}/")]
    return {name: load_array(path / folder / f"{name}.npy", "c") for name in names}


def _load_test_set(path: Path, name: str, files: Collection[str]) -> TestSet:
    folder = path / slug(name)
    about = json.loads((folder / SET_FILE).read_text(encoding="utf-8"))
    read = [SET_FILE, ROWS_FILE, *(f"{array}.npy" for array in about["arrays"])]
    if absent := [file for file in read if f"{folder.name}/{file}" not in files]:
        raise ResultsError(f"{RUN_FILE} has no hash of {absent} of test set {name}: {AGAIN}")
    arrays = {array: load_array(folder / f"{array}.npy") for array in about["arrays"]}
    rows = np.array(load_array(folder / ROWS_FILE))
    return TestSet(about["name"], about["kind"], rows, arrays, about["corruption"], about["severity"])
