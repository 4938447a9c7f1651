"""The arguments of ``python -m monai_sf.bundle new``."""

from __future__ import annotations

import argparse
import json
import logging
import math
from pathlib import Path
from typing import Any, get_args

from monai_sf.bundle.published import copy_bundle, published_bundles
from monai_sf.vocabulary.outputs import OutputKind

_DESCRIPTION = """\
Write a bundle for your own images: configs that train, evaluate and report, like those of the published ones;
or, with --model, an audit of a model that you have, which evaluates and never trains.

The table and a sample of the images are looked at first, and what was understood is printed. If anything is
wrong, all of it is said, and nothing is written. Then, from table to report:

  python -m monai_sf.bundle new my_study --table cases.csv --dataset_dir images --image path \\
    --label finding --group patient --target hospital=B
  python -m monai.bundle run --config_file my_study/configs/benchmark.yaml
  (open my_study/runs/benchmark/my_study/report.html)"""

_EPILOG = """\
examples:
  one folder per class:       new my_study --folders --dataset_dir images
  a MedMNIST file:            new my_study --medmnist pneumoniamnist.npz --classes normal pneumonia
  several files per image:    new my_study ... --image '{id}_red.png' '{id}_green.png'
  two hospitals as one study: new my_study ... --target external:hospital=B --target external:hospital=C
  diseases never shown:       new my_study ... --unknown other --without melanoma
  a published bundle:         new chest --dataset chest_xray
  audit a TorchScript file:   new my_audit ... --model model.ts --mean 0.5 --std 0.25
  audit torchvision's:        new my_audit ... --model torchvision.models:resnet50 --weights my.pt
    --arguments '{"num_classes": 2}' --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225
  audit a MONAI bundle:       new my_audit ... --model zoo/breast_density_classification"""

#: Option to what its column holds.
_ROLES = {
    "label": "the class",
    "group": "what must not be split between training and test, mostly the patient",
    "source": "where the case comes from",
    "case_id": "a unique id (default: the path of the image)",
    "split": "a split of your own: train, val, calibration, iid (or test), target",
    "slice": "the slice of a volume (NIfTI, NRRD, MetaImage), counted from 0",
}
#: Options that say what a given model is.
_MODEL = ("weights", "arguments", "outputs", "model_classes", "mean", "std", "image_size")
#: Options that say how the table is read.
_TABLE = ("sheet", "encoding")


def add_new(commands: Any) -> argparse.ArgumentParser:
    """Add the command ``new`` to the commands of a parser, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "new",
        help="write a bundle for your own images, or a published one",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="to be written; its name is the dataset's in tables and report",
    )
    origin = parser.add_argument_group("where the cases come from, one of").add_mutually_exclusive_group(
        required=True
    )
    origin.add_argument("--table", type=Path, help="a CSV, TSV, Excel or Parquet file, one row per case")
    origin.add_argument(
        "--folders", action="store_true", help="dataset_dir holds one folder of images per class"
    )
    origin.add_argument("--medmnist", type=Path, metavar="NPZ", help="a file of MedMNIST")
    origin.add_argument(
        "--dataset", metavar="NAME", help=f"write a published bundle: {', '.join(published_bundles())}"
    )
    parser.add_argument("--dataset_dir", type=Path, metavar="DIR", help="folder that the images lie below")
    columns = parser.add_argument_group("columns of the table")
    columns.add_argument(
        "--image", nargs="+", action="extend", metavar="COLUMN", help="path of the image; or a pattern such "
        "as 'scans/{id}.png'; or several of them, one per channel file",
    )  # fmt: skip
    for role, text in _ROLES.items():
        columns.add_argument(f"--{role}", metavar="COLUMN", help=text)
    columns.add_argument("--sheet", help="of an Excel file with several sheets")
    columns.add_argument("--encoding", help="of a text file that is neither UTF-8 nor UTF-16, such as cp1252")
    parser.add_argument(
        "--classes", nargs="+", action="extend", metavar="CLASS", help="the classes in the order of their "
        "labels (default: all that occur, sorted)",
    )  # fmt: skip
    parser.add_argument(
        "--unknown", nargs="+", action="extend", default=[], metavar="LABEL",
        help="labels that are none of the classes, such as other: their cases are never trained on, and "
        "tested in the study unknown",
    )  # fmt: skip
    parser.add_argument(
        "--without", action="append", default=[], metavar="CLASS", help="a study that trains without this "
        "class, and tests on it as one that the classifier was never shown",
    )  # fmt: skip
    parser.add_argument(
        "--target", action="append", default=[], metavar="[NAME:]COLUMN=VALUE", help="a study: cases "
        "that are tested on and never trained on. Without NAME a study of its own; of one NAME all columns "
        "must hold, and one of a column's values",
    )  # fmt: skip
    _add_model(parser)
    parser.add_argument(
        "--missing", choices=("raise", "drop"), default="raise", help="what to do about rows whose image "
        "is not there (default: %(default)s)",
    )  # fmt: skip
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("audit of a model that you have (docs/guides/audit.md)")
    group.add_argument(
        "--model", metavar="MODEL", help="a TorchScript or torch.export file, package.module:function, or "
        "the folder of a MONAI bundle. Code of a function and of a bundle's configs is run",
    )  # fmt: skip
    group.add_argument("--weights", type=Path, metavar="FILE", help="of a function's network: a state dict")
    group.add_argument("--arguments", type=_json, metavar="JSON", help="of the function, as a JSON object")
    group.add_argument(
        "--outputs", choices=get_args(OutputKind), help="what the model gives: of all classes logits or "
        "their softmax; of two classes one logit, or its sigmoid, of the second (default: logits)",
    )  # fmt: skip
    group.add_argument(
        "--model_classes", nargs="+", action="extend", metavar="CLASS", help="the classes in the order of "
        "the model's outputs (default: that of the labels)",
    )  # fmt: skip
    for name, text in (("mean", "subtracted from images in [0, 1]"), ("std", "divisor after that")):
        default = "0" if name == "mean" else "1"
        group.add_argument(
            f"--{name}", nargs="+", action="extend", type=float, metavar="NUMBER",
            help=f"{text}: one number, or one per channel (default: {default}); a bundle has its "
            "own preprocessing",
        )  # fmt: skip
    group.add_argument(
        "--image_size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="that images are resized to "
        "(default: 224 224)",
    )  # fmt: skip


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object, such as {{"num_classes": 2}}')
    return value


def run_new(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Write the bundle, and say how to go on.

    Raises:
        ValueError: whatever :func:`monai_sf.bundle.new.new_bundle` raises, in words of the command line.
        OSError: a published bundle cannot be written.
    """
    columns = {} if not options.image else {"image": options.image if options.image[1:] else options.image[0]}
    columns |= {role: getattr(options, role) for role in _ROLES if getattr(options, role) is not None}
    _check(parser, options, columns)
    if options.dataset:
        folder = copy_bundle(options.dataset, options.folder)
        print(
            f"{folder} is the published bundle {options.dataset}: {folder / 'docs' / 'README.md'} tells how "
            "to run it"
        )
        return
    from monai_sf.bundle.given_model import Declared  # torch and MONAI take seconds
    from monai_sf.bundle.naming import in_options
    from monai_sf.bundle.new import Asked, new_bundle

    logging.getLogger("monai_sf").addHandler(logging.NullHandler())  # its notes are printed with the table's
    of_model = {name: value for name in _MODEL if (value := getattr(options, name)) is not None}
    asked = Asked(
        folder=options.folder,
        table=options.table,
        medmnist=options.medmnist,
        dataset_dir=options.dataset_dir,
        columns=columns,
        table_options={name: text for name in _TABLE if (text := getattr(options, name)) is not None},
        classes=options.classes,
        unknown=options.unknown,
        without=options.without,
        targets=options.target,
        missing=options.missing,
        model=None if options.model is None else Declared(options.model, **of_model),
    )
    try:
        folder = new_bundle(asked)
    except (ValueError, OSError) as error:
        raise ValueError(in_options(str(error))) from error
    print(
        f"written: {folder} (your decisions: {folder / 'configs' / 'data.yaml'})\n"
        f"next: python -m monai.bundle run --config_file {options.folder / 'configs' / 'benchmark.yaml'}\n"
        f"then open {folder / 'runs' / 'benchmark' / folder.name / 'report.html'}"
    )


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace, columns: dict[str, Any]) -> None:
    """Refuse arguments that the chosen origin does not read, or that it lacks; all at once."""
    wrong = []
    if options.table and (lacking := [f"--{role}" for role in ("image", "label") if role not in columns]):
        wrong.append(f"--table needs {' and '.join(lacking)}")
    if (options.table or options.folders) and options.dataset_dir is None:
        wrong.append(f"{'--table' if options.table else '--folders'} needs --dataset_dir")
    unread = {
        **({} if options.table else {f"--{role}": True for role in columns}),
        **({} if options.table else {f"--{name}": getattr(options, name) for name in _TABLE}),
        "--missing": options.missing != "raise" and not options.table,
        "--target": options.dataset and options.target,
        "--model": options.dataset and options.model,
        "--classes": options.dataset and options.classes,
        "--unknown": options.dataset and options.unknown,
        "--without": options.dataset and options.without,
        "--dataset_dir": (options.dataset or options.medmnist) and options.dataset_dir,
    }
    about_model = {f"--{name}": getattr(options, name) is not None for name in _MODEL}
    for name in ("image_size", "std"):
        if (values := getattr(options, name)) is not None and not all(0 < one < math.inf for one in values):
            wrong.append(f"--{name} must be positive, got {' '.join(map(str, values))}")
    if options.model is None:
        alone = [name for name, is_given in about_model.items() if is_given]
        wrong += [f"{name} is of a given model: name it with --model" for name in alone]
    elif Path(options.model).expanduser().is_dir():
        own = ("--weights", "--arguments", "--mean", "--std", "--image_size")
        surplus = [name for name in own if about_model[name]]
        wrong += [f"a MONAI bundle has its own {name[2:]}: leave out {name}" for name in surplus]
    origin = "--folders" if options.folders else "--medmnist" if options.medmnist else "--dataset"
    wrong += [f"{origin} does not read {name}" for name, is_given in unread.items() if is_given]
    if wrong:
        parser.error("; ".join(wrong))
