"""Results of one run on disk: a self-describing folder, written atomically.

A run is one (dataset, study, method, seed). Its folder holds::

    run.json        what ran: versions, merged config, seed, counts; and the manifest: a hash of every file
    cases.csv       the case table of all evaluated cases, one row per case
    columns.json    the types of its columns, see ``case_table``
    iid/            one folder per test set (iid, target, corruption-gaussian_noise-3, ...)
        test_set.json   its name, which may be any text that the folder's name cannot hold
        rows.npy    (n,) int64, the row of cases.csv of every entry
        logits.npy  (n, C) float32, and the other arrays of ARRAYS
    _fitted/        what the scores learned from training and validation cases: <fit>.<array>.npy
    _reference/     features, logits and labels that scores can be fitted to, where they were given

All arrays are plain ``.npy`` files without pickles and are memory-mapped on loading, so that a hundred
thousand cases with 2,208 features need no memory. ``run.json`` is written last: a folder without it is an
unfinished evaluation. Loading verifies the hash of every file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.files import atomic_folder
from monai_sf.results.ensembles import Member, parts_of_ensemble
from monai_sf.results.format import (
    ARRAYS,
    FAILURE,
    FAILURE_ABOVE,
    FITTED,
    LOGARITHMS,
    REFERENCE,
    RUN_FILE,
    SCORES,
    ResultsError,
    check_run,
    check_shared,
    check_text,
    read_run,
    some,
)
from monai_sf.results.from_arrays import parts_from_arrays
from monai_sf.results.from_scores import parts_from_scores
from monai_sf.results.test_set import TestSet
from monai_sf.results.writer import ResultsWriter
from monai_sf.vocabulary.ids import is_absent
from monai_sf.vocabulary.shifts import NEW_CLASS, UNKNOWN

#: Reports cache expensive computations beside the results.
_KEPT = re.compile(r"embedding-[0-9a-f]+\.npz")


def _own_files(path: Path) -> Collection[str]:
    """Return the files of finished results, and those that reports cached; none without finished results."""
    try:
        files = list(read_run(path / RUN_FILE)["files"])
    except (OSError, ValueError, TypeError, RecursionError):
        return ()
    return {RUN_FILE, *files, *(entry.name for entry in path.iterdir() if _KEPT.fullmatch(entry.name))}


@dataclass(frozen=True, eq=False)
class Results:
    """The outputs of one run on all its test sets.

    Attributes:
        run: the content of run.json. Required keys: ``dataset``, ``study``, ``method``, ``seed``,
            ``class_names`` (list of C names, none without classes), ``data_kind`` ("real", "rendered" or
            "phantom"). Optional: ``scores``, the run's own scores, see :attr:`scores`; ``failure_above``, see
            :attr:`failure_above`; ``members``, the seeds of an ensemble's networks, of which ``seed`` is the
            smallest.
        cases: the case table of the evaluated cases (``case_id``, ``label``, ``label_name``, ``group``,
            ``source`` and the dataset's own columns), index 0..n-1. Without classes there are no labels. In a
            test set of the kind ``new_class`` every ``label`` is -1, and ``label_name`` the true class.
        test_sets: name to test set, in the order of evaluation.
        fitted: what scores were fitted to, ``<fit>.<array>`` to an array of numbers.
        reference: arrays to fit scores to (``monai_sf.vocabulary.reference.REFERENCE_ARRAYS``), for runs
            whose scores were not fitted when they were evaluated.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.results import Results
        >>> logits = np.array([[3.0, 0.0], [0.2, 0.0], [0.0, 2.0], [1.5, 0.0]])
        >>> labels = np.array([0, 0, 1, 1])
        >>> results = Results.from_arrays(logits, labels, case_ids=list("abcd"))
        >>> test_set = results.test_sets["iid"]
        >>> wrong = test_set.arrays["logits"].argmax(1) != results.labels_of("iid")
        >>> results.cases_of("iid")["case_id"][wrong].tolist()
        ['d']
    """

    run: Mapping[str, Any]
    cases: pd.DataFrame
    test_sets: Mapping[str, TestSet] = field(default_factory=dict)
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    reference: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that cases, labels and test sets are consistent; all faulty ones are named at once.

        Raises:
            ResultsError: fewer than two classes or two of the same name, duplicate case ids, labels outside
                0..C-1 (other than -1 in test sets of new classes, which hold no other), rows beyond the case
                table, two entries of one case in a test set, NaN or infinite outputs, text that is not UTF-8,
                an unknown name of a fitted or reference array.
        """
        check_run(self.run)
        for column in ("case_id", "label") if self.is_classification else ("case_id",):
            if column not in self.cases:
                raise ResultsError(f"case table has no column {column!r}; it has {list(self.cases.columns)}")
        if absent := sum(map(is_absent, self.cases["case_id"].tolist())):
            raise ResultsError(f"{absent} case ids are empty: name every case, so that it can be identified")
        ids = self.cases["case_id"].astype(str)  # as written and read again: 1 and "1" are the same
        repeated = ids[ids.duplicated()]
        if len(repeated):
            raise ResultsError(f"{len(repeated)} case ids occur twice: {some(repeated)}")
        check_text(
            (name, [] if pd.api.types.is_numeric_dtype(values.dtype) else values)
            for name, values in self.cases.items()
        )
        names = list(self.run["class_names"])
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ResultsError(f"class_names must differ; these occur twice: {twice}")
        classes = len(names)
        if classes == 1 or (not classes and any("errors" not in s.arrays for s in self.test_sets.values())):
            raise ResultsError(f"there must be at least two classes, got class_names {names}")
        for name, test_set in self.test_sets.items():
            if name != test_set.name:
                raise ResultsError(f"the test set {test_set.name!r} has the key {name!r}")
            self._check(test_set, classes)
        self._check_labels(classes)
        check_shared(self.fitted, self.reference, classes)

    def _check_labels(self, classes: int) -> None:
        new = [test_set for test_set in self.test_sets.values() if test_set.kind == NEW_CLASS]
        if not self.is_classification:
            if new:
                names = ", ".join(test_set.name for test_set in new)
                raise ResultsError(
                    f"without classes none can be new: {names} must not be of kind {NEW_CLASS}"
                )
            return
        ids, label = self.cases["case_id"], self.cases["label"]
        unknown = np.zeros(len(ids), np.bool_)
        for test_set in new:
            unknown[test_set.rows] = True
        faults = []
        if len(wrong := ids[~unknown & ~label.isin(range(classes))]):
            faults.append(
                f"label must be an integer in 0..{classes - 1}; {len(wrong)} are not: {some(wrong)}. Cases "
                f"of other classes belong to test sets of kind {NEW_CLASS}"
            )
        if len(wrong := ids[unknown & ~label.isin([UNKNOWN])]):
            faults.append(
                f"label must be {UNKNOWN} in test sets of kind {NEW_CLASS}; {len(wrong)} are not: "
                f"{some(wrong)}"
            )
        for test_set in self.test_sets.values():
            if test_set.kind != NEW_CLASS and unknown[test_set.rows].any():
                both = ids.iloc[test_set.rows[unknown[test_set.rows]]]
                faults.append(
                    f"test set {test_set.name} of kind {test_set.kind} holds {len(both)} cases of new "
                    f"classes: {some(both)}"
                )
        if faults:
            raise ResultsError("; ".join(faults))

    def _check(self, test_set: TestSet, classes: int) -> None:
        where = f"test set {test_set.name}"
        rows = test_set.rows
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.cases)):
            raise ResultsError(
                f"{where}: rows must be in 0..{len(self.cases) - 1}, got {rows.min()}..{rows.max()}"
            )
        if len(np.unique(rows)) != len(rows):
            raise ResultsError(f"{where}: {len(rows) - len(np.unique(rows))} cases occur twice")
        if self.is_classification and "errors" in test_set.arrays:
            raise ResultsError(f"{where}: errors in place of logits, though there are class_names")
        for score, name in self.scores.items():
            if test_set.arrays.get(name, np.zeros(())).ndim != 1:
                raise ResultsError(f"{where}: the array {name} of the score {score} must be there and (n,)")
        for name, array in test_set.arrays.items():
            if ARRAYS.get(name, ("",))[0] == "C" and array.shape[1] != classes:
                raise ResultsError(f"{where}: {name} has {array.shape[1]} classes, the run has {classes}")
            if name == "features":  # a report without a latent space is still a report
                continue
            bad = np.isnan(array) if name in LOGARITHMS else ~np.isfinite(array)
            bad = bad.any(axis=tuple(range(1, bad.ndim)))
            if bad.any():
                ids = self.cases["case_id"].iloc[rows[bad]]
                raise ResultsError(f"{where}: {name} is NaN or infinite for {bad.sum()} cases: {some(ids)}")
            if name == "errors" and (outside := (array < 0) | (array > 1)).any():
                ids = self.cases["case_id"].iloc[rows[outside]]
                raise ResultsError(f"{where}: {outside.sum()} errors are not in [0, 1]: {some(ids)}")

    @classmethod
    def from_arrays(
        cls, logits: ArrayLike | None = None, labels: ArrayLike | None = None, **arguments: Any
    ) -> Results:
        """Build the results of a classifier from its outputs on N images of one or several test sets.

        Numbers may be NumPy arrays, torch tensors, lists, or pandas columns. Cases are matched by position,
        not by the index of a Series or table; the same index in another order is refused.

        Args:
            logits: (N, C) class logits, or the single logit (N, 1) or (N,) of a binary classifier, that of
                class 1; None when ``probabilities`` are given.
            labels: (N,) integers in 0..C-1; see ``kinds`` for cases of other classes.
            **arguments: those that follow, by name; all are optional.
            probabilities: (N, C) in place of logits, rows that sum to 1 within their precision, such as two
                digits or bfloat16.
            features: (N, F), the latent space; without them the report has no map. They may be a memory map;
                float32 is not copied, so do not change it afterwards. The same holds for images.
            images: (N, H, W) or (N, H, W, 3) uint8; or N paths of image files, or N uint8 arrays of different
                sizes, which are shrunk to 64 pixels.
            mcd_samples: (N, T, C) of T passes with dropout, C as in the logits: logits, or probabilities if
                those are given.
            tta_samples: (N, V, C) of V passes over augmented views, in the same way; one of them is that of
                the image itself.
            learned_confidence: (N,) in [0, 1], of ConfidNet or DeVries, or one minus the reservation of Deep
                Gamblers; state which with ``method``.
            scores: further scores of any kind: name to confidences (N,), finite, higher = more sure. They are
                rows of tables and reports beside the registered ones, whose names they must not have.
            arrays: further arrays that registered scores of other packages need, by name, (N, ...) numbers.
            training: ``features`` (n, F), ``logits`` or ``probabilities`` (n, C) as for the test cases, and
                ``labels`` (n,) of the training cases, on clean images without augmentation or dropout:
                whatever of it there is. The scores that are fitted to training cases
                (``docs/reference/scores.md``) appear with it. Features are not copied, as above.
            validation: the same of the validation cases.
            last_layer: weight (C, F) and bias (C,) of the linear layer from the features to the logits. A
                layer that does not give the logits is refused.
            case_ids: N ids. One id may occur once in every domain: a case and its corrupted versions.
            domains: N names of test sets: "iid" for the domain of training, "corruption-<kind>-<1 to 5>" for
                a corrupted one, any other text for a target domain. By default all are "iid".
            kinds: name of a target domain to "acquisition" (the default), "manifestation" or "new_class":
                cases of none of the classes, with labels outside 0..C-1 (such as -1), on which every answer
                is wrong.
            columns: further columns of the case table, N entries each, such as ``group`` (the patient).
                Patients are compared by the rule of :mod:`monai_sf.vocabulary.ids`, regardless of spelling,
                and a case without one (None, NaN, "unknown", ...) is its own group. Merged and missing ids
                are logged.
            class_names: C different names, by default "class 0" and so on.
            dataset: name of the data, for the reader.
            study: name of the study, by default that of the target domain, or "iid" without one.
            method: how the network was trained: "classifier", "confidnet", "deepgamblers", "devries", another
                one that is registered (:func:`monai_sf.scores.register_method`), or any other name, for which
                every score applies that the arrays allow. By default "confidnet" with a learned confidence
                and else "classifier".
            seed: of the training, to distinguish runs.
            data_kind: "real", "rendered" or "phantom".

        Raises:
            ResultsError: an argument is missing, has another length than ``labels``, or holds impossible
                values.

        Examples:
            >>> import numpy as np
            >>> from monai_sf.results import Results
            >>> logits = np.array([[3.0, 0.0], [0.2, 0.0], [0.0, 2.0], [1.5, 0.0]])
            >>> labels = np.array([0, 0, 1, 1])
            >>> where = ["iid", "iid", "hospital B", "hospital B"]
            >>> names = ["benign", "malignant"]
            >>> results = Results.from_arrays(logits, labels, domains=where, class_names=names)
            >>> results.cases_of("hospital B")["label_name"].tolist()
            ['malignant', 'malignant']
        """
        return cls(*parts_from_arrays(logits, labels, **arguments))

    @classmethod
    def ensemble(cls, runs: Sequence[Results]) -> Results:
        """Return the deep ensemble of runs that differ in the seed only.

        Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
        NeurIPS 2017. Nothing is trained: the members' logits are reduced to the log of their mean softmax
        (``ensemble_log_softmax``) and their mean entropy (``ensemble_entropy``), which the scores DE-MSR,
        DE-PE, DE-EE and DE-MI read. An ensemble has the pictures of its first member, and no logits and
        features: its latent space would be that of another network. Its description has the key
        ``members``, the seeds, and the smallest of them as ``seed``. Arrays above 64 MiB are held in a
        temporary file.

        Args:
            runs: at least two, in any order: of one dataset, study and method, with different seeds, the
                same training and validation cases, and the same config otherwise. Their test sets hold the
                same cases, labels and groups, in any order.

        Raises:
            ResultsError: the runs are no ensemble; names every run that differs from the first, and in what.

        Examples:
            >>> from monai_sf.results import Results
            >>> labels = [0, 1]
            >>> first = Results.from_arrays([[2.0, 0.0], [1.0, 0.0]], labels, seed=1)
            >>> second = Results.from_arrays([[2.0, 0.0], [0.0, 3.0]], labels, seed=2)
            >>> ensemble = Results.ensemble([first, second])
            >>> ensemble.test_sets["iid"].arrays["ensemble_log_softmax"].argmax(1).tolist()
            [0, 1]
            >>> ensemble.run["members"]
            [1, 2]
        """
        return cls(*parts_of_ensemble([Member(run.run, run.cases, run.test_sets) for run in runs]))

    @classmethod
    def from_scores(
        cls, confidences: ArrayLike | Mapping[str, ArrayLike], errors: ArrayLike, **arguments: Any
    ) -> Results:
        """Build the results of a model that does not classify, such as one that segments, on N images.

        Risk is the mean error. Metrics that need a right or wrong answer (AUROC_f, accuracy, e-AURC) are
        undefined unless every error is 0 or 1, and so are all scores that are computed from class logits.

        Args:
            confidences: (N,) finite numbers, higher = more sure; or several, by the name of the score.
            errors: (N,) in [0, 1], 0 for a perfect answer, such as 1 - Dice of a segmentation. A score whose
                model answers differently needs results of its own, with another ``method``.
            **arguments: those that follow, by name; all are optional.
            features: see :meth:`from_arrays`, as for what follows.
            images: of the cases.
            case_ids: N ids.
            domains: N names of test sets.
            kinds: name of a target domain to its kind.
            columns: further columns of the case table.
            dataset: name of the data.
            study: name of the study.
            method: name of the model or of its training, letters, digits and ``_.+-``.
            seed: of the training.
            data_kind: "real", "rendered" or "phantom".
            failure_above: in [0, 1); a case with a larger error is a failure where reports show and count
                failures. It changes no metric.

        Raises:
            ResultsError: an argument has another length than ``errors``, or holds impossible values.

        Examples:
            >>> import numpy as np
            >>> from monai_sf.results import Results
            >>> dice = np.array([0.9, 0.2])
            >>> results = Results.from_scores(np.array([0.7, 0.4]), 1 - dice)
            >>> results.is_classification, list(results.scores)
            (False, ['confidence'])
            >>> results.test_sets["iid"].arrays["errors"].round(2).tolist()
            [0.1, 0.8]
        """
        return cls(*parts_from_scores(confidences, errors, **arguments))

    @property
    def is_classification(self) -> bool:
        """Return whether the cases have classes; if not, they have errors in place of logits and labels."""
        return bool(self.run["class_names"])

    @property
    def failure_above(self) -> float:
        """Return the error in [0, 1) above which a case counts as a failure; 0 for wrong classes."""
        return 0.0 if self.is_classification else float(self.run.get(FAILURE, FAILURE_ABOVE))

    @property
    def scores(self) -> Mapping[str, str]:
        """Return the scores that only this run has: name to the array of each test set that holds them."""
        own: Mapping[str, str] = self.run.get(SCORES, {})
        return own

    def cases_of(self, test_set: str) -> pd.DataFrame:
        """Return the case table of one test set, in the order of its arrays, index 0..n-1 (a copy)."""
        return self.cases.iloc[self.test_sets[test_set].rows].reset_index(drop=True)

    def labels_of(self, test_set: str) -> NDArray[np.int64]:
        """Return the labels (n,) int64 of one test set, in the order of its arrays; -1 for a new class.

        Raises:
            ResultsError: the results hold errors in place of classes.
        """
        if not self.is_classification:
            raise ResultsError("there are no labels: these results hold errors, and no classes")
        labels: NDArray[np.int64] = self.cases["label"].to_numpy(np.int64)[self.test_sets[test_set].rows]
        return labels

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run's folder atomically, which :func:`monai_sf.results.load_results` opens.

        Args:
            path: the folder. Existing results are replaced.

        Raises:
            FileExistsError: ``path`` is a file, or a folder that holds anything but finished results; nothing
                was changed.
            ResultsError: a column holds a value that cannot be stored.
            OSError: the folder cannot be written.
        """
        with atomic_folder(path, _own_files) as partial:
            writer = ResultsWriter(partial, self.cases)
            for test_set in self.test_sets.values():
                out = writer.open(
                    test_set.name,
                    test_set.kind,
                    test_set.rows,
                    corruption=test_set.corruption,
                    severity=test_set.severity,
                )
                out.write(test_set.rows, test_set.arrays)
                out.close()
            writer.add_shared(FITTED, self.fitted)
            writer.add_shared(REFERENCE, self.reference)
            writer.finish(self.run)
