"""Studies: which cases a classifier is trained on, and which it is only tested on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from monai_sf.datasets.conditions import (
    Condition,
    Mask,
    absent_columns,
    did_you_mean,
    read_condition,
    row_name,
)
from monai_sf.datasets.dermoscopy import KERATOSES
from monai_sf.datasets.fc_microscopy import TARGET_EXPERIMENTS
from monai_sf.vocabulary.shifts import NEW_CLASS, TARGET_KINDS, UNKNOWN

__all__ = [
    "STUDIES",
    "STUDY_KINDS",
    "Study",
    "check_study",
    "classes_of",
    "find_studies",
    "find_study",
    "in_target",
    "remaining_classes",
    "study_description",
    "unavailable_studies",
]

STUDY_KINDS = ("iid", *TARGET_KINDS)
"""Corruptions are not a study: they are applied to the iid test set of the study ``iid``."""

_KEYS = ("kind", "target", "description")
_LONGEST_NAME = 64
#: Columns that the program adds to a user's own.
_OURS = ("case_id", "image", "label", "label_name", "group", "slice", "data_kind")


@dataclass(frozen=True)
class Study:
    """One train/test question: the source domain is trained on, the target domain only tested on.

    Attributes:
        name: Also that of folders. Unique among all datasets, except for ``iid``, which all have.
        kind: ``iid`` has no target domain, ``acquisition`` is another camera, hospital or batch,
            ``manifestation`` another sub-type of the disease, ``new_class`` a disease that is none of the
            classes: cases of a label that was declared unknown, or of whole classes, which the study then
            trains without.
        target: The rule of the target domain, columns of the case table to what their cells hold: a text or
            number, a list of them, or ``{is: ..., above: ..., below: ..., missing: ...}``, with
            either ``is`` or exclusive limits; ``missing`` says whether an empty cell fulfils the condition,
            and without it no cell may be empty. Of several columns all must hold.
        description: What the target domain is, in words.
        partial: Whether values that no case has are no fault, since a download may be partial.
        conditions: ``target`` as read.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import Study, in_target
        >>> study = Study(
        ...     "elderly", "acquisition", {"hospital": ["B", "C"], "age": {"above": 65}}
        ... )
        >>> study.rule
        'hospital is one of B, C and age above 65'
        >>> cases = pd.DataFrame({"hospital": ["A", "B", "C"], "age": [80, 70, 30]})
        >>> in_target(study, cases).tolist()
        [False, True, False]
    """

    name: str
    kind: str
    target: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    partial: bool = False
    conditions: Mapping[str, Condition] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults, conditions = _faults_of_name(self.name), {}
        if self.kind not in STUDY_KINDS:
            faults.append(f"kind must be one of {', '.join(STUDY_KINDS)}, got {self.kind!r}")
        target: Any = self.target
        description: Any = self.description
        if not isinstance(description, str):
            faults.append(f"description must be text, got {description!r}")
        if not isinstance(target, Mapping):
            faults.append(f"target must map columns to what their cells hold, got {target!r}")
        elif bool(self.target) == (self.kind == "iid"):
            faults.append(
                "iid has no target domain" if self.target else "target must name a column, it is empty"
            )
        else:
            for column, given in self.target.items():
                try:
                    conditions[str(column)] = read_condition(given)
                except ValueError as error:
                    faults.append(f"target, column {column!r}: {error}")
        if faults:
            raise ValueError(f"study {self.name!r}: {'; '.join(faults)}")
        object.__setattr__(self, "conditions", MappingProxyType(conditions))

    @property
    def rule(self) -> str:
        """The target domain's rule in words, such as "hospital is B and age above 65"."""
        return " and ".join(f"{column} {condition}" for column, condition in self.conditions.items())

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the case table that the rule reads and that must not have missing values."""
        return tuple(name for name, condition in self.conditions.items() if condition.missing is None)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources without which there is no target domain."""
        named = self.conditions.get("source")
        return tuple(map(str, named.values)) if named else ()


def _faults_of_name(name: Any) -> list[str]:
    if not isinstance(name, str):
        return [f"its name must be text, got {name!r}; put it in quotes"]
    if re.fullmatch(r"\w[\w.-]*", name) and len(name) <= _LONGEST_NAME:
        return []
    plain = re.sub(r"[^\w.-]+", "_", name).strip("_.-")[:_LONGEST_NAME]
    return [
        "its name is also that of folders: use at most "
        f"{_LONGEST_NAME} letters, digits, '_', '-' and '.'" + (f", such as {plain!r}" if plain else "")
    ]


def in_target(study: Study, cases: pd.DataFrame) -> Mask:
    """Return which cases (N,) are in a study's target domain, as (N,) bool.

    Args:
        study: The study.
        cases: Case table with the columns of its rule.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import find_study, in_target
        >>> cases = pd.DataFrame({"source": ["chexpert", "nih14", "mimic_cxr"]})
        >>> in_target(find_study("nih14"), cases).tolist()
        [False, True, False]
    """
    target = np.full(len(cases), bool(study.conditions))
    for column, condition in study.conditions.items():
        target &= condition.matches(cases[column])
    return target


def classes_of(cases: pd.DataFrame) -> list[str]:
    """Return the names of the classes of a case table, in the order of their labels."""
    if (classes := cases.attrs.get("classes")) is not None:
        return list(classes)
    known = cases[cases["label"] != UNKNOWN].drop_duplicates("label")
    names = dict(zip(known["label"].tolist(), known["label_name"], strict=True))
    return [str(names.get(label, f"class {label}")) for label in range(int(max(names, default=-1)) + 1)]


def remaining_classes(study: Study, classes: Sequence[str]) -> list[str]:
    """Return the classes that a study trains, as far as its rule tells them without the cases.

    Args:
        study: The study.
        classes: Names of the classes of the case table.

    Returns:
        All of them, unless the study is one of new classes with a rule on ``label_name`` alone.
    """
    if study.kind != NEW_CLASS or list(study.conditions) != ["label_name"]:
        return list(classes)
    taken = study.conditions["label_name"].matches(pd.Series(list(classes), dtype=object))
    return [name for name, gone in zip(classes, taken, strict=True) if not gone]


def study_description(study: Study) -> str:
    """Return a study's description with the rule of its target domain, for tables and reports.

    Examples:
        >>> from monai_sf.datasets import find_study, study_description
        >>> study_description(find_study("spiculation"))
        'target: spiculated nodules, by the mean rating of the readers (spiculation
        above 2)'
    """
    if study.kind == "iid":
        return "no target domain: tested on other cases of the same population"
    return f"target: {study.description} ({study.rule})" if study.description else f"target: {study.rule}"


def check_study(study: Study, cases: pd.DataFrame) -> list[str]:
    """Return what is wrong with a study of one's own on these cases; nothing if it can be run.

    Args:
        study: The study.
        cases: Case table.

    Returns:
        One text per fault: columns that the table lacks, values that no case has, or that other cases spell
        differently, empty cells, a target domain of no case, of all, or of one class; of a study of new
        classes a part of a class, or all but one.
    """
    if study.kind == "iid":
        return []
    absent = absent_columns(list(study.conditions), list(map(str, cases.columns)), _OURS)
    # Where rows of the file were left out, the places of the others are not theirs.
    whole = not cases.attrs.get("reading", {}).get("dropped")

    def name(place: int) -> str:
        case = f"case {cases['case_id'].iloc[place]}"
        return f"{row_name(place)} ({case})" if whole else case

    faults = [absent] if absent else []
    faults += [
        f"column {column!r}: {fault}"
        for column, condition in study.conditions.items()
        if column in cases
        for fault in condition.faults(cases[column], name)
    ]
    return faults or _unusable(study, cases)


def _unusable(study: Study, cases: pd.DataFrame) -> list[str]:
    target = in_target(study, cases)
    known = (cases["label"] != UNKNOWN).to_numpy()
    if study.kind != NEW_CLASS:  # in which alone cases of no class are tested
        target = target & known
    if not target.any():
        return [f"no case is in the target domain ({study.rule})"]
    if not (known & ~target).any():
        return [f"all cases are in the target domain ({study.rule}), and none is left to train on"]
    if study.kind == NEW_CLASS:
        return _not_new(study, cases[known], target[known])
    if cases["label"][target].nunique() < 2:
        only = cases["label_name"][target].iloc[0]
        return [f"the target domain has cases of one class only, {only!r} ({study.rule})"]
    return []


def _not_new(study: Study, cases: pd.DataFrame, target: Mask) -> list[str]:
    """Return what keeps the target domain, among cases of classes, from being one of new classes."""
    share = pd.Series(target).groupby(cases["label_name"].to_numpy()).agg(["sum", "size"])
    faults = [
        f"{part} of {count} cases of the class {name!r} are in the target domain ({study.rule}): a class is "
        "new if none of its cases is trained on. Take all of them, or make the kind manifestation"
        for name, part, count in share.itertuples(name=None)
        if 0 < part < count
    ]
    taken = share.index[share["sum"] > 0].tolist()
    left = [name for name in classes_of(cases) if name not in taken]
    if taken and len(left) < 2:
        faults.append(
            f"without {', '.join(map(repr, taken))} ({study.rule}) fewer than two classes are left to tell "
            f"apart: {', '.join(map(repr, left)) or 'none'}"
        )
    return faults


def _published(name: str, kind: str, target: Mapping[str, Any], description: str) -> Study:
    return Study(name, kind, target, description, partial=True)


IID = Study("iid", "iid")

#: The published datasets: name to studies, ``iid`` first.
STUDIES: Mapping[str, tuple[Study, ...]] = MappingProxyType(
    {
        "lung_nodule_ct": (
            IID,
            _published(
                "spiculation",
                "manifestation",
                {"spiculation": {"above": 2}},
                "spiculated nodules, by the mean rating of the readers",
            ),
            _published(
                "texture",
                "manifestation",
                {"texture": {"below": 3}},
                "non-solid nodules, by the mean rating of the readers",
            ),
        ),
        "dermoscopy": (
            IID,
            _published(
                "mskcc",
                "acquisition",
                {"source": "MSKCC"},
                "images of ISIC 2020 from Memorial Sloan Kettering Cancer Center",
            ),
            _published(
                "barcelona",
                "acquisition",
                {"source": "Barcelona"},
                "images of ISIC 2020 from Hospital Clínic de Barcelona",
            ),
            _published(
                "keratosis",
                "manifestation",
                {"diagnosis": list(KERATOSES)},
                "keratosis-like lesions (benign) and actinic keratosis (malignant)",
            ),
        ),
        "chest_xray": (
            IID,
            _published("nih14", "acquisition", {"source": "nih14"}, "images of NIH ChestX-ray14"),
            _published("chexpert", "acquisition", {"source": "chexpert"}, "images of CheXpert"),
        ),
        "fc_microscopy": (
            IID,
            _published(
                "batches",
                "acquisition",
                {"experiment": list(TARGET_EXPERIMENTS)},
                "10 of the 51 experiments, drawn once",
            ),
        ),
    }
)
"""The studies of each published dataset."""


def find_studies(dataset: str, own: Mapping[str, Any] | None = None) -> tuple[Study, ...]:
    """Return the studies of a dataset: ``iid``, the published ones, and one's own.

    Args:
        dataset: Name of the dataset, a published one or one's own.
        own: Further studies, the config key ``studies``: name to ``{kind, target, description}``, see
            :class:`Study`; the description may be left out.

    Raises:
        ValueError: Names everything that is wrong with ``own``: a name that is taken or cannot be that of a
            folder, an unknown kind or key, a rule that cannot be read.

    Examples:
        >>> from monai_sf.datasets import find_studies
        >>> own = {"hospital_b": {"kind": "acquisition", "target": {"hospital": "B"}}}
        >>> [study.name for study in find_studies("my_xrays", own)]
        ['iid', 'hospital_b']
    """
    known = STUDIES.get(dataset, (IID,))
    if own is None:
        return known
    if not isinstance(own, Mapping):
        raise ValueError(
            "studies must map names to studies, such as {hospital_b: {kind: acquisition, target: "
            f"{{hospital: B}}}}}}, got {own!r}"
        )
    taken = {study.name.casefold(): study.name for study in known}
    studies: list[Study] = []
    faults: list[str] = []
    for name, given in own.items():
        if (spelled := str(name).casefold()) in taken:
            faults.append(
                f"study {name!r}: {dataset} has a study {taken[spelled]!r}, and folders of both names may be "
                "one: choose another name"
            )
            continue
        taken[spelled] = str(name)
        try:
            studies.append(_read_study(name, given))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("\n".join(faults))
    return (*known, *studies)


def _read_study(name: Any, given: Any) -> Study:
    if not isinstance(given, Mapping):
        raise ValueError(f"study {name!r}: must map {', '.join(_KEYS)} to values, got {given!r}")
    faults = [f"unknown {key!r}{did_you_mean(str(key), _KEYS)}" for key in given if key not in _KEYS]
    faults += [f"{key} is not given" for key in ("kind", "target") if key not in given]
    if given.get("kind", TARGET_KINDS[0]) not in TARGET_KINDS:
        faults.append(f"kind must be one of {', '.join(TARGET_KINDS)}, got {given['kind']!r}")
    if faults:
        raise ValueError(f"study {name!r}: {'; '.join(faults)}")
    return Study(name, given["kind"], given["target"], given.get("description") or "")


def find_study(name: str, dataset: str | None = None, own: Mapping[str, Any] | None = None) -> Study:
    """Return the study of that name; names of published studies are unique over all datasets.

    Args:
        name: Of the study.
        dataset: The dataset that the study must belong to; None for any published one.
        own: Further studies, see :func:`find_studies`.

    Raises:
        ValueError: If there is none (the message lists the known ones), or ``own`` is wrong.

    Examples:
        >>> from monai_sf.datasets import find_study
        >>> find_study("keratosis").kind
        'manifestation'
        >>> find_study("keratoses", "dermoscopy")
        Traceback (most recent call last):
        ...
        ValueError: unknown study 'keratoses' of dermoscopy (do you mean 'keratosis'?);
        known: iid, mskcc, ...
    """
    of = "" if dataset is None else f" of {dataset}"
    datasets = STUDIES if dataset is None else (dataset,)
    known = {study.name: study for one in datasets for study in find_studies(one, own)}
    if name not in known:
        more = "" if dataset is None else "; the config key studies takes further ones"
        raise ValueError(
            f"unknown study {name!r}{of}{did_you_mean(str(name), list(known))}; known: {', '.join(known)}"
            f"{more}"
        )
    return known[name]


def unavailable_studies(cases: pd.DataFrame, dataset: str, absent: Mapping[str, str]) -> dict[str, str]:
    """Return the published studies of the dataset that cannot be run on these cases, with the reason.

    Args:
        cases: Case table.
        dataset: Name of the dataset.
        absent: Source to the reason why it has no case.
    """
    reasons: dict[str, str] = {}
    for study in STUDIES[dataset]:
        lacking = [source for source in study.sources if not (cases["source"] == source).any()]
        if lacking:
            reasons[study.name] = "; ".join(
                f"no case of {source} ({absent.get(source, 'none is left')})" for source in lacking
            )
        elif study.kind != "iid" and (faults := _unusable(study, cases)):
            reasons[study.name] = faults[0]
    return reasons
