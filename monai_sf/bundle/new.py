"""A bundle for images of one's own: what table and images hold, and the configs that follow from it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from monai_sf.bundle.composing import Decisions, write_bundle
from monai_sf.bundle.defaults import AuditDefaults, Defaults, audit_defaults, choose_defaults
from monai_sf.bundle.given_model import Declared, Understood
from monai_sf.bundle.given_trial import understand
from monai_sf.bundle.look import Look, copies, look_at, look_at_array
from monai_sf.bundle.naming import DATASET_NAME, TAKEN, in_options
from monai_sf.bundle.plain_values import as_yaml
from monai_sf.bundle.targets import plain_name, read_targets
from monai_sf.datasets import (
    STUDIES,
    Study,
    describe_cases,
    find_studies,
    folder_cases,
    medmnist_cases,
    split_cases,
    study_description,
    table_cases,
)
from monai_sf.datasets.any_table import read_any
from monai_sf.datasets.conditions import did_you_mean
from monai_sf.datasets.preflight import check_labels
from monai_sf.datasets.split_checks import SPLITS
from monai_sf.datasets.studies import check_study, remaining_classes
from monai_sf.files import strangers
from monai_sf.vocabulary.shifts import NEW_CLASS

#: Name of the study of labels that are none of the classes.
_UNKNOWN_STUDY = "unknown"


@dataclass(frozen=True)
class Asked:
    """What the user says about the data.

    Attributes:
        folder: the new bundle's folder; its name is that of the dataset.
        table: the table; None for folders of classes or a MedMNIST file.
        medmnist: the MedMNIST file, or None.
        dataset_dir: folder that the images lie in.
        columns: role to column.
        table_options: ``encoding`` or ``sheet`` of the table, as far as they must be named.
        classes: names in the order of the labels, or None for all that occur.
        unknown: labels that are none of the classes; they are the target of a study of their own.
        without: classes of which each is left out by a study that trains without it.
        targets: see :func:`monai_sf.bundle.targets.read_targets`.
        missing: "raise" or "drop", of images that the table names and the folder lacks.
        model: a given model to audit; None to train one.
    """

    folder: Path
    table: Path | None = None
    medmnist: Path | None = None
    dataset_dir: Path | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    table_options: Mapping[str, str] = field(default_factory=dict)
    classes: Sequence[str] | None = None
    unknown: Sequence[str] = ()
    without: Sequence[str] = ()
    targets: Sequence[str] = ()
    missing: str = "raise"
    model: Declared | None = None


def new_bundle(asked: Asked) -> Path:
    """Write a bundle for images of one's own, and print what was understood.

    Args:
        asked: what the user says.

    Returns:
        The bundle's folder.

    Raises:
        ValueError: the table, an image, a study or an argument is wrong; names all that are. Nothing is
            written then.
        FileNotFoundError: a file or folder is not there, or images are missing.
        FileExistsError: the folder holds files.
        OSError: it cannot be written.
    """
    folder = asked.folder.expanduser().absolute()
    name = folder.name
    _check_place(folder)
    cases = _cases(asked, name)
    print(in_options(describe_cases(cases)))
    look = _look(asked, cases)
    wrong = look.problems()
    if asked.medmnist is None:
        wrong += copies(cases, look)
    studies, faults = read_targets(asked.targets, cases)
    studies, more = _with_new_classes(studies, asked, cases.attrs["classes"])
    wrong += faults + more
    n_train, faults = _say_splits(name, studies, cases, audit=asked.model is not None)
    wrong += faults
    given = None
    if asked.model is not None and look.seen:
        try:
            given = _given(asked, asked.model, cases, look)
        except (ValueError, OSError) as error:
            wrong.append(f"--model {asked.model.model}: {error}")
    if look.seen:
        print("\n".join(look.lines()))
        print("".join(f"warning: {text}\n" for text in look.warnings()), end="")
    if wrong:
        raise ValueError("\n".join(wrong))
    intensity, why = look.intensity()
    print(f"values become [0, 1] by intensity {as_yaml(intensity)}: {why}")
    defaults: Defaults | AuditDefaults
    if given is None:
        defaults = choose_defaults(
            n_train, len(cases), look.sides, channels=look.channels, has_gpu=torch.cuda.is_available()
        )
        print("\n".join(defaults.reasons))
    else:
        defaults = audit_defaults(
            given.image_size, has_dropout=given.dropout, has_gpu=torch.cuda.is_available()
        )
        print("\n".join(given.lines))
        print("".join(f"warning: {text}\n" for text in given.warnings), end="")
    classes = list(cases.attrs["classes"])
    decisions = Decisions(
        name=name,
        origin="medmnist" if asked.medmnist else "table" if asked.table else "folders",
        table=asked.table and asked.table.expanduser().absolute(),
        archive=asked.medmnist and asked.medmnist.expanduser().absolute(),
        dataset_dir=asked.dataset_dir and asked.dataset_dir.expanduser().absolute(),
        columns=asked.columns,
        table_options=asked.table_options,
        classes=classes,
        unknown=[str(label).strip() for label in asked.unknown],
        missing=asked.missing,
        studies=studies,
        modes=list(look.modes),
        intensity=intensity,
        channels=look.channels if given is None else given.channels,
        channel_files=look.channel_files,
        smallest=look.smallest,
        n_cases=len(cases),
        given=given,
    )
    write_bundle(folder, decisions, defaults)
    return folder


def _check_place(folder: Path) -> None:
    """Refuse a folder that cannot be a new bundle's, before an hour of looking at images."""
    if not re.fullmatch(DATASET_NAME, folder.name) or as_yaml(folder.name) != folder.name:
        raise ValueError(
            f"the bundle's folder gives the dataset its name, and {folder.name!r} cannot be one: use "
            "letters, digits, '_', '-' and '.', and no word or number that YAML reads as another value"
        )
    if folder.name in TAKEN:
        raise ValueError(
            f"the bundle's folder gives the dataset its name, and {folder.name!r} is a folder of the "
            f"benchmark's own: use none of {', '.join(TAKEN)}"
        )
    if folder.name in STUDIES:
        raise ValueError(
            f"{folder.name} is the name of a published dataset: choose another folder, or write that "
            f"bundle with --dataset {folder.name}"
        )
    if folder.is_dir() and (found := strangers(folder, ())):
        raise FileExistsError(f"{folder} holds other files ({', '.join(found)}): choose another folder")


def _cases(asked: Asked, name: str) -> pd.DataFrame:
    if asked.medmnist is not None:
        with tempfile.TemporaryDirectory() as empty:  # its images are written later
            return medmnist_cases(
                asked.medmnist, empty, classes=asked.classes, dataset=name, unknown=asked.unknown
            )
    if asked.dataset_dir is None:
        raise ValueError("name the folder of the images with --dataset_dir")
    if not asked.dataset_dir.is_dir():
        is_what = "is a file" if asked.dataset_dir.exists() else "is not there"
        raise FileNotFoundError(
            f"--dataset_dir {asked.dataset_dir} {is_what}: name the folder that the images lie below"
        )
    if asked.table is not None:
        return _table_cases(asked, name, asked.missing)
    return folder_cases(asked.dataset_dir, classes=asked.classes, dataset=name, unknown=asked.unknown)


def _table_cases(asked: Asked, name: str, missing: str) -> pd.DataFrame:
    assert asked.table is not None
    assert asked.dataset_dir is not None
    return table_cases(
        asked.table,
        asked.dataset_dir,
        columns=asked.columns,
        classes=asked.classes,
        dataset=name,
        missing=missing,
        unknown=asked.unknown,
        **asked.table_options,
    )


def _look(asked: Asked, cases: pd.DataFrame) -> Look:
    if asked.medmnist is None:
        return look_at(cases, asked.dataset_dir or ".", _rows(asked, cases))
    with np.load(asked.medmnist, allow_pickle=False) as arrays:
        return look_at_array(arrays["train_images"][:1000], len(cases))


def _given(asked: Asked, model: Declared, cases: pd.DataFrame, look: Look) -> Understood:
    """Try a given model; images are read in the colours that they have, unless it takes others."""
    modes = ["RGB", "L"] if look.channels == 3 and look.channel_files == 1 else ["L", "RGB"]
    if look.channel_files > 1:
        modes = ["L"]
    elif {3} & {len(model.mean), len(model.std)}:
        modes = ["RGB"]
    return understand(
        model,
        cases,
        dataset_dir=asked.dataset_dir,
        archive=asked.medmnist,
        intensity=look.intensity()[0],
        picture_modes=modes,
    )


def _rows(asked: Asked, cases: pd.DataFrame) -> list[int]:
    """Return the row of each case in the table; empty without one."""
    if asked.table is None:
        return []
    numbers = read_any(asked.table, **asked.table_options).rows()
    if len(numbers) == len(cases):
        return list(numbers)
    every = _table_cases(asked, "own", "keep")
    row = dict(zip(every["case_id"], numbers, strict=True))
    return [row[case] for case in cases["case_id"]]


def _say_splits(
    name: str, own: Mapping[str, Any], cases: pd.DataFrame, *, audit: bool
) -> tuple[int, list[str]]:
    """Print what each study splits the cases into.

    Returns:
        The largest number of training cases, and all faults of all studies that cannot be run.
    """
    most = 0
    studies, wrong = _readable(name, own)
    for study in studies:
        if faults := check_study(study, cases):
            wrong += [f"study {study.name!r}, target: {fault}" for fault in faults]
            continue
        try:
            splits = split_cases(cases, study, 0, audit=audit)
            # with the classes of the study, which the configs follow
            check_labels(splits, len(remaining_classes(study, cases.attrs["classes"])), trains=not audit)
        except ValueError as error:
            wrong.append(f"study {study.name!r}: {error}")
            continue
        counts = splits["split"].value_counts()
        most = max(most, int(counts.get("train", 0)))
        said = ", ".join(f"{split} {counts[split]}" for split in SPLITS if split in counts)
        print(f"study {study.name} ({study_description(study)}): {said}")
        if without := splits.attrs["without"]:
            print(f"study {study.name}: trained without {', '.join(without)}")
        if left_out := splits.attrs["left_out"]:
            print(f"study {study.name}: {left_out}")
    return most, wrong


def _with_new_classes(
    studies: Mapping[str, Any], asked: Asked, classes: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the studies with those of new classes, and what is wrong with these."""
    found, wrong = dict(studies), []
    unknown = [str(label).strip() for label in asked.unknown]
    wanted = {_UNKNOWN_STUDY: unknown} if unknown else {}
    for name in dict.fromkeys(asked.without):
        if name not in classes:
            wrong.append(
                f"--without {name}: there is no such class{did_you_mean(name, classes)}; the classes are "
                f"{', '.join(map(repr, classes))}"
            )
        else:
            wanted[plain_name(f"without_{name}")] = [name]
    for study, labels in wanted.items():
        if study in found:
            wrong.append(f"--target: {study!r} is the study of new classes: choose another name")
        target = {"label_name": labels[0] if len(labels) == 1 else labels}
        found[study] = {"kind": NEW_CLASS, "target": target}
    return found, wrong


def _readable(name: str, own: Mapping[str, Any]) -> tuple[tuple[Study, ...], list[str]]:
    """Return the studies that can be read, and the faults of the others."""
    good: dict[str, Any] = {}
    wrong = []
    for key, given in own.items():
        try:
            find_studies(name, {**good, key: given})
            good[key] = given
        except ValueError as error:
            wrong.append(str(error))
    return find_studies(name, good), wrong
