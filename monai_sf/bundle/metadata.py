"""The parts of a bundle's ``metadata.json`` that follow from the package: scores, packages, tools."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

from monai_sf.scores import CSFS, applies_to

#: Tools that can use a bundle, by the names of their packages, to their version; empty for any.
SUPPORTED_APPS = {"monailabel": "", "monai-deploy-app-sdk": ""}

_PACKAGE = "monai-sf"
#: Packages whose versions have their own keys.
_OWN_KEYS = {"monai", "torch", "numpy"}


def confidence_scores(method: str) -> list[str]:
    """Return the names of the scores that an inference gives for one network of a method.

    Those that are fitted need what the network's evaluation fitted them to.

    Args:
        method: as for :func:`monai_sf.scores.csfs_for`.
    """
    return [
        name
        for name, csf in CSFS.items()
        if applies_to(csf, method) and csf.prediction != "ensemble_log_softmax"
    ]


def required_packages() -> dict[str, str]:
    """Return this package and all that it requires, with the installed versions, for that key.

    Optional packages have no key: MONAI would take it for that of the required ones.
    """
    try:
        declared = requires(_PACKAGE) or []
    except PackageNotFoundError:  # a source checkout that was not installed
        declared = []
    names = [re.split(r"[\s<>=!~;\[(]", one, maxsplit=1)[0] for one in declared if "extra ==" not in one]
    return {name: version_of(name) for name in (_PACKAGE, *names) if name not in _OWN_KEYS}


def version_of(package: str) -> str:
    """Return the installed version of a package; 0.0.0 if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "0.0.0"
