"""Results from the output folders of FD-Shifts, the code of the paper's benchmark.

A folder holds ``test_results`` with ``raw_logits.npz`` or ``raw_output.npz`` (columns: C logits or softmax
values, label, index of the test set), optionally ``raw_logits_dist.npz`` or ``raw_output_dist.npz``
(N, C, T), ``external_confids.npz`` (N,), ``encoded_output.npz`` (features, index of the test set) and
``attributions*.csv`` (image paths of every test set), and beside it ``hydra/config.yaml``, which names the
test sets in the order of their indices, see `monai_sf.results.fd_shifts_config`. Facts from
IML-DKFZ/fd-shifts, README and ``models/devries_model.py``, and IML-DKFZ/sf-visuals, ``analyser.py``.
"""

from __future__ import annotations

import math
import os
import warnings
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results.fd_shifts_config import NEW_CLASS_STUDY, Experiment, Named, read_config
from monai_sf.results.format import ResultsError, some
from monai_sf.results.results import Results
from monai_sf.vocabulary.methods import METHODS
from monai_sf.vocabulary.shifts import NEW_CLASS, UNKNOWN, is_corruption_name

#: Largest sum of a row of softmax values, rounded to half precision.
_WHOLE = 1.02
#: Bytes that even a small file may unpack to; scores are never compressed two hundredfold.
_LARGE = 2**30

#: What reading a damaged archive raises; RuntimeError: encrypted, or compressed by an unknown method.
_DAMAGE = (OSError, EOFError, ValueError, KeyError, MemoryError, RuntimeError, BadZipFile, zlib.error)

Float = NDArray[np.float64]


def read_fd_shifts(path: str | os.PathLike[str]) -> Results:
    """Read the results of an experiment of FD-Shifts, the code of the paper's benchmark.

    Args:
        path: the experiment's folder (it holds ``test_results`` and ``hydra/config.yaml``), or the folder
            with ``raw_logits.npz`` or ``raw_output.npz`` itself; configs from before and after 2024 are read.
            Validation cases are left out. The data sets of ``new_class_study`` are test sets of new classes,
            whatever their labels. Images are shown if the paths of ``attributions*.csv`` exist. An unknown
            seed becomes a negative number.

    Raises:
        FileNotFoundError: there are no outputs.
        ResultsError: a file is damaged or of another shape, or the config does not identify the test sets.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from monai_sf.results import read_fd_shifts
        >>> Path("exp/test_results").mkdir(parents=True)
        >>> # 2 logits, label, test set
        >>> outputs = [[4.0, 0.0, 0, 0], [1.0, 0.0, 1, 0], [0.0, 2.0, 1, 0]]
        >>> np.savez("exp/test_results/raw_logits.npz", np.array(outputs))
        >>> results = read_fd_shifts("exp")
        >>> list(results.test_sets), results.labels_of("iid").tolist()
        (['iid'], [0, 1, 1])
    """
    folder = Path(path)
    here = any((folder / f"{stem}.npz").is_file() for stem in ("raw_logits", "raw_output"))
    outputs = folder if here else folder / "test_results"
    is_logits = (outputs / "raw_logits.npz").is_file()
    stem = "raw_logits" if is_logits else "raw_output"
    raw = _array(outputs / f"{stem}.npz", None, None)
    if raw is None:
        raise FileNotFoundError(f"{folder} holds neither raw_logits.npz nor raw_output.npz")
    if raw.shape[1] < 4 or not len(raw):
        raise ResultsError(f"{stem}.npz must have at least two classes, label and index, got {raw.shape}")
    experiment = read_config(outputs if (outputs / "hydra").is_dir() else outputs.parent)
    n, classes = len(raw), raw.shape[1] - 2
    index = _whole(raw[:, -1], f"{outputs / stem}.npz: index of the test set")
    sets = _sets(experiment, index, outputs)
    known = np.array([named.kind != NEW_CLASS for named in sets])[index]
    labels = np.full(n, UNKNOWN)  # those of new classes are of another data set
    labels[known] = _whole(raw[known, -2], f"{outputs / stem}.npz: label")
    keep = _kept(sets, index, labels, classes, has_config=experiment.sets is not None)
    samples = _array(outputs / f"{stem}_dist.npz", n, classes, None)
    features = _array(outputs / "encoded_output.npz", n, None)
    confidence = _array(outputs / "external_confids.npz", n)
    method = experiment.method
    trained = METHODS[method]
    if confidence is None and trained.scores is not None:
        raise ResultsError(f"{outputs} has no external_confids.npz, the confidence of {method}")
    if features is not None and not np.array_equal(features[:, -1], index):
        raise ResultsError(
            f"{outputs / 'encoded_output.npz'} holds other test sets or another order than {stem}"
        )
    scores = raw[:, :-2]
    # their Deep Gamblers also writes softmax values, without the share of the reservation, as logits
    are_logits = is_logits and not (method == "deepgamblers" and _are_shares(scores))
    files = _files(outputs, index, keep)
    shown = [str(f) for f in files[keep]] if files is not None else []
    domains = [str(sets[i].name) for i in index[keep]]
    return Results.from_arrays(
        logits=_as_logits(scores[keep], are_logits, f"{outputs / stem}.npz"),
        labels=labels[keep],
        mcd_samples=(
            None
            if samples is None
            else _as_logits(samples[keep], is_logits, f"{outputs / stem}_dist.npz").transpose(0, 2, 1)
        ),
        features=None if features is None else features[keep, :-1],
        learned_confidence=confidence[keep] if confidence is not None and trained.heads else None,
        case_ids=_case_ids(domains, labels[keep]),
        domains=domains,
        kinds={s.name: s.kind for s in sets if s.name in domains and s.kind},
        images=shown if shown and all(os.path.isfile(f) for f in shown) else None,
        dataset=experiment.dataset or folder.name,
        method=method,
        # runs of unknown seeds are distinguished by their outputs
        seed=-zlib.crc32(raw.tobytes()) if experiment.seed is None else experiment.seed,
    )


def _array(path: Path, *shape: int | None) -> Float | None:
    """Read the array of a file, None without one; its shape is checked before it is read into memory."""
    if not path.is_file():
        return None
    try:
        found, dtype = _header(path)
        if len(shape) == 1 and found[1:] == (1,):
            shape = (*shape, 1)  # a single column is a vector
        _check_shape(path, found, shape)
        if dtype.kind not in "biuf":
            raise ResultsError(f"{path} must hold real numbers, got dtype {dtype}")
        if len(shape) == 2 and shape[0] is None and dtype == np.float16 and found[1] > 2050:
            raise ResultsError(f"{path} holds {found[1] - 2} classes in half precision, which rounds labels")
        with np.load(path, allow_pickle=False) as archive:
            values = np.asarray(archive["arr_0"], np.float64)
    except ResultsError:
        raise
    except _DAMAGE as error:
        raise ResultsError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    return values[:, 0] if shape[1:] == (1,) else values


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and dtype in a file's header, if the file can be large enough for it."""
    with ZipFile(path) as archive:
        stored = archive.getinfo("arr_0.npy")
        with archive.open(stored) as file:
            version = np.lib.format.read_magic(file)
            one = version == (1, 0)
            read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    size = math.prod(shape) * dtype.itemsize
    packed = path.stat().st_size
    if size > stored.file_size or stored.file_size > max(_LARGE, 200 * packed):
        raise ResultsError(f"{path} is damaged: it promises {shape} values of {dtype} in {packed} bytes")
    return shape, dtype


def _check_shape(path: Path, found: tuple[int, ...], shape: tuple[int | None, ...]) -> None:
    if shape[0] is not None and found[:1] != shape[:1]:
        entries = found[0] if found else 1
        raise ResultsError(f"{path} has {entries} entries, the raw outputs beside it have {shape[0]}")
    if len(found) != len(shape) or any(a not in (b, None) for a, b in zip(shape, found, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ResultsError(f"{path} must have shape ({wanted}), got {found}")


def _whole(column: Float, name: str) -> NDArray[np.int64]:
    wrong = ~((column >= 0) & (column < 2**31) & (column == np.floor(column)))
    if wrong.any():
        raise ResultsError(
            f"{name} must be a whole number from 0 on; {int(wrong.sum())} of {len(column)} are not: "
            f"{some(np.unique(column[wrong]).tolist())}"
        )
    return column.astype(np.int64)


def _sets(experiment: Experiment, index: NDArray[np.int64], outputs: Path) -> list[Named]:
    """Return the test sets by their index."""
    there = np.unique(index).tolist()
    if experiment.sets is None:
        if there != [0]:
            raise ResultsError(
                f"{outputs} holds the test sets {some(there)}, and no hydra/config.yaml beside it says which "
                "they are: validation may be among them. Put the experiment's config there"
            )
        return [Named("iid", "iid")]
    if there != list(range(len(experiment.sets))):
        named = ", ".join(f"{i} {s.theirs}" for i, s in enumerate(experiment.sets))
        raise ResultsError(
            f"{outputs} holds the test sets {some(there)}, and hydra/config.yaml names others: {named}. Give "
            "the config that these outputs were made with (eval.val_tuning, eval.query_studies)"
        )
    return experiment.sets


def _kept(
    sets: list[Named], index: NDArray[np.int64], labels: NDArray[np.int64], classes: int, *, has_config: bool
) -> NDArray[np.bool_]:
    """Return a mask of the cases that belong to a test set and have a trained class or are of new ones."""
    wanted = np.array([named.name is not None for named in sets])[index]
    strange = wanted & (labels >= classes)  # those of new classes are -1
    if strange.any():
        where = ", ".join(
            f"{sets[i].theirs} ({int((index[strange] == i).sum())})" for i in np.unique(index[strange])
        )
        said = f"{where}: labels must be in 0..{classes - 1}, got {some(np.unique(labels[strange]).tolist())}"
        if has_config:
            raise ResultsError(f"{said}. Only {NEW_CLASS_STUDY} may hold classes without training")
        warnings.warn(f"{said}. Cases of classes without training are left out", UserWarning, stacklevel=2)
    keep: NDArray[np.bool_] = wanted & ~strange
    if not keep.any():
        raise ResultsError(f"no case of a test set has a label in 0..{classes - 1}")
    return keep


def _as_logits(values: Float, are_logits: bool, name: str) -> Float:
    """Return logits of (n, C, ...) values; of shares the logarithm, which need not sum to 1."""
    if not are_logits and not _are_shares(values):
        raise ResultsError(f"{name} must hold softmax values; logits belong in raw_logits.npz")
    return values if are_logits else np.log(np.maximum(values, np.finfo(np.float32).tiny))


def _are_shares(values: Float) -> bool:
    return bool((values >= 0).all() and (values.sum(axis=1) <= _WHOLE).all())


def _case_ids(domains: list[str], labels: NDArray[np.int64]) -> list[str]:
    """Return ids that a corrupted copy shares with its original.

    Corrupted test sets have the cases of the iid one in its order; the cases of one with another length or
    other labels get their own ids.
    """
    where = np.array(domains, object)
    source = labels[where == "iid"]
    ids = np.empty(len(domains), object)
    for domain in dict.fromkeys(domains):
        members = np.flatnonzero(where == domain)
        copies = is_corruption_name(domain) and np.array_equal(labels[members], source)
        ids[members] = [f"{'iid' if copies else domain}-{k}" for k in range(len(members))]
    return [str(i) for i in ids]


def _files(outputs: Path, index: NDArray[np.int64], keep: NDArray[np.bool_]) -> NDArray[Any] | None:
    """Return the image path of every kept entry, None unless all are known."""
    files = np.full(len(index), None, object)
    sets = np.unique(index[keep])
    for i in sets:
        table = outputs / f"attributions{i}.csv"
        if not table.is_file() and len(sets) == 1:
            table = outputs / "attributions.csv"
        if not table.is_file():
            return None
        try:
            paths = pd.read_csv(table)
        except (OSError, ValueError, pd.errors.ParserError) as error:
            raise ResultsError(f"{table} cannot be read ({error})") from error
        if "filepath" not in paths or len(paths) != (index == i).sum():
            return None
        files[index == i] = paths["filepath"].astype(str)
    return files
