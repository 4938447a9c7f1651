"""Predictions for new images: class, and the confidence of every applicable score."""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from tqdm import tqdm

from monai_sf.data.errors import root_cause
from monai_sf.files.locks import locked
from monai_sf.files.naming import NOT_UTF8, is_utf8, reason, shown
from monai_sf.inferers import EnsembleInferer, MCDropoutInferer
from monai_sf.networks import Classifier, GivenClassifier, load_weights, to_device
from monai_sf.networks.checkpoints import check_checkpoint, load_checkpoint
from monai_sf.networks.precision import check_precision
from monai_sf.prediction.algorithm import Algorithm, algorithm_of
from monai_sf.prediction.answers import Answer, answers_of
from monai_sf.prediction.checks import record_faults
from monai_sf.prediction.dicom_instances import Instance, dicom_instances
from monai_sf.prediction.evaluations import (
    Promise,
    Thresholds,
    check_evaluation,
    ensemble_promise,
    fitted_scores,
    sha256_of_given,
    stored_promise,
)
from monai_sf.prediction.files import PredictionFiles
from monai_sf.prediction.passes import NOT_FINITE, Passes
from monai_sf.prediction.scoring import joined, scored
from monai_sf.results.format import RUN_FILE
from monai_sf.scores import CSFS
from monai_sf.scores.reference import BLOCK

logger = logging.getLogger(__name__)


class _Readable(IterableDataset[Any]):
    """Batches of the readable images of a dataset; the faults of the others are in ``faults``.

    A batch has images of one shape, out of ``batch_size`` that follow each other.
    """

    def __init__(self, dataset: Dataset, batch_size: int, unusable: Collection[str] = ()) -> None:
        self.dataset, self.batch_size, self.unusable = dataset, batch_size, unusable
        self.faults: dict[str, str] = {}

    def __iter__(self) -> Iterator[list[Any]]:
        images = self._images()
        while some := list(islice(images, self.batch_size)):
            alike: dict[tuple[int, ...], list[Any]] = {}
            for one in some:
                alike.setdefault(tuple(one["image"].shape), []).append(one)
            yield from alike.values()

    def _images(self) -> Iterator[Any]:
        self.faults.clear()
        for i, record in enumerate(self.dataset.data):
            case_id = record["case_id"]
            if case_id in self.unusable:
                continue
            if not is_utf8(case_id):
                self.faults[case_id] = NOT_UTF8
                continue
            try:
                image = self.dataset[i]
            except Exception as error:  # one failing image must not lose the answers of the others
                cause = root_cause(error)
                if isinstance(cause, OSError) and cause.__cause__ and isinstance(record["image"], str):
                    self.faults[case_id] = reason(cause.__cause__)  # without the path, which the case id says
                else:
                    self.faults[case_id] = str(cause) if isinstance(cause, OSError) else reason(cause)
            else:
                yield image


def _image_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool, **kwargs: Any
) -> tuple[Tensor, None, tuple[()], dict[str, Any]]:
    image = batch["image"].to(device=device, non_blocking=non_blocking, **kwargs)
    return image, None, (), {"case_ids": batch["case_id"]}


class ImagePredictor(SupervisedEvaluator):
    """Classify unlabelled images, and write a CSV, a JSON document and, on request, DICOM Structured Reports.

    The CSV has one row per image and one column per confidence score; docs/guides/inference.md describes all
    files. The column ``defer`` is true for predictions that should not be trusted: those with a confidence
    below the threshold that was chosen on the calibration cases, for target risk and delta of the evaluation,
    and those for which the deciding score is undefined. Where no threshold can be promised all are, which is
    logged. An undefined confidence is an empty cell.

    Scores that are fitted use what the evaluation fitted them to. Without an evaluation of this network they
    are left out, which is logged.

    Args:
        device: device of the computation.
        network: of the trained architecture, or a given one.
        checkpoint: file with the weights, as training writes them (``best.pt``), or a plain state dict; not
            used for a given network, which has its weights.
        val_data_loader: its dataset and batch size are used: dictionaries with ``image`` (channels, H, W) in
            [0, 1] and ``case_id``, of which those that cannot be read are left out and named.
        inferer: computes the outputs that the confidence scores need.
        method: the network's training method, see :func:`monai_sf.scores.csfs_for`.
        csf: the confidence score that decides whether to defer, or None for no decision.
        evaluation: run.json of the network's evaluation, which holds the thresholds, beside what scores were
            fitted to; required if a score decides.
        class_names: names of the C classes.
        output: the CSV file to write; the JSON document is written beside it, with the ending ``.json``.
        val_handlers: further handlers.
        ensemble: folders of evaluated runs that differ in the seed only. Their mean softmax decides, each
            image is read once, and ``checkpoint``, ``evaluation`` and the passes of ``inferer`` besides the
            plain one, whose precision is that of all, are not used. The scores are those of ensembles
            (DE-MSR, ...).
        thresholds: computes those of an ensemble from its outputs on the calibration cases, see
            :func:`monai_sf.tables.thresholds`; for an ensemble with a score that decides.
        dicom_ids: whether patient, study and series of DICOM images are written to CSV and JSON.
        structured_reports: folder for one DICOM Structured Report per DICOM image, or None for none.

    Raises:
        ValueError: ``class_names`` do not match the network, there is no score ``csf`` here, or ``ensemble``
            is no list of different folders, or the device does not have the precision of ``inferer``.

    Examples:
        >>> import pandas as pd
        >>> import torch
        >>> from monai.data import DataLoader, Dataset
        >>> from monai.transforms import Compose
        >>> from PIL import Image
        >>> from torch import nn
        >>> from monai_sf.data import LoadImageFiled, PrepareImaged
        >>> from monai_sf.inferers import MCDropoutInferer
        >>> from monai_sf.networks import ConfidenceClassifier
        >>> from monai_sf.prediction import ImagePredictor, image_records
        >>> for name in ("a.png", "b.png"):
        ...     Image.new("L", (8, 8)).save(name)
        >>> load, prepare = (
        ...     LoadImageFiled("image"),
        ...     PrepareImaged("image", intensity={"range": "type"}),
        ... )
        >>> images = Dataset(image_records("."), Compose([load, prepare]))
        >>> network = ConfidenceClassifier(
        ...     nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), num_classes=2
        ... )
        >>> torch.save(network.state_dict(), "model.pt")
        >>> ImagePredictor(
        ...     device=torch.device("cpu"),
        ...     network=network,
        ...     checkpoint="model.pt",
        ...     val_data_loader=DataLoader(images, batch_size=2),
        ...     inferer=MCDropoutInferer(samples=0),
        ...     method="classifier",
        ...     csf=None,
        ...     evaluation="run.json",
        ...     class_names=["normal", "pneumonia"],
        ...     output="answers.csv",
        ... ).run()
        2 predictions: answers.csv
        >>> list(pd.read_csv("answers.csv").columns)
        ['case_id', 'prediction', 'class', 'MSR', 'PE', 'MaxLogit', 'Energy', 'Margin',
         'MaxLogit-pNorm', 'DOCTOR', 'GEN']
    """

    def __init__(
        self,
        *,
        device: torch.device,
        network: Classifier,
        checkpoint: str | os.PathLike[str],
        val_data_loader: DataLoader,
        inferer: MCDropoutInferer,
        method: str,
        csf: str | None,
        evaluation: str | os.PathLike[str],
        class_names: Sequence[str],
        output: str | os.PathLike[str],
        val_handlers: Sequence[Any] = (),
        ensemble: Sequence[str | os.PathLike[str]] = (),
        thresholds: Thresholds | None = None,
        dicom_ids: bool = False,
        structured_reports: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(ensemble, str) or len(ensemble) == 1 or len(set(ensemble)) < len(ensemble):
            raise ValueError(f"ensemble must be a list of the folders of different runs, got {ensemble!r}")
        self.ensemble = [Path(folder) for folder in ensemble]
        if ensemble and isinstance(network, GivenClassifier):
            raise ValueError("a given model is one network, and no ensemble: leave ensemble out")
        if len(class_names) != network.num_classes:
            raise ValueError(
                f"class_names has {len(class_names)} names, the network {network.num_classes} classes"
            )
        self.checkpoint, self.method, self.class_names = str(checkpoint), method, list(class_names)
        self.output = Path(output)
        self.files = PredictionFiles(output, dicom_ids=dicom_ids, structured_reports=structured_reports)
        self.dataset = cast(Dataset, val_data_loader.dataset)
        self.readable = _Readable(self.dataset, val_data_loader.batch_size or 1)
        check_precision(inferer.precision, device)
        self.precision = inferer.precision
        self.passes = Passes(EnsembleInferer(inferer.precision) if ensemble else inferer)
        self.csf, self.evaluation, self.thresholds = csf, evaluation, thresholds
        self.promise: Promise | None = None
        if csf is not None and csf not in CSFS:
            raise ValueError(f"csf must be one of {', '.join(CSFS)}, got {csf!r}: install its package")
        self.fitted: Mapping[str, NDArray[Any]] = {}
        self.waiting: list[tuple[list[str], dict[str, Tensor]]] = []  # case ids and outputs of batches
        self.answers: list[Answer] = []
        self.instances: Mapping[str, tuple[Instance, ...]] = {}  # case id to what its DICOM files are
        self.unusable: dict[str, str] = {}  # case id to the fault of its image
        self.failed: dict[str, str] = {}  # case id to why there is no finite output
        super().__init__(
            device=device,
            val_data_loader=DataLoader(self.readable, batch_size=None),
            network=to_device(network, device) if not ensemble else self._members(network, device),
            inferer=self.passes,
            prepare_batch=_image_batch,
            val_handlers=val_handlers,
            decollate=False,
        )
        self.add_event_handler(Events.ITERATION_COMPLETED, self._keep)

    def _promise(self) -> Promise | None:
        csf, thresholds = self.csf, self.thresholds
        if csf is None:
            return None
        if not self.ensemble:
            return stored_promise(self.evaluation, csf)
        able = [name for name, score in CSFS.items() if score.prediction == EnsembleInferer.mean]
        if csf not in able:
            raise ValueError(f"csf must be one of {', '.join(able)} for an ensemble, got {csf!r}")
        if thresholds is None:
            raise ValueError("thresholds are missing, which choose that of an ensemble")
        return ensemble_promise(self.ensemble, self.method, csf, thresholds)

    def _members(self, network: Classifier, device: torch.device) -> nn.ModuleList:
        return nn.ModuleList(to_device(copy.deepcopy(network), device) for _ in self.ensemble)

    def _keep(self) -> None:
        """Keep the outputs of a batch until there are enough cases to score: fits have a cost per call."""
        state: Any = self.state
        ids = state.batch["case_id"]
        outputs, faults = state.output[CommonKeys.PRED]
        self.failed |= {ids[i]: fault for i, fault in faults.items()}
        if outputs:
            self.waiting.append(([ids[i] for i in range(len(ids)) if i not in faults], outputs))
        self.bar.update(len(ids))
        if sum(len(ids) for ids, _ in self.waiting) >= BLOCK:
            self._score()

    def _score(self) -> None:
        """Turn the outputs that wait into answers."""
        ids = np.array([case_id for batch, _ in self.waiting for case_id in batch], dtype=object)
        outputs = joined([batch for _, batch in self.waiting])
        self.waiting = []
        threshold = math.nan if self.promise is None else self.promise.threshold
        found = scored(outputs, method=self.method, csf=self.csf, threshold=threshold, fitted=self.fitted)
        self.failed |= dict.fromkeys(ids[~found.answered].tolist(), NOT_FINITE)
        good = ids[found.answered].tolist()
        self.answers += answers_of(good, found, self.class_names, decides=self.csf is not None)

    def load(self) -> None:
        """Load threshold and weights, and check that the files can be written.

        Raises:
            FileNotFoundError: there is no checkpoint or, if a score decides, no evaluation.
            ValueError: the checkpoint is damaged, replaced or of another network, there is no threshold for
                ``csf``, the thresholds are those of another checkpoint or of other classes, the runs are no
                ensemble, or what scores were fitted to was changed or, for the deciding score, is missing.
            RuntimeError: another process writes this CSV.
            OSError: a file cannot be written.
            ModuleNotFoundError: Structured Reports are to be written, and highdicom is not installed.
        """
        self.promise = self._promise()
        if self.promise is not None and math.isinf(self.promise.threshold):
            logger.warning("%s", self.promise.in_words)
        if self.ensemble:
            networks: Any = self.network
            for folder, network in zip(self.ensemble, networks, strict=True):
                self._load(network, folder / "best.pt", folder / "results" / RUN_FILE)
        else:
            self._load(self.network, self.checkpoint, self.evaluation)
            given = sha256_of_given(self.network)
            self.fitted = fitted_scores(self.evaluation, self.checkpoint, self.method, self.csf, given=given)
        self.files.check()
        with self._alone():
            pass

    def _load(
        self, network: nn.Module, checkpoint: str | os.PathLike[str], evaluation: str | os.PathLike[str]
    ) -> None:
        if self.csf is not None:
            check_evaluation(
                evaluation,
                checkpoint,
                self.class_names,
                given=sha256_of_given(network),
                precision=self.precision,
            )
        if isinstance(network, GivenClassifier):
            return
        state = load_checkpoint(checkpoint)
        load_weights(network, state.get("network", state), str(checkpoint))

    def _alone(self) -> AbstractContextManager[None]:
        lock = self.output.with_name(f".{self.output.name}.lock")
        return locked(lock, f"another process writes {self.output}: choose another output", again=True)

    def _algorithm(self) -> Algorithm:
        pairs = [
            (check_checkpoint(folder / "best.pt"), folder / "results" / RUN_FILE) for folder in self.ensemble
        ]
        given = sha256_of_given(self.network)
        return algorithm_of(
            pairs or [(given or check_checkpoint(self.checkpoint), self.evaluation)],
            method=self.method,
            csf=self.csf,
            promise=self.promise,
            class_names=self.class_names,
        )

    def check_images(self, **wanted: Any) -> None:
        """Leave out the images that cannot be used, which :meth:`run` reports at its end.

        They are unreadable, or not what ``wanted`` says, of another kind or DICOM modality than the images of
        the training (where the evaluation says those), or copies of one SOP instance.

        Args:
            **wanted: of ``monai_sf.datasets.preflight.image_faults``.

        Raises:
            ValueError: kinds are mixed whose values are not comparable, and nothing says which is right.
        """
        records = self.dataset.data
        faults = record_faults(records, trained=self._algorithm().image_kinds, **wanted)
        usable = [record for record in records if record["case_id"] not in faults]
        self.instances, copies = dicom_instances(usable)
        self.leave_out(faults | copies)

    def leave_out(self, faults: Mapping[str, str]) -> None:
        """Leave out unusable images, which :meth:`run` reports at its end.

        Args:
            faults: case id of an unusable image to its fault.
        """
        self.unusable = dict(faults)
        self.readable.unusable = self.unusable

    def run(self) -> None:  # type: ignore[override]
        """Classify all images with the weights of the checkpoint, and write the CSV.

        Raises:
            FileNotFoundError: see :meth:`load`.
            RuntimeError: see :meth:`load`.
            OSError: see :meth:`load`.
            ValueError: see :meth:`load`; or some images are unusable, the network fails on them, or their
                outputs are NaN or infinite; names them all. The CSV holds the other images.
            Exception: the network's own, if it fails on all images.
        """
        self.load()
        self.passes.error = None
        with self._alone():
            self._run()

    def _run(self) -> None:
        self.waiting, self.answers, self.failed = [], [], {}
        count = len(self.dataset) - len(self.unusable)
        if count:
            with tqdm(total=count, desc="classify", unit="image") as self.bar:
                super().run()
                if self.waiting:
                    self._score()
        if self.passes.error and not self.answers:
            raise self.passes.error
        place = {record["case_id"]: i for i, record in enumerate(self.dataset.data)}
        self.answers.sort(key=lambda answer: place[answer.case_id])
        wrong = self.unusable | self.readable.faults | self.failed
        named = getattr(self.dataset.data, "not_classified", {})  # images that no pattern names
        without_report: dict[str, str] = {}
        if self.answers:
            without_report = self.files.write(self.answers, self._algorithm(), self.instances, wrong | named)
            print(f"{len(self.answers)} predictions: {shown(self.output)}")
        said = []
        if wrong or named:
            where = f" and are not in {shown(self.output)}" if self.answers else "; nothing was written"
            lines = "".join(f"\n  {shown(case_id)}: {fault}" for case_id, fault in (wrong | named).items())
            total = len(self.dataset) + len(named)
            said.append(f"{len(wrong | named)} of {total} images have no answer{where}:{lines}")
            if wrong:
                said.append(
                    "Download damaged files again; convert or leave out the others. Another kind that means "
                    "the same is accepted if --image_kinds lists all kinds, such as "
                    "\"['picture uint8','DICOM radiograph 8 bit']\""
                )
        if without_report:
            lines = "".join(f"\n  {shown(case_id)}: {why}" for case_id, why in without_report.items())
            said.append(f"{len(without_report)} DICOM images have an answer, and no report:{lines}")
        if said:
            raise ValueError("\n".join(said))
