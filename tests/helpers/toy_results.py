"""Results of a few cases, as arrays and as a folder."""

import numpy as np
import pandas as pd

from monai_sf.results import Results, TestSet

RUN = {
    "dataset": "toy",
    "study": "iid",
    "method": "classifier",
    "seed": 0,
    "class_names": ["benign", "malignant"],
    "data_kind": "phantom",
}
IID = {"name": "iid", "kind": "iid", "corruption": None, "severity": 0}


def make_cases(n=6):
    return pd.DataFrame(
        {
            "case_id": [f"00{i}" if i else "NA" for i in range(n)],
            "label": np.arange(n) % 2,
            "label_name": ["benign" if i % 2 == 0 else "malignant" for i in range(n)],
            "group": [f"{i}" for i in range(n)],
            "source": "phantom",
            "rating": [0.5, np.nan, *range(n - 2)],
        }
    )


def make_arrays(rows, seed=0):
    rng = np.random.default_rng(seed)
    n = len(rows)
    return {
        "logits": rng.normal(size=(n, 2)).astype(np.float32),
        "features": rng.normal(size=(n, 5)).astype(np.float32),
        "mcd_entropy": rng.random(n),
        "images": rng.integers(0, 256, (n, 4, 4), np.uint8),
    }


def make_results():
    sets = {
        "iid": TestSet("iid", "iid", np.array([3, 0, 5]), make_arrays([3, 0, 5])),
        "corruption-noise-2": TestSet(
            "corruption-noise-2", "corruption", np.array([3, 0, 5]), make_arrays([3, 0, 5], 1), "noise", 2
        ),
    }
    return Results(RUN, make_cases(), sets)


def one_set(arrays, rows=(0, 1)):
    return {"iid": TestSet("iid", "iid", np.array(rows), arrays)}
