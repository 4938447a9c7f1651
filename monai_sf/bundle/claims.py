"""Ownership of a run's folder: config and cases of its first call are fixed for all later ones."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_sf.bundle.keys import texts
from monai_sf.bundle.sessions import session_of
from monai_sf.bundle.workflow import merged_config, running
from monai_sf.files import differences, read_json, write_json
from monai_sf.networks import distributed
from monai_sf.networks.checkpoints import check_belongings, check_checkpoint
from monai_sf.results.format import NOT_REPORTED, read_run
from monai_sf.scores import CSFS
from monai_sf.vocabulary.config_keys import PLACES, TRACKING

#: Output of a stage; a run folder without any can be claimed again.
_WORK = {"train": ("last.pt", "training.json"), "evaluate": ("results", *NOT_REPORTED)}

#: Beginning of the names of arrays of repeated passes to the key that says how many or which.
_PASSES = {"tta_": "test_time_augmentation", "mcd_": "mc_samples"}

#: Keys that identify a run.
_NAMES = {"dataset_name", "study", "method", "seed"}


def claim_run_dir(run_dir: str | os.PathLike[str], stage: str) -> None:
    """Create the run's folder for this config, or refuse one that was started with another config.

    The folder is locked against other processes until the workflow's run ends.

    Args:
        run_dir: the run's folder; ``<stage>.config.json`` is written into it.
        stage: "train" or "evaluate".

    Raises:
        ValueError: the folder was started with another config, or its files are damaged or of different
            trainings; names the differences.
        RuntimeError: another process works on the run, or no bundle config is being run.
        OSError: the folder cannot be written to.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> config = {"imports": ["$import monai_sf", "$import monai_sf.bundle"], "lr": 0.1}
        >>> config |= {
        ...     "train": {"lr": "@lr"},
        ...     "run": "$monai_sf.bundle.claim_run_dir('run', 'train')",
        ... }
        >>> _ = Path("train.json").write_text(json.dumps(config))
        >>> _ = ConfigWorkflow(
        ...     "train.json", workflow_type="train", logging_file=False
        ... ).run()
        >>> Path("run/last.pt").touch()  # the training has begun
        >>> try:
        ...     ConfigWorkflow(
        ...         "train.json", workflow_type="train", logging_file=False, lr=0.2
        ...     ).run()
        ... except RuntimeError as error:  # MONAI's, about the expression
        ...     print(error.__cause__)
        run was started with another config (lr: 0.1 there, 0.2 now). Choose another
        output_dir, or remove the folder to start again
    """
    if (workflow := running()) is not None and (stack := session_of(workflow).stack) is not None:
        stack.enter_context(distributed.working_on(run_dir))
    config = {key: value for key, value in merged_config().items() if key not in PLACES}
    if config.get("audit") is True:  # results belong to the SHA-256 of the model, wherever its files are
        config.pop("weights", None)
    if isinstance(studies := config.get("studies"), Mapping):  # another study is no other run
        config["studies"] = {name: study for name, study in studies.items() if name == config.get("study")}
    distributed.from_main(lambda: _claim(Path(run_dir), stage, config))


def _claim(run_dir: Path, stage: str, config: Mapping[str, Any]) -> None:
    path = run_dir / f"{stage}.config.json"
    check_belongings(run_dir)
    # a first attempt that failed before any output does not claim the folder
    if not path.exists() or not _work(run_dir, stage):
        write_json(path, config)
        return
    former = read_json(path, "restore it, remove the run's folder, or choose another output_dir")
    if changes := differences(former, config):
        again = "remove the folder to start again"
        if stage == "evaluate":  # the training beside it need not be lost
            again = f"remove {', '.join(map(str, _work(run_dir, stage)))} to evaluate again"
        raise ValueError(
            f"{run_dir} was started with another config ({changes}). Choose another output_dir, or {again}"
        )


def _work(run_dir: Path, stage: str) -> list[Path]:
    return [path for name in _WORK[stage] if (path := run_dir / name).exists()]


def check_trained_alike(run_dir: str | os.PathLike[str]) -> None:
    """Refuse to use a network with settings other than in training, such as the size of images or dropout.

    The weights would fit, and the outputs would be wrong. Compares all keys that ``network_def`` and
    ``preprocessing`` depend on with ``train.config.json``; a folder without that file is accepted.

    Args:
        run_dir: folder of the run.

    Raises:
        ValueError: names the differences, or a damaged file.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> config = {
        ...     "imports": ["$import monai_sf", "$import monai_sf.bundle"],
        ...     "size": [32, 32],
        ... }
        >>> config["preprocessing"] = {
        ...     "_target_": "Resized",
        ...     "keys": "image",
        ...     "spatial_size": "@size",
        ... }
        >>> config["network_def"] = {"_target_": "torch.nn.Flatten"}
        >>> config["train"] = ["@network_def", "@preprocessing"]
        >>> Path("run").mkdir()
        >>> _ = Path("run/train.config.json").write_text(json.dumps(config))
        >>> config |= {
        ...     "size": [64, 64],
        ...     "run": "$monai_sf.bundle.check_trained_alike('run')",
        ... }
        >>> _ = Path("evaluate.json").write_text(json.dumps(config))
        >>> try:
        ...     ConfigWorkflow(
        ...         "evaluate.json", workflow_type="train", logging_file=False
        ...     ).run()
        ... except RuntimeError as error:  # MONAI's, about the expression
        ...     print(error.__cause__)
        run was trained with another network or other images (size: [32, 32] there,
        [64, 64] now). Give the overlays and values of its training
    """
    check_belongings(run_dir)
    if (best := Path(run_dir) / "best.pt").exists():  # checked before all images are
        check_checkpoint(best)
    if not (trained := trained_config(run_dir)):
        return
    config = merged_config()
    keys = [made_of(one, "network_def", "preprocessing") for one in (trained, config)]
    if changes := differences(trained, config, set.union(*keys)):
        raise ValueError(
            f"{run_dir} was trained with another network or other images ({changes}). Give the overlays "
            "and values of its training"
        )


def check_ensemble(run_dirs: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse the mean of networks that differ in more than the seed of their training.

    Networks of one architecture can be of other data or classes, and their mean would look like an answer.
    Compares all that the training read, and its cases, with the first run; folders without
    ``train.config.json`` or ``cases.json`` are accepted.

    Args:
        run_dirs: folders of the runs; none for no ensemble.

    Raises:
        ValueError: names every run that differs, and in what, or a damaged file.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai_sf.bundle import check_ensemble
        >>> for seed, size in enumerate([32, 32, 64]):
        ...     Path(f"run-{seed}").mkdir()
        ...     config = {"seed": seed, "size": size, "train": {"size": "@size"}}
        ...     _ = Path(f"run-{seed}/train.config.json").write_text(json.dumps(config))
        >>> check_ensemble(["run-0", "run-1"])
        >>> check_ensemble(["run-0", "run-1", "run-2"])
        Traceback (most recent call last):
        ...
        ValueError: these runs are no ensemble: run-2 differs from run-0 in size
    """
    runs = [(folder, trained) for folder in map(Path, run_dirs) if (trained := trained_config(folder))]
    faults = []
    for folder, other in runs[1:]:
        first, one = runs[0]
        keys = (made_of(one, "train") | made_of(other, "train") | _NAMES) - PLACES - TRACKING - {"seed"}
        found = sorted(key for key in keys if one.get(key) != other.get(key))
        cases = [run / "cases.json" for run in (first, folder)]
        if all(map(Path.exists, cases)):
            before, after = (read_json(path, "restore it, or train again") for path in cases)
            found += ["training or validation cases"] if before != after else []
        if not found and one.get("seed") == other.get("seed"):
            found = ["nothing, not even the seed"]
        if found:
            faults.append(f"{folder} differs from {first} in {', '.join(found)}")
    if faults:
        raise ValueError(f"these runs are no ensemble: {'; '.join(faults)}")


def check_evaluated_alike(evaluation: str | os.PathLike[str], csf: str | None) -> None:
    """Refuse to decide by a score of repeated passes if its threshold was chosen with other passes.

    Args:
        evaluation: run.json of the evaluation that chose the thresholds.
        csf: name of the score that decides; None if none does.

    Raises:
        ValueError: ``test_time_augmentation`` has other views in the evaluation's config, or ``mc_samples``
            is another number: mutual information and variance rise with the number of samples.

    Examples:
        >>> import json
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from monai.bundle import ConfigWorkflow
        >>> from monai_sf.results import Results
        >>> results = Results.from_arrays([[2.0, 0], [0, 1]], [0, 1])
        >>> run = {**results.run, "config": {"mc_samples": 50}}
        >>> replace(results, run=run).save("results")
        >>> config = {
        ...     "imports": ["$import monai_sf", "$import monai_sf.bundle"],
        ...     "mc_samples": 10,
        ... }
        >>> config["run"] = (
        ...     "$monai_sf.bundle.check_evaluated_alike('results/run.json', 'MCD-MSR')"
        ... )
        >>> _ = Path("inference.json").write_text(json.dumps(config))
        >>> try:
        ...     ConfigWorkflow(
        ...         "inference.json", workflow_type="train", logging_file=False
        ...     ).run()
        ... except RuntimeError as error:  # MONAI's, about the expression
        ...     print(error.__cause__)
        the threshold of MCD-MSR in results/run.json was chosen with mc_samples 50,
        which is 10 here: give the same
    """
    if csf is None:
        return
    chosen, now = read_run(Path(evaluation)).get("config", {}), merged_config()
    for prefix, key in _PASSES.items():
        there, here = chosen.get(key), now.get(key)
        same = sorted(there) == sorted(here or ()) if isinstance(there, list) else there == here
        if any(name.startswith(prefix) for name in CSFS[csf].stored) and there is not None and not same:
            raise ValueError(
                f"the threshold of {csf} in {evaluation} was chosen with {key} {there}, which is {here} "
                "here: give the same"
            )


def config_of_run(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the config of a run: what the training read as in ``train.config.json``, the rest as it is now.

    An evaluation needs no values of the training, such as its learning rate, and may be started without them.

    Args:
        run_dir: folder of the run.

    Raises:
        ValueError: the run was trained as another dataset, study, method or seed; or the file is damaged.
    """
    trained, config = trained_config(run_dir), merged_config()
    if changes := differences(trained, config, trained.keys() & config.keys() & _NAMES):
        raise ValueError(
            f"{run_dir} was trained as another run ({changes}): its results would bear a wrong name. "
            "Give the values of its training"
        )
    evaluated_only = made_of(config, "run") - made_of(trained, "train")
    return {**config, **{key: value for key, value in trained.items() if key not in evaluated_only}}


def trained_config(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Return ``train.config.json``; empty without one, as for a network from elsewhere."""
    path = Path(run_dir) / "train.config.json"
    return read_json(path, "restore it, or train again") if path.exists() else {}


def made_of(config: Mapping[str, Any], *keys: str) -> set[str]:
    """Return some top-level keys and those that they refer to."""
    found: set[str] = set()
    todo = list(keys)
    while todo:
        if (key := todo.pop()) not in found and key in config:
            found.add(key)
            for _, text in texts(config[key]):
                todo += re.findall(r"@([A-Za-z_]\w*)", text)
    return found


def trained_on(splits: pd.DataFrame) -> dict[str, Any]:
    """Return what identifies the training and validation cases of a split: their numbers, and a hash.

    Args:
        splits: case table with the column ``split``.
    """
    seen = splits.loc[splits["split"].isin(["train", "val"]), ["split", "label", "case_id"]].astype(str)
    lines = sorted("\t".join(row) for row in seen.itertuples(index=False))
    return {
        **{name: int((seen["split"] == name).sum()) for name in ("train", "val")},
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def claim_cases(run_dir: str | os.PathLike[str], splits: pd.DataFrame, stage: str) -> None:
    """Record the cases that a run is trained on, or refuse other ones.

    Changed tables, another split seed or another label rule move cases between the splits: a resumed training
    or an evaluation would test the network on cases that it has seen.

    Args:
        run_dir: folder of the run; ``cases.json`` is written into it when the training starts.
        splits: case table with the column ``split``.
        stage: "train" or "evaluate".

    Raises:
        ValueError: the training or validation cases are not those of ``cases.json``, or that is damaged.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from monai_sf.bundle import claim_cases
        >>> splits = pd.DataFrame({"case_id": list("abcd"), "label": [0, 1, 0, 1]})
        >>> splits["group"] = splits["case_id"]
        >>> splits["split"] = ["train", "train", "val", "iid"]
        >>> Path("run").mkdir()
        >>> claim_cases("run", splits, "train")
        >>> other = splits.assign(split=["train", "iid", "val", "train"])
        >>> claim_cases("run", other, "evaluate")
        Traceback (most recent call last):
        ...
        ValueError: run was trained on other cases (2 of them, 1 for validation; now 2
        and 1), so that some could be tested that it has seen. ...
    """
    now = trained_on(splits)
    distributed.from_main(lambda: _claim_cases(Path(run_dir), now, stage))


def _claim_cases(run_dir: Path, now: Mapping[str, Any], stage: str) -> None:
    path = run_dir / "cases.json"
    if stage == "train" and not _work(run_dir, stage):
        write_json(path, now)
    elif path.exists() and (former := read_json(path, "restore it, or train again")) != now:
        there = [former.get(name, "an unknown number") for name in ("train", "val")]
        raise ValueError(
            f"{run_dir} was trained on other cases ({there[0]} of them, {there[1]} for validation; "
            f"now {now['train']} and {now['val']}), so that some could be tested that it has seen. Give "
            "dataset_dir, split_seed, label_rules and missing as they were then, or train anew in another "
            "output_dir"
        )
