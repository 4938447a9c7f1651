"""The test sets of an evaluation while they are being filled, by one process or by several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.data import TestPass
from monai_sf.data.records import splits_of
from monai_sf.files import differences, read_json, write_json
from monai_sf.networks import distributed
from monai_sf.results import ResultsError, ResultsWriter, TestSetWriter
from monai_sf.results.format import FITTED, TABLE_FILE
from monai_sf.transforms import CorruptionSweep
from monai_sf.vocabulary.shifts import corruption_name

#: The file of a results folder, complete or not, that says what its outputs were made with.
STAMP = "evaluation.json"


def check_made_with(folders: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse to go on with outputs that were made with something else.

    Args:
        folders: complete or not, or not there, to what their outputs are to be made with.

    Raises:
        ResultsError: names all such folders, what differs, and both values.
    """
    changed = {
        path: changes
        for path, now in folders.items()
        if (path / STAMP).exists()
        and (changes := differences(read_json(path / STAMP, f"remove {path}"), now))
    }
    if changed:
        each = "; ".join(f"{path} was made with something else ({what})" for path, what in changed.items())
        all_of_them = " and ".join(map(str, changed))
        raise ResultsError(f"{each}: give what it was made with, or remove {all_of_them} to evaluate again")


@dataclass(frozen=True)
class PlannedSet:
    """A test set of clean images, and its corruptions.

    Attributes:
        split: split of its cases; also the test set's name.
        kind: of the clean set, see :data:`monai_sf.results.KINDS`.
        sweep: the corruptions, or None.
        plain: whether scores are only fitted to its outputs: no dropout samples, no pictures.
    """

    split: str
    kind: str
    sweep: CorruptionSweep | None = None
    plain: bool = False

    def sets(self) -> Iterator[dict[str, Any]]:
        """Yield each test set's arguments of :meth:`monai_sf.results.ResultsWriter.open`, except the rows."""
        yield {"name": self.split, "kind": self.kind}
        for corruption in self.sweep.kinds if self.sweep else ():
            for severity in self.sweep.severities if self.sweep else ():
                name = corruption_name(corruption, severity)
                yield {"name": name, "kind": "corruption", "corruption": corruption, "severity": severity}

    def pictured(self, cases: int, limit: int) -> set[str]:
        """Return the names of test sets whose images are stored: the clean one and the strongest corruptions.

        Args:
            cases: number of cases.
            limit: maximum number of stored images of corrupted cases.
        """
        names = set() if self.plain else {self.split}
        if self.sweep:
            severities = sorted(self.sweep.severities, reverse=True)
            fit = limit // max(1, cases * len(self.sweep.kinds))
            names |= {corruption_name(kind, s) for kind in self.sweep.kinds for s in severities[:fit]}
        return names


class OpenSets:
    """A results folder that is being filled: its writers, and the cases that this process evaluates.

    Rank 0 determines the cases without outputs and distributes them. It writes to the final arrays, each
    other process to its own folder (two processes never write to the same file), and rank 0 absorbs these: at
    the end, or, after a kill, at the start of the next attempt, for any numbers of processes before and
    after.

    Args:
        path: the folder.
        cases: the case table with all cases of the dataset.
        records: the dataset's records, with ``case_id`` and ``split``.
        plan: the test sets to evaluate; splits without cases are left out.
        made_with: what the outputs depend on besides the images, as plain values: SHA-256 of the checkpoint,
            precision, number of dropout samples, ...; what the folder says, which `check_made_with` checks.
        picture_limit: see :meth:`PlannedSet.pictured`.

    Attributes:
        passes: the passes of this process.
        writers: test set to this process's writer.
        row_of: case id to row of the folder's case table.
        pictured: names of the test sets whose images are stored.
        corrupted: names of the test sets of corrupted images.

    Raises:
        ResultsError: the folder holds results of other cases, or does not say what they were made with.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        cases: pd.DataFrame,
        records: Sequence[Mapping[str, Any]],
        plan: Sequence[PlannedSet],
        *,
        made_with: Mapping[str, Any],
        picture_limit: int,
    ) -> None:
        self.path, self.made_with = Path(path), made_with
        splits = splits_of(records)
        positions = np.flatnonzero(np.isin(splits, [planned.split for planned in plan]))
        ids = [records[int(position)]["case_id"] for position in positions]
        self.row_of = {str(case_id): row for row, case_id in enumerate(ids)}
        rows = {planned.split: np.flatnonzero(splits[positions] == planned.split) for planned in plan}
        self.plan = [planned for planned in plan if len(rows[planned.split])]
        self.pictured: set[str] = set()
        self.pictured.update(*(p.pictured(len(rows[p.split]), picture_limit) for p in self.plan))
        self.corrupted = {
            str(about["name"]) for planned in self.plan for about in planned.sets() if "corruption" in about
        }
        self.writers: dict[str, TestSetWriter] = {}
        self.passes: list[TestPass] = []
        if not self.plan:
            return
        self._results: ResultsWriter | None = None
        table = cases.set_index("case_id").loc[ids].reset_index()
        left = distributed.from_main(lambda: self._begin(table, rows))
        for planned, missing in zip(self.plan, left, strict=True):
            mine = missing[distributed.share(len(missing), distributed.rank(), distributed.world_size())]
            self.passes.append(TestPass(planned.split, positions[mine], planned.sweep, planned.plain))
            if not distributed.is_main():
                for about in planned.sets():
                    part = ResultsWriter.part_of(self.path, distributed.rank())
                    self.writers[about["name"]] = TestSetWriter(part, mine, about)

    def _begin(self, table: pd.DataFrame, rows: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Open all test sets, on rank 0, and return the rows without outputs of each planned set."""
        self._claim()
        self._results = ResultsWriter(self.path, table)
        for planned in self.plan:
            for about in planned.sets():
                self.writers[about["name"]] = self._results.open(rows=rows[planned.split], **about)
        self._results.absorb_parts(self.writers)
        left = []
        for planned in self.plan:
            done = [self.writers[about["name"]].done for about in planned.sets()]
            left.append(rows[planned.split][~np.logical_and.reduce(done)])
        return left

    def _claim(self) -> None:
        """Record what the outputs are made with, before the first of them."""
        if (self.path / STAMP).exists():
            return
        if (self.path / TABLE_FILE).exists():
            raise ResultsError(
                f"{self.path} holds outputs, but no {STAMP} that says what they were made with: remove the "
                "folder to evaluate again"
            )
        write_json(self.path / STAMP, dict(self.made_with))

    def hand_in(self) -> None:
        """Flush this process's outputs to disk, and release the files that rank 0 will absorb."""
        for writer in self.writers.values():
            writer.sync()
            if not distributed.is_main():
                writer.release()

    def finish(
        self, description: Mapping[str, Any], fitted: Mapping[str, NDArray[Any]] = MappingProxyType({})
    ) -> None:
        """Close all test sets and write run.json, on rank 0, after all processes have handed in.

        Args:
            description: content of run.json about the run.
            fitted: what scores were fitted to, see :class:`monai_sf.results.Results`.

        Raises:
            ResultsError: cases have no outputs.
        """
        assert self._results is not None
        self._results.absorb_parts(self.writers)
        for writer in self.writers.values():
            writer.close()
        self._results.add_shared(FITTED, fitted)
        self._results.finish(description)
