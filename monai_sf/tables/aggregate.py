"""Table 1 from tidy cells: averages as the paper defines them, and notes on missing runs and test sets.

Bungert et al., "Understanding Silent Failures in Medical Image Classification", MICCAI 2023, Table 1: "All
values denote an average of three runs. 'cor' denotes the average over all corruption types and intensities
levels. Similarly, 'acq'/'man' denote averages over all acquisition/manifestation shifts per dataset."
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results import Results, ResultsError
from monai_sf.scores import GROUPS, group_of, in_groups
from monai_sf.tables.cases import CasesOfRun
from monai_sf.tables.cells import Collection, RunKey, ScoreKey, judge_run, records
from monai_sf.tables.ensembles import ensembles_of
from monai_sf.tables.judge import available_csfs, preferred_method
from monai_sf.tables.measures import Measure, measure
from monai_sf.tables.missing import Gap, describe
from monai_sf.tables.redaction import folder_label, reason_in
from monai_sf.vocabulary.data_kinds import warning_of
from monai_sf.vocabulary.shifts import SHIFT_OF, SHIFTS, TARGET_KINDS

Column = tuple[str, ...]


class Unit(NamedTuple):
    """One shift of the images or cases, which has weight 1 in an average.

    Attributes:
        study: of the runs.
        group: the column of Table 1. It separates a study's target from a clean test set of the same name.
        name: for notes; for a corruption its kind, a blank and the severity.
    """

    study: str
    group: str
    name: str


@dataclass(frozen=True)
class Table:
    """A wide table: one row per score, one column per dataset and kind of shift, or per single shift.

    Attributes:
        measure: the metric.
        mean: (rows, columns) in per cent, NaN where a score was not run or is undefined. The columns are a
            MultiIndex ``dataset``, ``group`` (iid, cor, acq, man, new) and, in a table per shift,
            ``shift``.
        spread: standard deviation over seeds of the averaged cell, in percentage points; NaN with fewer than
            two seeds that have all test sets.
        cell_notes: (row, column) to what is missing in this cell but not in its neighbours. Such a number is
            not compared: it has no colour, no rank, and is never the best.
        column_notes: column to what is missing in all of its cells.
        notes: on whole datasets or the collection.
        seeds: of all runs, those found and those expected.
        groups: row to the heading of its group of scores, see :data:`monai_sf.scores.GROUPS`.
        joint: rows of ensembles, which have one value for all their seeds.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import Table, collect, table_of
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> run = Results.from_arrays(logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="skin")
        >>> run.save("runs/seed_0")
        >>> table: Table = table_of(collect(["runs"], csfs=["MSR", "PE"], n_resamples=0))
        >>> table.columns
        [('skin', 'iid')]
        >>> table.mean[("skin", "iid")].round(1).to_dict()  # AURC in per cent
        {'MSR': 4.2, 'PE': 4.2}
        >>> table.best()[("skin", "iid")].to_dict()
        {'MSR': True, 'PE': True}
    """

    measure: Measure
    mean: pd.DataFrame
    spread: pd.DataFrame
    cell_notes: Mapping[tuple[str, Column], str]
    column_notes: Mapping[Column, str]
    notes: tuple[str, ...]
    seeds: tuple[int, ...]
    groups: Mapping[str, str]
    joint: frozenset[str] = frozenset()

    @property
    def columns(self) -> list[Column]:
        """Return the columns as tuples."""
        return [tuple(column) for column in self.mean.columns]

    def comparable(self) -> pd.DataFrame:
        """Return the means, NaN where the runs or test sets of a cell differ from those of its neighbours."""
        values = self.mean.copy()
        for row, column in self.cell_notes:
            values.loc[row, column] = np.nan
        return values

    def shades(self) -> pd.DataFrame:
        """Return 0 (best of a column) to 1 (worst), as the paper colours cells; NaN where not comparable."""
        values = self.comparable() * (1 if self.measure.lower_is_better else -1)
        low, high = values.min(), values.max()
        return (values - low) / (high - low).where(high - low > _rounding(high), 1.0)

    def best(self) -> pd.DataFrame:
        """Return True for the best of each column and all equal to it."""
        values = self.comparable() * (1 if self.measure.lower_is_better else -1)
        return values.le(values.min() + _rounding(values.min()))

    def ranks(self) -> pd.DataFrame:
        """Return the ranks, 1 for the best of a column; ties share their mean rank; NaN: not comparable."""
        values = self.comparable().round(9)
        return values.rank(ascending=self.measure.lower_is_better, method="average")


def number_at(frame: pd.DataFrame, row: str, column: Column) -> float:
    """Return one entry of a frame."""
    return float(cast(Any, frame.loc[row, column]))


def _rounding(values: pd.Series[float]) -> pd.Series[float]:
    return values.abs() * 1e-12 + 1e-12  # summation order


def select(cells: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the cells of one metric that tables compare, with columns for tables.

    These are ``row``, ``group``, ``shift``, ``unit`` and ``key``. ``unit`` is a :class:`Unit`: a corruption
    at a severity, or the target of a study. ``iid`` and ``cor`` are taken from the study ``iid``, where a
    dataset has it. The value of an ensemble is that of each of its members' seeds, so that it is compared
    with the mean of these runs; ``key`` is its own :class:`ScoreKey`.

    Args:
        cells: see :class:`~.cells.Collection`.
        metric: one of the metrics in the cells.

    Raises:
        ValueError: the cells hold no such metric.
        ResultsError: a run occurs twice.
    """
    found = cells[cells["metric"] == metric].copy()
    if found.empty:
        known = ", ".join(sorted(cells["metric"].unique()))
        raise ValueError(f"metric must be one of {known}, which the cells hold, got {metric!r}")
    with_iid = set(found.loc[found["study"] == "iid", "dataset"])
    elsewhere = found["dataset"].isin(with_iid) & (found["study"] != "iid")
    found = found[~elsewhere | found["kind"].isin(TARGET_KINDS)].copy()
    found["group"] = [SHIFT_OF[kind].column for kind in found["kind"]]
    clean = found[found["corruption"] == ""]
    several = clean.groupby(["dataset", "study", clean["group"] == "iid"])["test_set"].nunique()
    many = {key for key, count in several.items() if count > 1}
    found["shift"] = [_shift(row, many) for row in records(found)]
    found["unit"] = [_unit(row, many) for row in records(found)]
    chosen = {
        key: preferred_method(set(methods)) for key, methods in found.groupby(["dataset", "csf"])["method"]
    }
    found["row"] = [
        csf if method == chosen[dataset, csf] else f"{csf} ({method})"
        for dataset, csf, method in zip(found["dataset"], found["csf"], found["method"], strict=True)
    ]
    found["key"] = [ScoreKey(c.dataset, c.study, c.test_set, c.csf, c.method, c.seed) for c in records(found)]
    found["seed"] = [[*map(int, c.members.split())] or [c.seed] for c in records(found)]
    found = found.explode("seed", ignore_index=True).astype({"seed": "int64"})
    if len(twice := found[found.duplicated(["dataset", "unit", "row", "seed"])]):
        at = next(records(twice))
        run = RunKey(at.dataset, at.study, at.method, at.seed)
        raise ResultsError(f"the run {run} occurs twice, with the test set {at.test_set}: leave one out")
    return found


def _shift(cell: Any, many: set[Hashable]) -> str:
    if cell.group == "iid":
        return "iid"
    if cell.corruption:
        return str(cell.corruption)
    several = (cell.dataset, cell.study, False) in many
    return f"{cell.study}: {cell.test_set}" if several else str(cell.study)


def _unit(cell: Any, many: set[Hashable]) -> Unit:
    if cell.corruption:
        return Unit(cell.study, cell.group, f"{cell.corruption} {cell.severity}")
    several = cell.group == "iid" and (cell.dataset, cell.study, True) in many
    return Unit(cell.study, cell.group, str(cell.test_set if several else cell.shift))


def row_order(selected: pd.DataFrame) -> list[str]:
    """Return the rows: scores by :func:`monai_sf.scores.in_groups`, from their preferred method first."""
    pairs = selected[["csf", "row"]].drop_duplicates()
    order = in_groups(pairs["csf"])
    return [
        row
        for _, row in sorted(
            pairs.itertuples(index=False, name=None),
            key=lambda pair: (order.index(pair[0]), pair[0] != pair[1], pair[1]),
        )
    ]


def column_order(selected: pd.DataFrame, per_shift: bool) -> list[Column]:
    """Return the columns: datasets by name, groups as in the paper, shifts by name."""
    names = ["dataset", "group", "shift"] if per_shift else ["dataset", "group"]
    pairs = selected[names].drop_duplicates().itertuples(index=False, name=None)
    order = [shift.column for shift in SHIFTS]
    return sorted(pairs, key=lambda c: (c[0], order.index(c[1]), *c[2:]))


def table_of(
    collection: Collection, *, per_shift: bool = False, expected: Mapping[RunKey, str] | None = None
) -> Table:
    """Return the table of a collection for the metric that it was collected for.

    Args:
        collection: see :func:`monai_sf.tables.collect`.
        per_shift: one column per kind of corruption (mean over severities) and per study, since averages
            hide opposite effects; otherwise one per dataset and kind of shift.
        expected: runs that should exist, and the kind of their study; notes name those that are missing.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import RunKey, collect, table_of
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> run = Results.from_arrays(logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="skin")
        >>> run.save("runs/seed_0")
        >>> expected = {RunKey("skin", "hospital_b", "classifier", 0): "acquisition"}
        >>> table = table_of(
        ...     collect(["runs"], csfs=["MSR"], n_resamples=0), expected=expected
        ... )
        >>> table.mean.round(1).values.tolist()
        [[4.2]]
        >>> table.notes
        ('missing run: skin/hospital_b/classifier/seed 0',)
    """
    cells = select(collection.cells, collection.measure.name)
    missing = {key: kind for key, kind in sorted((expected or {}).items()) if key not in collection.runs}
    # the runs of a stored ensemble need not be there
    seeds = sorted({key.seed for key in [*collection.runs, *missing]}.union(cells["seed"].tolist()))
    rows, columns = row_order(cells), column_order(cells, per_shift)
    levels = pd.MultiIndex.from_tuples(columns, names=["dataset", "group", "shift"][: len(columns[0])])
    mean = pd.DataFrame(np.nan, pd.Index(rows, name="CSF"), levels)
    spread = mean.copy()
    joint = frozenset(cells.loc[cells["members"] != "", "row"])
    foreign = _tested_on_other_cases(cells)
    absent = _absent_studies(cells, missing)
    cell_notes: dict[tuple[str, Column], str] = {}
    column_notes: dict[Column, str] = {}
    for column in columns:
        own = in_column(cells, column)
        units = _expected_units(own)
        gaps: dict[str, Gap] = {}
        for row in rows:
            part = own[own["row"] == row]
            values = np.full((len(units), len(seeds)), np.nan)
            why: dict[tuple[int, int], str] = {}
            for cell in records(part):
                place = units.index(cell.unit), seeds.index(cell.seed)
                values[place] = cell.value
                if cell.undefined:
                    why[place] = str(cell.undefined)
                elif cell.Index in foreign:
                    why[place] = "other cases than most"
            mean.loc[row, column], spread.loc[row, column] = (100 * v for v in average(values))
            if row in joint:
                spread.loc[row, column] = np.nan  # one value, repeated for each of its seeds
            if len(part):
                gaps[row] = Gap.of(values, why)
            else:
                cell_notes[row, column] = "not run"
        common = Gap.common(list(gaps.values()))
        labels = [unit.name for unit in units]
        if text := "; ".join(filter(None, [describe(common, labels, seeds), absent.get(column, "")])):
            column_notes[column] = text
        for row, gap in gaps.items():
            if gap != common:
                cell_notes[row, column] = describe(gap, labels, seeds, joint=row in joint)
    notes = (*_dataset_notes(cells), *_run_notes(missing, collection))
    groups = {row: GROUPS[group_of(csf)] for csf, row in zip(cells["csf"], cells["row"], strict=True)}
    return Table(
        collection.measure, mean, spread, cell_notes, column_notes, notes, tuple(seeds), groups, joint
    )


def table_of_cells(cells: pd.DataFrame, metric: str = "aurc") -> pd.DataFrame:
    """Return Table 1 of the cells of one dataset, without rows and columns that are empty."""
    if len(datasets := sorted(cells["dataset"].unique())) != 1:
        raise ResultsError(f"runs must be the results of one dataset, got {datasets}")
    keys = cells[[*RunKey._fields]].drop_duplicates().itertuples(index=False, name=None)
    table = table_of(Collection(cells, measure(metric), dict.fromkeys(map(RunKey._make, keys))))
    own: pd.DataFrame = table.mean[datasets[0]]
    return (own.loc[own.index.isin(cells["csf"].unique())] / 100).dropna(how="all").dropna(axis=1, how="all")


def benchmark_table(runs: Sequence[Results], metric: str = "aurc") -> pd.DataFrame:
    """Return Table 1 of runs in memory: one row per CSF, one column per kind of shift.

    The numbers are those of :func:`table_of`, of every score, those of ensembles of several seeds included; a
    score that several methods have is that of :func:`monai_sf.tables.preferred_methods`.

    Args:
        runs: results of one dataset, any studies, methods and seeds.
        metric: ``aurc``, ``eaurc``, ``augrc``, ``auroc_f``, ``accuracy`` or ``coverage_at_risk``.

    Returns:
        DataFrame with index ``CSF`` by :func:`monai_sf.scores.in_groups`, columns ``iid``, ``cor``, ``acq``,
        ``man`` and ``new`` as far as they occur, values of the metric in [0, 1], NaN where a CSF was not run.

    Raises:
        ResultsError: no runs, runs of more than one dataset, or the same run twice.
        ValueError: unknown metric.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import benchmark_table
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> where = ["iid"] * 4 + ["hospital B"] * 4
        >>> mine = {"mine": [1, 2, 8, 6, 7, 5, 3, 4]}
        >>> run = Results.from_arrays(
        ...     logits, [0, 0, 1, 0, 0, 1, 1, 0], domains=where, scores=mine
        ... )
        >>> table = benchmark_table([run])
        >>> table.loc["MSR"].round(3).to_dict(), table.loc["mine"].round(3).to_dict()
        ({'iid': 0.031, 'acq': 0.031}, {'iid': 0.24, 'acq': 0.24})
    """
    rows = [
        row
        for results in (*runs, *ensembles_of(runs)[0])
        for judged in judge_run(
            results, CasesOfRun(results, {}), available_csfs(results), results.test_sets.values(), {}
        )
        for row in judged.cells(str(results.run["data_kind"]))
    ]
    if not rows:
        raise ResultsError(f"runs must hold a score to be judged, got {len(runs)} runs without any")
    return table_of_cells(pd.DataFrame(rows), metric)


def failure_metrics(results: Results) -> dict[str, float]:
    """Return the AURC of one run for its log, as ``AURC/<group of test sets>/<score>``, in [0, 1].

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import failure_metrics
        >>> run = Results.from_arrays([[4.0, 0], [3, 0], [0, 1], [0.5, 0]], [0, 0, 0, 1])
        >>> round(failure_metrics(run)["AURC/iid/MSR"], 3)
        0.146
    """
    return {
        f"AURC/{group}/{csf}": value
        for group, column in benchmark_table([results]).items()
        for csf, value in column.dropna().to_dict().items()
    }


def average(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and spread of one cell from its (units, seeds) values, NaN where missing.

    Seeds are averaged per unit, then units, so that every unit keeps its weight if a seed lacks some. The
    spread is the standard deviation (n - 1) over the seeds that have all units.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a unit without any value stays NaN
        mean = float(np.nanmean(np.nanmean(values, axis=1))) if values.size else float("nan")
    whole = values[:, ~np.isnan(values).any(axis=0)]
    spread = float(whole.mean(axis=0).std(ddof=1)) if whole.shape[1] > 1 and len(values) else float("nan")
    return mean, spread


def in_column(selected: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Return the selected cells that a column of a table is made of."""
    for name, value in zip(("dataset", "group", "shift"), column, strict=False):
        selected = selected[selected[name] == value]
    return selected


def _expected_units(cells: pd.DataFrame) -> list[Unit]:
    """Return the units of all scores, the grid of corruptions and severities completed."""
    units: set[Unit] = set(cells["unit"])
    corrupted = cells[cells["corruption"] != ""]
    for (study, group), part in corrupted.groupby(["study", "group"]):
        for corruption in part["corruption"].unique():
            units |= {
                Unit(str(study), str(group), f"{corruption} {severity}")
                for severity in part["severity"].unique()
            }
    return sorted(units)


def _absent_studies(cells: pd.DataFrame, missing: Mapping[RunKey, str]) -> dict[Column, str]:
    there = set(zip(cells["dataset"], cells["study"], strict=True))
    absent: dict[Column, dict[str, None]] = {}
    for run, kind in missing.items():
        if (run.dataset, run.study) not in there and kind in SHIFT_OF:
            absent.setdefault((run.dataset, SHIFT_OF[kind].column), {})[run.study] = None
    return {column: f"{', '.join(studies)} missing" for column, studies in absent.items()}


def _tested_on_other_cases(cells: pd.DataFrame) -> set[Hashable]:
    foreign: set[Hashable] = set()
    for _, part in cells.groupby(["dataset", "unit", "seed"]):
        votes = part.drop_duplicates("method")["fingerprint"].value_counts()
        if len(votes) < 2:
            continue
        sizes = part.groupby("fingerprint")["cases"].first()
        usual = max(votes.index, key=lambda f: (votes[f], sizes[f], str(f)))
        foreign |= set(part.index[part["fingerprint"] != usual])
    return foreign


def _dataset_notes(cells: pd.DataFrame) -> list[str]:
    notes = []
    for dataset, part in cells.groupby("dataset"):
        kinds = sorted(part["data_kind"].unique())
        if len(kinds) > 1:
            notes.append(f"{dataset}: runs on different kinds of data are mixed ({', '.join(kinds)})")
        not_real = [kind for kind in kinds if warning_of(kind)]
        notes += [f"{dataset}: {kind} images, which say nothing about real patients" for kind in not_real]
        if not (part["study"] == "iid").any() and (part["group"] == "iid").any():
            studies = ", ".join(sorted(part.loc[part["group"] == "iid", "study"].unique()))
            notes.append(f"{dataset}: without the study iid; iid and cor are averages over {studies}")
        for csf, methods in part.groupby("csf")["method"]:
            if len(names := set(methods)) > 1:
                notes.append(
                    f"{dataset}: {csf} is that of {preferred_method(names)} unless another method is named"
                )
    return notes


def _run_notes(missing: Iterable[RunKey], collection: Collection) -> list[str]:
    notes = [f"missing run: {key}" for key in missing]
    notes += collection.notes
    roots = collection.roots
    notes += [f"not finished: {folder_label(folder, roots)}" for folder in collection.unfinished]
    notes += [
        f"left out: {folder_label(folder, roots)}, its results cannot be read: {reason_in(error, folder)}"
        for folder, error in collection.left_out.items()
    ]
    if len(collection.versions) > 1:
        found = sorted(collection.versions.items())
        counts = "; ".join(f"{text} ({n} run{'s' * (n != 1)})" for text, n in found)
        notes.append(f"the runs were computed with different versions: {counts}")
    return notes
