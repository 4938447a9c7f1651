"""Confidence scoring functions (CSFs): how sure a classifier is, from its network's outputs.

Confidence is always *higher = more sure*, so entropies are negated in `CSFS`. Everything is computed in
float64 from logits, in log space: a float32 softmax rounds every confident case to exactly 1, creating ties
that the logits do not have, and ties change the area under the risk-coverage curve. Even a float64 softmax
does so for logit gaps above 37. Cases are therefore ranked by ``log p``, which distinguishes gaps up to 745,
the limit of float64.

The nine scores of the benchmark follow Bungert et al., "Understanding Silent Failures in Medical Image
Classification", MICCAI 2023. `CSFS` holds them in that paper's order, followed by further scores of one pass,
of repeated passes, of what was fitted to training or validation cases and of several runs, and by those that
other packages register.

The functions take torch tensors or NumPy arrays of any real type (read-only memory maps included) and return
float64 tensors on the device of their input. A NaN in a case's logits gives a NaN for that case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from monai_sf.scores.csf import CSF, CSFS
from monai_sf.scores.of_activations import OF_ACTIVATIONS
from monai_sf.scores.of_combinations import OF_COMBINATIONS
from monai_sf.scores.of_dropout import OF_SAMPLES
from monai_sf.scores.of_ensembles import OF_ENSEMBLES
from monai_sf.scores.of_features import OF_FEATURES
from monai_sf.scores.of_logits import OF_LOGITS
from monai_sf.scores.of_the_paper import PAPER
from monai_sf.vocabulary.methods import METHODS

_FURTHER = (*OF_LOGITS, *OF_SAMPLES, *OF_FEATURES, *OF_ACTIVATIONS, *OF_COMBINATIONS, *OF_ENSEMBLES)
for _csf in (*PAPER, *_FURTHER):
    CSFS.register(_csf)

PAPER_CSFS: tuple[str, ...] = tuple(csf.name for csf in PAPER)
"""The scores of the paper, in the order of its table."""


def register_csf(csf: CSF) -> CSF:
    """Register a score for evaluation, tables, reports, inference and ``Results.from_arrays``.

    This affects the running process. An entry point of the group ``monai_sf.scores`` that names the object
    registers it in every process, including those of the benchmark's tasks.

    Args:
        csf: the score, under a name that no other has.

    Returns:
        The same score.

    Raises:
        TypeError: It is not a `CSF`.
        ValueError: Another score has its name, or the name is not valid for a column.

    Examples:
        A score of one's own is then computed wherever there are its arrays:

        >>> from monai_sf.scores import CSF, csfs_for, register_csf
        >>> def second_largest(arrays):
        ...     return -arrays["logits"].topk(2).values[:, 1]
        >>> csf = register_csf(CSF("Second", ("logits",), second_largest))
        >>> "Second" in csfs_for("confidnet", ["logits"])
        True
        >>> register_csf(CSF("MSR", ("logits",), second_largest))
        Traceback (most recent call last):
        ValueError: another CSF is registered as 'MSR'
    """
    return CSFS.register(csf)


ALL = "all"
"""Chooses every score, in place of names."""


def is_chosen(name: str, chosen: Collection[str] | None) -> bool:
    """Return whether a score is among those that a user chose.

    Args:
        name: Of the score, which may be given with results instead of registered.
        chosen: Names, or `ALL`; None for `usual_csfs` and those that are not registered.

    Examples:
        >>> from monai_sf.scores import ALL, is_chosen
        >>> [is_chosen(name, None) for name in ("MSR", "MDS", "Reader")]
        [True, False, True]
        >>> [is_chosen(name, ["MDS"]) for name in ("MSR", "MDS", "Reader")]
        [False, True, False]
        >>> [is_chosen(name, ALL) for name in ("MSR", "MDS", "Reader")]
        [True, True, True]
    """
    if chosen is None:
        return name not in CSFS or name in usual_csfs()
    return ALL in chosen or name in chosen


def usual_csfs() -> tuple[str, ...]:
    """Return the scores that tables show by default: the paper's, ensembles', and those of other packages.

    Ensembles need no training of their own, and have no rows where a run has no other seed.

    Examples:
        >>> from monai_sf.scores import usual_csfs
        >>> usual_csfs()[:3]
        ('MSR', 'PE', 'MCD-MSR')
        >>> [name in usual_csfs() for name in ("DE-MSR", "MDS")]
        [True, False]
    """
    extras = {csf.name for csf in _FURTHER if csf not in OF_ENSEMBLES}
    return tuple(name for name in CSFS if name not in extras)


def applies_to(csf: CSF, method: str | None) -> bool:
    """Return whether a score applies to the networks of a method, given its arrays; see `csfs_for`.

    Args:
        csf: the score.
        method: as for `csfs_for`.

    Examples:
        A DeVries network states its own confidence, and has no other score; other scores apply to any
        method:

        >>> from monai_sf.scores import CSFS, applies_to
        >>> applies_to(CSFS["DeVries"], "devries"), applies_to(CSFS["MSR"], "devries")
        (True, False)
        >>> applies_to(CSFS["MSR"], "confidnet"), applies_to(CSFS["MSR"], "mine")
        (True, True)
    """
    known = METHODS.get(method or "")
    if known is None or csf.method == known.name:
        return True
    return csf.method is None if known.scores is None else csf.name in known.scores


def csfs_for(method: str | None, available: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the CSFs that apply to a run, in the order of `CSFS`.

    As in the paper, a Deep Gamblers or DeVries network has its own scores only, and the scores of any network
    are taken from the classifier of the ConfidNet run.

    Args:
        method: One of `monai_sf.vocabulary.methods.METHODS`. For any other, such as that of a custom bundle,
            and for None, all scores that can be computed apply.
        available: Names of the available arrays, stored or derived (`monai_sf.scores.fitting.derivable`).

    Examples:
        Of the same arrays, a DeVries network has its own score only:

        >>> from monai_sf.scores import csfs_for
        >>> csfs_for("devries", ["logits", "confidence_logit"])
        ('DeVries',)
        >>> csfs_for("confidnet", ["logits", "confidence_logit"])[:4]
        ('MSR', 'PE', 'ConfidNet', 'MaxLogit')
    """
    there = set(available)
    return tuple(
        name for name, csf in CSFS.items() if applies_to(csf, method) and there.issuperset(csf.needs)
    )


def needs_dropout_samples(method: str | None) -> bool:
    """Return whether networks of a method need MC-dropout samples, because a score of theirs reads them.

    Args:
        method: As for `csfs_for`.

    Examples:
        >>> from monai_sf.scores import needs_dropout_samples
        >>> needs_dropout_samples("confidnet"), needs_dropout_samples("devries")
        (True, False)
    """
    known = METHODS.get(method or "")
    if known is not None and not known.dropout_samples:
        return False
    return _reads(method, "mcd_")


def needs_views(method: str | None) -> bool:
    """Return whether networks of a method need an image's augmented views, because a score of theirs does.

    Args:
        method: As for `csfs_for`.

    Examples:
        >>> from monai_sf.scores import needs_views
        >>> needs_views("confidnet"), needs_views("deepgamblers")
        (True, False)
    """
    return _reads(method, "tta_")


def _reads(method: str | None, prefix: str) -> bool:
    """Return whether a score that applies to a method reads a stored array whose name begins so."""
    scores = [csf for csf in CSFS.values() if applies_to(csf, method)]
    return any(array.startswith(prefix) for csf in scores for array in csf.stored)


def deciding_csf(method: str | None) -> str:
    """Return the name of the CSF by which an inference defers cases by default.

    Args:
        method: As for `csfs_for`.

    Examples:
        >>> from monai_sf.scores import deciding_csf
        >>> methods = ("confidnet", "deepgamblers", "devries", None)
        >>> [deciding_csf(method) for method in methods]
        ['MSR', 'DG-RES', 'DeVries', 'MSR']
    """
    known = METHODS.get(method or "")
    return "MSR" if known is None else known.decides
