"""Several runs of a bundle, each trained and evaluated by its own config, side by side in local processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from tqdm import tqdm

from monai_sf.errors import root_cause

logger = logging.getLogger(__name__)


def default_workers() -> int:
    """How many runs go side by side: 1 on a GPU, else one a core, at most 2 (memory)."""
    return 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)


def run_studies(
    configs: str | os.PathLike[str],
    *,
    studies: Sequence[str],
    methods: Sequence[str],
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any],
    workers: int,
) -> list[Path]:
    """Train and evaluate a classifier for each study and method; what is complete already is not run again.

    Args:
        configs: the bundle's folder ``configs`` with ``train.yaml`` and ``evaluate.yaml``.
        studies: names of studies.
        methods: names of training methods: that of ``train.yaml``, and those with a file ``<method>.yaml``
            to be laid over it.
        overlays: further config files in that folder, laid over all others.
        overrides: config keys and values, laid over all files; ``output_dir`` must be among them.
        workers: runs side by side. 1 runs them in this process.

    Returns:
        The folders with the results, study by study.

    Raises:
        ValueError: there is no such method.
        RuntimeError: a run failed. The others have been finished before, and stay.
    """
    for method in methods:
        prepare = _workflow(configs, [*_training_files(configs, method), *overlays], overrides, "prepare")
        if (found := prepare.parser.get_parsed_content("method")) != method:
            raise ValueError(f"there is no method {method!r}: train.yaml has {found}, and no {method}.yaml")
    prepare.run()  # once, not once a run
    calls = {
        f"{study}-{method}": (str(configs), method, tuple(overlays), {**overrides, "study": study})
        for study in studies
        for method in methods
    }
    done: dict[str, Path] = {}
    failed: dict[str, BaseException] = {}
    with tqdm(total=len(calls), desc="runs", unit="run") as bar:
        if workers == 1 or len(calls) == 1:
            for name, call in calls.items():
                try:
                    done[name] = train_and_evaluate(*call)
                except Exception as error:
                    logger.exception("the run %s failed", name)
                    failed[name] = error
                bar.update()
        else:
            with _shared_cores(workers), ProcessPoolExecutor(workers, _spawn()) as pool:
                futures = {pool.submit(train_and_evaluate, *call): name for name, call in calls.items()}
                for future in as_completed(futures):
                    problem = future.exception()
                    if problem is None:
                        done[futures[future]] = future.result()
                    else:
                        logger.error("the run %s failed", futures[future], exc_info=problem)
                        failed[futures[future]] = problem
                    bar.update()
    if failed:
        reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise RuntimeError(
            f"{len(failed)} of {len(calls)} runs failed ({reasons}). Mend the cause and run the same "
            "command: what is complete is kept"
        )
    return [done[name] for name in calls]


def train_and_evaluate(
    configs: str, method: str, overlays: Sequence[str], overrides: Mapping[str, Any]
) -> Path:
    """Run a bundle's training and then its evaluation in this process; return the folder of the results.

    Raises what the training or the evaluation raises, without MONAI's wrapping.
    """
    training = _training_files(configs, method)
    try:
        for files in (training, [*training, "evaluate.yaml"]):
            workflow = _workflow(configs, [*files, *overlays], overrides)
            workflow.run()
            workflow.finalize()
    except RuntimeError as error:  # a worker's error loses its causes on the way to the parent
        raise root_cause(error)  # noqa: B904
    return Path(workflow.parser.get_parsed_content("run_dir")) / "results"


def _training_files(configs: str | os.PathLike[str], method: str) -> list[str]:
    own = Path(configs) / f"{method}.yaml"
    return ["train.yaml", own.name] if own.is_file() else ["train.yaml"]


def _workflow(
    configs: str | os.PathLike[str], files: Sequence[str], overrides: Mapping[str, Any], run_id: str = "run"
) -> ConfigWorkflow:
    workflow = ConfigWorkflow([str(Path(configs) / name) for name in files], run_id=run_id, **overrides)
    workflow.initialize()
    return workflow


def _spawn() -> multiprocessing.context.BaseContext:
    return multiprocessing.get_context("spawn")  # forking after torch has started threads can hang


@contextmanager
def _shared_cores(workers: int) -> Iterator[None]:
    """What the workers inherit: their share of the cores, and no progress bars that overwrite each other."""
    inherited = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)), "TQDM_DISABLE": "1"}
    before = {name: os.environ.get(name) for name in inherited}
    os.environ.update(inherited)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
