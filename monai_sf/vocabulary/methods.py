"""The training methods, named only here; other packages register theirs.

A bundle may have an unregistered method, a file ``<method>.yaml``: it is trained, evaluated and shown like
the others, with every score that its outputs allow.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from monai_sf.vocabulary.registry import Registry

__all__ = ["METHODS", "PAPER_METHODS", "Method", "register_method"]


@dataclass(frozen=True)
class Method:
    """A training method, and the scores that apply to its networks.

    The scores that name the method (``method`` of :class:`monai_sf.scores.CSF`) always apply to its networks.

    Attributes:
        name: also that of its config file and part of its runs' folders.
        scores: names of the scores that apply besides its own; None for those of any network.
        heads: names of the per-case arrays of its heads, besides logits and features
            (``output`` of :class:`monai_sf.networks.ConfidenceHead`).
        decides: name of the score by which an inference defers, unless the config names one.
        dropout_samples: whether to draw MC-dropout samples for the scores that read them.
        overlay: path of the config that overrides a bundle's ``train.yaml``, for bundles without their own
            file ``<name>.yaml``; None if only bundles with such a file have the method.

    Examples:
        What Deep Gamblers networks give besides logits, and by which score they defer:

        >>> from monai_sf.scores import METHODS
        >>> method = METHODS["deepgamblers"]
        >>> method.heads, method.decides
        (('reservation_logit',), 'DG-RES')
    """

    name: str
    scores: tuple[str, ...] | None = None
    heads: tuple[str, ...] = ()
    decides: str = "MSR"
    dropout_samples: bool = True
    overlay: str | os.PathLike[str] | None = None


# A score that several methods have is taken from the first: as in the paper, the scores of any network are
# those of ConfidNet's classifier.
METHODS = Registry(
    Method,
    "monai_sf.methods",
    (
        Method("confidnet", heads=("confidence_logit",)),
        Method("classifier"),  # cross-entropy only
        Method("deepgamblers", scores=(), heads=("reservation_logit",), decides="DG-RES"),
        Method("devries", scores=(), heads=("confidence_logit",), decides="DeVries", dropout_samples=False),
    ),
    # names of a bundle's files and a benchmark's folders
    taken=("train", "evaluate", "small", "prepare", "report", "benchmark", "demo", "multi_gpu"),
)
"""Every registered method by its name: the package's own, then those of other packages."""

PAPER_METHODS = ("confidnet", "deepgamblers", "devries")
"""The paper's methods, which learn a confidence and are the benchmark's default."""


def register_method(method: Method) -> Method:
    """Register a method for training, evaluation, tables, reports, inference and ``Results.from_arrays``.

    This affects the running process. An entry point of the group ``monai_sf.methods`` that names the object
    registers it in every process, including those of the benchmark's tasks.

    Args:
        method: the method, under a name that no other has.

    Returns:
        The same method.

    Raises:
        TypeError: it is not a :class:`Method`.
        ValueError: another method has its name, or the name is not valid for a file.

    Examples:
        A method that learns a confidence as ConfidNet does, by another training:

        >>> from monai_sf.scores import Method, csfs_for, register_method
        >>> scores, heads = ("MSR", "ConfidNet"), ("confidence_logit",)
        >>> mine = Method("mine", scores=scores, heads=heads, decides="ConfidNet")
        >>> method = register_method(mine)
        >>> csfs_for("mine", ["logits", "confidence_logit"])
        ('MSR', 'ConfidNet')
        >>> register_method(Method("devries"))
        Traceback (most recent call last):
        ValueError: another Method is registered as 'devries'
    """
    return METHODS.register(method)
