"""The paper's own Table 1, for comparison.

Bungert, Kobelke, Jaeger, "Understanding Silent Failures in Medical Image Classification", MICCAI 2023. The
figures are copied as printed. Three oddities of the source:

- The caption says "AUROC[%]". The values are AURC: the text introduces the area under the risk-coverage curve
  as the benchmark's metric (section 3), the caption itself says that lower is better, and an AUROC of failure
  detection of 0.544 % would be worse than chance by far.
- Five of the nine scores have the same dermoscopy figures to the last digit (0.544, 0.913, 0.799, 49.3), MSR
  and those of MC dropout among them. MSR and entropy must agree with two classes; a mean over dropout samples
  need not.
- What the table calls "Devries et al." is ``DeVries`` here, and the text once says "DG-MCD-RES" for DG-RES.
"""

from __future__ import annotations

from importlib import resources

import pandas as pd

from monai_sf.tables.aggregate import Table

#: What a reader must know before two columns are compared.
CAVEAT = (
    "The paper's figures are of other data, splits and training runs: the two may be compared in their order "
    "and size, not digit by digit. On phantoms or rendered images they have nothing in common with them."
)


def paper_table() -> pd.DataFrame:
    """Table 1 of the paper: AURC in per cent, lower is better, means of three runs.

    Returns:
        (9, 13) float64: index ``CSF`` in the paper's order, columns a MultiIndex of ``dataset`` and ``group``
        (iid, cor, acq, man).
    """
    with (resources.files("monai_sf.tables") / "paper_table1.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#", index_col="CSF").astype("float64")
    names = [tuple(str(name).rsplit(" ", 1)) for name in table.columns]
    table.columns = pd.MultiIndex.from_tuples(names, names=["dataset", "group"])
    return table


def compare_with_paper(table: Table) -> pd.DataFrame:
    """Ours, the paper's and the difference, ours minus theirs, in the cells that both have.

    Args:
        table: of AURC, one column a dataset and group.

    Returns:
        Rows those of both, columns a MultiIndex ``dataset``, ``group``, ``source`` (ours, paper,
        difference), in per cent; NaN where ours is missing.

    Raises:
        ValueError: the table is of another metric, or of single shifts, or of none of the paper's datasets.
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
    parts = {}
    for column in common:
        ours, paper = table.mean.loc[rows, column], theirs.loc[rows, column]
        parts[(*column, "ours")], parts[(*column, "paper")] = ours, paper
        parts[(*column, "difference")] = ours - paper
    result = pd.DataFrame(parts)
    result.index.name = "CSF"
    result.columns.names = ["dataset", "group", "source"]
    return result
