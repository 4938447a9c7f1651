"""What a config asks of itself: where it lies, whether its keys exist, whose run folder it is.

MONAI hands a config's components their arguments, never the merged config itself, which run.json and the
checks below need. The workflow that evaluates an expression is on the call stack while it does so; that is
where :func:`_workflow` finds it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import json
import logging
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from monai_sf import distributed
from monai_sf.checkpoints import check_belongings, check_checkpoint
from monai_sf.datasets import STUDIES, find_study, split_cases
from monai_sf.datasets.leaks import find_leaks, read_prints
from monai_sf.errors import say_the_cause_last
from monai_sf.files import read_json, write_json
from monai_sf.overrides import as_meant, dropped, is_command_line
from monai_sf.sessions import session_of
from monai_sf.wiring import PLACES, SHARED, STEPS, TRACKING, as_written, with_bases

logger = logging.getLogger(__name__)

#: Keys that are read by name and need not be referred to by another key. Of MONAI's properties the required
#: ones: an optional one that no config refers to, such as ``val_interval``, changes nothing.
_ENTRIES = {"seed"}.union(
    STEPS,
    *(
        (parts[0], "#".join(parts[:2]))
        for p in (*TrainProperties.values(), *InferProperties.values())
        if p[BundleProperty.REQUIRED]
        for parts in [str(p[BundlePropertyConfig.ID]).split("::")]
    ),
)

#: What a stage leaves behind; a run folder with none of it can be claimed anew.
_WORK = {"train": ("last.pt", "training.json"), "evaluate": ("results", "validation")}


def _workflow() -> ConfigWorkflow | None:
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(owner := frame.f_locals.get("self"), ConfigWorkflow):
            return owner
        frame = frame.f_back
    return None


def root() -> str:
    """The bundle's folder: the parent of ``configs`` with the config that is being run; elsewhere ``"."``."""
    workflow = _workflow()
    return str(workflow.config_root_path.resolve().parent) if workflow is not None else "."


def merged_config() -> dict[str, Any]:
    """The config that is being run, all files and overrides merged, expressions as they are written.

    Raises:
        RuntimeError: no bundle config is being run.
    """
    workflow = _workflow()
    if workflow is None:
        raise RuntimeError("merged_config() is for expressions in a config that `monai.bundle run` runs")
    config = {key: value for key, value in workflow.parser.get().items() if key != ConfigParser.meta_key}
    config = dict(as_written(config))
    return dict(_without_tracking(config)) if _is_tracked(config) else config


def _is_tracked(config: Mapping[str, Any]) -> bool:
    return "is_not_rank0" in config  # which only MONAI's tracking adds


def tracked(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of a benchmark's tasks, which are tracked as the benchmark itself is.

    Raises:
        RuntimeError: no bundle config is being run.
    """
    workflow = _workflow()
    if workflow is None:
        raise RuntimeError("tracked() is for expressions in a config that `monai.bundle run` runs")
    if not _is_tracked(workflow.parser.get()):
        return dict(overrides)
    there = {key: workflow.parser.get_parsed_content(key) for key in ("tracking_uri", "experiment_name")}
    return {"tracking": "mlflow", **there, **overrides}


def _without_tracking(config: Any) -> Any:
    """A config as it was before ``--tracking mlflow`` added its keys and handlers: they make no other run."""
    if isinstance(config, Mapping):
        return {key: _without_tracking(value) for key, value in config.items() if key not in TRACKING}
    if isinstance(config, list):
        return [
            _without_tracking(value)
            for value in config
            if not (isinstance(value, Mapping) and value.get("_target_") == "MLFlowHandler")
        ]
    return config


def check_keys() -> None:
    """Refuse keys that nothing reads, so that a misspelt override is an error and not a default.

    Looks at the keys of the config and of its plain groups (``train#dataset``); what stands in a component is
    an argument, which the component refuses itself.

    Raises:
        ValueError: a key is neither referred to in the bundle's configs nor one that MONAI reads; names the
            key, the closest existing ones, and all keys that exist.
    """
    config = merged_config()
    texts = [*_strings(config)]
    if (workflow := _workflow()) is not None:  # an overlay may hold numbers that another of the configs reads
        files = (*workflow.config_root_path.iterdir(), *SHARED.iterdir())
        texts += [f.read_text(encoding="utf-8") for f in files if f.suffix in (".yaml", ".yml", ".json")]
    referred = {
        key.replace("::", "#")
        for text in texts
        for key in re.findall(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)?)", text)
    }
    read = _ENTRIES | referred | {key.partition("#")[0] for key in referred}
    keys = [*config]
    for key, group in config.items():
        if isinstance(group, Mapping) and "_target_" not in group and key not in referred:
            keys += [f"{key}#{name}" for name in group if key in read]
    unknown = [key for key in keys if key not in read]
    if unknown:
        known = sorted(set(keys) - set(unknown))
        hints = {key: difflib.get_close_matches(key, known, 3) for key in unknown}
        raise ValueError(
            "; ".join(
                f"nothing reads the config key {key!r}"
                + (f" (did you mean {', '.join(near)}?)" if near else "")
                for key, near in hints.items()
            )
            + f". Keys that exist: {', '.join(known)}"
        )


def _strings(config: Any) -> Iterator[str]:
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from _strings(value)
    elif isinstance(config, list):
        for value in config:
            yield from _strings(value)


def start() -> None:
    """What every config does first.

    Lay the shared files under it (see :mod:`monai_sf.wiring`), read its values as they were written (see
    :mod:`monai_sf.overrides`), check its keys, and make the run reproducible by its key ``seed``. What that
    changes in the process holds while the workflow runs (see :mod:`monai_sf.sessions`).

    Raises:
        RuntimeError: no bundle config is being run.
        ModuleNotFoundError: tracking was asked for, and MLflow is not installed.
        ValueError: see :func:`check_keys`, :func:`monai_sf.wiring.with_bases` and
            :func:`monai_sf.overrides.as_meant`.
    """
    workflow = _workflow()
    if workflow is None:
        raise RuntimeError("start() is for the key initialize of a config that `monai.bundle run` runs")
    if is_command_line():
        say_the_cause_last()
    if _is_tracked(workflow.parser.get()) and importlib.util.find_spec("mlflow") is None:
        raise ModuleNotFoundError(
            "tracking needs MLflow, which is not installed: pip install 'monai-sf[mlflow]', or leave "
            "tracking out"
        )
    session = session_of(workflow)
    with session.active():
        for key in dropped():
            workflow.parser[key] = None
        workflow.parser.set(as_meant(with_bases(workflow.parser.get(), workflow.config_root_path)))
        workflow.parser.parse(reset=True)
        check_keys()
        # resolved here, where the workflow is on the stack: who asks the parser later gets this value
        workflow.parser.get_parsed_content("bundle_root")
        workflow._run_expr("join")  # of several processes, where the config has that key
        seed = workflow.parser.get_parsed_content("seed")
        if not (seed is None or isinstance(seed, int)):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        session.seed = seed


def claim_run_dir(run_dir: str | os.PathLike[str], stage: str) -> None:
    """Make the run's folder for this config, or refuse one that another config has begun.

    Until the workflow's run has come to its end, other processes are kept away from the folder.

    Args:
        run_dir: the run's folder; ``<stage>.config.json`` is written into it.
        stage: "train" or "evaluate".

    Raises:
        ValueError: the folder was begun with another config, or its files are damaged or of different
            trainings; names what differs.
        BusyError: another process works on the run.
        OSError: the folder cannot be written to.
    """
    if (workflow := _workflow()) is not None and (stack := session_of(workflow).stack) is not None:
        stack.enter_context(distributed.working_on(run_dir))
    config = {key: value for key, value in merged_config().items() if key not in PLACES}
    distributed.from_main(lambda: _claim(Path(run_dir), stage, config))


def _claim(run_dir: Path, stage: str, config: Mapping[str, Any]) -> None:
    path = run_dir / f"{stage}.config.json"
    check_belongings(run_dir)
    # a first try that failed before it had computed anything does not hold the folder
    if not path.exists() or not _has_work(run_dir, stage):
        write_json(path, config)
        return
    begun = read_json(path, "restore it, remove the run's folder, or choose another output_dir")
    if differences := _differences(begun, config, begun.keys() | config.keys()):
        raise ValueError(
            f"{run_dir} was begun with another config ({differences}). Choose another "
            "output_dir, or remove the folder to start anew"
        )


def _has_work(run_dir: Path, stage: str) -> bool:
    return any((run_dir / name).exists() for name in _WORK[stage])


def _differences(begun: Mapping[str, Any], config: Mapping[str, Any], keys: Iterable[str]) -> str:
    return "; ".join(
        f"{key}: {_short(begun.get(key, 'absent'))} there, {_short(config.get(key, 'absent'))} now"
        for key in sorted(keys)
        if begun.get(key) != config.get(key)
    )


def check_trained_alike(run_dir: str | os.PathLike[str]) -> None:
    """Refuse to use a network otherwise than it was trained: images of another size, another dropout.

    The weights would fit, and the outputs would be wrong. Compares all that ``network_def`` and
    ``preprocessing`` are made of with ``train.config.json``; a folder without it is taken as it is.

    Args:
        run_dir: folder of the run.

    Raises:
        ValueError: names what differs, or what is damaged.
    """
    check_belongings(run_dir)
    if (best := Path(run_dir) / "best.pt").exists():  # said now, not when all images were looked at
        check_checkpoint(best)
    path = Path(run_dir) / "train.config.json"
    if not path.exists():
        return
    trained, config = read_json(path, "restore it, or train again"), merged_config()
    made_of = [_made_of(one, "network_def", "preprocessing") for one in (trained, config)]
    if differences := _differences(trained, config, set.union(*made_of)):
        raise ValueError(
            f"{run_dir} was trained with another network or other images ({differences}). Give the overlays "
            "and values of its training here too"
        )


def _made_of(config: Mapping[str, Any], *keys: str) -> set[str]:
    """Top-level keys that some of them refer to, and these themselves."""
    found: set[str] = set()
    todo = list(keys)
    while todo:
        if (key := todo.pop()) not in found and key in config:
            found.add(key)
            for text in _strings([config[key]]):
                todo += re.findall(r"@([A-Za-z_]\w*)", text)
    return found


def claim_cases(run_dir: str | os.PathLike[str], splits: pd.DataFrame, stage: str) -> None:
    """Write down which cases a run is trained on, or refuse other ones.

    Tables that have changed, and another split seed or label rule, move cases between the splits: a resumed
    training, or an evaluation, would test the network on cases that it has seen.

    Args:
        run_dir: folder of the run; ``cases.json`` is written into it when the training begins.
        splits: case table with the column ``split``.
        stage: "train" or "evaluate".

    Raises:
        ValueError: the training or validation cases are not those of ``cases.json``, or that is damaged.
    """
    seen = splits.loc[splits["split"].isin(["train", "val"]), ["split", "label", "case_id"]].astype(str)
    lines = sorted("\t".join(row) for row in seen.itertuples(index=False))
    now = {
        **{name: int((seen["split"] == name).sum()) for name in ("train", "val")},
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }
    distributed.from_main(lambda: _claim_cases(Path(run_dir), now, stage))


def _claim_cases(run_dir: Path, now: Mapping[str, Any], stage: str) -> None:
    path = run_dir / "cases.json"
    if stage == "train" and not _has_work(run_dir, stage):
        write_json(path, now)
    elif path.exists() and (begun := read_json(path, "restore it, or train again")) != now:
        there = [begun.get(name, "an unknown number") for name in ("train", "val")]
        raise ValueError(
            f"{run_dir} was trained on other cases ({there[0]} of them, {there[1]} for validation; "
            f"now {now['train']} and {now['val']}), so that some could be tested that it has seen. Give "
            "dataset_dir, split_seed, label_rules and missing as they were then, or train anew in another "
            "output_dir"
        )


def _short(value: Any, length: int = 80) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= length else text[: length - 3] + "..."


def prepare(
    cases: pd.DataFrame,
    dataset_dir: str | os.PathLike[str],
    *,
    dataset: str,
    split_seed: int,
    near_duplicates: int | None = None,
) -> None:
    """Print how each study splits a case table, and prove that no image is on both sides of a split.

    Args:
        cases: the case table.
        dataset_dir: the folder that the column ``image`` is relative to.
        dataset: name of the dataset.
        split_seed: of the split of groups.
        near_duplicates: also print the pairs on both sides whose perceptual hashes differ in so many bits or
            fewer; they may be other images that look alike, so they are no error. None does not look.

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
        # of the study's own cases: the first of three copies may be no case of it
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


def describe_run(
    cases: pd.DataFrame,
    splits: pd.DataFrame,
    *,
    dataset: str,
    study: str,
    method: str,
    seed: int,
    num_classes: int,
) -> dict[str, Any]:
    """What run.json says of a run, before its results are known.

    Args:
        cases: the whole case table.
        splits: the case table with the column ``split``.
        dataset: name of the dataset.
        study: name of the study.
        method: name of the training method.
        seed: of the run.
        num_classes: of the network; a class without a case is named by its number.
    """
    known = cases.drop_duplicates("label").set_index("label")["label_name"].to_dict()
    sources = sorted(set(cases["source"]))
    # one image that is not real is enough to say so
    kinds = [kind for kind in ("phantom", "rendered") if kind in set(cases["data_kind"])]
    packages = ("monai-sf", "monai", "torch", "pytorch-ignite", "numpy", "pandas", "scikit-learn")
    return {
        "dataset": dataset,
        "study": study,
        "method": method,
        "seed": seed,
        "study_description": find_study(study).description,
        "class_names": [str(known.get(label, f"class {label}")) for label in range(num_classes)],
        "data_kind": kinds[0] if kinds else "real",
        "sources": sources,
        "split_counts": pd.crosstab(splits["label_name"], splits["split"]).to_dict(),
        "config": merged_config(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:  # a source checkout that was not installed
        return "not installed"
