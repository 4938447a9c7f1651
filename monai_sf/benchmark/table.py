"""The benchmark table as text and CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from monai_sf.evaluation import benchmark_table
from monai_sf.files import write_text
from monai_sf.results import load_results
from monai_sf.scores import PAPER_CSFS


def write_table(runs: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> pd.DataFrame:
    """Print the AURC of several runs' confidence scores, in per cent, and write it as CSV.

    Args:
        runs: folders with results of one dataset, see :func:`monai_sf.results.load_results`.
        path: the CSV file to write: one row a CSF, columns iid, cor, acq, man as far as there are such test
            sets; an empty cell where a score was not run.

    Returns:
        The table, in per cent.

    Raises:
        FileNotFoundError: a folder holds no finished results.
        ResultsError: a folder is damaged.
        OSError: the file cannot be written.
    """
    table = 100 * benchmark_table([load_results(run) for run in runs])
    table = table.loc[[csf for csf in PAPER_CSFS if csf in table.index]]
    write_text(path, table.round(4).to_csv(lineterminator="\n"))
    shown = table.to_string(float_format=lambda value: f"{value:.2f}", na_rep="-")
    print(f"\nAURC in per cent, lower is better\n{shown}\n\ntable: {path}")
    return table
