"""Images of a made-up hospital, with a spreadsheet, and the bundle that is made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
from monai.bundle import ConfigWorkflow
from PIL import Image

from monai_sf.bundle.__main__ import main

HOSPITALS = ("A", "Hospital Clínic / 2")
#: Files in the folder configs of a bundle.
CONFIGS = {
    *("benchmark.yaml", "data.yaml", "deepgamblers.yaml", "devries.yaml", "evaluate.yaml", "inference.json"),
    *(
        "logging.conf",
        "metadata.json",
        "multi_gpu.yaml",
        "prepare.yaml",
        "report.yaml",
        "small.yaml",
        "train.yaml",
    ),
}


def write_study(
    folder: Path, *, n: int = 120, side: int = 40, classes: tuple[str, ...] = ("normal", "lesion")
):
    """Write ``images`` and ``cases.csv``, and return the table; two images a patient, one hospital each."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for k in range(n):
        patient, label = k // 2, (k // 2) % len(classes)
        image = generator.normal(60 + 90 * label, 20, (side, side)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{k:03d}.png")
        hospital = HOSPITALS[(patient // len(classes)) % 3 == 2]
        rows.append((f"{k:03d}.png", classes[label], f"P{patient}", hospital, 20 + k))
    table = pd.DataFrame(rows, columns=["path", "finding", "patient", "hospital", "age"])
    table.to_csv(folder / "cases.csv", index=False)
    return table


def new(folder, *arguments, columns=("--image", "path", "--label", "finding", "--group", "patient")):
    table = ("--table", str(folder / "cases.csv"), "--dataset_dir", str(folder / "images"), *columns)
    return main(["new", str(folder / "study"), *table, *arguments])


def parsed(bundle, *keys, file="train.yaml"):
    workflow = ConfigWorkflow(str(bundle / "configs" / file), logging_file=False)
    workflow.initialize()
    return [workflow.parser.get_parsed_content(key) for key in keys]
