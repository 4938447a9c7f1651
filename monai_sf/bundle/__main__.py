"""``python -m monai_sf.bundle new FOLDER ...`` and ``python -m monai_sf.bundle show CONFIG... ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_sf.bundle.new_command import add_new, run_new
from monai_sf.bundle.overrides import written
from monai_sf.bundle.show import show_config, show_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command on bundles and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m monai_sf.bundle", description="Commands on bundles.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    new = add_new(commands)
    show = commands.add_parser(
        "show",
        usage="%(prog)s CONFIG [CONFIG ...] [--key value ...]\n       %(prog)s RUN [RUN ...]",
        help="print the merged config of a run",
        description="Print the config that `monai.bundle run` would run, as YAML, expressions as written: "
        "all files, their base configs (_base_), and the overrides. A comment names the files that the keys "
        "below it come from. Of a run's folder, print the configs that it was trained and evaluated with.",
        epilog="--key value: any key of the config, such as --seed 1 or --optimizer#lr 0.1",
        allow_abbrev=False,
    )
    show.add_argument(
        "configs", nargs="+", metavar="CONFIG or RUN",
        help="config files, later ones override earlier ones; or folders of runs",
    )  # fmt: skip
    options, overrides = parser.parse_known_args(arguments)
    if options.command == "new" and overrides:
        new.error(f"unknown arguments: {' '.join(overrides)}")
    rest = iter(overrides)
    for flag in rest:
        if not flag.startswith("--"):
            show.error(f"{flag!r} comes after an override: give config files first")
        if "=" not in flag and next(rest, "--").startswith("--"):
            show.error(f"{flag} has no value")
    try:
        if options.command == "new":
            run_new(new, options)
        elif all(Path(config).is_dir() for config in options.configs):
            if overrides:
                show.error("a run has no overrides: it is shown as it was run")
            print("---\n".join(map(show_run, options.configs)), end="")
        else:
            print(show_config(options.configs, written(overrides)), end="")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
