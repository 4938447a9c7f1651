"""Methods, the ways of training, named here and nowhere else; other packages register theirs.

A bundle may have a method that nobody has registered, a file ``<method>.yaml``: it is trained, evaluated and
shown as well, and judged by every score that its outputs allow.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from monai_sf.vocabulary.registry import Registry

__all__ = ["METHODS", "PAPER_METHODS", "Method", "register_method"]


@dataclass(frozen=True)
class Method:
    """One way of training, and how the networks that it gives are judged.

    The scores that name the method (:attr:`monai_sf.scores.CSF.method`) judge its networks always.

    Attributes:
        name: also that of its config file and part of its runs' folders.
        scores: names of the scores that judge it beside its own; None for those of any network.
        heads: names of the per-case arrays that its heads give beside logits and features
            (:attr:`monai_sf.networks.ConfidenceHead.output`).
        decides: name of the score that decides in the inference what to defer, unless the config names one.
        dropout_samples: whether to draw MC-dropout samples for the scores that read them.
        overlay: path of the config to lay over a bundle's ``train.yaml``, for bundles that have no file
            ``<name>.yaml`` of their own; None where only those that have one know the method.
    """

    name: str
    scores: tuple[str, ...] | None = None
    heads: tuple[str, ...] = ()
    decides: str = "MSR"
    dropout_samples: bool = True
    overlay: str | os.PathLike[str] | None = None


# A score that several of them have is taken from the first: as in the paper, the scores of any network are
# those of the classifier under ConfidNet.
METHODS = Registry(
    Method,
    "monai_sf.methods",
    (
        Method("confidnet", heads=("confidence_logit",)),
        Method("classifier"),  # cross-entropy and nothing else
        Method("deepgamblers", scores=(), heads=("reservation_logit",), decides="DG-RES"),
        Method("devries", scores=(), heads=("confidence_logit",), decides="DeVries", dropout_samples=False),
    ),
    # what a bundle has files of, and a benchmark folders
    taken=("train", "evaluate", "small", "prepare", "report", "benchmark", "demo", "multi_gpu"),
)
"""Every registered method by its name: the package's own, then those of others."""

PAPER_METHODS = ("confidnet", "deepgamblers", "devries")
"""Those that learn a confidence: the paper's, which the benchmark runs unless told otherwise."""


def register_method(method: Method) -> Method:
    """Make a method known to training, evaluation, tables, reports, inference and ``Results.from_arrays``.

    This holds for the running process. An entry point of the group ``monai_sf.methods`` that names the object
    does so in every process, those of the benchmark's tasks included.

    Raises:
        TypeError: it is no :class:`Method`.
        ValueError: another method has its name, or the name cannot be that of a file.
    """
    return METHODS.register(method)
