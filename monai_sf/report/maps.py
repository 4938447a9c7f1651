"""The map of each run's latent space: embeddings of the shown cases, several runs at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from monai_sf.files.cores import usable_cores
from monai_sf.report.embedding import MIN_CASES, embed
from monai_sf.report.runs import Note, Run
from monai_sf.report.words import run_title

logger = logging.getLogger(__name__)

Given = TypeVar("Given")
Found = TypeVar("Found")


def with_maps(runs: Sequence[Run], seed: int, caches: Sequence[Path | None]) -> list[Run]:
    """Return the runs with their embeddings, and with notes on what is not on the map.

    Args:
        runs: as :func:`monai_sf.report.runs.evaluate` returns them.
        seed: of the embeddings.
        caches: folder for the embedding of each run, None to always compute it.
    """
    return _at_once(lambda given: _with_map(given[0], seed, given[1]), list(zip(runs, caches, strict=True)))


def _at_once(act: Callable[[Given], Found], given: Sequence[Given]) -> list[Found]:
    """Return a function of each entry, in as many threads as there are cores.

    t-SNE leaves Python's lock alone. On threads of its own it would wait for the slowest of them 1,500 times:
    beside other work on the same cores that took twelve times as long as one thread.
    """
    workers = min(len(given), usable_cores())
    if workers < 2:
        return [act(one) for one in given]
    with ThreadPoolExecutor(workers, initializer=threadpool_limits, initargs=(1, "openmp")) as pool:
        return list(pool.map(act, given))


def _with_map(run: Run, seed: int, cache: Path | None) -> Run:
    if "members" in run.results.run:
        problems = ["An ensemble of several classifiers has no latent space of its own, so there is no map."]
        embedding = None
    else:
        embedding, problems = _embedding(run, seed, cache)
    return replace(run, embedding=embedding, notes=(*run.notes, *(Note("map", text) for text in problems)))


def _embedding(run: Run, seed: int, cache: Path | None) -> tuple[NDArray[np.float32] | None, list[str]]:
    sets, sample = run.sets, run.sample
    without = [s.name for s in sets if "features" not in s.arrays]
    if len(without) == len(sets):
        return None, ["No features are stored, so there is no map of the latent space."]
    widths = {s.arrays["features"].shape[1] for s in sets if s.name not in without}
    if len(widths) > 1:
        return None, [f"The test sets have features of different lengths {sorted(widths)}: no map is made."]
    features = np.full((len(sample.position), widths.pop()), np.nan, np.float32)
    for i, test_set in enumerate(sets):
        if test_set.name not in without:
            mine = sample.test_set == i
            features[mine] = test_set.arrays["features"][sample.position[mine]]
    notes = [f"No features are stored for {', '.join(without)}: not on the map."] if without else []
    usable = np.isfinite(features).all(axis=1)
    has_features = np.array([s.name not in without for s in sets])[sample.test_set]
    broken = int((~usable & has_features).sum())
    if broken:
        which = "case has" if broken == 1 else "cases have"
        notes.append(f"{broken} shown {which} NaN or infinite features: not on the map.")
    if usable.sum() < MIN_CASES:
        return None, [*notes, f"Fewer than {MIN_CASES} cases have usable features: no map is made."]
    embedding = np.full((len(features), 3), np.nan, np.float32)
    try:
        embedding[usable] = embed(features[usable], seed, cache)
    except ValueError as error:  # of scikit-learn
        logger.warning("no map of %s: %s", run_title(run.results.run), error)
        return None, [*notes, "No map can be computed of these features."]
    if not embedding[usable].any():
        notes.append("All shown cases have the same features: on the map they are one point.")
    return embedding, notes
