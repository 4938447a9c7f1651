"""What the precision of an evaluation changes: predictions, and AURC of every score, in one run.

Run ``python tests/benchmarks/bench_precision.py pneumonia.npz``, with a file of MedMNIST (images and labels
of train, val and test). A small DenseNet is trained on it, and evaluated on the test images, clean and with
noise, in float32 and in every other precision that the device has.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pandas as pd
import torch
from monai.data import Dataset
from monai_sf.transforms import CorruptionSweep

from monai_sf.engines import TestSetEvaluator
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import PRECISIONS, ConfidenceClassifier, backbone, to_device
from monai_sf.networks.checkpoints import save_checkpoint
from monai_sf.networks.precision import check_precision
from monai_sf.results import Results, load_results
from monai_sf.tables import collect, failure_metrics, thresholds

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPOCHS, BATCH, SAMPLES = 6, 64, 10


def network(classes: int) -> ConfidenceClassifier:
    """The demo's network, as a plain classifier."""
    return ConfidenceClassifier(
        backbone("densenet-small", in_channels=1, num_classes=classes, dropout=0.1), classes
    )


def cases_of(file: Path) -> tuple[list[dict[str, Any]], pd.DataFrame, int]:
    """Records, case table and number of classes; every fourth test image is for thresholds."""
    with np.load(file) as given:
        parts = {
            name: (given[f"{name}_images"], given[f"{name}_labels"][:, 0])
            for name in ("train", "val", "test")
        }
    records = []
    for name, (images, labels) in parts.items():
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            split = name if name != "test" else "calibration" if i % 4 == 0 else "iid"
            records.append(
                {
                    "image": np.float32(image[None] / 255),
                    "label": int(label),
                    "case_id": f"{name} {i}",
                    "split": split,
                }
            )
    table = pd.DataFrame([{k: v for k, v in record.items() if k != "image"} for record in records])
    table = table.assign(
        group=table["case_id"], source="here", label_name=table["label"].map("class {}".format)
    )
    return records, table, int(table["label"].max()) + 1


def trained(records: list[dict[str, Any]], classes: int) -> ConfidenceClassifier:
    """A network after a few epochs of Adam, without augmentation."""
    torch.manual_seed(0)
    model = to_device(network(classes), DEVICE).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    ours = [record for record in records if record["split"] == "train"]
    images = torch.from_numpy(np.stack([record["image"] for record in ours])).to(DEVICE)
    labels = torch.tensor([record["label"] for record in ours], device=DEVICE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(ours)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model


def evaluated(
    folder: Path,
    precision: str,
    model: ConfidenceClassifier,
    records: list[dict[str, Any]],
    table: pd.DataFrame,
) -> Results:
    """The results of an evaluation in a precision."""
    folder.mkdir()
    save_checkpoint(folder / "best.pt", {"network": model.state_dict()})
    about = {
        "dataset": "medmnist",
        "study": "iid",
        "method": "classifier",
        "seed": 0,
        "class_names": [f"class {c}" for c in range(model.num_classes)],
        "data_kind": "real",
    }
    TestSetEvaluator(
        device=DEVICE,
        network=network(model.num_classes),
        dataset=Dataset(records),
        cases=table,
        run_dir=folder,
        target_kind="acquisition",
        sweep=CorruptionSweep(["gaussian_noise"], [2]),
        inferer=MCDropoutInferer(SAMPLES, views=["horizontal_flip"], precision=precision),
        thresholds=thresholds,
        failure_metrics=failure_metrics,
        target_risk=0.1,
        delta=0.1,
        run_description=about,
        batch_size=256,
        thumbnail_size=0,
    ).run()
    return load_results(folder / "results")


def main() -> None:
    """Print one line per precision and test set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    records, table, classes = cases_of(file)
    model = trained(records, classes)
    found: dict[str, Results] = {}
    with tempfile.TemporaryDirectory() as place:
        for precision in PRECISIONS:
            try:
                check_precision(precision, DEVICE)
            except ValueError as error:
                print(f"{precision}: not measured, {error}")
                continue
            if precision == "tf32" and DEVICE.type != "cuda":
                print("tf32: not measured, on a CPU it is float32")
                continue
            found[precision] = evaluated(Path(place) / precision, precision, model, records, table)
        cells = {
            name: collect([Path(place) / name / "results"], csfs=["all"], n_resamples=0).cells
            for name in found
        }
        exact = found.pop("float32")
        print(f"torch {torch.__version__}, {DEVICE}; AURC in per cent, {SAMPLES} samples")
        for precision, results in found.items():
            for name, test_set in results.test_sets.items():
                logits, before = test_set.arrays["logits"], exact.test_sets[name].arrays["logits"]
                changed = int((logits.argmax(1) != before.argmax(1)).sum())
                frames = [
                    part[(part["metric"] == "aurc") & (part["test_set"] == name)].set_index("csf")["value"]
                    for part in (cells["float32"], cells[precision])
                ]
                change = 100 * (frames[1] - frames[0])
                worst = change.abs().idxmax()
                errors = int((before.argmax(1) != exact.labels_of(name)).sum())
                away, largest = np.abs(logits - before).max(), np.abs(before).max()
                print(
                    f"{precision}, {name}: {len(before)} cases, {errors} errors, {changed} predictions "
                    f"changed; logits differ by at most {away:.3f} of {largest:.1f}; AURC of MSR "
                    f"{100 * frames[0]['MSR']:.3f}, {change['MSR']:+.3f}; median of {len(change)} scores "
                    f"{change.abs().median():.3f}, most {change[worst]:+.3f} "
                    f"({worst}, {100 * frames[0][worst]:.3f})"
                )


if __name__ == "__main__":
    main()
