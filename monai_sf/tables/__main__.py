"""Table 1 of any collection of runs: ``python -m monai_sf.tables RUNS... -o OUTDIR``.

See docs/guides/table.md and :func:`monai_sf.tables.write_tables`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from monai_sf.tables.defaults import DEFAULT_RISK, METRICS, RESAMPLES


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables of the runs that the arguments name, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m monai_sf.tables",
        description="Write Table 1 of the benchmark, the table per shift, significance tests and figures "
        "from the results of any number of datasets, studies, methods and seeds.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="folder of a run, or one that holds runs at any depth"
    )
    parser.add_argument(
        "-o", "--output", type=os.path.expanduser, required=True, metavar="OUTDIR", help="folder to write to"
    )
    parser.add_argument(
        "--metric", default="aurc", metavar="NAME", help=f"{', '.join(METRICS)} (default: %(default)s)"
    )
    parser.add_argument(
        "--risk", type=float, default=DEFAULT_RISK,
        help="share of errors that coverage_at_risk tolerates among trusted cases (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--csfs", nargs="+", action="extend", metavar="CSF",
        help="scores to show, or all (default: the paper's nine, ensembles, those of other packages and of "
        "the runs)",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="CSF", help="compare all scores with this one (default: all pairs)"
    )
    parser.add_argument(
        "--compare-paper", action="store_true", help="add the paper's Table 1 for comparison (aurc only)"
    )
    parser.add_argument(
        "--resamples", dest="n_resamples", type=int, default=RESAMPLES, metavar="N",
        help="bootstrap resamples of the patients; 0: no significance tests (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default: %(default)s)")
    chosen = vars(parser.parse_args(arguments))
    runs, output = chosen.pop("runs"), chosen.pop("output")
    from monai_sf.tables.write import write_tables  # torch and pandas take seconds

    logging.basicConfig(format="%(message)s")
    logging.getLogger("monai_sf").setLevel(logging.INFO)  # progress: all runs can take many minutes
    try:
        written = write_tables(runs, output, **chosen)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(written["text"].read_text(encoding="utf-8"))
    print("\n".join(f"{key}: {path}" for key, path in written.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
