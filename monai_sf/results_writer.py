"""Writing results: case by case, in any order, by one process or several, through kills and full disks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.files import sha256_of, write_json, write_text
from monai_sf.results_format import (
    ARRAYS,
    FORMAT,
    FORMAT_VERSION,
    KINDS,
    ResultsError,
    check_rank,
    load_array,
    some,
)


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
            if not np.array_equal(load_array(self.partial / "rows.npy"), self.rows):
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
            check_rank(self.path.name, name, values)
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

    def absorb(self, other: Path, chunk: int = 1024) -> None:
        """Take over what another writer of some of these entries has left, as far as it is complete.

        Args:
            other: the path that it was given.
            chunk: entries that are copied at once.
        """
        partial = other.with_name(f".{other.name}.partial")
        try:
            rows, done = (np.array(load_array(partial / f"{name}.npy")) for name in ("rows", "done"))
            arrays = {
                name: load_array(partial / f"{name}.npy")
                for name in ARRAYS
                if (partial / f"{name}.npy").exists()
            }
        except (OSError, ValueError, EOFError):  # killed before it had anything
            return
        complete = np.flatnonzero(done)
        for first in range(0, len(complete) if not self.path.exists() else 0, chunk):
            here = complete[first : first + chunk]
            self.write(rows[here], {name: array[here] for name, array in arrays.items()})
        self.sync()

    def sync(self) -> None:
        """Bring what was written to the disk and mark it as done, in this order."""
        for array in self.arrays.values():
            array.flush()  # type: ignore[attr-defined]
        if self._fresh:
            self.done[self._fresh] = True
            self.done.flush()  # type: ignore[attr-defined]
            self._fresh = []

    def release(self) -> None:
        """Let go of the files, which another process is about to take over and remove."""
        self.arrays, self.done = {}, np.array(self.done)

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
                f"rows {some(list(missing))}"
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

    @staticmethod
    def part_of(path: str | os.PathLike[str], number: int) -> Path:
        """The folder in which another process (1, 2, ...) writes its part of a run's results."""
        return Path(path) / f".part-{number}"

    def absorb_parts(self, writers: Mapping[str, TestSetWriter]) -> None:
        """Take over what other processes have written, of this try or of one that was killed; remove it.

        Args:
            writers: name to writer of every test set.

        Raises:
            OSError: the disk is full; what other processes have written stays until the next try.
        """
        absorbed = self.path / ".absorbed"
        shutil.rmtree(absorbed, ignore_errors=True)
        for part in sorted(self.path.glob(".part-*")):
            for name, writer in writers.items():
                writer.absorb(part / name)
            os.replace(part, absorbed)  # a folder of which a kill has left a half must not be read again
            shutil.rmtree(absorbed, ignore_errors=True)

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
