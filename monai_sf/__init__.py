"""monai_sf: measure, show and help to prevent silent failures of medical image classifiers.

The package follows Bungert et al., "Understanding Silent Failures in Medical Image Classification",
MICCAI 2023. See the README for the main job and docs/architecture.md for how the parts fit.
"""

from pathlib import Path

__version__ = "0.1.0"

# In a source checkout the transforms stand beside this folder (setup.cfg maps them to monai_sf.transforms).
# Python run from the checkout finds this folder before any installed copy, so it must find the transforms
# of the same checkout too, not those that some earlier `pip install` copied elsewhere.
_checkout = Path(__file__).resolve().parent.parent
if (
    not (Path(__file__).parent / "transforms").is_dir()
    and (_checkout / "transforms" / "__init__.py").is_file()
):
    __path__.append(str(_checkout))
del _checkout
