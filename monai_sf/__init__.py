"""monai_sf: measure, show and help to prevent silent failures of medical image classifiers.

The package follows Bungert et al., "Understanding Silent Failures in Medical Image Classification",
MICCAI 2023. See the README for an introduction and docs/concepts/architecture.md for the architecture.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

__version__ = "0.1.0"


class _TransformsOfCheckout:
    """Finder of ``monai_sf.transforms`` beside this folder, as in a source checkout.

    setup.cfg maps that folder into the package. Python run from the checkout finds this folder before any
    installed copy, so it must also find the transforms of the same checkout.
    """

    folder = Path(__file__).resolve().parent.parent / "transforms"

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        if name != "monai_sf.transforms":
            return None
        return spec_from_file_location(
            name, cls.folder / "__init__.py", submodule_search_locations=[str(cls.folder)]
        )


if (
    not (Path(__file__).parent / "transforms").is_dir()
    and (_TransformsOfCheckout.folder / "__init__.py").is_file()
):
    sys.meta_path.insert(0, _TransformsOfCheckout)
