"""Phantoms: small datasets of synthetic images, with the layouts and oddities of the published ones."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from monai_sf.datasets.chest_xray import LABEL_NAMES as FINDINGS
from monai_sf.datasets.phantom_dicom import write_lung_nodule_ct
from monai_sf.datasets.phantom_images import cells, chest, lesion
from monai_sf.files import atomic_folder

__all__ = ["ensure_phantom", "write_phantom"]

_ABOUT = "The images in this folder are synthetic, made by monai_sf.datasets.phantom. They show no patient.\n"
_MARKER = "PHANTOM"
_FEWEST = 128


def write_phantom(dataset: str, folder: str | Path, *, cases: int = 128, size: int = 64) -> Path:
    """Write a small dataset of synthetic images as it would be published: same folders, tables and columns.

    The appearance of an image depends on its class and its domain, so that a network can learn the one and is
    tested by the other. The same arguments give the same files. A file ``PHANTOM`` marks the folder;
    :func:`monai_sf.datasets.build_cases` reads it, and the column ``data_kind`` is "phantom".

    Args:
        dataset: dermoscopy, chest_xray, fc_microscopy, or lung_nodule_ct: DICOM files with the geometry of
            LIDC-IDRI and rendered pixels. (That dataset's images can also be rendered without any files.)
        folder: The folder to write; empty, missing, or already a phantom.
        cases: Images of each source, at least 128 (fewer leave classes out of a validation set); of
            fc_microscopy: sites; of lung_nodule_ct: slices.
        size: Height and width in pixels, at least 32; of lung_nodule_ct always 512.

    Returns:
        The folder.

    Raises:
        ValueError: If the dataset is unknown, a number too small, or the folder holds other files, whose
            images would be treated as phantoms.

    Examples:
        >>> from PIL import Image
        >>> from monai_sf.datasets import build_cases
        >>> from monai_sf.datasets.phantom import write_phantom
        >>> cases = build_cases(
        ...     "chest_xray", write_phantom("chest_xray", "phantom", size=32)
        ... )
        >>> len(cases), cases["data_kind"].unique().tolist()
        (384, ['phantom'])
        >>> with Image.open("phantom/" + cases["image"][0]) as image:
        ...     image.size
        (32, 32)
    """
    if dataset not in _WRITERS:
        raise ValueError(f"no phantom of {dataset!r}; there are {', '.join(_WRITERS)}")
    if cases < _FEWEST or size < 32:
        raise ValueError(f"cases must be at least {_FEWEST} and size at least 32, got {cases} and {size}")
    folder = Path(folder)
    _refuse_other_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).write_text(_ABOUT, encoding="utf-8")
    for place, write in _WRITERS[dataset].items():
        write(folder / place, cases, size)
    return folder


def ensure_phantom(dataset: str, folder: str | Path, *, cases: int = 128, size: int = 64) -> Path:
    """Write a phantom as :func:`write_phantom`, atomically, unless it exists already.

    Args:
        dataset: as of :func:`write_phantom`, as all arguments.
        folder: an existing phantom in it stays, whatever its dataset, number of cases and size.
        cases: of each source.
        size: in pixels.

    Returns:
        The folder.

    Raises:
        ValueError: As :func:`write_phantom`.

    Examples:
        >>> from monai_sf.datasets.phantom import ensure_phantom
        >>> folder = ensure_phantom("chest_xray", "phantom", size=32)
        >>> sorted(path.name for path in folder.iterdir())
        ['PHANTOM', 'chexpert', 'mimic_cxr', 'nih14']
        >>> # it is there, and stays as it is
        >>> ensure_phantom("chest_xray", "phantom") == folder
        True
    """
    folder = Path(folder)
    _refuse_other_files(folder)
    if not (folder / _MARKER).exists():
        with atomic_folder(folder) as partial:
            write_phantom(dataset, partial, cases=cases, size=size)
    return folder


def _refuse_other_files(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ValueError(
            f"{folder} holds other files, which would be taken for phantoms: give an empty folder"
        )


def _save(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, "JPEG" if path.suffix.lower() == ".jpg" else None)


def _table(path: Path, rows: Sequence[object], columns: tuple[str, ...] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def _ham10000(folder: Path, cases: int, size: int) -> None:
    # Two images per lesion; the classes alternate with the lesion.
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = []
    for i in range(cases):
        name = f"ISIC_{24306 + i:07d}"
        dx = ("nv", "mel", "df", "bcc", "nv", "mel", "bkl", "akiec")[i // 2 % 8]
        sex = ("male", "female")[i % 2]
        rows.append((f"HAM_{i // 2:07d}", name, dx, "histo", 40.0 + i % 40, sex, "back"))
        image = lesion(name, dx in ("mel", "bcc", "akiec"), "ham", size)
        _save(folder / f"HAM10000_images_part_{1 + (2 * i >= cases)}" / f"{name}.jpg", image)
    _table(folder / "HAM10000_metadata", rows, columns)


def _isic_2020(folder: Path, cases: int, size: int) -> None:
    centres = (
        "Memorial Sloan Kettering Cancer Center",
        "Department of Dermatology, Hospital Clínic de Barcelona",
        "ViDIR Group, Department of Dermatology, Medical University of Vienna",
    )
    diagnoses = (("nevus", "unknown", "seborrheic keratosis", "nevus"), ("melanoma",))
    rows = []
    for i in range(cases):
        name, patient = f"ISIC_{52212 + i:07d}", i // 2
        malignant, centre = patient // 3 % 2, centres[patient % 3]
        rows.append(
            {
                "isic_id": name,
                "attribution": centre,
                "copyright_license": "CC-BY-NC",
                "age_approx": 45,
                "anatom_site_general": "lower extremity",
                "benign_malignant": ("benign", "malignant")[malignant],
                "diagnosis": diagnoses[malignant][i % len(diagnoses[malignant])],
                "image_type": "dermoscopic",
                "patient_id": f"IP_{patient:07d}",
                "sex": "female",
            }
        )
        image = lesion(name, bool(malignant), centre, size)
        _save(folder / "ISIC_2020_Training_JPEG" / "train" / f"{name}.JPG", image)
    _table(folder / "challenge-2020-training_metadata.csv", rows)


def _derm7pt(folder: Path, cases: int, size: int) -> None:
    diagnoses = ("clark nevus", "melanoma (less than 0.76 mm)", "blue nevus", "basal cell carcinoma")
    columns = ("case_num", "diagnosis", "seven_point_score", "clinic", "derm")
    rows = []
    for i in range(cases):
        rows.append((i + 1, diagnoses[i % 4], i % 8, f"NEL/NEL{i:03d}.JPG", f"NEL/Nel{i:03d}.jpg"))
        image = lesion(f"7pt{i}", i % 2 == 1, "derm7pt", size)
        _save(folder / "images" / "Nel" / f"NEL{i:03d}.jpg", image)
    _table(folder / "meta" / "meta.csv", rows, columns)


def _ph2(folder: Path, cases: int, size: int) -> None:
    header = (
        *("Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma"),
        *("Asymmetry\n(0/1/2)", "Pigment Network\n(AT/T)"),
    )
    sheet: list[list[str | None]] = [[None] * len(header) for _ in range(12)]
    sheet[1][0] = "PH2 Dataset"
    sheet.append(list(header))
    for i in range(cases):
        name = f"IMD{i:03d}"
        sheet.append([name, None, *("X" if i % 3 == k else None for k in range(3)), "0", "T"])
        place = folder / "PH2 Dataset images" / name / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
        _save(place, lesion(name, i % 3 == 2, "ph2", size))
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(sheet).to_excel(folder / "PH2_dataset.xlsx", index=False, header=False)


def _label_of(i: int) -> int:
    """Return the class of an image: two images per patient, whose classes alternate."""
    return i // 2 % len(FINDINGS)


def _one_hot(label: int) -> dict[str, float | None]:
    return {
        name: 1.0 if k == label else (0.0 if k == (label + 3) % 8 else None)
        for k, name in enumerate(FINDINGS)
    }


def _chexpert(folder: Path, cases: int, size: int) -> None:
    rows: dict[str, list[dict[str, object]]] = {"train": [], "valid": []}
    for i in range(cases):
        part = "valid" if i // 2 % 6 == 5 else "train"
        view = ("frontal", "lateral")[i % 2]
        path = f"{part}/patient{i // 2 + 1:05d}/study1/view{i % 2 + 1}_{view}.jpg"
        labels = _one_hot(_label_of(i))
        rows[part].append(
            {
                "Path": f"CheXpert-v1.0-small/{path}",
                "Sex": "Female",
                "Age": 60,
                "Frontal/Lateral": view.capitalize(),
                "AP/PA": "AP" if view == "frontal" else None,
                "No Finding": labels.pop("No Finding"),
                "Enlarged Cardiomediastinum": None,
                **labels,
                "Support Devices": 1.0 if i % 3 == 0 else None,
            }
        )
        _save(folder / path, chest(f"chexpert{i}", _label_of(i), 8, "chexpert", size))
    # One without a positive label: neither a finding nor "No Finding".
    path = "CheXpert-v1.0-small/train/patient64000/study1/view1_frontal.jpg"
    rows["train"].append({**rows["train"][0], **dict.fromkeys(FINDINGS), "Path": path})
    for part, own in rows.items():
        _table(folder / f"{part}.csv", own)


def _nih14(folder: Path, cases: int, size: int) -> None:
    lines = [
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    ]
    for i in range(cases):
        finding = FINDINGS[_label_of(i)].replace("Pleural Effusion", "Effusion")
        finding += "|Mass" if i % 5 == 0 and finding != "No Finding" else ""
        name = f"{i // 2 + 1:08d}_{i % 2:03d}.png"
        lines.append(f"{name},{finding},{i % 2},{i // 2 + 1},57,M,PA,2682,2749,0.143,0.143")
        _save(folder / f"images_{1 + i % 3:03d}" / "images" / name, chest(name, _label_of(i), 8, "nih", size))
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _mimic_cxr(folder: Path, cases: int, size: int) -> None:
    labels, split, views = [], [], []
    for i in range(cases):
        subject, study = 10000032 + i // 2, 50414267 + i
        dicom = f"{i:08x}-0123abcd-89ef4567-01234567-deadbeef"
        found = _one_hot(_label_of(i))
        if i % 4 == 0:
            found[FINDINGS[(_label_of(i) + 1) % 8]] = -1.0
        labels.append({"subject_id": subject, "study_id": study, **found})
        split.append({"dicom_id": dicom, "study_id": study, "subject_id": subject, "split": "train"})
        views.append({"dicom_id": dicom, "ViewPosition": ("PA", "LATERAL")[i % 2]})
        place = f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg"
        _save(folder / place, chest(dicom, _label_of(i), 8, "mimic", size))
    for name, rows in (("chexpert", labels), ("split", split), ("metadata", views)):
        text = pd.DataFrame(rows).to_csv(index=False)
        (folder / f"mimic-cxr-2.0.0-{name}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _rxrx1(folder: Path, cases: int, size: int) -> None:
    experiments = ("HEPG2-01", "HEPG2-08", "HUVEC-01", "HUVEC-03", "RPE-01", "RPE-02", "U2OS-01", "HUVEC-02")
    treatments = ("EMPTY", "s15652", "s15653", "s15654")
    columns = (
        *("site_id", "well_id", "cell_type", "dataset", "experiment", "plate", "well", "site"),
        *("well_type", "sirna", "sirna_id"),
    )
    rows = []
    for i in range(cases):
        label, experiment, plate = i // 2 % 4, experiments[i // 8 % len(experiments)], 1 + i // 896
        well, site = f"{'BCDEFGHIJKLMNO'[i // 64 % 14]}{2 + i // 2 % 4:02d}", 1 + i % 2
        well_id = f"{experiment}_{plate}_{well}"
        well_type = "treatment" if label else "negative_control"
        whence = (experiment.split("-")[0], "train", experiment, plate, well, site)
        rows.append((f"{well_id}_{site}", well_id, *whence, well_type, treatments[label], label))
        place = folder / "rxrx1" / "images" / experiment / f"Plate{plate}"
        for channel in range(6):
            image = cells(f"{well_id}_{site}", label, channel, experiment, size)
            _save(place / f"{well}_s{site}_w{channel + 1}.png", image)
    with zipfile.ZipFile(folder / "rxrx1-metadata.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rxrx1/metadata.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))


# By dataset and folder; CT has its own size.
_WRITERS: dict[str, dict[str, Callable[[Path, int, int], None]]] = {
    "dermoscopy": {
        "ham10000": _ham10000,
        "isic_2020": _isic_2020,
        "derm7pt/release_v0": _derm7pt,
        "ph2/PH2Dataset": _ph2,
    },
    "chest_xray": {
        "chexpert/CheXpert-v1.0-small": _chexpert,
        "nih14": _nih14,
        "mimic_cxr": _mimic_cxr,
    },
    "fc_microscopy": {".": _rxrx1},
    "lung_nodule_ct": {".": lambda folder, cases, size: write_lung_nodule_ct(folder, cases)},
}
