"""Writing of results: in any order, by one or several processes, robust to kills and full disks."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.files import remove_own, sha256_of, write_json, write_text
from monai_sf.results.case_table import encode_table
from monai_sf.results.format import (
    ARRAY_NAME,
    COLUMNS_FILE,
    FORMAT,
    FORMAT_VERSION,
    ROWS_FILE,
    RUN_FILE,
    SET_FILE,
    TABLE_FILE,
    ResultsError,
    check_rank,
    load_array,
    seal,
    slug,
    some,
)
from monai_sf.vocabulary.shifts import KINDS

#: While a test set is being filled: which entries are complete, and the shapes of its arrays.
_DONE_FILE, _SHAPES_FILE = "done.npy", "arrays.json"
#: Number of entries that are copied at once.
_CHUNK = 1024
_OWN_FILES = frozenset((SET_FILE, ROWS_FILE, _DONE_FILE, _SHAPES_FILE))

_AGAIN = "Run the evaluation again: this test set is restarted, the others are kept"
_ELSEWHERE = "choose another folder or remove this one"


def _is_own(path: str) -> bool:
    """Return whether a file of a writer's private working folder was made by a writer."""
    name = path.rpartition("/")[2]
    return name in _OWN_FILES or (name.endswith(".npy") and bool(ARRAY_NAME.fullmatch(name[:-4])))


def _partial_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Return a stamp of a mapped file that changes if it is removed, replaced or truncated."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size


def _read_partial(
    folder: Path, mode: Literal["r", "r+"]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], dict[str, NDArray[Any]]]:
    """Return rows, completion flags and arrays of an unfinished test set, if all are intact.

    Raises:
        ValueError: a file is damaged.
        OSError: one is missing.
    """
    rows = np.array(load_array(folder / ROWS_FILE))
    done = load_array(folder / _DONE_FILE)
    shapes = {}
    if (folder / _SHAPES_FILE).exists():
        shapes = json.loads((folder / _SHAPES_FILE).read_text(encoding="utf-8"))
    elif done.any():
        raise ValueError(f"{_SHAPES_FILE} is missing")
    arrays = {name: load_array(folder / f"{name}.npy") for name in shapes}
    found = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
    if done.dtype != bool or done.shape != rows.shape or found != shapes:
        raise ValueError("the arrays do not match each other")
    if mode == "r":
        return rows, done, arrays
    opened = {
        name: np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
        for name in ("done", *shapes)
    }
    return rows, opened.pop("done"), opened


class TestSetWriter:
    """Fills the arrays of one test set batch by batch, in any order, and survives a kill in between.

    The arrays grow in a hidden folder beside the final one, with a flag per complete entry. A killed
    evaluation is resumed; if one of its files is missing or torn, this test set is restarted. Made by
    :meth:`ResultsWriter.open`.

    Args:
        folder: that of the run, or of another process's part of it.
        rows: (n,) the test set's cases, as rows of the case table.
        description: content of ``test_set.json``, with the ``name``.

    Raises:
        ResultsError: a case occurs twice, or the complete test set exists and has other cases.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from monai_sf.results import ResultsWriter, TestSetWriter
        >>> cases = pd.DataFrame({"case_id": ["a", "b", "c"], "label": [0, 1, 1]})
        >>> test_set: TestSetWriter = ResultsWriter("run", cases).open(
        ...     "iid", "iid", [0, 1, 2]
        ... )
        >>> test_set.write([2, 0], {"logits": np.zeros((2, 2), np.float32)})
        >>> test_set.sync()  # from now on these two survive a kill
        >>> ResultsWriter("run", cases).open("iid", "iid", [0, 1, 2]).done.tolist()
        [True, False, True]
    """

    __test__ = False  # not a pytest class

    def __init__(
        self, folder: str | os.PathLike[str], rows: NDArray[np.int64], description: Mapping[str, Any]
    ) -> None:
        self.name = str(description["name"])
        self.path = Path(folder) / slug(self.name)
        self.partial = _partial_of(self.path)
        self.rows = rows
        self.description = {**description, "count": len(rows)}
        self.arrays: dict[str, NDArray[Any]] = {}
        self._position = {int(row): position for position, row in enumerate(rows)}
        if len(self._position) != len(rows):
            raise ResultsError(f"test set {self.name}: {len(rows) - len(self._position)} cases occur twice")
        self._fresh: list[int] = []
        self._stamps: dict[str, tuple[int, int, int] | None] = {}
        self.closed = self.path.exists() and self._is_complete()
        if self.closed:
            self.done = np.ones(len(rows), bool)
        elif not self._reopen():
            remove_own(self.partial, _is_own)
            self.partial.mkdir(parents=True, exist_ok=True)
            np.save(self.partial / ROWS_FILE, rows)
            np.save(self.partial / _DONE_FILE, np.zeros(len(rows), bool))
            self.done = np.load(self.partial / _DONE_FILE, mmap_mode="r+")
            self._watch()

    def _is_complete(self) -> bool:
        """Return whether the closed test set is intact; the remains of a damaged one are removed."""
        try:
            about: Any = json.loads((self.path / SET_FILE).read_text(encoding="utf-8"))
            files = dict(about["files"])
            theirs = {key: about[key] for key in self.description}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                f"{self.path} is in the way of test set {self.name}, and is not one or a damaged one "
                f"({error}); move it away"
            ) from error
        if theirs != self.description:
            raise ResultsError(f"{self.path} holds {theirs}, not {self.description}; {_ELSEWHERE}")
        try:
            whole = all(sha256_of(self.path / name) == digest for name, digest in files.items())
        except OSError:
            whole = False
        if whole and not np.array_equal(load_array(self.path / ROWS_FILE), self.rows):
            raise ResultsError(f"{self.path} holds a test set of other cases; {_ELSEWHERE}")
        if not whole:
            remove_own(self.path, {SET_FILE, *files}.__contains__)
            if self.path.exists():
                raise ResultsError(f"{self.path} is damaged and holds other files; move it away")
        return whole

    def _reopen(self) -> bool:
        """Resume a killed evaluation, if its files are intact and of the same cases."""
        try:
            rows, self.done, self.arrays = _read_partial(self.partial, "r+")
        except (OSError, ValueError, TypeError, AttributeError):
            return False
        if not np.array_equal(rows, self.rows):
            self.arrays = {}
            return False
        self._watch()
        return True

    def _watch(self) -> None:
        self._stamps = {name: _stamp(self.partial / f"{name}.npy") for name in ("done", *self.arrays)}

    def _check_watched(self) -> None:
        """Refuse to write into the map of a file that was removed (lost output) or truncated (SIGBUS)."""
        lost = [name for name, stamp in self._stamps.items() if _stamp(self.partial / f"{name}.npy") != stamp]
        if lost:
            raise ResultsError(
                f"test set {self.name}: {', '.join(lost)} in {self.partial} were removed or changed while "
                f"they were being written. {_AGAIN}"
            )

    def write(self, rows: ArrayLike, arrays: Mapping[str, ArrayLike]) -> None:
        """Store the outputs of some entries; earlier ones of the same entry are replaced.

        Args:
            rows: (b,) integers, the entries' rows in the case table.
            arrays: name (see :data:`ARRAYS`, or another) to (b, ...) values; every call needs the same names.

        Raises:
            ResultsError: a name is invalid or was not in earlier calls, a row is not of this test set, a
                shape or dtype differs from :data:`ARRAYS` or from earlier calls, the test set is closed, or
                its files were removed or changed from outside.
            OSError: the disk is full; earlier outputs are kept.
        """
        self._check_watched()
        if self.closed:
            raise ResultsError(f"test set {self.name} is complete: nothing can be written to it")
        try:
            positions = [self._position[int(row)] for row in np.asarray(rows)]
        except KeyError as error:
            raise ResultsError(f"test set {self.name}: row {error} is not one of its cases") from None
        values = {name: np.asarray(given) for name, given in arrays.items()}
        if self.arrays and self.arrays.keys() != values.keys():
            raise ResultsError(
                f"test set {self.name}: got the arrays {sorted(values)}, before they were "
                f"{sorted(self.arrays)}. Remove {self.partial} to restart this test set"
            )
        for name, array in values.items():
            check_rank(self.name, name, array)
            like = self.arrays.get(name, array)
            expected = (len(positions), *like.shape[1:])
            if (array.shape, array.dtype) != (expected, like.dtype):
                raise ResultsError(
                    f"test set {self.name}: {name} has shape {array.shape} and dtype {array.dtype}, expected "
                    f"{expected} and {like.dtype}"
                )
        if not self.arrays and values:
            self._allocate(values)
        for name, array in values.items():
            self.arrays[name][positions] = array
        self._fresh += positions

    def _allocate(self, like: Mapping[str, NDArray[Any]]) -> None:
        shapes = {}
        for name, array in like.items():
            shape = (len(self.rows), *array.shape[1:])
            file = self.partial / f"{name}.npy"
            self.arrays[name] = np.lib.format.open_memmap(file, "w+", array.dtype, shape)
            if hasattr(os, "posix_fallocate"):  # otherwise a full disk ends the process by SIGBUS, silently
                with open(file, "r+b") as handle:
                    os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
            shapes[name] = [array.dtype.str, *shape]
        write_json(self.partial / _SHAPES_FILE, shapes)
        self._watch()

    def absorb(self, part: str | os.PathLike[str]) -> None:
        """Copy the complete entries of another writer of this test set, whose folder is ``part``."""
        if self.closed:
            return
        try:
            rows, done, arrays = _read_partial(_partial_of(Path(part) / self.path.name), "r")
        except (OSError, ValueError, TypeError, AttributeError):  # killed early, or torn
            return
        complete = np.flatnonzero(done)
        for first in range(0, len(complete), _CHUNK):
            here = complete[first : first + _CHUNK]
            self.write(rows[here], {name: array[here] for name, array in arrays.items()})
        self.sync()

    def sync(self) -> None:
        """Flush all outputs to disk, then flag their entries as complete.

        Raises:
            ResultsError: files were removed or changed from outside.
        """
        self._check_watched()
        for array in self.arrays.values():
            array.flush()  # type: ignore[attr-defined]
        if self._fresh:
            self.done[self._fresh] = True
            self.done.flush()  # type: ignore[attr-defined]
            self._fresh = []

    def release(self) -> None:
        """Release the files, which another process is about to absorb and remove."""
        self.arrays, self.done, self._stamps = {}, np.array(self.done), {}

    def close(self) -> None:
        """Move the complete test set to its final name, with a hash of each file.

        Raises:
            ResultsError: entries have no outputs (the others are kept for the next attempt), or a file is not
                what was written.
        """
        if self.closed:
            return
        self.sync()
        missing = self.rows[~self.done]
        if len(missing):
            raise ResultsError(
                f"test set {self.name}: {len(missing)} of {len(self.rows)} cases have no outputs: "
                f"rows {some(list(missing))}"
            )
        written = {ROWS_FILE: self.rows, **{f"{name}.npy": array for name, array in self.arrays.items()}}
        for name, array in written.items():
            try:
                found = load_array(self.partial / name)
                same = (found.dtype, found.shape) == (array.dtype, array.shape)
                same = same and (name != ROWS_FILE or np.array_equal(found, array))
            except (OSError, ValueError):
                same = False
            if not same:
                raise ResultsError(
                    f"test set {self.name}: {name} in {self.partial} is not what was written. {_AGAIN}"
                )
        content = {
            **self.description,
            "arrays": sorted(self.arrays),
            "files": {name: sha256_of(self.partial / name) for name in written},
        }
        write_json(self.partial / SET_FILE, content)
        kept = (SET_FILE, *written)
        remove_own(self.partial, lambda name: _is_own(name) and "/" not in name and name not in kept)
        os.replace(self.partial, self.path)
        self.closed = True
        self._stamps = {}

    def manifest(self) -> dict[str, str]:
        """Return the hash of each file of a closed test set, by its path below the run's folder.

        Raises:
            ResultsError: it is not closed.
        """
        if not self.closed:
            raise ResultsError(f"test set {self.name} is not complete")
        about = json.loads((self.path / SET_FILE).read_text(encoding="utf-8"))
        files = {**about["files"], SET_FILE: sha256_of(self.path / SET_FILE)}
        return {f"{self.path.name}/{name}": digest for name, digest in files.items()}


class ResultsWriter:
    """Writes a run's folder; a killed evaluation resumes at the first case without outputs.

    Args:
        path: the run's folder, created when missing.
        cases: the case table of all cases to evaluate, index 0..n-1.

    Raises:
        ResultsError: the folder holds results of another case table, or the table holds a value that cannot
            be stored.
        OSError: the folder cannot be written to.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from monai_sf.results import ResultsWriter, load_results
        >>> cases = pd.DataFrame({"case_id": ["a", "b"], "label": [0, 1]})
        >>> writer = ResultsWriter("run", cases)
        >>> test_set = writer.open("iid", "iid", rows=[0, 1])
        >>> test_set.write(
        ...     [1, 0], {"logits": np.array([[0.0, 3.0], [2.0, 0.0]], np.float32)}
        ... )
        >>> test_set.close()
        >>> about = {"dataset": "skin", "study": "iid", "method": "classifier", "seed": 0}
        >>> writer.finish(
        ...     {**about, "class_names": ["benign", "malignant"], "data_kind": "real"}
        ... )
        >>> load_results("run").test_sets["iid"].arrays["logits"].tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """

    def __init__(self, path: str | os.PathLike[str], cases: pd.DataFrame) -> None:
        self.path = Path(path)
        self.cases = cases
        self._writers: list[TestSetWriter] = []
        self._shared: dict[str, str] = {}
        try:
            text, schema = encode_table(cases)
        except ValueError as error:
            raise ResultsError(f"case table: {error}") from error
        for name, content in (
            (TABLE_FILE, text),
            (COLUMNS_FILE, json.dumps(schema, indent=2) + "\n"),
        ):
            file = self.path / name
            if not file.exists():
                write_text(file, content)
            elif file.read_bytes() != content.encode():
                raise ResultsError(f"{self.path} holds results of other cases; {_ELSEWHERE}")

    def open(
        self, name: str, kind: str, rows: ArrayLike, *, corruption: str | None = None, severity: int = 0
    ) -> TestSetWriter:
        """Start or resume a test set.

        Args:
            name: of the test set.
            kind: one of :data:`KINDS`.
            rows: (n,) the test set's cases, as rows of the case table.
            corruption: kind of corruption, None for clean images.
            severity: 1 to 5 for a corruption, 0 for clean images.
        """
        description = {"name": name, "kind": kind, "corruption": corruption, "severity": severity}
        writer = TestSetWriter(self.path, np.asarray(rows, np.int64), description)
        self._writers.append(writer)
        return writer

    @staticmethod
    def part_of(path: str | os.PathLike[str], number: int) -> Path:
        """Return the folder in which another process (1, 2, ...) writes its part of a run's results."""
        return Path(path) / f".part-{number}"

    def absorb_parts(self, writers: Mapping[str, TestSetWriter]) -> None:
        """Absorb and remove the outputs of other processes, of this attempt or of a killed one.

        Args:
            writers: name to writer of every test set.

        Raises:
            OSError: the disk is full; the outputs of other processes are kept for the next attempt.
        """
        for left in self.path.glob(".absorbed-*"):
            remove_own(left, _is_own)
        for part in sorted(self.path.glob(".part-*")):
            for writer in writers.values():
                writer.absorb(part)
            # a folder that a kill has half removed must not be read again
            absorbed = self.path / f".absorbed-{uuid.uuid4().hex[:8]}"
            os.replace(part, absorbed)
            remove_own(absorbed, _is_own)

    def add_shared(self, folder: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays that belong to the run and to no case; those of a killed attempt are replaced.

        Args:
            folder: below the run's: :data:`~.format.FITTED` or :data:`~.format.REFERENCE`.
            arrays: name to array, see :class:`monai_sf.results.Results`.

        Raises:
            OSError: the disk is full.
        """
        place = self.path / folder
        remove_own(place, lambda name: name.endswith(".npy") and "/" not in name)
        if not arrays:
            return
        place.mkdir(exist_ok=True)
        for name, array in arrays.items():
            np.save(place / f"{name}.npy", array, allow_pickle=False)
            self._shared[f"{folder}/{name}.npy"] = sha256_of(place / f"{name}.npy")

    def finish(self, run: Mapping[str, Any]) -> None:
        """Write run.json, which makes the results complete, with the hash of every file.

        Args:
            run: JSON-able description; see :class:`Results` for the required keys.

        Raises:
            ResultsError: a test set that was opened is not closed.
        """
        files = {name: sha256_of(self.path / name) for name in (TABLE_FILE, COLUMNS_FILE)}
        for writer in self._writers:
            files |= writer.manifest()
        files |= self._shared
        about = [writer.description for writer in self._writers]
        about.sort(key=lambda a: (KINDS.index(a["kind"]), a["corruption"] or "", a["severity"], a["name"]))
        content = {
            **run,
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "test_sets": [a["name"] for a in about],
            "counts": {a["name"]: a["count"] for a in about},
            "files": files,
        }
        write_json(self.path / RUN_FILE, seal(content))
