"""Small published tables to write into a folder, one row of each kind, and empty image files beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def touch(root: Path, names: Iterable[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(root: Path, name: str, *lines: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


FINDINGS = "No Finding,Cardiomegaly,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion"
EIGHT = FINDINGS.split(",")


def labels(**values: float) -> str:
    """The eight cells of a row: ``labels(Edema=1, Pneumonia=-1)``; the rest is empty."""
    named = {name.replace("_", " "): value for name, value in values.items()}
    assert set(named) <= set(EIGHT)
    return ",".join(f"{float(named[name])}" if name in named else "" for name in EIGHT)


def chexpert(root: Path, rows: dict[str, str], *, folder: str = "chexpert", part: str = "train") -> Path:
    """Rows: path below train/ or valid/, to the eight label cells."""
    lines = [
        f"CheXpert-v1.0-small/{part}/{path},M,50,{'Lateral' if 'lateral' in path else 'Frontal'},AP,{cells}"
        for path, cells in rows.items()
    ]
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{FINDINGS}"
    touch(root / folder, [f"{part}/{path}" for path in rows])
    return write(root, f"{folder}/{part}.csv", header, *lines)


def ham10000(root: Path, rows: Iterable[tuple[str, str, str]], folder: str = "ham10000") -> Path:
    """Rows: lesion, image, dx."""
    rows = list(rows)
    touch(root / folder, [f"images/{image}.jpg" for _, image, _ in rows])
    lines = [f"{lesion},{image},{dx},histo,50.0,male,back" for lesion, image, dx in rows]
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    return write(root, f"{folder}/HAM10000_metadata.csv", header, *lines)


def isic_2020(root: Path, rows: Iterable[tuple[str, str, str, str, str]], folder: str = "isic_2020") -> Path:
    """Rows: image, patient, attribution, diagnosis, benign_malignant."""
    rows = list(rows)
    touch(root / folder, [f"train/{row[0]}.jpg" for row in rows])
    lines = [f'{i},{p},"{a}",{d},{b}' for i, p, a, d, b in rows]
    header = "isic_id,patient_id,attribution,diagnosis,benign_malignant"
    return write(root, f"{folder}/challenge-2020-training_metadata.csv", header, *lines)


RXRX1 = "site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"


def rxrx1_row(experiment: str, well: str, site: int, sirna: int, plate: int = 1) -> str:
    well_id = f"{experiment}_{plate}_{well}"
    cell_type = experiment.split("-")[0]
    place = f"{well_id}_{site},{well_id},{cell_type},train,{experiment},{plate},{well},{site}"
    return f"{place},treatment,s{sirna},{sirna}"
