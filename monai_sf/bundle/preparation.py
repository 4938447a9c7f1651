"""Preparation of a dataset before training: its splits, checked for leaks."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from monai_sf.datasets import STUDIES, split_cases
from monai_sf.datasets.leaks import find_leaks, read_prints


def prepare(
    cases: pd.DataFrame,
    dataset_dir: str | os.PathLike[str],
    *,
    dataset: str,
    split_seed: int,
    near_duplicates: int | None = None,
) -> None:
    """Print each study's split of a case table, and check that no image is on both sides.

    Args:
        cases: the case table.
        dataset_dir: the folder that the column ``image`` is relative to.
        dataset: name of the dataset.
        split_seed: of the split of groups.
        near_duplicates: also print pairs on both sides whose perceptual hashes differ in at most this number
            of bits; they may be different images that look alike, so they are not an error. None skips this.

    Raises:
        ValueError: cases of one group, or one file, are on both sides of a split; names them.
    """
    looks = near_duplicates is not None
    prints = read_prints(cases, Path(dataset_dir), True, looks).set_axis(cases["case_id"])
    leaks = []
    for study in STUDIES[dataset]:
        if study.name in cases.attrs.get("unavailable", {}):
            continue
        splits = split_cases(cases, study, split_seed)
        counts = ", ".join(f"{name} {count}" for name, count in splits["split"].value_counts().items())
        print(f"study {study.name} ({study.description}): {counts}")
        # among the study's own cases: the first of three copies may not be one of them
        leak = find_leaks(splits, prints.loc[splits["case_id"]], near_duplicates)
        for near, pairs in leak.groupby(leak["kind"] == "near"):
            found = (
                f"study {study.name}: {len(pairs)} pairs, such as\n{pairs.head(10).to_string(index=False)}"
            )
            if near:
                print(f"images that look alike on both sides of a split, look at them: {found}")
            else:
                leaks.append(found)
    if leaks:
        raise ValueError(
            "cases on both sides of a split are copies of each other:\n"
            + "\n".join(leaks)
            + "\nRemove one of each pair from the published tables"
        )
