"""Where the numbers of a report come from: what a reader needs to judge or repeat them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from monai_sf import __version__
from monai_sf.report.packing import AsText
from monai_sf.report.runs import Run

_PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "bokeh", "pillow")


def provenance(runs: Sequence[Run], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the page's document.

    Args:
        runs: the evaluated runs.
        settings: arguments the report was made with.
    """
    return {
        "report": {
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "monai_sf": __version__,
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in _PACKAGES},
            "settings": dict(settings),
        },
        "runs": [
            {
                "title": "{study} · {method} · seed {seed}".format(**run.results.run),
                "cases": [
                    [s.name, len(s), int((run.sample.test_set == i).sum())] for i, s in enumerate(run.sets)
                ],
                "run": AsText(dict(run.results.run)),
            }
            for run in runs
        ],
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
