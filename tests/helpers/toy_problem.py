"""A small problem that a small network can learn, shared by the tests of training and evaluation."""

import numpy as np
import pandas as pd
import torch
from monai.data import Dataset
from monai.networks.nets import DenseNet
from monai.transforms import Compose, ToTensord

from monai_sf.networks import ConfidenceClassifier


def tiny_network(seed=0, dropout=0.2, filters=4, confidence=None):
    torch.manual_seed(seed)
    backbone = DenseNet(
        2, 1, 2, init_features=filters, growth_rate=4, block_config=(1, 1), dropout_prob=dropout
    )
    return ConfidenceClassifier(backbone, 2, confidence=confidence)


def toy_cases(n=40, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "case_id": [f"case{i:02d}" for i in range(n)],
            "image": [f"{i}.npy" for i in range(n)],
            "label": label,
            "label_name": np.where(label == 1, "bright", "dark"),
            "group": [f"g{i}" for i in range(n)],
            "source": "phantom",
            "brightness": 0.3 + 0.3 * label + 0.02 * rng.standard_normal(n),
        }
    )


def toy_records(cases, split, size=16):
    records = []
    for i, case in enumerate(cases.itertuples()):
        rng = np.random.default_rng(i)
        image = np.clip(case.brightness + 0.05 * rng.standard_normal((1, size, size)), 0, 1)
        records.append(
            {"image": image.astype(np.float32), "label": case.label, "case_id": case.case_id, "split": split}
        )
    return records


def toy_dataset(cases, split, size=16):
    return Dataset(toy_records(cases, split, size), Compose([ToTensord("image", track_meta=False)]))
