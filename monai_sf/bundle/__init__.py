"""Workflow helpers that configs call, and the configs that all bundles share."""

from typing import TYPE_CHECKING

from monai_sf.vocabulary.late import late

if TYPE_CHECKING:
    from monai_sf.bundle.public import *  # noqa: F403
else:
    __getattr__ = late(__name__, "public")
