"""Results of one run on disk: a folder that says what it holds, written whole or not at all.

A run is one (dataset, study, method, seed). Its folder holds::

    run.json        what ran: versions, merged config, seed, counts, hashes of case table and checkpoint
    cases.csv       the case table of all evaluated cases, one row a case
    iid/            one folder a test set (iid, target, corruption-gaussian_noise-3, ...)
        test_set.json
        rows.npy    (n,) int64, the row of cases.csv of every entry
        logits.npy  (n, C) float32, and the other arrays of ARRAYS

All arrays are plain ``.npy`` files without pickles and are memory-mapped on loading, so that a hundred
thousand cases with 2,208 features open at once. ``run.json`` is written last: a folder without it is an
evaluation that has not finished.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.files import atomic_folder, sha256_of, write_json, write_text

FORMAT = "monai_sf.results"
FORMAT_VERSION = 1

#: Kinds of a test set; ``corruption`` sets are the iid cases, corrupted.
KINDS = ("iid", "corruption", "acquisition", "manifestation")

#: Per-case arrays that a test set may hold: the shape after the cases' axis, and the meaning.
ARRAYS: Mapping[str, tuple[str, str]] = {
    "logits": ("C", "class logits of one pass without dropout"),
    "features": ("F", "the backbone's features, the latent space"),
    "mcd_log_softmax": ("C", "log of the mean softmax over T dropout samples"),
    "mcd_entropy": ("", "mean over T dropout samples of the softmax entropy, in nats"),
    "confidence_logit": ("", "learned confidence before its sigmoid (ConfidNet, DeVries)"),
    "reservation_logit": ("", "logit of the reservation class (Deep Gamblers)"),
    "images": ("H,W[,3]", "uint8 thumbnails, grey or RGB, as the classifier saw the image"),
}


class ResultsError(ValueError):
    """A results folder is incomplete, damaged, of another version, or holds impossible values."""


@dataclass(frozen=True)
class TestSet:
    """The outputs of one run on one test set.

    Attributes:
        name: unique within the run, and its folder's name; letters, digits, ``_``, ``-``, ``.``.
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
            ResultsError: unknown kind or array, a name that is no plain folder name, arrays of other lengths.
        """
        if not re.fullmatch(r"[A-Za-z0-9][\w.\-]*", self.name, flags=re.ASCII):
            raise ResultsError(
                f"test set name {self.name!r} must be a plain folder name (letters, digits, _ - .)"
            )
        if self.kind not in KINDS:
            raise ResultsError(f"test set {self.name}: kind must be one of {KINDS}, got {self.kind!r}")
        if (self.corruption is None) != (self.severity == 0):
            raise ResultsError(
                f"test set {self.name}: corruption {self.corruption!r} does not fit severity {self.severity}"
            )
        if "logits" not in self.arrays:
            raise ResultsError(f"test set {self.name}: no logits among its arrays {sorted(self.arrays)}")
        for name, array in self.arrays.items():
            if name not in ARRAYS:
                raise ResultsError(f"test set {self.name}: unknown array {name!r}; known: {sorted(ARRAYS)}")
            _check_rank(self.name, name, array)
            if len(array) != len(self.rows):
                raise ResultsError(
                    f"test set {self.name}: {name} has {len(array)} entries, rows has {len(self.rows)}"
                )

    def __len__(self) -> int:
        return len(self.rows)


def _check_rank(test_set: str, name: str, array: NDArray[Any]) -> None:
    ranks = {"": (1,), "C": (2,), "F": (2,), "H,W[,3]": (3, 4)}[ARRAYS[name][0]]
    if array.ndim not in ranks or (
        name == "images" and (array.dtype != np.uint8 or array.shape[3:] not in ((), (3,)))
    ):
        raise ResultsError(
            f"test set {test_set}: {name} has shape {array.shape} and dtype {array.dtype}, "
            f"expected (n{',' + ARRAYS[name][0] if ARRAYS[name][0] else ''}): {ARRAYS[name][1]}"
        )


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
            ResultsError: duplicate case ids, labels outside 0..C-1, rows beyond the case table, two entries
                of one case in a test set, NaN or infinite outputs.
        """
        for column in ("case_id", "label"):
            if column not in self.cases:
                raise ResultsError(f"case table has no column {column!r}; it has {list(self.cases.columns)}")
        repeated = self.cases["case_id"][self.cases["case_id"].duplicated()]
        if len(repeated):
            raise ResultsError(f"{len(repeated)} case ids occur twice: {_some(repeated)}")
        classes = len(self.run["class_names"])
        labels = self.cases["label"]
        wrong = self.cases["case_id"][~labels.isin(range(classes))]
        if len(wrong):
            raise ResultsError(
                f"label must be an integer in 0..{classes - 1}; {len(wrong)} are not: {_some(wrong)}"
            )
        for test_set in self.test_sets.values():
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
                raise ResultsError(f"{where}: {name} is NaN or infinite for {bad.sum()} cases: {_some(ids)}")

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
        """Write the run's folder, whole or not at all; see the module's text for what it holds."""
        with atomic_folder(path) as partial:
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


def _some(values: Sequence[Any] | pd.Series[Any], count: int = 10) -> str:
    """The first values, for an error message."""
    shown = ", ".join(str(v) for v in list(values)[:count])
    return shown + (f", ... ({len(values) - count} more)" if len(values) > count else "")


class TestSetWriter:
    """Fills the arrays of one test set batch by batch, in any order, and survives a kill in between.

    The arrays grow in a hidden folder beside the final one, with a mark for every entry that is complete.
    Made by :meth:`ResultsWriter.open`.
    """

    __test__ = False  # not a pytest class

    def __init__(self, path: Path, rows: NDArray[np.int64], description: Mapping[str, Any]) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.partial")
        self.rows = rows
        self.description = {**description, "name": path.name, "count": len(rows)}
        self.arrays: dict[str, NDArray[Any]] = {}
        self._position = {int(row): position for position, row in enumerate(rows)}
        if len(self._position) != len(rows):
            raise ResultsError(f"test set {path.name}: {len(rows) - len(self._position)} cases occur twice")
        self._fresh: list[int] = []
        if path.exists():
            self.done = np.ones(len(rows), bool)
        elif not self._reopen():
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            np.save(self.partial / "rows.npy", rows)
            np.save(self.partial / "done.npy", np.zeros(len(rows), bool))
            self.done = np.load(self.partial / "done.npy", mmap_mode="r+")

    def _reopen(self) -> bool:
        """Take up what a killed evaluation left, if it is whole and of the same cases."""
        try:
            if not np.array_equal(_load_array(self.partial / "rows.npy"), self.rows):
                return False
            self.done = np.load(self.partial / "done.npy", mmap_mode="r+", allow_pickle=False)
            for name in ARRAYS:
                if (self.partial / f"{name}.npy").exists():
                    self.arrays[name] = np.load(self.partial / f"{name}.npy", mmap_mode="r+")
        except (OSError, ValueError, EOFError):
            return False
        return all(len(array) == len(self.rows) for array in (self.done, *self.arrays.values()))

    def write(self, rows: ArrayLike, arrays: Mapping[str, ArrayLike]) -> None:
        """Store the outputs of some entries; those of an entry that was written before are replaced.

        Args:
            rows: (b,) integers, the entries' rows in the case table.
            arrays: name (see :data:`ARRAYS`) to (b, ...) values; every call gives the same names.

        Raises:
            ResultsError: a name is unknown, a row is not of this test set, or a shape or dtype is not that of
                :data:`ARRAYS` and of the earlier calls.
            OSError: the disk is full; what was written before is kept.
        """
        try:
            positions = [self._position[int(row)] for row in np.asarray(rows)]
        except KeyError as error:
            raise ResultsError(f"test set {self.path.name}: row {error} is not one of its cases") from None
        for name, given in arrays.items():
            values = np.asarray(given)
            if name not in ARRAYS:
                raise ResultsError(
                    f"test set {self.path.name}: unknown array {name!r}; known: {sorted(ARRAYS)}"
                )
            _check_rank(self.path.name, name, values)
            if name not in self.arrays:
                self.arrays[name] = self._allocate(name, values)
            if self.arrays[name].shape[1:] != values.shape[1:] or len(values) != len(positions):
                raise ResultsError(
                    f"test set {self.path.name}: {name} has shape {values.shape}, expected "
                    f"{(len(positions), *self.arrays[name].shape[1:])}"
                )
            self.arrays[name][positions] = values
        self._fresh += positions

    def _allocate(self, name: str, like: NDArray[Any]) -> NDArray[Any]:
        file = self.partial / f"{name}.npy"
        array: NDArray[Any] = np.lib.format.open_memmap(
            file, "w+", like.dtype, (len(self.rows), *like.shape[1:])
        )
        if hasattr(os, "posix_fallocate"):  # or a full disk ends the process by SIGBUS, without a word
            with open(file, "r+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
        return array

    def sync(self) -> None:
        """Bring what was written to the disk and mark it as done, in this order."""
        for array in self.arrays.values():
            array.flush()  # type: ignore[attr-defined]
        if self._fresh:
            self.done[self._fresh] = True
            self.done.flush()  # type: ignore[attr-defined]
            self._fresh = []

    def close(self) -> None:
        """Move the complete test set to its final name.

        Raises:
            ResultsError: entries have no outputs; those that have are kept for the next try.
        """
        if self.path.exists():
            return
        self.sync()
        missing = self.rows[~self.done]
        if len(missing):
            raise ResultsError(
                f"test set {self.path.name}: {len(missing)} of {len(self.rows)} cases have no outputs: "
                f"rows {_some(list(missing))}"
            )
        write_json(self.partial / "test_set.json", {**self.description, "arrays": sorted(self.arrays)})
        (self.partial / "done.npy").unlink()
        os.replace(self.partial, self.path)


class ResultsWriter:
    """Writes a run's folder; a killed evaluation goes on at the first case that has no outputs.

    Args:
        path: the run's folder, made when missing.
        cases: the case table of all cases that will be evaluated, index 0..n-1.

    Raises:
        ResultsError: the folder holds results of another case table.
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], cases: pd.DataFrame) -> None:
        self.path = Path(path)
        self.cases = cases
        text = cases.to_csv(index=False, lineterminator="\n")
        table = self.path / "cases.csv"
        if not table.exists():
            write_text(table, text)
        elif table.read_text(encoding="utf-8") != text:
            raise ResultsError(
                f"{self.path} holds results of other cases; choose another folder or remove this one"
            )

    def open(
        self, name: str, kind: str, rows: ArrayLike, *, corruption: str | None = None, severity: int = 0
    ) -> TestSetWriter:
        """Start or take up a test set.

        Args:
            name: of the test set and its folder.
            kind: one of :data:`KINDS`.
            rows: (n,) the test set's cases, as rows of the case table.
            corruption: kind of corruption, None for clean images.
            severity: 1 to 5 for a corruption, 0 for clean images.
        """
        description = {"kind": kind, "corruption": corruption, "severity": severity}
        return TestSetWriter(self.path / name, np.asarray(rows, np.int64), description)

    def finish(self, run: Mapping[str, Any]) -> None:
        """Write run.json, the mark of complete results.

        Args:
            run: JSON-able description; see :class:`Results` for the keys it must have.
        """
        about = [
            json.loads(path.read_text(encoding="utf-8")) for path in self.path.glob("[!.]*/test_set.json")
        ]
        about.sort(key=lambda a: (KINDS.index(a["kind"]), a["corruption"] or "", a["severity"], a["name"]))
        content = {
            **run,
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "test_sets": [a["name"] for a in about],
            "counts": {a["name"]: a["count"] for a in about},
            "sha256": {**run.get("sha256", {}), "cases.csv": sha256_of(self.path / "cases.csv")},
        }
        write_json(self.path / "run.json", content)


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
    mark = path / "run.json"
    if not mark.is_file():
        state = "an evaluation that has not finished" if (path / "cases.csv").exists() else "no results"
        raise FileNotFoundError(
            f"{path} holds {state} (no run.json): run the bundle's evaluation into it first"
        )
    try:
        run = json.loads(mark.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{mark} is not JSON ({error}): run the evaluation again") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ResultsError(f"{mark} is not a results file of monai_sf")
    if run.get("format_version") != FORMAT_VERSION:
        raise ResultsError(
            f"{path} has results of format version {run.get('format_version')}, this monai_sf reads version "
            f"{FORMAT_VERSION}: evaluate again with this version"
        )
    missing = [
        k
        for k in ("dataset", "study", "method", "seed", "class_names", "data_kind", "test_sets")
        if k not in run
    ]
    if missing:
        raise ResultsError(f"{mark} lacks the keys {missing}")
    table = path / "cases.csv"
    if not table.is_file() or sha256_of(table) != run["sha256"]["cases.csv"]:
        raise ResultsError(
            f"{table} is missing or was changed after the evaluation: run the evaluation again"
        )
    # ids such as "NA" or "007" are text, not missing values or numbers
    text = dict.fromkeys(("case_id", "label_name", "group", "source", "image"), str)
    cases = pd.read_csv(
        table,
        dtype=text,
        keep_default_na=False,
        na_values={c: [""] for c in _columns(table) if c not in text},
    )
    return Results(run, cases, {name: _load_test_set(path, name) for name in run["test_sets"]})


def _columns(table: Path) -> list[str]:
    return list(pd.read_csv(table, nrows=0).columns)


def _load_test_set(path: Path, name: str) -> TestSet:
    folder = path / name
    if folder.parent != path or not folder.is_dir():
        raise ResultsError(f"{path / 'run.json'} names the test set {name!r}, which is no folder beside it")
    try:
        about = json.loads((folder / "test_set.json").read_text(encoding="utf-8"))
        arrays = {name: _load_array(folder / f"{name}.npy") for name in about["arrays"]}
        rows = np.array(_load_array(folder / "rows.npy"))
        return TestSet(about["name"], about["kind"], rows, arrays, about["corruption"], about["severity"])
    except ResultsError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{folder} is damaged ({error}): remove it and run the evaluation again"
        ) from error


def _load_array(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read_fd_shifts(path: str | os.PathLike[str]) -> Results:
    """Results of an experiment of FD-Shifts, the code of the paper's benchmark.

    Args:
        path: the experiment's folder (it holds ``test_results`` and ``hydra/config.yaml``), or the folder
            with ``raw_logits.npz`` or ``raw_output.npz`` itself. Validation cases and cases of classes that
            were never trained are left out. Images are shown where the paths of ``attributions*.csv`` exist.

    Raises:
        FileNotFoundError: there are no outputs.
        ResultsError: a file is damaged or of another shape.
    """
    from monai_sf.fd_shifts import results_of_fd_shifts  # it builds on this module

    return results_of_fd_shifts(path)
