"""Table 1 of the paper, for comparison.

Bungert, Kobelke, Jaeger, "Understanding Silent Failures in Medical Image Classification", MICCAI 2023. The
figures are copied as printed. Three oddities of the source:

- The caption says "AUROC[%]". The values are AURC: the text introduces the area under the risk-coverage curve
  as the benchmark's metric (section 3), the caption itself says that lower is better, and an AUROC of failure
  detection of 0.544 % would be worse than chance by far.
- Five of the nine scores have the same dermoscopy figures to the last digit (0.544, 0.913, 0.799, 49.3), MSR
  and those of MC dropout among them. MSR and entropy must agree with two classes; a mean over dropout samples
  need not.
- "Devries et al." in the table is ``DeVries`` here, and the text once says "DG-MCD-RES" for DG-RES.
"""

from __future__ import annotations

from importlib import resources

import pandas as pd

from monai_sf.tables.aggregate import Table

#: Warning for readers who compare the two.
CAVEAT = (
    "The paper's figures are of other data, splits and training runs: the two may be compared in their order "
    "and size, not digit by digit. On phantoms or rendered images they have nothing in common with them."
)


def paper_table() -> pd.DataFrame:
    """Return Table 1 of the paper: AURC in per cent, lower is better, means of three runs.

    Returns:
        (9, 13) float64: index ``CSF`` in the paper's order, columns a MultiIndex of ``dataset`` and ``group``
        (iid, cor, acq, man).

    Examples:
        >>> from monai_sf.tables import paper_table
        >>> table = paper_table()
        >>> table.shape
        (9, 13)
        >>> table["dermoscopy"].loc["MSR"].to_dict()
        {'iid': 0.544, 'cor': 0.913, 'acq': 0.799, 'man': 49.3}
    """
    with (resources.files("monai_sf.tables") / "paper_table1.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#", index_col="CSF").astype("float64")
    names = [tuple(str(name).rsplit(" ", 1)) for name in table.columns]
    table.columns = pd.MultiIndex.from_tuples(names, names=["dataset", "group"])
    return table


def compare_with_paper(table: Table) -> pd.DataFrame:
    """Compare a table with the paper's in the cells that both have.

    Args:
        table: of AURC, one column per dataset and group.

    Returns:
        The rows of both, columns a MultiIndex ``dataset``, ``group``, ``source`` (ours, paper, difference =
        ours - paper), in per cent; NaN where ours is missing.

    Raises:
        ValueError: the table shows another metric, single shifts, or none of the paper's datasets.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import collect, compare_with_paper, table_of
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> run = Results.from_arrays(
        ...     logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="dermoscopy"
        ... )
        >>> run.save("runs/seed_0")
        >>> table = table_of(collect(["runs"], csfs=["MSR"], n_resamples=0))
        >>> compare_with_paper(table)["dermoscopy", "iid"].round(2).loc["MSR"].to_dict()
        {'ours': 4.24, 'paper': 0.54, 'difference': 3.7}
    """
    if table.measure.name != "aurc":
        raise ValueError(f"the paper's Table 1 is in aurc, got a table of {table.measure.name}")
    theirs = paper_table()
    common = [column for column in theirs.columns if column in table.mean.columns]
    if not common:
        raise ValueError(
            f"the paper has the datasets {', '.join(theirs.columns.unique(0))}, this table has "
            f"{', '.join(table.mean.columns.unique(0))}"
        )
    rows = [row for row in theirs.index if row in table.mean.index]
    parts: dict[tuple[str, ...], pd.Series[float]] = {}
    for column in common:
        ours, paper = table.mean.loc[rows, column], theirs.loc[rows, column]
        parts |= {(*column, "ours"): ours, (*column, "paper"): paper, (*column, "difference"): ours - paper}
    return pd.DataFrame(parts).rename_axis("CSF").rename_axis(["dataset", "group", "source"], axis=1)
