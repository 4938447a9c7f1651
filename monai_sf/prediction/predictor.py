"""Predictions in a process that goes on, such as a web service: loaded once, called by any thread."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.bundle.run_config import inference_in
from monai_sf.data import LoadImageFiled
from monai_sf.data.errors import root_cause
from monai_sf.datasets.preflight import image_fault
from monai_sf.files.arrays import image_of
from monai_sf.files.naming import RefusedImageError, reason
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import load_weights, to_device
from monai_sf.networks.checkpoints import check_checkpoint, load_checkpoint
from monai_sf.networks.precision import check_precision
from monai_sf.prediction.algorithm import algorithm_of
from monai_sf.prediction.evaluations import (
    check_evaluation,
    fitted_scores,
    sha256_of_given,
    stored_promise,
)
from monai_sf.prediction.passes import NOT_FINITE, Passes
from monai_sf.prediction.scoring import Scored, joined, scored
from monai_sf.scores import CSFS, deciding_csf
from monai_sf.scores.reference import BLOCK

logger = logging.getLogger(__name__)

#: One image: a file; an array as read from a file, (H, W) or (H, W, 3); or a list of them, one per channel.
Image: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Sequence[str | os.PathLike[str] | NDArray[Any]]"

#: The score that decides, if none is named: that of the method.
AUTO = "auto"


@dataclass(frozen=True)
class Prediction:
    """The answer for one image, or why there is none.

    Attributes:
        label: number of the predicted class; None without an answer.
        name: of this class.
        probabilities: of all classes, in their order; empty without an answer.
        confidences: name of every applicable score to its value, None where it is undefined.
        threshold: of the deciding score, on the scale of ``confidences``; None if none decides.
        deferred: whether the image should go to a reader, as each without an answer; None if no score
            decides.
        fault: why there is no answer; empty if there is one.

    Examples:
        >>> from monai_sf.prediction import Prediction
        >>> sure = Prediction(
        ...     1, "pneumonia", (0.1, 0.9), {"MSR": 0.9}, threshold=0.8, deferred=False
        ... )
        >>> unread = Prediction(fault="is not there")
        >>> [
        ...     answer.name if answer.deferred is False else "to a reader"
        ...     for answer in (sure, unread)
        ... ]
        ['pneumonia', 'to a reader']
        >>> sure.entry()["confidences"]
        {'MSR': 0.9}
    """

    label: int | None = None
    name: str | None = None
    probabilities: tuple[float, ...] = ()
    confidences: Mapping[str, float | None] = field(default_factory=dict)
    threshold: float | None = None
    deferred: bool | None = True
    fault: str = ""

    def entry(self) -> dict[str, Any]:
        """Return the same as plain values for JSON, with null for an infinite threshold."""
        finite = self.threshold is not None and math.isfinite(self.threshold)
        return {**asdict(self), "threshold": self.threshold if finite else None}


class Predictor:
    """Classify images with a network that is loaded once, with the confidence of every applicable score.

    Answers are those of the inference config of the bundle or run, up to rounding, whatever images are
    classified together. One object may be called by several threads: they read and prepare their images side
    by side and take turns at the network. Nothing else in the process changes: no settings, no output, no
    files. Loading is for one thread.

    Args:
        folder: that of an exported bundle, unpacked; of a bundle with its weights in ``models``; or of an
            evaluated run.
        device: of the computation; by default a GPU, if there is one.
        csf: name of the confidence score that decides whether to defer and from which passes the class is
            predicted, None for no decision; by default that of the method.

    Attributes:
        algorithm: who answers: hashes of network and evaluation, method, classes, deciding score, threshold
            and what it promises. If no threshold can be promised, every image is deferred, which is logged.

    Raises:
        FileNotFoundError: the folder holds no network or, if a score decides, no evaluation.
        ValueError: the device does not have the precision of the evaluation, a file is damaged or was
            changed, the thresholds are those of another network or of other classes, or there is none for
            this score.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> from monai.bundle import ConfigParser
        >>> from monai_sf.bundle.published import copy_bundle
        >>> from monai_sf.prediction import Predictor
        >>> # or an export, which has weights and thresholds
        >>> bundle = copy_bundle("pneumonia", "xrays")
        >>> config = ConfigParser(
        ...     ConfigParser.load_config_file(bundle / "configs" / "inference.json")
        ... )
        >>> network = config.get_parsed_content("network_def")
        >>> (bundle / "models").mkdir()
        >>> torch.save(network.state_dict(), bundle / "models" / "model.pt")
        >>> # there are no thresholds
        >>> predictor = Predictor(bundle, device="cpu", csf=None)
        >>> image = np.zeros((40, 50), np.uint8)
        >>> [
        ...     (answer.name in predictor.class_names, answer.fault)
        ...     for answer in predictor([image, "b.png"])
        ... ]
        [(True, ''), (False, 'is not there')]
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        csf: str | None = AUTO,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        inference = inference_in(folder)
        parser = ConfigParser(inference.config)
        # weights are initialised at random before they are loaded, and MONAI warns of readers that it tries
        with torch.random.fork_rng([]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="NvImgCodec", category=UserWarning)
            network = parser.get_parsed_content("network_def")
            self._preprocessing: Compose = parser.get_parsed_content("preprocessing")
        inferer: MCDropoutInferer = parser.get_parsed_content("csf_inferer")
        check_precision(inferer.precision, self.device)
        self._passes = Passes(inferer)
        self.class_names: tuple[str, ...] = tuple(parser.get_parsed_content("class_names"))
        self.method: str = parser.get_parsed_content("method")
        self.csf = deciding_csf(self.method) if csf == AUTO else csf
        self._batch_size: int = parser.get_parsed_content("batch_size")
        self._wanted = {
            name: parser.get_parsed_content(key)
            for name, key in {
                "intensity": "intensity",
                "modes": "image_modes",
                "kinds": "image_kinds",
                "shape": "image_shape",
                "smallest": "smallest_image",
            }.items()
        }
        if self.csf is not None and self.csf not in CSFS:
            raise ValueError(f"csf must be one of {', '.join(CSFS)}, got {self.csf!r}: install its package")
        if len(self.class_names) != network.num_classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} names, the network {network.num_classes} classes"
            )
        checkpoint, evaluation = inference.checkpoint, inference.evaluation
        given = sha256_of_given(network)
        promise = None
        if self.csf is not None:
            promise = stored_promise(evaluation, self.csf)
            check_evaluation(
                evaluation, checkpoint, self.class_names, given=given, precision=inferer.precision
            )
            if math.isinf(promise.threshold):
                logger.warning("%s", promise.in_words)
        self._threshold = math.nan if promise is None else promise.threshold
        if given is None:
            state = load_checkpoint(checkpoint)
            load_weights(network, state.get("network", state), str(checkpoint))
        self._network = to_device(network, self.device).eval()
        fitted = fitted_scores(evaluation, checkpoint, self.method, self.csf, given=given)
        self.algorithm = algorithm_of(
            [(given or check_checkpoint(checkpoint), evaluation)],
            method=self.method,
            csf=self.csf,
            promise=promise,
            class_names=self.class_names,
        )
        self._wanted["trained"] = self.algorithm.image_kinds
        # not mapped: a file that is replaced while it is mapped ends the process
        self._fitted = {name: np.array(array) for name, array in fitted.items()}
        self._turn = Lock()  # dropout samples are drawn by hooks on the network, which all calls share

    def __call__(self, images: Sequence[Image], case_ids: Sequence[str] | None = None) -> list[Prediction]:
        """Return one prediction per image, in their order; one that cannot be used has a fault.

        Args:
            images: files, or arrays as read from files, of any formats that the inference config accepts; of
                images with a file per channel, lists of them.
            case_ids: names that seed the dropout samples of the images, as the paths below its folder do in
                an inference; by default their pixels do, so that the same image has the same answer.

        Raises:
            TypeError: ``images`` is a single image.
            ValueError: ``case_ids`` has another length.
        """
        if isinstance(images, str | os.PathLike | np.ndarray):
            raise TypeError("images must be a list of images, also for a single one")
        if case_ids is not None and len(case_ids) != len(images):
            raise ValueError(f"case_ids has {len(case_ids)} names for {len(images)} images")
        answers: list[Prediction] = []
        for first in range(0, len(images), BLOCK):
            names = None if case_ids is None else case_ids[first : first + BLOCK]
            answers += self._block(images[first : first + BLOCK], names)
        return answers

    def _block(self, images: Sequence[Image], case_ids: Sequence[str] | None) -> list[Prediction]:
        answers = [Prediction()] * len(images)
        rows: list[int] = []
        outputs: list[dict[str, Tensor]] = []
        for first in range(0, len(images), self._batch_size):
            numbers = range(first, min(first + self._batch_size, len(images)))
            ready: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}  # by shape
            for i in numbers:
                try:
                    image = self._prepared(images[i])
                except Exception as error:  # one failing image must not lose the answers of the others
                    answers[i] = self._without(_said(error))
                else:
                    ready.setdefault(tuple(image.shape), []).append((i, image))
            for alike in ready.values():
                names = None if case_ids is None else [case_ids[i] for i, _ in alike]
                found, faults = self._outputs(torch.stack([image for _, image in alike]), names)
                for place, (i, _) in enumerate(alike):
                    if place in faults:
                        answers[i] = self._without(faults[place])
                    else:
                        rows.append(i)
                if found:
                    outputs.append(found)
        if rows:
            scores = scored(
                joined(outputs),
                method=self.method,
                csf=self.csf,
                threshold=self._threshold,
                fitted=self._fitted,
            )
            good = iter(self._answers(scores))
            for i, answered in zip(rows, scores.answered, strict=True):
                answers[i] = next(good) if answered else self._without(NOT_FINITE)
        return answers

    def _outputs(
        self, batch: Tensor, case_ids: Sequence[str] | None
    ) -> tuple[dict[str, Tensor], dict[int, str]]:
        with self._turn:
            return self._passes(batch.to(self.device), self._network, case_ids)

    def _prepared(self, image: Image) -> Tensor:
        """Return the input of the network for an image, (channels, H, W); raise what is wrong with it."""
        parts = [image] if isinstance(image, str | os.PathLike | np.ndarray) else list(image)
        arrays = [part for part in parts if isinstance(part, np.ndarray)]
        if not parts or (arrays and len(arrays) < len(parts)):
            raise RefusedImageError("is a list of files and arrays, or of nothing: give one or the other")
        if arrays:
            record = self._record_of(arrays)
            ready = self._preprocessing(record, start=1)["image"]
        else:
            files = [os.fspath(part) for part in parts]  # type: ignore[arg-type]
            several = len(files) > 1
            faults = [(Path(file).name, image_fault(file, **self._wanted)) for file in files]
            if wrong := [f"{name} {fault}" if several else fault for name, fault in faults if fault]:
                raise RefusedImageError("; ".join(wrong))
            ready = self._preprocessing({"image": files if several else files[0]})["image"]
        tensor = torch.as_tensor(ready)
        return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor

    def _record_of(self, arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
        """Return the record that the loader would give for files with these arrays."""
        loader = self._preprocessing.transforms[0]
        if not isinstance(loader, LoadImageFiled):
            raise RefusedImageError("is an array, and this preprocessing reads files itself: give the file")
        read = [image_of(array) for array in arrays]
        for one in read:
            if fault := image_fault(one, **self._wanted):
                raise RefusedImageError(fault)
        array, meta = loader.reader.get_data(read)
        return {"image": array, f"image_{loader.meta_key_postfix[0]}": meta}

    def _answers(self, found: Scored) -> Iterator[Prediction]:
        """Yield the predictions of the cases that have an answer."""
        columns = {name: values.tolist() for name, values in found.confidences.items()}
        decided = self._decided()
        for row, label in enumerate(found.classes.tolist()):
            yield Prediction(
                label,
                self.class_names[label],
                tuple(found.probabilities[row].tolist()),
                {name: None if math.isnan(values[row]) else values[row] for name, values in columns.items()},
                decided,
                None if self.csf is None else bool(found.deferred[row]),
            )

    def _decided(self) -> float | None:
        return None if self.csf is None else self.algorithm.threshold

    def _without(self, fault: str) -> Prediction:
        return Prediction(threshold=self._decided(), deferred=None if self.csf is None else True, fault=fault)


def _said(error: Exception) -> str:
    cause = root_cause(error)
    return str(cause) if isinstance(cause, OSError) else reason(cause)
