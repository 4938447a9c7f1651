"""How long case tables and splits take for tables of the real size, and how much memory.

Run: python tests/benchmarks/bench_cases.py. Writes tables of the published sizes, without images, into a
temporary folder; each dataset is built and split (study iid and one with a target) in a process of its own.
``own`` is a table of one's own with 250,000 cases. The peak is that of the process above that after imports;
processor seconds do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import logging
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
    "own": "iid",
}


def write_tables(root: Path, times: int = 1) -> None:
    rng = np.random.default_rng(0)
    for name, write in (("dermoscopy", dermoscopy), ("chest_xray", chest_xray), ("fc_microscopy", rxrx1)):
        write(root / name, rng, times)
    (root / "lung_nodule_ct").mkdir()
    own(root / "own", times)


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


def own(root: Path, times: int) -> None:
    n = 250_000 * times
    root.mkdir(parents=True)
    with (root / "table.csv").open("w") as file:
        file.write("path,finding,patient,hospital,age\n")
        for i in range(n):
            finding = "malignant" if i % 3 == 0 else "benign"
            file.write(
                f"images/site{i % 7}/scan_{i:08d}.png,{finding},P{i // 3:07d},H{i % 7},{40 + i % 50}\n"
            )


def peak() -> int:
    """Return the most bytes that this process held; its resource usage would include its parent's."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


def measure(dataset: str, root: Path) -> None:
    from monai_sf.datasets import build_cases, split_cases, table_cases

    logging.disable(logging.WARNING)
    baseline = peak()
    start, used = time.perf_counter(), time.process_time()
    if dataset == "own":
        columns = {"image": "path", "label": "finding", "group": "patient", "source": "hospital"}
        cases = table_cases(root / "own/table.csv", root / "own", columns=columns, missing="keep")
    else:
        rules = {"rendered": True} if dataset == "lung_nodule_ct" else {}
        cases = build_cases(dataset, root / dataset, missing="keep", **rules)
    built = time.perf_counter()
    for study in ("iid", STUDIES[dataset]):
        split_cases(cases, study, 0)
    done = time.perf_counter()
    times = built - start, done - built, time.process_time() - used
    own_bytes = cases.memory_usage(deep=True).sum() / len(cases)
    print(dataset, len(cases), *times, peak() - baseline, own_bytes, sep=",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--times", type=int, default=1, help="multiple of the published sizes")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), arguments.times)
        print(
            "dataset             cases  build s  2 splits s  processor s  peak bytes/case  table bytes/case"
        )
        total = np.zeros(2)
        for dataset in STUDIES:
            command = [sys.executable, __file__, "--measure", dataset, folder]
            runs = [
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split(",")
                for _ in range(arguments.repeat)
            ]
            name, *best = min(runs, key=lambda run: float(run[2]) + float(run[3]))
            cases, build, split, used, peak_bytes, table_bytes = map(float, best)
            total += np.array([build + split, used]) * (name != "own")
            print(
                f"{name:16} {cases:>8.0f} {build:>8.2f} {split:>11.2f} {used:>12.2f} "
                f"{peak_bytes / cases:>16.0f} {table_bytes:>17.0f}"
            )
        print(f"the four published: {total[0]:.1f} s, {total[1]:.1f} s of a processor")


if __name__ == "__main__":
    main()
