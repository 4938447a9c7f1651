"""The description of a run in its run.json."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pandas as pd

from monai_sf.bundle.claims import config_of_run, trained_on
from monai_sf.datasets import find_study, study_description
from monai_sf.datasets.studies import classes_of
from monai_sf.scores import CSFS, METHODS
from monai_sf.vocabulary.data_kinds import DATA_KINDS
from monai_sf.vocabulary.registry import plugins


def describe_run(
    cases: pd.DataFrame,
    splits: pd.DataFrame,
    *,
    run_dir: str | os.PathLike[str],
    dataset: str,
    study: str,
    method: str,
    seed: int,
    num_classes: int,
    studies: Mapping[str, Any] | None = None,
    image_kinds: Sequence[str] = (),
    audit: bool = False,
) -> dict[str, Any]:
    """Return the description of a run for run.json, before its results are known.

    Args:
        cases: the whole case table.
        splits: the case table with the column ``split``.
        run_dir: folder of the run, whose training's values stand in ``config``.
        dataset: name of the dataset.
        study: name of the study.
        method: name of the training method.
        seed: of the run.
        num_classes: of the network; a class without a case is named by ``attrs["classes"]``, else by its
            number.
        studies: further studies, see :func:`monai_sf.datasets.find_studies`.
        image_kinds: those of the images, such as "picture uint8"; inference refuses others.
        audit: whether the network was given, and not trained on these cases.

    Raises:
        ValueError: the run was trained as another dataset, study, method or seed.
        RuntimeError: no bundle config is being run.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from monai.bundle import ConfigWorkflow
        >>> cases = pd.DataFrame({"case_id": list("abcd"), "label": [0, 1, 0, 1]})
        >>> cases["group"] = cases["case_id"]
        >>> cases["label_name"] = ["benign", "malignant"] * 2
        >>> cases = cases.assign(
        ...     source="ward", data_kind="real", split=["train", "train", "val", "iid"]
        ... )
        >>> cases.to_csv("splits.csv")
        >>> config = {
        ...     "imports": ["$import pandas", "$import monai_sf", "$import monai_sf.bundle"]
        ... }
        >>> config["cases"] = "$pandas.read_csv('splits.csv')"
        >>> config["about"] = (
        ...     "$monai_sf.bundle.describe_run(@cases, @cases, run_dir='run', "
        ...     "dataset='skin', study='iid', method='classifier', seed=0, "
        ...     "num_classes=2)"
        ... )
        >>> config["run"] = "$print(@about['class_names'], @about['split_counts']['train'])"
        >>> _ = Path("evaluate.json").write_text(json.dumps(config))
        >>> _ = ConfigWorkflow(
        ...     "evaluate.json", workflow_type="train", logging_file=False
        ... ).run()
        ['benign', 'malignant'] {'benign': 1, 'malignant': 1}
    """
    # of the study, which may train without some classes of the table
    known = dict(enumerate(classes_of(splits if "classes" in splits.attrs else cases)))
    sources = sorted(set(cases["source"]))
    # a single image that is not real determines the kind
    data_kind = max(set(cases["data_kind"]), key=list(DATA_KINDS).index)
    packages = ("monai-sf", "monai", "torch", "pytorch-ignite", "numpy", "pandas", "scikit-learn")
    return {
        "dataset": dataset,
        "study": study,
        "method": method,
        "seed": seed,
        "study_description": study_description(find_study(study, dataset, studies)),
        "class_names": [str(known.get(label, f"class {label}")) for label in range(num_classes)],
        "data_kind": data_kind,
        "sources": sources,
        "split_counts": pd.crosstab(splits["label_name"], splits["split"]).to_dict(),
        **({"audit": True} if audit else {"trained_on": trained_on(splits)}),
        "image_kinds": list(image_kinds),
        "config": config_of_run(run_dir),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in packages},
            **plugins(METHODS.group, CSFS.group),
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:  # a source checkout that was not installed
        return "not installed"
