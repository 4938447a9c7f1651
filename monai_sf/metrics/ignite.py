"""The metrics for PyTorch-Ignite engines, and so for MONAI's trainers, evaluators and bundles.

Ignite's own `EpochMetric` needs shards of equal size, and counts cases twice that `DistributedSampler`
repeats to equalise them. Here shards may have any size, and with case ids a repeated case counts once.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from torch import Tensor

from monai_sf.metrics.areas import augrc_of, aurc_of, eaugrc_of, eaurc_of
from monai_sf.metrics.arrays import Array, as_float64, check_binary, check_cases
from monai_sf.metrics.curve import Levels, levels_of_ranking, rank_cases
from monai_sf.metrics.failure import failure_auroc_of
from monai_sf.scores import CSFS
from monai_sf.vocabulary.outputs import ENOUGH, check_labels, class_logits, kind_of, refuse_what_is_no_logit

__all__ = ["AUGRC", "AURC", "EAUGRC", "EAURC", "ConfidenceAndError", "FailureAUROC", "RiskCoverageMetric"]


def _as_it_is(output: Any) -> Any:
    return output


class RiskCoverageMetric(Metric):
    """Collect confidence and error of every case, then compute one value; the base of `AURC` and others.

    Works in float64 throughout. `compute` returns the same value on every process, equal to that of a single
    process: shards may differ in size or be empty, and cases with the same id count once.

    Args:
        output_transform: From ``engine.state.output`` to the input of `update`; `ConfidenceAndError` makes it
            from logits and labels.
        case_id: Key of the case ids in ``engine.state.batch`` (a dict, or a list of dicts once MONAI has
            decollated it). Give it, or ids to `update`, when a sampler repeats cases to fill the last
            batches, as `torch.utils.data.DistributedSampler` does.
        device: Device on which cases are kept and the value is computed.

    Raises:
        ignite.exceptions.NotComputableError: From `compute`, when no process has seen a case.

    Examples:
        A case that a sampler repeats counts once, if `case_id` says where the engine's batch has the ids:

        >>> from ignite.engine import Engine
        >>> from monai_sf.metrics import AUGRC
        >>> def step(engine, batch):
        ...     return batch["confidence"], batch["error"]
        >>> evaluator = Engine(step)
        >>> AUGRC(case_id="name").attach(evaluator, "augrc")
        >>> AUGRC().attach(evaluator, "augrc, counted twice")
        >>> one = {"name": ["a", "b"], "confidence": [0.9, 0.7], "error": [0, 1]}
        >>> other = {"name": ["c", "a"], "confidence": [0.2, 0.9], "error": [1, 0]}
        >>> for name, value in evaluator.run([one, other]).metrics.items():
        ...     print(f"{name}: {value:.3f}")
        augrc: 0.222
        augrc, counted twice: 0.125
    """

    required_output_keys = ("confidence", "error")
    _state_dict_all_req_keys = ("_cases",)

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = _as_it_is,
        case_id: str | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._case_id = case_id
        super().__init__(output_transform=output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
        """Forget all cases."""
        # (n, 4): the bits of confidence and error, whether there is a case id, and the id. One integer tensor
        # needs one collective call, whatever a process has seen.
        self._cases = torch.empty((0, 4), dtype=torch.int64, device=self._device)
        self._batches: list[Tensor] = []

    def update(self, output: Sequence[Any]) -> None:
        """Add a batch.

        Args:
            output: (confidence, error) or (confidence, error, case ids), each a tensor (n,) or a list of n
                single values. Confidence is any score, ranks and grades too, higher = more sure; errors lie
                in [0, 1]; ids are integers or strings.

        Raises:
            ValueError: For another number of items, other shapes, unequal lengths, or ids of another type.

        Warns:
            UserWarning: Where both are integers 0 and 1, as predicted and true classes are.
        """
        if not isinstance(output, Sequence) or len(output) not in (2, 3):
            raise ValueError(
                "output must be (confidence, error) or (confidence, error, case ids), got "
                f"{len(output) if isinstance(output, Sequence) else type(output).__name__}"
            )
        confidence, error = (
            _vector(values, name) for values, name in zip(output[:2], self.required_output_keys, strict=True)
        )
        _warn_of_classes(confidence, error)
        confidence, error = (
            torch.as_tensor(as_float64(vector, name)).to(self._device)
            for vector, name in ((confidence, "confidence"), (error, "error"))
        )
        ids = _id_vector(output[2], self._device) if len(output) == 3 else torch.zeros_like(error).long()
        if not len(confidence) == len(error) == len(ids):
            raise ValueError(
                "confidence, error and case ids must have the same length, got "
                f"{len(confidence)}, {len(error)} and {len(ids)}"
            )
        has_id = torch.full_like(ids, len(output) == 3)
        bits = (confidence.view(torch.int64), error.view(torch.int64), has_id, ids)
        self._batches.append(torch.stack(bits, dim=1))

    @torch.no_grad()
    def iteration_completed(self, engine: Engine) -> None:
        """Add the batch that the engine has just processed."""
        if self._case_id is None:
            super().iteration_completed(engine)
            return
        output = self._output_transform(engine.state.output)
        if isinstance(output, Mapping):
            output = tuple(output[key] for key in self.required_output_keys)
        batch: Any = engine.state.batch
        ids = batch[self._case_id] if isinstance(batch, Mapping) else [case[self._case_id] for case in batch]
        self.update((*output, ids))

    def compute(self) -> float:
        """Return the metric over the cases of all processes."""
        cases = _gather(self._merged())
        if len(cases) == 0:
            raise NotComputableError(
                f"{type(self).__name__} needs at least one case before it can be computed"
            )
        cases = _first_of_each_id(cases)
        confidence, error = cases[:, 0].contiguous(), cases[:, 1].contiguous()
        return self._value(*check_cases(confidence.view(torch.float64), error.view(torch.float64)))

    def state_dict(self) -> Any:
        """Return the cases of every process, from which an interrupted run is resumed."""
        self._merged()
        return super().state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Replace the cases seen so far by those of `state_dict`."""
        self._batches = []
        super().load_state_dict(state_dict)

    def _merged(self) -> Tensor:
        self._cases = torch.cat([self._cases, *self._batches])
        self._batches = []
        return self._cases

    def _value(self, confidence: Array, error: Array) -> float:
        return float(self._of_levels(levels_of_ranking(rank_cases(confidence), error)))

    @staticmethod
    def _of_levels(levels: Levels) -> Array:
        raise NotImplementedError


class AURC(RiskCoverageMetric):
    """Area under the risk-coverage curve; see `aurc`. Lower = better.

    Its arguments are those of `RiskCoverageMetric`.

    Examples:
        Attached to an engine whose output is (confidence, error) of a batch:

        >>> import torch
        >>> from ignite.engine import Engine
        >>> from monai_sf.metrics import AURC
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> AURC().attach(evaluator, "aurc")
        >>> one = torch.tensor([0.9, 0.7]), torch.tensor([0, 1])
        >>> other = torch.tensor([0.7, 0.2]), torch.tensor([0, 1])
        >>> evaluator.run([one, other]).metrics["aurc"]
        0.1875
    """

    _of_levels = staticmethod(aurc_of)


class EAURC(RiskCoverageMetric):
    """Excess area under the risk-coverage curve; see `eaurc`. Lower = better.

    Its arguments are those of `RiskCoverageMetric`.

    Examples:
        A metric can also be fed without an engine:

        >>> import torch
        >>> from monai_sf.metrics import EAURC
        >>> metric = EAURC()
        >>> metric.update((torch.tensor([0.9, 0.7]), torch.tensor([0, 1])))
        >>> metric.update((torch.tensor([0.7, 0.2]), torch.tensor([0, 1])))
        >>> round(metric.compute(), 4)
        0.0341
    """

    _of_levels = staticmethod(eaurc_of)


class AUGRC(RiskCoverageMetric):
    """Area under the generalized risk-coverage curve; see `augrc`. Lower = better.

    Its arguments are those of `RiskCoverageMetric`.

    Examples:
        From logits and labels, as most engines return them; the third case is predicted wrongly, with
        little confidence:

        >>> import torch
        >>> from ignite.engine import Engine
        >>> from monai_sf.metrics import AUGRC, ConfidenceAndError
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> metric = AUGRC(output_transform=ConfidenceAndError("MSR"))
        >>> metric.attach(evaluator, "augrc")
        >>> logits = torch.tensor([[4, -1], [-2, 3], [0.5, 0], [1, -2]])
        >>> labels = torch.tensor([0, 1, 1, 0])
        >>> evaluator.run([(logits, labels)]).metrics["augrc"]
        0.03125
    """

    _of_levels = staticmethod(augrc_of)


class EAUGRC(RiskCoverageMetric):
    """Excess area under the generalized curve; see `eaugrc`. Lower = better.

    Its arguments are those of `RiskCoverageMetric`.

    Examples:
        A case that a distributed sampler repeats to fill the last batch counts once, if the cases have ids:

        >>> import torch
        >>> from monai_sf.metrics import EAUGRC
        >>> metric = EAUGRC()
        >>> metric.update((torch.tensor([0.9, 0.7]), torch.tensor([0, 1]), ["a", "b"]))
        >>> confidence, error = torch.tensor([0.7, 0.2, 0.9]), torch.tensor([0, 1, 0])
        >>> metric.update((confidence, error, ["c", "d", "a"]))
        >>> metric.compute()
        0.03125
    """

    _of_levels = staticmethod(eaugrc_of)


class FailureAUROC(RiskCoverageMetric):
    """AUROC of finding the wrong predictions by low confidence; see `failure_auroc`. Higher = better.

    Its arguments are those of `RiskCoverageMetric`. Where all cases are correct or all are wrong it is
    undefined, and `compute` warns and returns NaN, so that an epoch without errors does not end the training.

    Examples:
        Of the four pairs of a wrong and a correct case three are in the right order, and one is a tie:

        >>> import torch
        >>> from monai_sf.metrics import FailureAUROC
        >>> metric = FailureAUROC()
        >>> metric.update((torch.tensor([0.9, 0.7]), torch.tensor([0, 1])))
        >>> metric.update((torch.tensor([0.7, 0.2]), torch.tensor([0, 1])))
        >>> metric.compute()
        0.875
    """

    _of_levels = staticmethod(failure_auroc_of)

    def _value(self, confidence: Array, error: Array) -> float:
        check_binary(error)
        value = super()._value(confidence, error)
        if np.isnan(value):
            warnings.warn(
                f"FailureAUROC is NaN: not defined for {int(error.sum())} wrong among {len(error)} cases",
                RuntimeWarning,
                stacklevel=2,
            )
        return value


class ConfidenceAndError:
    """An `output_transform`: from network outputs and labels to (confidence, error).

    Takes the engine's output as a dict, as a list of dicts (decollated by MONAI), or as Ignite's
    ``(logits, labels)``.

    Args:
        csf: Abbreviation of the confidence scoring function, a key of `monai_sf.scores.CSFS`.
        logits: Key of the class logits (n, C); or of the single logit (n, 1) or (n,) of a binary classifier,
            that of class 1.
        label: Key of the true class (n,) or (n, 1), 0..C-1. Other arrays that the CSF needs are looked up
            under their names in `CSFS`.

    Raises:
        ValueError: If csf is unknown. When called: for labels that are not a class of the logits, and for
            classes, decisions or probabilities in place of logits, as far as that can be detected.

    Examples:
        From an engine's dictionary; "MSR" is the logarithm of the largest softmax probability:

        >>> import torch
        >>> from monai_sf.metrics import ConfidenceAndError
        >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.5]]), torch.tensor([0, 0])
        >>> output = {"pred": logits, "label": labels}
        >>> confidence, error = ConfidenceAndError("MSR")(output)
        >>> confidence.exp().round(decimals=2), error
        (tensor([0.8800, 0.6200], dtype=torch.float64), tensor([False,  True]))
    """

    def __init__(self, csf: str = "MSR", *, logits: str = "pred", label: str = "label") -> None:
        if csf not in CSFS:
            raise ValueError(f"csf must be one of {', '.join(CSFS)}, got {csf!r}")
        self._csf = csf  # the name, since a CSF's function cannot be pickled
        self._logits, self._label = logits, label
        self._before: Tensor | None = None

    def __call__(self, output: Any) -> tuple[Tensor, Tensor]:
        """Return confidence (n,) float64 and error (n,) bool of a batch."""
        csf = CSFS[self._csf]
        if isinstance(output, tuple):
            output = {self._logits: output[0], self._label: output[1]}
        names = {*csf.needs, csf.prediction}
        arrays = {name: _column(output, self._logits if name == "logits" else name) for name in names}
        if "logits" in arrays:
            arrays["logits"] = self._checked(arrays["logits"], binary="reservation_logit" not in csf.needs)
        scores = arrays[csf.prediction]
        if scores.ndim != 2:
            raise ValueError(f"{csf.prediction} must be (n, C), got shape {tuple(scores.shape)}")
        predicted = scores.argmax(dim=-1)
        labels = check_labels(_column(output, self._label), len(scores), scores.shape[1], self._label)
        return csf(arrays), predicted != labels.to(predicted.device)

    def _checked(self, logits: Tensor, *, binary: bool) -> Tensor:
        logits = logits[:, None] if logits.ndim == 1 else logits
        kind, wide = kind_of(logits), logits.double()
        if logits.ndim != 2 or wide.shape[1] < (1 if binary else 2):
            raise ValueError(f"{self._logits} must be logits (n, C), got shape {tuple(logits.shape)}")
        # A batch of one tells little, so earlier cases are considered too.
        rows = wide
        if self._before is not None and self._before.shape[1:] == wide.shape[1:]:
            rows = torch.cat([self._before.to(wide.device), wide])
        refuse_what_is_no_logit(rows, self._logits, kind)
        self._before = rows[-ENOUGH:].clone()
        checked: Tensor = class_logits(wide, self._logits, kind)
        return checked


def _column(output: Any, key: str) -> Tensor:
    values = output[key] if isinstance(output, Mapping) else [case[key] for case in output]
    if not isinstance(values, Tensor):
        try:
            values = torch.stack([torch.as_tensor(value) for value in values])
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{key} must hold arrays of one shape, one per case ({error})") from error
    return values.detach().as_subclass(Tensor)


def _vector(values: Any, name: str) -> Tensor:
    try:
        if isinstance(values, Sequence):
            values = torch.cat([torch.as_tensor(value).reshape(-1) for value in values] or [torch.empty(0)])
        vector = torch.as_tensor(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, one per case ({error})") from error
    if vector.ndim != 1 or vector.is_complex():
        raise ValueError(f"{name} must be real of shape (n,), got {vector.dtype} of {tuple(vector.shape)}")
    return vector.detach().as_subclass(Tensor)


def _warn_of_classes(confidence: Tensor, error: Tensor) -> None:
    """Say so where (confidence, error) look like the (predictions, labels) of a binary classifier.

    Those of more classes are refused, since labels above 1 are no errors. Whole numbers alone say nothing:
    ranks, and grades that a reader gives, are confidences.
    """
    pair = confidence, error
    integers = not any(vector.is_floating_point() or vector.dtype == torch.bool for vector in pair)
    if integers and len(error) >= ENOUGH and all(((v == 0) | (v == 1)).all() for v in pair):
        warnings.warn(
            f"the confidences and errors of all {len(error)} cases are integers 0 and 1: predicted and true "
            "classes? ConfidenceAndError makes confidence and error from logits and labels",
            UserWarning,
            stacklevel=3,
        )


def _id_vector(values: Any, device: torch.device) -> Tensor:
    if isinstance(values, np.ndarray) and values.dtype.kind in "OUS":
        values = values.tolist()
    if isinstance(values, Sequence):
        values = torch.tensor([_id_of(value) for value in values], dtype=torch.int64)
    ids = torch.as_tensor(values)
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"case ids must be integers or strings, got {ids.dtype}")
    return _vector(ids, "case ids").to(device=device, dtype=torch.int64)


def _id_of(value: Any) -> int:
    if isinstance(value, str):  # 64 bits of a hash: among a million names, a collision has a chance of 3e-8
        digest = hashlib.blake2b(value.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)
    number = value.item() if isinstance(value, (Tensor, np.generic)) else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"case ids must be integers or strings, got {value!r}")
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"case ids must be below 2**63 as integers, got {number}: give them as strings")
    return number


def _gather(cases: Tensor) -> Tensor:
    """Return the rows of all processes, whose numbers may differ."""
    if idist.get_world_size() == 1:
        return cases
    n_rows = cast(Tensor, idist.all_gather(torch.tensor([len(cases)], device=cases.device))).tolist()
    if not any(n_rows):
        return cases
    return torch.cat(idist.all_gather_tensors_with_shapes(cases, [(n, cases.shape[1]) for n in n_rows]))


def _first_of_each_id(cases: Tensor) -> Tensor:
    has_id = cases[:, 2].bool()
    if not has_id.any():
        return cases
    if not has_id.all():
        raise ValueError(
            f"case ids must be given for all cases or for none, got {int(has_id.sum())} of {len(cases)}"
        )
    ids, order = cases[:, 3].sort(stable=True)
    is_first = torch.ones_like(has_id)
    is_first[1:] = ids[1:] != ids[:-1]
    return cases[order[is_first]]
