"""From results to Table 1: judged scores, averages, significance, figures and files."""

from typing import TYPE_CHECKING

from monai_sf.vocabulary.late import late

if TYPE_CHECKING:
    from monai_sf.tables.public import *  # noqa: F403
else:
    __getattr__ = late(__name__, "public")
