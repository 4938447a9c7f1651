"""How long case tables and splits take for tables of the real size, and how much memory.

Run: python tests/benchmarks/bench_cases.py. Writes tables of the published sizes, without images, into a
temporary folder; each dataset is built and split (study iid and one with a target) in a process of its own.
"""

from __future__ import annotations

import argparse
import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
STUDIES = {
    "dermoscopy": "mskcc",
    "chest_xray": "nih14",
    "fc_microscopy": "batches",
    "lung_nodule_ct": "texture",
}


def write_tables(root: Path, times: int = 1) -> None:
    rng = np.random.default_rng(0)
    for name, write in (("dermoscopy", dermoscopy), ("chest_xray", chest_xray), ("fc_microscopy", rxrx1)):
        write(root / name, rng, times)
    (root / "lung_nodule_ct").mkdir()


def table(path: Path, columns: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, index=False)


def dermoscopy(root: Path, rng: np.random.Generator, times: int) -> None:
    n = 10_015 * times
    table(
        root / "ham10000/HAM10000_metadata",
        {
            "lesion_id": [f"HAM_{i:07d}" for i in rng.integers(0, 7470 * times, n)],
            "image_id": [f"ISIC_{24306 + i:07d}" for i in range(n)],
            "dx": rng.choice(["nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"], n),
        },
    )
    n = 33_126 * times
    table(
        root / "isic_2020/challenge-2020-training_metadata.csv",
        {
            "isic_id": [f"ISIC_{1_000_000 + i:07d}" for i in range(n)],
            "patient_id": [f"IP_{i:07d}" for i in rng.integers(0, 2056 * times, n)],
            "attribution": rng.choice(["Memorial Sloan Kettering Cancer Center", "Sydney", "ViDIR"], n),
            "diagnosis": rng.choice(["nevus", "unknown", "melanoma"], n),
            "benign_malignant": rng.choice(["benign", "malignant"], n),
        },
    )


def labels(rng: np.random.Generator, n: int) -> dict[str, object]:
    values = rng.choice([np.nan, 0.0, 1.0, -1.0], (n, len(FINDINGS)), p=[0.75, 0.1, 0.1, 0.05])
    return {name: values[:, k] for k, name in enumerate(FINDINGS)}


def chest_xray(root: Path, rng: np.random.Generator, times: int) -> None:
    n, patients = 223_648 * times, 64_541 * times
    patient = rng.integers(1, patients, n)
    for part, rows in (("train", slice(0, n - 234)), ("valid", slice(n - 234, n))):
        own = patient[rows] + (part == "valid") * patients
        table(
            root / f"chexpert/CheXpert-v1.0-small/{part}.csv",
            {
                "Path": [
                    f"CheXpert-v1.0-small/{part}/patient{p:05d}/study{i}/view1_frontal.jpg"
                    for i, p in enumerate(own)
                ],
                "Sex": "Male",
                "Age": 50,
                "Frontal/Lateral": "Frontal",
                "AP/PA": "AP",
                **labels(rng, len(own)),
            },
        )
    n = 112_120 * times
    combinations = ["Effusion", "No Finding", "Effusion|Mass", "Edema|Pneumonia", "Pneumothorax", "Hernia"]
    finding, patient = rng.choice(combinations, n), rng.integers(1, 30_806 * times, n)
    lines = [
        f"{p:08d}_{i % (1000 * times):03d}.png,{f},{i},{p},58,M,PA,2682,2749,0.143,0.143"
        for i, (f, p) in enumerate(zip(finding, np.sort(patient), strict=True))
    ]
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    (root / "nih14").mkdir()
    (root / "nih14/Data_Entry_2017_v2020.csv").write_text("\n".join([header, *lines]) + "\n")
    n, studies = 377_110 * times, 227_827 * times
    subject = 10_000_000 + rng.integers(0, 65_379 * times, studies)
    table(
        root / "mimic_cxr/mimic-cxr-2.0.0-chexpert.csv.gz",
        {"subject_id": subject, "study_id": 50_000_000 + np.arange(studies), **labels(rng, studies)},
    )
    of_study = np.sort(rng.integers(0, studies, n))
    table(
        root / "mimic_cxr/mimic-cxr-2.0.0-split.csv.gz",
        {
            "dicom_id": [f"{i:08x}-02aa804e-bde0afdd-112c0b34-7bc16630" for i in range(n)],
            "study_id": 50_000_000 + of_study,
            "subject_id": subject[of_study],
            "split": "train",
        },
    )


def rxrx1(root: Path, rng: np.random.Generator, times: int) -> None:
    experiments = [
        f"{c}-{i:02d}"
        for again in range(times)
        for c, k in (("HEPG2", 11), ("HUVEC", 24), ("RPE", 11), ("U2OS", 5))
        for i in range(again * k + 1, (again + 1) * k + 1)
    ]
    n = 125_510 * times
    i = np.arange(n)
    site, well, plate, experiment = i % 2 + 1, i // 2 % 308, i // 616 % 4 + 1, i // 2464 % (51 * times)
    names = [experiments[e] for e in experiment]
    wells = [f"{'BCDEFGHIJKLMNO'[w // 22]}{w % 22 + 2:02d}" for w in well]
    ids = [f"{e}_{p}_{w}" for e, p, w in zip(names, plate, wells, strict=True)]
    sirna = (well + 308 * (plate - 1)) % 1139
    table(
        root / "rxrx1/metadata.csv",
        {
            "site_id": [f"{w}_{s}" for w, s in zip(ids, site, strict=True)],
            "well_id": ids,
            "cell_type": [e.split("-")[0] for e in names],
            "dataset": "train",
            "experiment": names,
            "plate": plate,
            "well": wells,
            "site": site,
            "well_type": "treatment",
            "sirna": [f"s{k}" for k in sirna],
            "sirna_id": sirna,
        },
    )


def measure(dataset: str, root: Path) -> None:
    from monai_sf.datasets import build_cases, split_cases

    logging.disable(logging.WARNING)
    start = time.perf_counter()
    rules = {"rendered": True} if dataset == "lung_nodule_ct" else {}
    cases = build_cases(dataset, root / dataset, missing="keep", **rules)
    built = time.perf_counter()
    for study in ("iid", STUDIES[dataset]):
        split_cases(cases, study, 0)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{dataset},{len(cases)},{built - start:.2f},{done - built:.2f},{peak:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder))
        print(f"{'dataset':16} {'cases':>8} {'build s':>8} {'2 splits s':>10} {'peak GiB':>8}")
        total = 0.0
        for dataset in STUDIES:
            command = [sys.executable, __file__, "--measure", dataset, folder]
            runs = [
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split(",")
                for _ in range(arguments.repeat)
            ]
            best = min(runs, key=lambda run: float(run[2]) + float(run[3]))
            total += float(best[2]) + float(best[3])
            print(f"{best[0]:16} {best[1]:>8} {best[2]:>8} {best[3]:>10} {best[4]:>8}")
        print(f"all: {total:.1f} s")


if __name__ == "__main__":
    main()
