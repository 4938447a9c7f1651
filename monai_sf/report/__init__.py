"""A static HTML report of the silent failures of one or several runs: :func:`build_report`."""

from typing import TYPE_CHECKING

from monai_sf.vocabulary.late import late

if TYPE_CHECKING:
    from monai_sf.report.page import build_report
else:
    __getattr__ = late(__name__, "page")

__all__ = ["build_report"]
