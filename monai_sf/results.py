"""Results of one run on disk: a folder that says what it holds, written whole or not at all.

A run is one (dataset, study, method, seed). Its folder holds::

    run.json        what ran: versions, merged config, seed, counts; and the manifest: a hash of every file
    cases.csv       the case table of all evaluated cases, one row per case
    columns.json    the types of its columns, see ``case_table``
    iid/            one folder per test set (iid, target, corruption-gaussian_noise-3, ...)
        test_set.json   its name, which may be any text: the folder is called after it as far as that can be
        rows.npy    (n,) int64, the row of cases.csv of every entry
        logits.npy  (n, C) float32, and the other arrays of ARRAYS

All arrays are plain ``.npy`` files without pickles and are memory-mapped on loading, so that a hundred
thousand cases with 2,208 features need no memory. ``run.json`` is written last: a folder without it is an
evaluation that has not finished. Loading compares every file with its hash.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.case_table import decode_table, not_utf8
from monai_sf.files import atomic_folder, sha256_of
from monai_sf.ids import is_absent
from monai_sf.results_format import (
    ARRAYS,
    COLUMNS_FILE,
    FORMAT,
    FORMAT_VERSION,
    KINDS,
    ROWS_FILE,
    RUN_FILE,
    RUN_KEYS,
    SET_FILE,
    TABLE_FILE,
    ResultsError,
    check_rank,
    check_run,
    check_text,
    load_array,
    seal,
    slug,
    some,
)
from monai_sf.results_writer import ResultsWriter, TestSetWriter

__all__ = [
    "ARRAYS",
    "FORMAT",
    "FORMAT_VERSION",
    "KINDS",
    "Results",
    "ResultsError",
    "ResultsWriter",
    "TestSet",
    "TestSetWriter",
    "load_results",
    "read_fd_shifts",
]


@dataclass(frozen=True)
class TestSet:
    """The outputs of one run on one test set.

    Attributes:
        name: unique within the run; any text that is not blank.
        kind: one of :data:`KINDS`.
        rows: (n,) int64, position of every entry in ``Results.cases``.
        arrays: name (see :data:`ARRAYS`) to an array of n entries; ``logits`` is always there.
        corruption: kind of corruption, None for clean images.
        severity: 1 to 5 for a corruption, 0 for clean images.
    """

    __test__ = False  # not a pytest class

    name: str
    kind: str
    rows: NDArray[np.int64]
    arrays: Mapping[str, NDArray[Any]]
    corruption: str | None = None
    severity: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without the case table.

        Raises:
            ResultsError: unknown kind or array, a blank name, arrays of other lengths.
        """
        if not isinstance(self.name, str) or not self.name.strip() or not_utf8([self.name]):
            raise ResultsError(f"the name of a test set must be a text that is not blank, got {self.name!a}")
        if self.kind not in KINDS:
            raise ResultsError(f"test set {self.name}: kind must be one of {KINDS}, got {self.kind!r}")
        if not (self.kind == "corruption") == (self.corruption is not None) == (self.severity != 0):
            raise ResultsError(
                f"test set {self.name}: kind {self.kind!r}, corruption {self.corruption!r} and severity "
                f"{self.severity} do not fit together"
            )
        if self.rows.ndim != 1 or (self.rows.size and self.rows.dtype.kind not in "iu"):
            raise ResultsError(
                f"test set {self.name}: rows must be (n,) integers, got {self.rows.dtype} {self.rows.shape}"
            )
        if "logits" not in self.arrays:
            raise ResultsError(f"test set {self.name}: no logits among its arrays {sorted(self.arrays)}")
        for name, array in self.arrays.items():
            if name not in ARRAYS:
                raise ResultsError(f"test set {self.name}: unknown array {name!r}; known: {sorted(ARRAYS)}")
            check_rank(self.name, name, array)
            if len(array) != len(self.rows):
                raise ResultsError(
                    f"test set {self.name}: {name} has {len(array)} entries, rows has {len(self.rows)}"
                )

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Results:
    """What one run produced on all its test sets.

    Attributes:
        run: the content of run.json. Keys that always exist: ``dataset``, ``study``, ``method``, ``seed``,
            ``class_names`` (list of C names), ``data_kind`` ("real", "rendered" or "phantom").
        cases: the case table of the evaluated cases (``case_id``, ``label``, ``label_name``, ``group``,
            ``source`` and the dataset's own columns), index 0..n-1.
        test_sets: name to test set, in the order of evaluation.
    """

    run: Mapping[str, Any]
    cases: pd.DataFrame
    test_sets: Mapping[str, TestSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that cases, labels and test sets belong together; all offenders are named at once.

        Raises:
            ResultsError: fewer than two classes or two of one name, duplicate case ids, labels outside
                0..C-1, rows beyond the case table, two entries of one case in a test set, NaN or infinite
                outputs, text that is not UTF-8.
        """
        check_run(self.run)
        for column in ("case_id", "label"):
            if column not in self.cases:
                raise ResultsError(f"case table has no column {column!r}; it has {list(self.cases.columns)}")
        if absent := sum(map(is_absent, self.cases["case_id"].tolist())):
            raise ResultsError(f"{absent} case ids are empty: name every case, so that it is known again")
        ids = self.cases["case_id"].astype(str)  # as they are written and read again: 1 and "1" are one
        repeated = ids[ids.duplicated()]
        if len(repeated):
            raise ResultsError(f"{len(repeated)} case ids occur twice: {some(repeated)}")
        check_text(
            (name, [] if pd.api.types.is_numeric_dtype(values.dtype) else values)
            for name, values in self.cases.items()
        )
        names = list(self.run["class_names"])
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ResultsError(f"class_names must differ; these occur twice: {twice}")
        classes = len(names)
        if classes < 2:
            raise ResultsError(f"there must be at least two classes, got class_names {names}")
        labels = self.cases["label"]
        wrong = self.cases["case_id"][~labels.isin(range(classes))]
        if len(wrong):
            raise ResultsError(
                f"label must be an integer in 0..{classes - 1}; {len(wrong)} are not: {some(wrong)}"
            )
        for name, test_set in self.test_sets.items():
            if name != test_set.name:
                raise ResultsError(f"the test set {test_set.name!r} stands under the name {name!r}")
            self._check(test_set, classes)

    def _check(self, test_set: TestSet, classes: int) -> None:
        where = f"test set {test_set.name}"
        rows = test_set.rows
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.cases)):
            raise ResultsError(
                f"{where}: rows must be in 0..{len(self.cases) - 1}, got {rows.min()}..{rows.max()}"
            )
        if len(np.unique(rows)) != len(rows):
            raise ResultsError(f"{where}: {len(rows) - len(np.unique(rows))} cases occur twice")
        for name, array in test_set.arrays.items():
            if ARRAYS[name][0] == "C" and array.shape[1] != classes:
                raise ResultsError(f"{where}: {name} has {array.shape[1]} classes, the run has {classes}")
            if name == "features":  # a report without a latent space is still a report
                continue
            # mcd_log_softmax may be -inf where a class has probability zero
            bad = np.isnan(array) if name == "mcd_log_softmax" else ~np.isfinite(array)
            bad = bad.any(axis=tuple(range(1, bad.ndim)))
            if bad.any():
                ids = self.cases["case_id"].iloc[rows[bad]]
                raise ResultsError(f"{where}: {name} is NaN or infinite for {bad.sum()} cases: {some(ids)}")

    @classmethod
    def from_arrays(
        cls, logits: ArrayLike | None = None, labels: ArrayLike | None = None, **arrays: Any
    ) -> Results:
        """Results of any model from its outputs; the arguments are those of
        :func:`monai_sf.bring_your_own.results_from_arrays`: ``logits`` or ``probabilities``, ``labels``, and
        optionally ``features``, ``images``, ``mcd_samples``, ``case_ids``, ``domains`` and others.

        Raises:
            ResultsError: an argument is missing, has a wrong length or holds impossible values.

        Example:
            >>> import numpy as np
            >>> Results.from_arrays(np.array([[2.0, 0.0], [0.5, 1.0]]), np.array([0, 0])).labels_of("iid")
            array([0, 0])
        """  # noqa: D205
        from monai_sf.bring_your_own import results_from_arrays  # it builds on this module

        return results_from_arrays(logits, labels, **arrays)

    def cases_of(self, test_set: str) -> pd.DataFrame:
        """The case table of one test set, in the order of its arrays, index 0..n-1 (a copy)."""
        return self.cases.iloc[self.test_sets[test_set].rows].reset_index(drop=True)

    def labels_of(self, test_set: str) -> NDArray[np.int64]:
        """(n,) int64 labels of one test set, in the order of its arrays."""
        labels: NDArray[np.int64] = self.cases["label"].to_numpy(np.int64)[self.test_sets[test_set].rows]
        return labels

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run's folder, whole or not at all; see the module's text for what it holds.

        Args:
            path: the folder. Results that are there are replaced.

        Raises:
            FileExistsError: a file is there, or a folder that holds anything but finished results; nothing
                was touched.
            ResultsError: a column holds what cannot be stored.
            OSError: the folder cannot be written.
        """
        with atomic_folder(path, _own_files) as partial:
            writer = ResultsWriter(partial, self.cases)
            for test_set in self.test_sets.values():
                out = writer.open(
                    test_set.name,
                    test_set.kind,
                    test_set.rows,
                    corruption=test_set.corruption,
                    severity=test_set.severity,
                )
                out.write(test_set.rows, test_set.arrays)
                out.close()
            writer.finish(self.run)


def load_results(path: str | os.PathLike[str]) -> Results:
    """Open the results of a run; arrays are memory-mapped and read-only.

    Args:
        path: the run's folder.

    Raises:
        FileNotFoundError: there are no finished results there.
        ResultsError: the folder is damaged (files missing, truncated, changed), of another format version,
            or holds impossible values (see :class:`Results`).
    """
    path = Path(path)
    if not (path / RUN_FILE).is_file():
        state = "an evaluation that has not finished" if (path / TABLE_FILE).exists() else "no results"
        raise FileNotFoundError(
            f"{path} holds {state} (no {RUN_FILE}): run the bundle's evaluation into it first"
        )
    try:
        run = _read_run(path)
        _compare(path, run["files"])
        schema = json.loads((path / COLUMNS_FILE).read_text(encoding="utf-8"))
        cases = decode_table(path / TABLE_FILE, schema)
        return Results(
            run, cases, {name: _load_test_set(path, name, run["files"]) for name in run["test_sets"]}
        )
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from error
    except (
        *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError),
        *(RecursionError, EOFError, MemoryError),
    ) as error:
        raise ResultsError(f"{path} is damaged ({type(error).__name__}: {error}): {_AGAIN}") from error


_AGAIN = "remove the folder and run the evaluation again"


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{RUN_FILE} is not JSON ({error}): {_AGAIN}") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ResultsError(f"{RUN_FILE} is not a results file of monai_sf")
    if run.get("format_version") != FORMAT_VERSION:
        raise ResultsError(
            f"results of format version {run.get('format_version')}, this monai_sf reads version "
            f"{FORMAT_VERSION}: {_AGAIN}"
        )
    if missing := [key for key in (*RUN_KEYS, "test_sets", "files", "digest") if key not in run]:
        raise ResultsError(f"{RUN_FILE} lacks the keys {missing}")
    if seal(run)["digest"] != run["digest"]:
        raise ResultsError(f"{RUN_FILE} was changed after the evaluation: {_AGAIN}")
    return run


def _compare(path: Path, files: Mapping[str, str]) -> None:
    """Compare every file with the manifest; several are read at once, as fast as a disk is."""

    def fault(name: str) -> str:
        try:
            return "" if sha256_of(path / name) == files[name] else f"{name} was changed"
        except FileNotFoundError:
            return f"{name} is missing"

    with ThreadPoolExecutor() as pool:
        faults = [found for found in pool.map(fault, files) if found]
    if faults:
        raise ResultsError(f"damaged after the evaluation: {some(faults)}; {_AGAIN}")


def _load_test_set(path: Path, name: str, files: Collection[str]) -> TestSet:
    folder = path / slug(name)
    about = json.loads((folder / SET_FILE).read_text(encoding="utf-8"))
    read = [SET_FILE, ROWS_FILE, *(f"{array}.npy" for array in about["arrays"])]
    if absent := [file for file in read if f"{folder.name}/{file}" not in files]:
        raise ResultsError(f"{RUN_FILE} has no hash of {absent} of test set {name}: {_AGAIN}")
    arrays = {array: load_array(folder / f"{array}.npy") for array in about["arrays"]}
    rows = np.array(load_array(folder / ROWS_FILE))
    return TestSet(about["name"], about["kind"], rows, arrays, about["corruption"], about["severity"])


#: A report keeps what took it long beside the results.
_KEPT = re.compile(r"embedding-[0-9a-f]+\.npz")


def _own_files(path: Path) -> Collection[str]:
    """The files of finished results, and what reports have kept there; none where nothing is finished."""
    try:
        files = list(_read_run(path)["files"])
    except (OSError, ValueError, TypeError, RecursionError):
        return ()
    return {RUN_FILE, *files, *(entry.name for entry in path.iterdir() if _KEPT.fullmatch(entry.name))}


def read_fd_shifts(path: str | os.PathLike[str]) -> Results:
    """Results of an experiment of FD-Shifts, the code of the paper's benchmark.

    Args:
        path: the experiment's folder (it holds ``test_results`` and ``hydra/config.yaml``), or the folder
            with ``raw_logits.npz`` or ``raw_output.npz`` itself; configs from before and after 2024 are read.
            Validation cases and cases of classes that were never trained are left out. Images are shown where
            the paths of ``attributions*.csv`` exist. A seed that is not known becomes a negative number.

    Raises:
        FileNotFoundError: there are no outputs.
        ResultsError: a file is damaged or of another shape, or the config does not say for sure which test
            set is which.
    """
    from monai_sf.fd_shifts import results_of_fd_shifts  # it builds on this module

    return results_of_fd_shifts(path)
