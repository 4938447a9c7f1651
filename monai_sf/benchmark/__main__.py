"""``python -m monai_sf.benchmark run --bundles ... --output-dir ...``, and ``status``."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from monai_sf.benchmark.names import ENGINES, BenchmarkError
from monai_sf.benchmark.status import show_status
from monai_sf.files.locks import BusyError
from monai_sf.vocabulary.methods import PAPER_METHODS


def _value(text: str) -> Any:
    """Return a value written in Python or YAML, since YAML reads 1e-4 as text and Python true as a name."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return yaml.safe_load(text)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_sf.benchmark",
        description="Train and evaluate classifiers of several datasets, and tabulate their silent failures.",
        epilog="To tabulate existing results: python -m monai_sf.tables --help",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run the matrix dataset x study x method x seed",
        description="Train and evaluate every study, method and seed of every bundle, then make a table and "
        "a report per dataset. Complete tasks are skipped, interrupted ones are resumed, and outputs of "
        "another config or other data are set aside and made anew: stop it whenever you like, and give the "
        "same command again. The exit code is 0 when all tasks are complete, 1 when a task failed, 2 when an "
        "argument is wrong, 130 after Ctrl-C.",
    )
    what = run.add_argument_group("what to run")
    what.add_argument(
        "--bundles", nargs="+", action="extend", required=True, metavar="DIR",
        help="folders of bundles, one per dataset",
    )  # fmt: skip
    what.add_argument("--output-dir", required=True, metavar="DIR", help="where everything goes")
    what.add_argument(
        "--dataset-dir", nargs="+", action="extend", default=[], type=_pair, metavar="DATASET=DIR",
        dest="dataset_dirs", help="folder of a dataset's files (default: the folder data of its bundle)",
    )  # fmt: skip
    what.add_argument(
        "--studies", nargs="+", action="extend", metavar="NAME",
        help="studies; a dataset leaves out those that it does not have (default: all)",
    )  # fmt: skip
    what.add_argument(
        "--methods", nargs="+", action="extend", default=argparse.SUPPRESS, metavar="NAME",
        help="training methods (default: " + " ".join(PAPER_METHODS) + ")",
    )  # fmt: skip
    what.add_argument(
        "--seeds", nargs="+", action="extend", type=int, default=argparse.SUPPRESS, metavar="N",
        help="default: 0 1 2",
    )  # fmt: skip
    what.add_argument(
        "--overlay", nargs="+", action="extend", default=[], metavar="FILE", dest="overlays",
        help="config files that override all others: names that every bundle has in configs/, or paths",
    )  # fmt: skip
    what.add_argument(
        "--set", nargs="+", action="extend", default=[], type=_pair, metavar="KEY=VALUE", dest="overrides",
        help="config keys that override all files",
    )  # fmt: skip
    what.add_argument(
        "--grid", action="store_true", dest="search",
        help="first choose learning rate and weight decay of each method by validation accuracy",
    )  # fmt: skip
    what.add_argument(
        "--csfs", nargs="+", action="extend", metavar="NAME",
        help="scores in tables and reports, or all (default: the paper's nine, ensembles, other packages')",
    )  # fmt: skip
    where = run.add_argument_group("where to run it")
    where.add_argument("--engine", default="local", metavar="NAME", help=" or ".join(ENGINES))
    where.add_argument(
        "--address", help="of an existing Ray cluster (default: one is started on this machine)"
    )
    where.add_argument(
        "--workers", type=int, metavar="N",
        help="number of parallel tasks (default: one per GPU; without a GPU at most 2 on this machine, one "
        "per core with ray)",
    )  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="list the tasks and what exists of each")
    status = commands.add_parser("status", help="print the progress of a benchmark, from another shell")
    status.add_argument("output_dir", help="the --output-dir of the run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark or show its state; return the exit status."""
    options = vars(_parser().parse_args(arguments))
    try:
        if options.pop("command") == "status":
            print(show_status(options["output_dir"]))
            return 0
        from monai_sf.benchmark.run import run_benchmark  # torch and MONAI take seconds

        options["dataset_dirs"] = dict(options["dataset_dirs"])
        options["overrides"] = {key: _value(value) for key, value in options["overrides"]}
        run_benchmark(**options)
    except BenchmarkError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (BusyError, ValueError, ImportError, OSError, yaml.YAMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemExit) as stop:
        print("\nstopped; the same command resumes it", file=sys.stderr)
        return 130 if isinstance(stop, KeyboardInterrupt) else 143
    return 0


if __name__ == "__main__":
    sys.exit(main())
