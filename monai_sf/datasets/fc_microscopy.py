"""Case table of fc_microscopy: RxRx1, six fluorescence channels per site of a well; 1,139 treatments.

Source: Sypetkowski et al., "RxRx1: A Dataset for Evaluating Experimental Batch Correction Methods",
CVPR Workshops (2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.datasets.path_lists import PathLists
from monai_sf.datasets.reading import Reading
from monai_sf.datasets.same_names import AmbiguousImagesError
from monai_sf.datasets.tables import TableError, check_unique, read_columns, whole_numbers
from monai_sf.datasets.texts import Texts, arrow_texts, joined

__all__ = ["CHANNELS", "TARGET_EXPERIMENTS", "fc_microscopy_cases"]

CHANNELS = 6

TARGET_EXPERIMENTS = (
    *("HEPG2-08", "HEPG2-10", "HUVEC-03", "HUVEC-05", "HUVEC-08", "HUVEC-09", "RPE-01", "RPE-04", "RPE-07"),
    "RPE-08",
)
"""Ten of the 51 experiments: the first by the BLAKE2b hash (16 bytes) of "0:" and their name.

Drawn once and listed here, so that a partial download has the same target. Every cell type remains in the
source domain: 9 of 11 HEPG2, 20 of 24 HUVEC, 7 of 11 RPE and all 5 U2OS experiments.
"""
_COLUMNS = (
    *("site_id", "well_id", "cell_type", "experiment", "plate", "well", "site", "well_type"),
    *("sirna", "sirna_id"),
)


def fc_microscopy_cases(dataset_dir: str | Path, *, missing: str = "raise") -> pd.DataFrame:
    """Build the case table from RxRx1's ``metadata.csv``, one row per site.

    Args:
        dataset_dir: Folder with the download.
        missing: See :func:`monai_sf.datasets.build_cases`.

    Returns:
        The case table with ``image`` (list of the six channels' files, w1 to w6), ``label`` (``sirna_id``, of
        treatments, positive controls and the empty wells), ``label_name`` (``sirna``), ``group`` (the well),
        ``source`` (rxrx1), ``experiment``, ``cell_type``, ``plate``, ``well``, ``site`` and ``well_type``.

    Raises:
        TableError: If the table lacks columns, names a site twice, or a ``sirna_id`` is not an integer.
        AmbiguousImagesError: If files of one name differ in content; lists those of all channels.
        FileNotFoundError, MissingImagesError: See :func:`monai_sf.datasets.build_cases`.
    """
    reading = Reading.of("fc_microscopy", dataset_dir)
    table = reading.find_table(r"(.*[-_])?metadata\.csv", _COLUMNS)
    if table is None:
        reading.lacks("rxrx1", f"no table metadata.csv with the columns {', '.join(_COLUMNS)}")
        return reading.finish(missing)
    raw = read_columns(reading.tree, table, _COLUMNS)
    check_unique(table, raw["site_id"], "site_id")
    if (holes := raw.isna().sum()).any():
        listed = ", ".join(f"{name} ({count})" for name, count in holes[holes > 0].items())
        raise TableError(f"{table} has empty cells (rows): {listed}")
    numbers = ("plate", "site", "sirna_id")
    raw = raw.assign(**{name: whole_numbers(table, raw[name], name) for name in numbers})
    frame = raw.drop(columns=["site_id", "well_id", "sirna", "sirna_id"]).assign(
        case_id="rxrx1-" + raw["site_id"],
        label=raw["sirna_id"].astype(np.int64),
        label_name=raw["sirna"],
        group="rxrx1-" + reading.groups(table, "well_id", raw["well_id"], raw["site_id"]),
        source="rxrx1",
    )
    experiment, plate, well, site = (
        arrow_texts(raw[name]) for name in ("experiment", "plate", "well", "site")
    )
    complete = np.ones(len(raw), np.bool_)
    ambiguous: list[tuple[str, ...]] = []

    def channels() -> Iterator[Texts]:
        for channel in range(1, CHANNELS + 1):
            mark = f"_w{channel}.png"
            names = joined("images/", experiment, "/Plate", plate, "/", well, "_s", site, mark)
            try:
                paths, there = reading.locate("rxrx1", table, names, parts=3)
            except AmbiguousImagesError as error:
                ambiguous.extend(error.images)
                continue
            np.logical_and(complete, there, out=complete)
            yield paths
        if ambiguous:
            raise AmbiguousImagesError.of(ambiguous)

    frame["image"] = pd.Series(PathLists.of_channels(channels()), index=frame.index)
    reading.add_located(table, frame, complete)
    return reading.finish(missing)
