"""Images of a made-up hospital, with a spreadsheet."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

HOSPITALS = ("A", "Hospital Clínic / 2")


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
