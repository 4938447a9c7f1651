"""A static HTML report of the silent failures of one or several runs: :func:`build_report`."""

from monai_sf.report.page import build_report

__all__ = ["build_report"]
