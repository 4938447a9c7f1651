"""Case table of dermoscopy: HAM10000, ISIC 2020, derm7pt and PH2; benign or malignant.

Sources: Tschandl et al., Scientific Data 5 (2018); Rotemberg et al., Scientific Data 8 (2021); Kawahara et
al., IEEE JBHI 23 (2019); Mendonça et al., EMBC (2013).
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.datasets.leaks import content_hashes
from monai_sf.datasets.reading import Reading
from monai_sf.datasets.table_rows import check_not_repeated
from monai_sf.datasets.tables import (
    LARGEST_TABLE,
    TableError,
    check_same_rows,
    check_unique,
    read_columns,
    read_header,
    table_content,
    whole_numbers,
)
from monai_sf.datasets.tree import TableFile
from monai_sf.vocabulary.diagnoses import DERM7PT, HAM10000, ISIC_2020, PH2

__all__ = ["CENTRES", "KERATOSES", "LABEL_NAMES", "dermoscopy_cases"]

LABEL_NAMES = ("benign", "malignant")

KERATOSES = (
    *("bkl", "akiec", "actinic keratosis", "seborrheic keratosis", "lichenoid keratosis"),
    *("solar lentigo", "pigmented benign keratosis"),
    *("lichen planus like keratosis", "solar or actinic keratosis"),
)
"""Diagnoses of keratosis-like lesions (bkl and its three parts) and of actinic keratosis.

The last two are the ISIC archive's names for lichenoid and actinic keratosis since 2024.
"""

CENTRES = ("MSKCC", "Barcelona")
"""The centres of ISIC 2020 that are sources of their own."""

_ISIC_2020 = {"benign": 0, "malignant": 1}
_MOST_COPIES = 8


def dermoscopy_cases(dataset_dir: str | Path, *, missing: str = "raise") -> pd.DataFrame:
    """Build the case table from those of the four sources that are below the folder.

    Malignant are, in HAM10000, melanoma, basal cell carcinoma and actinic keratosis (mel, bcc, akiec), in
    derm7pt every melanoma and basal cell carcinoma, in PH2 melanoma, and in ISIC 2020 the images with
    ``benign_malignant`` malignant. An image that is in both HAM10000 and ISIC 2020 is one case, that of
    HAM10000; its lesion is in the group of the patient. Files with the same content under different names
    remain separate cases, but form one group, since the archive holds images twice. To find them, files of
    equal size are read.

    Args:
        dataset_dir: Folder with the downloads.
        missing: See :func:`monai_sf.datasets.build_cases`.

    Returns:
        The case table with ``source`` (ham10000, derm7pt, ph2, and of ISIC 2020 MSKCC, Barcelona, or
        isic_2020 for the other centres and where the table names none), ``diagnosis`` (as published,
        lower case; "unknown" where there is none) and ``attribution`` (ISIC 2020's, otherwise empty).

    Raises:
        TableError: If a table lacks columns, names an image twice, or holds an unknown diagnosis.
        FileNotFoundError, MissingImagesError: See :func:`monai_sf.datasets.build_cases`.
    """
    reading = Reading.of("dermoscopy", dataset_dir)
    parts = [_ham10000(reading), _isic_2020(reading), _derm7pt(reading), _ph2(reading)]
    if parts[0] and parts[1]:
        _unite(reading, parts[0], parts[1])
    for part in parts:
        if part:
            reading.add(part.source, part.table, part.frame, parts=part.parts)
    cases = reading.finish(missing)
    _join_copies(cases, Path(dataset_dir))
    return cases


@dataclass
class _Part:
    source: str
    table: TableFile
    frame: pd.DataFrame
    parts: int = 1


def _ham10000(reading: Reading) -> _Part | None:
    columns = ("lesion_id", "image_id", "dx")
    table = reading.find_table(r"ham10000_metadata.*", columns, telling=True)
    if table is None:
        reading.lacks("ham10000", "no table HAM10000_metadata with the columns " + ", ".join(columns))
        return None
    raw = read_columns(reading.tree, table, columns)
    check_unique(table, raw["image_id"], "image_id")
    diagnosis = raw["dx"].str.lower()
    _refuse_unknown(table, diagnosis, HAM10000)
    lesion = reading.groups(table, "lesion_id", raw["lesion_id"], raw["image_id"])
    frame = _frame("ham10000", raw["image_id"], lesion, diagnosis, diagnosis.map(HAM10000))
    return _Part("ham10000", table, frame.assign(image=raw["image_id"] + ".jpg"))


def _isic_2020(reading: Reading) -> _Part | None:
    # Of two names the second is the archive's since 2024, where diagnosis_1 is Benign or Malignant.
    names = (("isic_id", "image_name"), ("diagnosis", "diagnosis_3"), ("benign_malignant", "diagnosis_1"))
    columns = (*map("|".join, names), "patient_id")
    table = reading.find_table(
        r".*(metadata|groundtruth).*|train\.csv", columns, ("attribution", "lesion_id")
    )
    if table is None:
        why = f"no table *metadata*.csv or *GroundTruth*.csv with the columns {', '.join(columns)}"
        for source in ("isic_2020", *CENTRES):
            reading.lacks(source, why)
        return None
    header = read_header(reading.tree, table)
    own = [first if first in header else second for first, second in names]
    image_id, diagnosis, malignancy = own
    has_centres = "attribution" in header
    raw = read_columns(reading.tree, table, ("patient_id", *own, *(("attribution",) if has_centres else ())))
    check_unique(table, raw[image_id], image_id)
    raw[diagnosis] = raw[diagnosis].str.lower().fillna("unknown")
    _refuse_unknown_isic(table, raw[diagnosis])
    verdict = raw[malignancy].str.lower().fillna("")
    decided = (verdict != "") & ~verdict.str.startswith("indeterminate")
    raw = reading.keep(raw, decided, f"isic_2020: {malignancy} is empty or indeterminate")
    verdict = verdict[raw.index]
    _refuse_unknown(table, verdict, _ISIC_2020)
    patient = reading.groups(table, "patient_id", raw["patient_id"], raw[image_id])
    frame = _frame("isic_2020", raw[image_id], patient, raw[diagnosis], verdict.map(_ISIC_2020))
    if has_centres:
        frame["attribution"] = raw["attribution"].fillna("")
        centre = {name: _centre(name) for name in frame["attribution"].unique()}
        frame["source"] = frame["attribution"].map(centre)
    for name in CENTRES:
        if not has_centres:
            reading.lacks(name, f"{table} has no column attribution; the archive's metadata table has")
        elif not (frame["source"] == name).any():
            reading.lacks(name, f"no row of {table} names it in the column attribution")
    _join_listed_copies(reading, frame)
    return _Part("isic_2020", table, frame.assign(image=raw[image_id] + ".jpg"))


def _refuse_unknown_isic(table: TableFile, diagnosis: pd.Series) -> None:
    if diagnosis.name != "diagnosis":  # since 2024, only names that a study's rule reads must be known
        diagnosis = diagnosis[diagnosis.str.contains("keratosis") & (diagnosis != "porokeratosis")]
    _refuse_unknown(table, diagnosis, dict.fromkeys(ISIC_2020, 0))


def _join_listed_copies(reading: Reading, frame: pd.DataFrame) -> None:
    """Give the images that ISIC 2020's own list calls duplicates one group."""
    columns = ("image_name_1", "image_name_2")
    table = reading.find_table(r"isic_2020_training_duplicates\.csv", columns, telling=True)
    if table is None:
        return
    raw = read_columns(reading.tree, table, columns)
    group = frame["group"].set_axis(frame["case_id"].str.removeprefix("isic_2020-").str.lower())
    pairs = pd.DataFrame({name: raw[name].str.lower().map(group) for name in columns}).dropna()
    name = _joined(pairs[pairs[columns[0]] != pairs[columns[1]]].itertuples(index=False, name=None))
    frame["group"] = frame["group"].map(lambda own: name.get(own, own))
    reading.note(f"{len(pairs)} pairs of {table} are images of one group each")


def _centre(attribution: str) -> str:
    """Return the source of an attribution, however its accent is encoded."""
    plain = unicodedata.normalize("NFKD", attribution).encode("ascii", "ignore").decode()
    plain = plain.lower().replace("-", " ").strip()
    if plain == "mskcc" or plain.startswith("memorial sloan kettering"):
        return "MSKCC"
    return "Barcelona" if re.search("hospital clinic (de )?barcelona", plain) else "isic_2020"


def _derm7pt(reading: Reading) -> _Part | None:
    columns = ("case_num", "diagnosis", "derm")
    table = reading.find_table(r"meta\.csv", columns)
    if table is None:
        reading.lacks("derm7pt", f"no table meta.csv with the columns {', '.join(columns)}")
        return None
    raw = read_columns(reading.tree, table, columns)
    raw["case_num"] = whole_numbers(table, raw["case_num"], "case_num")
    check_unique(table, raw["case_num"], "case_num")
    if raw["derm"].isna().any():
        raise TableError(f"{table}: {int(raw['derm'].isna().sum())} rows have no derm")
    diagnosis = raw["diagnosis"].str.lower()
    _refuse_unknown(table, diagnosis, DERM7PT)
    of_image = raw.groupby(raw["derm"].str.lower())
    if shared := int((of_image["derm"].transform("size") > 1).sum()):
        reading.note(f"{shared} cases of {table} share an image with another case: these form one group")
    group = of_image["case_num"].transform("min")  # whatever the order of rows
    frame = _frame("derm7pt", raw["case_num"], group, diagnosis, diagnosis.map(DERM7PT))
    # meta/meta.csv is beside images/
    return _Part("derm7pt", table, frame.assign(image="../images/" + raw["derm"]), parts=2)


def _ph2(reading: Reading) -> _Part | None:
    tables = [table for table in reading.tree.tables if table.name == "ph2_dataset.xlsx"]
    if not tables:
        reading.lacks("ph2", "no table PH2_dataset.xlsx")
        return None
    table = tables[0]
    raw = _read_ph2(reading, table)
    if others := tables[1:]:
        check_same_rows(tables, [raw, *(_read_ph2(reading, one) for one in others)], reading.note)
    name = raw["Image Name"]
    check_unique(table, name, "Image Name")
    marks = raw[list(PH2)]
    is_x = marks.apply(lambda own: own.str.strip().str.upper()) == "X"
    if (strange := (marks.notna() & ~is_x).any(axis=1)).any():
        raise TableError(
            f"{table}: {', '.join(PH2)} must be X or empty, and are not for {', '.join(name[strange][:5])}"
        )
    marked = marks.notna()
    if (unclear := marked.sum(axis=1) != 1).any():
        raise TableError(
            f"{table}: not exactly one of {', '.join(PH2)} is marked for {', '.join(name[unclear][:5])}"
        )
    diagnosis = marked.idxmax(axis=1).astype("str")
    frame = _frame("ph2", name, name, diagnosis.str.lower(), diagnosis.map(PH2))
    image = "PH2 Dataset images/" + name + "/" + name + "_Dermoscopic_Image/" + name + ".bmp"
    return _Part("ph2", table, frame.assign(image=image))


def _read_ph2(reading: Reading, table: TableFile) -> pd.DataFrame:
    """Read the rows below the one that holds "Image Name"."""
    try:
        content = io.BytesIO(table_content(reading.tree, table))
        with zipfile.ZipFile(content) as archive:  # what an Excel file is
            size = sum(one.file_size for one in archive.infolist())
        if size > LARGEST_TABLE:
            raise TableError(f"{table} unpacks to {size:,} bytes: it is not one of the published tables")
        sheet = pd.read_excel(content, header=None, dtype=str)
    except TableError:
        raise
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise TableError(f"{table} is not an Excel table ({error}). Download it again") from error
    holds = (sheet == "Image Name").any(axis=1).to_numpy()
    if not holds.any():
        raise TableError(f'{table}: no row holds "Image Name"')
    row = int(holds.argmax())
    header = [" ".join(str(name).split()) for name in sheet.iloc[row]]
    absent = [name for name in PH2 if name not in header]
    if absent:
        raise TableError(f"{table} lacks the columns {', '.join(absent)}; it has {', '.join(header)}")
    check_not_repeated(table, header, ("Image Name", *PH2))
    rows = sheet.iloc[row + 1 :]
    named = max(k for k, cell in enumerate(sheet.iloc[row].notna(), start=1) if cell)
    if (beyond := rows.iloc[:, named:].notna().any(axis=1)).any():
        listed = ", ".join(str(k + 1) for k in rows.index[beyond])
        raise TableError(f"{table}: rows have cells beyond the last column: {listed}. They may be shifted")
    rows = rows.set_axis(header, axis=1)[["Image Name", *PH2]]
    rows = rows[rows["Image Name"].notna()]
    if rows.empty:
        raise TableError(f"{table} holds no row. Download it again, or move it out of the folder")
    return rows.assign(**{"Image Name": rows["Image Name"].str.strip()})


def _frame(
    source: str, ids: pd.Series, groups: pd.Series, diagnosis: pd.Series, label: pd.Series
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case_id": f"{source}-" + ids,
            "label": label.astype(np.int64),
            "label_name": label.map(dict(enumerate(LABEL_NAMES))),
            "group": f"{source}-" + groups,
            "source": source,
            "diagnosis": diagnosis.fillna("unknown"),
            "attribution": "",
        }
    )


def _refuse_unknown(table: TableFile, values: pd.Series, known: Mapping[str, int]) -> None:
    unknown = values[~values.isin(list(known))].fillna("(empty)").value_counts()
    if len(unknown):
        listed = ", ".join(f"{name} ({count})" for name, count in unknown.items())
        raise TableError(f"{table}: unknown {values.name} (rows): {listed}. Known: {', '.join(known)}")


def _unite(reading: Reading, ham: _Part, isic: _Part) -> None:
    """Keep an image of both sources once, and merge the groups that it links."""
    ham_id = ham.frame["case_id"].str.removeprefix("ham10000-").str.lower()
    isic_id = isic.frame["case_id"].str.removeprefix("isic_2020-").str.lower()
    both = isic_id.isin(ham_id)
    if not both.any():
        return
    lesion = ham.frame["group"].set_axis(ham_id)[isic_id[both]].tolist()
    name = _joined(zip(lesion, isic.frame["group"][both].tolist(), strict=True))
    for part in (ham, isic):
        part.frame["group"] = part.frame["group"].map(lambda group: name.get(group, group))
    label = ham.frame["label"].set_axis(ham_id)[isic_id[both]].to_numpy()
    if differing := int((label != isic.frame["label"][both].to_numpy()).sum()):
        reading.note(
            f"{differing} images are in ham10000 and isic_2020 with different labels; ham10000's are used"
        )
    isic.frame = reading.keep(isic.frame, ~both, "isic_2020: the image is also in ham10000")


def _join_copies(cases: pd.DataFrame, root: Path) -> None:
    """Give cases whose files have the same content one group, so that no split separates them.

    Content under many names is a placeholder, which does not identify a patient.
    """
    there = cases.loc[[_is_filled(root / image) for image in cases["image"]], ["image", "group"]]
    there["content"] = content_hashes([root / image for image in there["image"]])
    names = there.groupby("content")["image"].transform("size")
    copies = there[names.between(2, _MOST_COPIES)]
    if (names > _MOST_COPIES).any():
        cases.attrs["reading"]["notes"].append(
            f"{int((names > _MOST_COPIES).sum())} images have the content of more than {_MOST_COPIES - 1} "
            "others: placeholders? Their groups are kept"
        )
    first = copies.groupby("content")["group"].transform("first")
    links = [(a, b) for a, b in zip(first, copies["group"], strict=True) if a != b]
    if links:
        name = _joined(links)
        cases["group"] = cases["group"].map(lambda group: name.get(group, group))
        cases.attrs["reading"]["notes"].append(
            f"{len(copies)} images are {copies['content'].nunique()} files under several names; the groups "
            "of each were merged"
        )


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _joined(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the name of every linked group's connected component: the last in alphabetical order."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for pair in links:
        low, high = sorted(map(root, pair))
        parent[low] = high
    return {name: root(name) for name in list(parent)}
