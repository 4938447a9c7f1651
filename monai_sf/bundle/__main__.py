"""``python -m monai_sf.bundle``: commands that write, complete and show bundles.

Each imports what it needs when it is run, since torch and MONAI take seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_sf.bundle.new_command import add_new, run_new


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
    inference = commands.add_parser(
        "inference",
        usage="%(prog)s BUNDLE [BUNDLE ...]",
        help="write inference.json anew",
        description="Write configs/inference.json of each bundle anew, from its train.yaml and evaluate.yaml "
        "and their bases: after a change of network, images, classes or passes.",
    )
    inference.add_argument("bundles", nargs="+", metavar="BUNDLE", help="folders of bundles")
    export = commands.add_parser(
        "export",
        help="write an evaluated run as a bundle in one ZIP file",
        description="Write a trained and evaluated run as a MONAI bundle that needs nothing else: weights, "
        "TorchScript and ONNX, inference config, thresholds, fitted scores, model card and hashes.",
        allow_abbrev=False,
    )
    export.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="ZIP", help="the file to write"
    )  # fmt: skip
    options, overrides = parser.parse_known_args(arguments)
    if options.command != "show" and overrides:
        asked = {"new": new, "inference": inference, "export": export}[options.command]
        asked.error(f"unknown arguments: {' '.join(overrides)}")
    rest = iter(overrides)
    for flag in rest:
        if not flag.startswith("--"):
            show.error(f"{flag!r} comes after an override: give config files first")
        if "=" not in flag and next(rest, "--").startswith("--"):
            show.error(f"{flag} has no value")
    try:
        if options.command == "new":
            run_new(new, options)
        elif options.command == "inference":
            from monai_sf.bundle.inference_config import write_inference_config

            for bundle in options.bundles:
                print(write_inference_config(Path(bundle) / "configs"))
        elif options.command == "export":
            from monai_sf.bundle.export import export_run

            export_run(options.run.expanduser(), options.output.expanduser())
        else:
            _show(show, options.configs, overrides)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _show(parser: argparse.ArgumentParser, configs: Sequence[str], overrides: Sequence[str]) -> None:
    from monai_sf.bundle.overrides import written
    from monai_sf.bundle.show import show_config, show_run

    if not all(Path(config).is_dir() for config in configs):
        print(show_config(configs, written(overrides)), end="")
    elif overrides:
        parser.error("a run has no overrides: it is shown as it was run")
    else:
        print("---\n".join(map(show_run, configs)), end="")


if __name__ == "__main__":
    sys.exit(main())
