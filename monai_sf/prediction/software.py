"""Name and version of this software, as the files of an inference state them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def software() -> dict[str, str]:
    """Return name and version of this software."""
    try:
        return {"name": "monai_sf", "version": version("monai-sf")}
    except PackageNotFoundError:  # a source checkout that was not installed
        return {"name": "monai_sf", "version": "not installed"}
