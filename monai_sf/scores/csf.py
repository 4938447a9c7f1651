"""What a confidence scoring function is, and what one is fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.scores.functions import ArrayLike
from monai_sf.scores.reference import BLOCK, Reference
from monai_sf.vocabulary.registry import Registry

Arrays: TypeAlias = Mapping[str, ArrayLike]
Fitted: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Fit:
    """What one or several scores learn from training or validation cases, once, after the training.

    Attributes:
        name: lower-case letters, digits and ``_``; that of the stored arrays.
        needs: names of the reference arrays that `fit` reads, see
            :data:`monai_sf.vocabulary.reference.REFERENCE_ARRAYS`.
        otherwise: names of those that `fit` reads where ``needs`` are not all there, see
            :meth:`monai_sf.scores.reference.Reference.part_with`; empty: it cannot do without.
        uses: another fit, whose derived arrays `derive` reads besides those of ``reads``, and which a score
            of its own has; ``needs`` and ``reads`` name what it needs and reads, too. `fit` gets it by
            ``reference.shared(uses.fit)``.
        reads: names of the stored per-case arrays that `derive` reads.
        gives: names of the per-case arrays that `derive` returns, which scores read like stored ones; no
            other fit gives them, and no stored array has their name.
        fit: from the reference to arrays of numbers by name, which are stored with the run. Raises ValueError
            with the reason if the reference does not allow it.
        derive: from the per-case arrays of a block of cases and what was fitted to the arrays of ``gives``,
            one entry per case, float64, on the device of the cases. The result of a case depends on no other
            case.

    Examples:
        The mean training feature, from which a score may take the distance:

        >>> import numpy as np
        >>> import torch
        >>> from monai_sf.scores import CSF, Fit, Reference, as_float64
        >>> def mean(reference):
        ...     return {"mean": reference.float64("training_features").mean(dim=0)}
        >>> def distance(arrays, fitted):
        ...     features = as_float64(arrays["features"], "features")
        ...     away = features - torch.as_tensor(fitted["mean"])
        ...     return {"away": away.norm(dim=1)}
        >>> needs, reads, gives = ("training_features",), ("features",), ("away",)
        >>> fit = Fit("mean", needs, reads, gives, mean, distance)
        >>> near = CSF("Near", gives, lambda arrays: -arrays["away"], fit=fit)
        >>> reference = Reference({"training_features": np.array([[0.0, 0], [2, 2]])})
        >>> fitted = fit.fit(reference)
        >>> near(fit({"features": np.array([[1.0, 2], [4, 5]])}, fitted)).tolist()
        [-1.0, -5.0]
    """

    name: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    fit: Callable[[Reference], Mapping[str, ArrayLike]]
    derive: Callable[[Arrays, Fitted], Mapping[str, Tensor]]
    otherwise: tuple[str, ...] = ()
    uses: Fit | None = None

    def is_possible_with(self, names: Iterable[str]) -> bool:
        """Return whether the named reference arrays are all that `fit` reads."""
        there = set(names)
        return there.issuperset(self.needs) or (bool(self.otherwise) and there.issuperset(self.otherwise))

    def __call__(self, arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
        """Return the derived arrays of all cases, computed in blocks.

        Args:
            arrays: at least those of ``reads``, and those that the fit of ``uses`` gives, of N cases each.
            fitted: what ``fit`` returned.
        """
        count = len(arrays[self.reads[0]])
        names = self.reads if self.uses is None else (*self.reads, *self.uses.gives)
        parts = [
            self.derive({name: arrays[name][first : first + BLOCK] for name in names}, fitted)
            for first in range(0, max(1, count), BLOCK)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in self.gives}


@dataclass(frozen=True)
class CSF:
    """One confidence scoring function, with the arrays that it needs.

    Attributes:
        name: The abbreviation, also the column name in tables and reports.
        needs: Names of the arrays that `confidence` reads: those of `monai_sf.results.ARRAYS`, of a method's
            heads, or those that ``fit`` gives.
        confidence: From a mapping with these arrays, each with N cases, to (N,) float64; higher = more sure.
        description: One line for the reader of a report.
        prediction: The array whose argmax is the predicted class that this confidence refers to.
        method: Name of the training method that this score requires; None for any network.
        scale: How to show the number: "log_probability" (show its exponential), "nats" or "raw".
        fit: What the score is fitted to, shared by all scores that name the same object; None for a score
            that needs the cases' own outputs only.
        reads_level: Whether a constant that is added to all logits of a case changes the score, so that the
            logarithms of probabilities, which have lost it, do not do.

    Examples:
        A score of one's own, the second largest logit, negated; `register_csf` makes it known to tables and
        reports:

        >>> import torch
        >>> from monai_sf.scores import CSF
        >>> def second_largest(arrays):
        ...     return -arrays["logits"].topk(2).values[:, 1]
        >>> second = CSF("Second", ("logits",), second_largest)
        >>> logits = torch.tensor([[3.0, 0.5, -1.0], [3.0, 2.0, 1.0]])
        >>> second({"logits": logits}).tolist()
        [-0.5, -2.0]

        A logarithm is shown as the probability that it is of:

        >>> from monai_sf.scores import CSFS
        >>> round(CSFS["MSR"].shown(-0.5), 2), CSFS["PE"].shown(-0.5)
        (0.61, -0.5)
    """

    name: str
    needs: tuple[str, ...]
    confidence: Callable[[Arrays], Tensor]
    description: str = ""
    prediction: Literal["logits", "mcd_log_softmax", "tta_log_softmax", "ensemble_log_softmax"] = "logits"
    method: str | None = None
    scale: Literal["log_probability", "nats", "raw"] = "raw"
    fit: Fit | None = None
    reads_level: bool = False

    @property
    def stored(self) -> tuple[str, ...]:
        """Return the names of the stored per-case arrays that the score is computed from."""
        if self.fit is None:
            return self.needs
        own = [name for name in self.needs if name not in self.fit.gives]
        return tuple(dict.fromkeys([*own, *self.fit.reads]))

    def __call__(self, arrays: Arrays) -> Tensor:
        """Return the confidence of every case, checked.

        Args:
            arrays: At least those of `needs`, of N cases each.

        Returns:
            (N,) float64, higher = more sure.

        Raises:
            ValueError: The score's function returned anything but one number per case.
        """
        confidence = torch.as_tensor(self.confidence(arrays), dtype=torch.float64)
        count = len(arrays[self.needs[0]])
        if confidence.shape != (count,):
            raise ValueError(
                f"the score {self.name} must return one number per case, ({count},), got shape "
                f"{tuple(confidence.shape)}"
            )
        return confidence

    def shown(self, value: float) -> float:
        """Return a confidence or threshold as files and pages show it: a probability, not its logarithm."""
        return math.exp(value) if self.scale == "log_probability" else value

    def __reduce__(self) -> Any:
        """Pickle a registered score by its name, since its function may not be picklable."""
        return (_csf_named, (self.name,)) if CSFS.get(self.name) is self else super().__reduce__()


CSFS = Registry(
    CSF,
    "monai_sf.scores",
    (),  # those of this package are registered by `monai_sf.scores.registry`
    taken=("case_id", "prediction", "class", "defer", "all"),  # other columns of predictions; every score
)
"""Every registered score by its abbreviation: the paper's nine, further ones, those of other packages."""


def _csf_named(name: str) -> CSF:
    return CSFS[name]
