"""``python -m monai_sf.report RESULTS... -o report.html``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a report from the folders of runs, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m monai_sf.report",
        description="Write one HTML file on the silent failures of the runs of one dataset.",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS",
        help="folder of results (it holds run.json), of a run, or of several runs of one dataset; "
        "unfinished results are left out and named on the page",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=os.path.expanduser, default="report.html",
        help="file to write (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument(
        "--coverage", type=int, default=80, metavar="PERCENT",
        help="initial working point where nothing is promised: share of the ordinary cases that the "
        "system decides alone (default: 80)",
    )  # fmt: skip
    parser.add_argument(
        "--max-points", type=int, default=3000, metavar="N",
        help="cases shown individually per run, failures on undisturbed images first (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-images", type=int, default=10_000, metavar="N",
        help="maximum number of thumbnails, about 1 kB each (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--thumbnail-size", type=int, default=64, metavar="PIXELS", help="multiple of 16 (default: 64)"
    )
    parser.add_argument(
        "--anonymous", action="store_true",
        help="replace case ids by numbers; leave out the configuration, and all columns but those known "
        "to be harmless or named with --columns",
    )  # fmt: skip
    parser.add_argument(
        "--columns", nargs="+", action="extend", metavar="NAME",
        help="columns of the case table to show (default: all but paths, labels and DICOM's identifying "
        "attributes; with --anonymous the harmless ones of a published dataset)",
    )  # fmt: skip
    parser.add_argument(
        "--csfs", nargs="+", action="extend", metavar="CSF",
        help="scores on the page (default: all, of which the paper's nine, ensembles and other packages' are "
        "offered at first)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of sampling and map (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    chosen = vars(options)
    from monai_sf.report.page import build_report  # torch, pandas and Bokeh take seconds

    folders, output = chosen.pop("results"), chosen.pop("output")
    try:
        print(build_report(folders, output, **chosen))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
