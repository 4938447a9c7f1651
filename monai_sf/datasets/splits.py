"""Train, validation and test sets without leaks: no group is in two of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from monai_sf.datasets.conditions import Mask
from monai_sf.datasets.split_checks import CODES, SPLITS, check_cases, check_sets, check_sides, checked_codes
from monai_sf.datasets.studies import Study, check_study, classes_of, find_study, in_target
from monai_sf.datasets.texts import arrow_texts, text_column
from monai_sf.vocabulary.ids import case_notes, group_cases
from monai_sf.vocabulary.shifts import NEW_CLASS, UNKNOWN

__all__ = ["split_cases"]

#: Shares of the groups of the source domain, in the order in which they are dealt, where something is
#: trained; and in an audit of a given model, where scores are fitted to train and val, and as much as
#: possible is tested.
_SHARES: Mapping[str, float] = MappingProxyType({"train": 0.6, "calibration": 0.1, "val": 0.1, "iid": 0.2})
_AUDIT_SHARES: Mapping[str, float] = MappingProxyType(
    {"train": 0.2, "calibration": 0.2, "val": 0.1, "iid": 0.5}
)
#: Share of the source cases that are left out from which on the ids of groups are doubted.
_OFTEN = 0.2
_SAME_PATIENT = (
    "Does an id of a group mean the same patient in every hospital? Ids that begin at 001 in each do not: "
    "make them differ, such as A-001 and B-001"
)

_log = logging.getLogger(__name__)


def split_cases(cases: pd.DataFrame, study: Study | str, seed: int, *, audit: bool = False) -> pd.DataFrame:
    """Split the source domain by group: 60 % train, 10 % val, 10 % calibration, 20 % iid test.

    Calibration cases are for thresholds alone: nothing is trained on them, chosen by them or fitted to them,
    so that what a threshold promises (:func:`monai_sf.metrics.selective_threshold`) holds. There may be none
    of them, or of one class only, in a small table: a note says so. The target domain is only tested on. If a
    group has cases in both domains, its target cases are in the target set and its source cases are left out
    of the returned table, so that no group is in two splits.

    Cases of none of the classes (label -1) are in the target set of a study of new classes, and left out of
    every other split. If such a study takes whole classes away, its target cases get the label -1, and the
    others are numbered without gaps: ``attrs["classes"]`` names the remaining classes in that order, and
    ``attrs["without"]`` those that were taken away.

    Ids of groups are compared regardless of spelling, and a case without one is its own group, by the rule of
    :mod:`monai_sf.vocabulary.ids`. Groups are ordered by the BLAKE2b hash of seed and name (of several
    spellings the first in alphabetical order), within strata of the group's most frequent label (ties: the
    lowest). So the split depends neither on the order of the rows nor on the machine, and a group keeps its
    split when others are added far away in that order.

    A table with the column ``split`` is split as that says (train, val, calibration, iid, target), whatever
    the seed; only val, calibration or iid, where no case has them, are taken from train in the same way,
    which is logged. Cases of the study's target domain are in the target set whatever their split, and cases
    of the split ``target`` that are not in it are left out.

    In an audit nothing is trained: a given model is tested on cases that it has not seen. 20 % of the groups
    are then ``train`` and 10 % ``val``, to which scores are fitted, 20 % ``calibration``, and 50 % are
    tested. In a table with the column ``split``, ``train`` are the cases that the model was trained on;
    train, val or calibration, where no case has them, are taken from iid, and iid from no other.

    Args:
        cases: Case table (see :func:`monai_sf.datasets.build_cases`), left unchanged.
        study: A study, or the name of one of the dataset's (see :func:`monai_sf.datasets.find_study`).
        seed: Non-negative integer.
        audit: Whether a given model is only tested.

    Returns:
        A copy, rows and index in the same order, with the column ``split``: train, val, calibration, iid or
        target. ``attrs`` holds ``study`` (name), ``seed``, ``dropped``, the number of cases left out, and
        ``left_out``, what is to be said of those of no class and those whose groups also have target cases,
        or nothing, and ``without``, see above; the notes in ``attrs["reading"]`` state which spellings were
        merged, how many cases have no group, and what calibration lacks.

    Raises:
        ValueError: If the table is no case table or the result is invalid (see
            :func:`monai_sf.datasets.check_splits`), a placeholder such as "anonymous" is the group of most
            cases, the study is unknown, the cases lack what it needs (with the reason), or an audit is to be
            without a class, which the given model has.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import Study, split_cases, table_cases
        >>> rows = range(200)
        >>> table = pd.DataFrame(
        ...     {"file": [f"{k}.png" for k in rows], "finding": [k % 2 for k in rows]}
        ... )
        >>> table["patient"] = [k // 4 for k in rows]
        >>> table["hospital"] = ["B" if k >= 160 else "A" for k in rows]
        >>> roles = {"image": "file", "label": "finding", "group": "patient"}
        >>> cases = table_cases(table, ".", columns=roles, missing="keep")
        >>> study = Study("hospital_b", "acquisition", {"hospital": "B"})
        >>> split_cases(cases, study, seed=0).groupby("split").size().to_dict()
        {'calibration': 16, 'iid': 32, 'target': 40, 'train': 96, 'val': 16}
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
    study = find_study(study, cases.attrs.get("dataset")) if isinstance(study, str) else study
    check_cases(cases, study.columns if study.partial else ())
    if not study.partial and (faults := check_study(study, cases)):
        raise ValueError(f"study {study.name!r}, target: {'; '.join(faults)}")
    _check_available(study, cases)
    shares, donor = (_AUDIT_SHARES, "iid") if audit else (_SHARES, "train")
    groups = group_cases(cases["group"], cases["case_id"])
    groups.check()
    group = groups.of_case
    known = (cases["label"] != UNKNOWN).to_numpy()
    target = in_target(study, cases)
    if study.kind != NEW_CLASS:
        target = target & known
    given = None if "split" not in cases else checked_codes(cases["split"])
    if given is not None:
        check_sides(cases, groups)
    elsewhere = ~target & known
    straddling = elsewhere & np.isin(group, group[target])
    unused = np.zeros(len(cases), np.bool_) if given is None else elsewhere & (given == CODES["target"])
    left_out = straddling | unused | (~target & ~known)
    source = ~target & ~left_out

    classes, without, label = _without_new(cases, target, study)
    if audit and without:
        raise ValueError(
            f"study {study.name!r} trains without {', '.join(map(repr, without))}, which an audit cannot do: "
            "the given model has its classes. Leave the study out; new to the model are labels that are none "
            "of its classes (unknown=[...])"
        )
    split = np.full(len(cases), CODES["target"], np.int8)
    notes = [*groups.notes, *case_notes(cases["case_id"])]
    if given is None:
        place = _place_groups(group[source], groups.names, label[source], int(seed), shares)
        split[source] = place[group[source]]
    else:
        split[source] = given[source]
        notes += _complete(split, group, groups.names, label, int(seed), shares, donor)
    added = {"split": text_column(arrow_texts(SPLITS).take(pa.array(split)), cases.index)}
    result = cases.assign(**added, **({"label": label} if without else {}))
    if left_out.any():
        result = result[~left_out]
    notes += _lacking_calibration(result)
    result.attrs = {**cases.attrs, "study": study.name, "seed": int(seed), "dropped": int(left_out.sum())}
    result.attrs["without"] = without
    if without:
        result.attrs["classes"] = classes
    if notes:
        reading = cases.attrs.get("reading", {})
        result.attrs["reading"] = {**reading, "notes": [*reading.get("notes", []), *notes]}
        for note in notes:
            _log.warning("study %s: %s", study.name, note)
    result.attrs["left_out"] = left = _left_out(straddling, elsewhere, group)
    # Of published data the ids are known to mean one patient each.
    often = not study.partial and straddling.sum() > _OFTEN * elsewhere.sum()
    if left:
        said = f"{left}. {_SAME_PATIENT}" if often else left
        result.attrs["left_out"] = said
        _log.log(logging.WARNING if often else logging.INFO, "study %s: %s", study.name, said)
    if (stray := ~target & ~known).any():
        said = f"{int(stray.sum())} cases of none of the classes (label {UNKNOWN}) are left out"
        _log.warning("study %s: %s", study.name, said)
        result.attrs["left_out"] = "; ".join(filter(None, [said, result.attrs["left_out"]]))
    if unused.any():
        _log.info("study %s: %d cases of the split target left out", study.name, unused.sum())
    check_sides(result, groups.at(np.flatnonzero(~left_out)) if left_out.any() else groups)
    why = f" ({target.sum()} of {len(cases)} cases are in the target domain)" if target.any() else ""
    ways = [] if given is None else ["change the column of your own split"]
    ways += ["choose a narrower target"] if target.any() else []
    why += f"; {left}" if left else ""
    check_sets(result, expect_target=study.kind != "iid", why=why, ways=ways)
    return result


def _without_new(
    cases: pd.DataFrame, target: Mask, study: Study
) -> tuple[list[str], list[str], npt.NDArray[Any]]:
    """Return the labels after a study of new classes has taken classes away.

    Returns:
        Names of the remaining classes, names of those that are taken away, both empty if none is, and the
        labels (N,).
    """
    label = cases["label"].to_numpy()
    taken = sorted(set(label[target]) - {UNKNOWN}) if study.kind == NEW_CLASS else []
    if not taken:
        return [], [], label
    names = classes_of(cases)
    left = [one for one in range(len(names)) if one not in taken]
    number = {one: place for place, one in enumerate(left)}
    renumbered = np.array([number.get(one, UNKNOWN) for one in label.tolist()], np.int64)
    return [names[one] for one in left], [names[int(one)] for one in taken], renumbered


def _lacking_calibration(splits: pd.DataFrame) -> list[str]:
    """Return what is to be said of calibration cases that allow no threshold."""
    own = splits[splits["split"] == "calibration"]
    if len(own["label"].unique()) > 1:
        return []
    found = f"has cases of class {own['label_name'].iloc[0]!r} only" if len(own) else "has no case"
    return [f"split 'calibration' {found}: no threshold is chosen for this study"]


def _left_out(straddling: npt.NDArray[np.bool_], source: Mask, group: npt.NDArray[np.int64]) -> str:
    """Return how many source cases of how many groups are left out; nothing if none is."""
    if not straddling.any():
        return ""
    share = 100 * straddling.sum() / source.sum()
    return (
        f"{straddling.sum()} of {source.sum()} source cases ({share:.0f} %) of "
        f"{len(np.unique(group[straddling]))} groups are left out, since these groups also have target cases"
    )


def _check_available(study: Study, cases: pd.DataFrame) -> None:
    present = set(cases["source"].unique())
    if lacking := [source for source in study.sources if source not in present]:
        why = cases.attrs.get("unavailable", {}).get(study.name)
        raise ValueError(
            f"study {study.name!r} needs cases of the source {', '.join(lacking)}; the table has those of "
            f"{', '.join(sorted(present))}" + (f": {why}" if why else "")
        )


def _complete(
    split: npt.NDArray[np.int8],
    group: npt.NDArray[np.int64],
    names: npt.NDArray[np.object_],
    label: npt.NDArray[Any],
    seed: int,
    shares: Mapping[str, float],
    donor: str,
) -> list[str]:
    """Take splits that no case has from the donor's cases, in place; return what is to be said about it."""
    absent = [name for name in shares if name != donor and not (split == CODES[name]).any()]
    donated = split == CODES[donor]
    if not absent or not donated.any():
        return []
    wanted = {name: share for name, share in shares.items() if name == donor or name in absent}
    wanted = {name: share / sum(wanted.values()) for name, share in wanted.items()}
    place = _place_groups(group[donated], names, label[donated], seed, wanted)
    split[donated] = place[group[donated]]
    counts = ", ".join(f"{name} {int((split[donated] == CODES[name]).sum())}" for name in wanted)
    return [
        f"no case has the split {' or '.join(absent)}: the {int(donated.sum())} cases of {donor} were split "
        f"by group ({counts})"
    ]


def _place_groups(
    group: npt.NDArray[np.int64],
    names: npt.NDArray[np.object_],
    label: npt.NDArray[Any],
    seed: int,
    shares: Mapping[str, float],
) -> npt.NDArray[np.int8]:
    """Return the split of each group that has a case, by splits' shares of the groups, in this order."""
    place = np.full(len(names), -1, np.int8)
    if not len(group):
        return place
    # Not a table of groups by labels: with 1,139 classes that takes half a gigabyte.
    both = pd.DataFrame({"group": group, "label": label})
    counts = both.groupby(["group", "label"]).size().reset_index(name="count")
    first = counts.sort_values(["count", "label"], ascending=[False, True])
    first = first.drop_duplicates("group")
    found, majority = first["group"].to_numpy(), first["label"].to_numpy()
    high, low = _hashes(names[found], seed)
    *limits, _ = accumulate(shares.values())
    split = np.array([CODES[name] for name in shares], np.int8)
    for stratum in np.unique(majority):
        members = np.flatnonzero(majority == stratum)
        members = members[np.lexsort((low[members], high[members]))]
        # Midpoints of the ranks: for few groups the nearest whole numbers to the fractions.
        quantile = (np.arange(len(members)) + 0.5) / len(members)
        place[found[members]] = split[np.searchsorted(limits, quantile, side="right")]
    return place


def _hashes(groups: npt.NDArray[np.object_], seed: int) -> npt.NDArray[np.uint64]:
    """Return the first and the second half (2, G) of each group's hash."""
    texts = (f"{seed}:{group}".encode("utf-8", "surrogatepass") for group in groups)
    digests = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, ">u8").reshape(-1, 2).T.astype(np.uint64)
