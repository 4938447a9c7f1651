"""The ways of training that the package knows, named here and nowhere else.

A bundle may have others, each a file ``<method>.yaml``: they are trained, evaluated and shown as well, and
judged by every score that their outputs allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Way of training to those whose own scores judge it, None being the scores of any network (see
#: :func:`monai_sf.scores.csfs_for`). A score that several of them have is taken from the first: as in the
#: paper, the scores of any network are those of the classifier under ConfidNet.
METHODS: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {
        "confidnet": (None, "confidnet"),
        "classifier": (None,),  # cross-entropy and nothing else
        "deepgamblers": ("deepgamblers",),
        "devries": ("devries",),
    }
)

#: Those that learn a confidence: the paper's, which the benchmark runs unless told otherwise.
PAPER_METHODS = tuple(method for method in METHODS if method != "classifier")
