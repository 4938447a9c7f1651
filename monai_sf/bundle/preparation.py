"""Preparation of a dataset before training or an audit: its splits, checked for leaks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from monai_sf.datasets import find_studies, split_cases, study_description
from monai_sf.datasets.leaks import find_leaks, read_prints
from monai_sf.datasets.studies import Study, check_study
from monai_sf.vocabulary.ids import group_cases

#: Bits of a perceptual hash that may differ where nothing else tells which images are of one patient.
_ALIKE = 2


def prepare(
    cases: pd.DataFrame,
    dataset_dir: str | os.PathLike[str],
    *,
    dataset: str,
    split_seed: int,
    near_duplicates: int | None = None,
    studies: Mapping[str, Any] | None = None,
    audit: bool = False,
) -> None:
    """Print each study's split of a case table, and check that no image is on both sides.

    Args:
        cases: the case table.
        dataset_dir: the folder that the column ``image`` is relative to.
        dataset: name of the dataset.
        split_seed: of the split of groups.
        near_duplicates: also print pairs on both sides whose perceptual hashes differ in at most this number
            of bits; they may be different images that look alike, so they are not an error. None: look only
            where every case is a group of its own, so that no patient has several images as far as is known.
        studies: further studies, see :func:`monai_sf.datasets.find_studies`.
        audit: see :func:`monai_sf.datasets.split_cases`.

    Raises:
        ValueError: a study of ``studies`` is wrong, or cannot be run on these cases; or cases of one group,
            or one file, are on both sides of a split; names all faults.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from PIL import Image
        >>> from monai_sf.bundle import prepare
        >>> from monai_sf.datasets import table_cases
        >>> for k, pixels in enumerate(
        ...     np.random.default_rng(0).integers(0, 256, (80, 8, 8), np.uint8)
        ... ):
        ...     Image.fromarray(pixels).save(f"{k}.png")
        >>> table = pd.DataFrame(
        ...     {"file": [f"{k}.png" for k in range(80)], "finding": ["no", "yes"] * 40}
        ... )
        >>> table["patient"], table["hospital"] = (
        ...     [k // 2 for k in range(80)],
        ...     ["A"] * 60 + ["B"] * 20,
        ... )
        >>> roles = {"image": "file", "label": "finding", "group": "patient"}
        >>> cases = table_cases(table, ".", columns=roles)
        >>> own = {"hospital_b": {"kind": "acquisition", "target": {"hospital": "B"}}}
        >>> prepare(cases, ".", dataset="own", split_seed=0, studies=own)
        study iid (no target domain: tested on other cases of the same population):
        train 48, iid 16, ...
        study hospital_b (target: hospital is B): train 36, target 20, iid 12, ...
    """
    known = find_studies(dataset, studies)
    _check_own(known, cases)
    if near_duplicates is None and len(group_cases(cases["group"])) == len(cases):
        near_duplicates = _ALIKE
    looks = near_duplicates is not None
    prints = read_prints(cases, Path(dataset_dir), True, looks).set_axis(cases["case_id"])
    leaks = []
    for study in known:
        if study.name in cases.attrs.get("unavailable", {}):
            continue
        splits = split_cases(cases, study, split_seed, audit=audit)
        counts = ", ".join(f"{name} {count}" for name, count in splits["split"].value_counts().items())
        print(f"study {study.name} ({study_description(study)}): {counts}")
        if without := splits.attrs.get("without"):
            print(f"study {study.name}: trained without {', '.join(without)}")
        if left_out := splits.attrs.get("left_out"):
            print(f"study {study.name}: {left_out}")
        # among the study's own cases: the first of three copies may not be one of them
        leak = find_leaks(splits, prints.loc[splits["case_id"]], near_duplicates)
        for near, pairs in leak.groupby(leak["kind"] == "near"):
            found = (
                f"study {study.name}: {len(pairs)} pairs, such as\n{pairs.head(50).to_string(index=False)}"
            )
            if near:
                print(f"images that look alike on both sides of a split, look at them: {found}")
            else:
                leaks.append(found)
    if leaks:
        raise ValueError(
            "cases on both sides of a split are copies of each other:\n"
            + "\n".join(leaks)
            + "\nRemove one of each pair from the table, or give both one group"
        )


def _check_own(studies: tuple[Study, ...], cases: pd.DataFrame) -> None:
    faults = [
        f"study {study.name!r}, target: {fault}"
        for study in studies
        if not study.partial
        for fault in check_study(study, cases)
    ]
    if faults:
        raise ValueError("\n".join(faults))
    unused = "split" in cases and (cases["split"] == "target").any()
    if unused and not any("split" in study.conditions for study in studies):
        print(
            f"{int((cases['split'] == 'target').sum())} cases of the split target are in no study: add one, "
            "such as studies: {external: {kind: acquisition, target: {split: target}}}"
        )
