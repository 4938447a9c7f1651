"""Case table of chest_xray: CheXpert, NIH ChestX-ray14 and MIMIC-CXR, with their eight common findings.

Sources: Irvin et al., AAAI (2019); Wang et al., CVPR (2017); Johnson et al., Scientific Data 6 (2019).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from monai_sf.datasets.reading import Reading
from monai_sf.datasets.tables import TableError, check_unique, read_columns, whole_numbers
from monai_sf.datasets.texts import arrow_texts, joined, places_of, text_column
from monai_sf.datasets.tree import TableFile, last_parts
from monai_sf.vocabulary.ids import canonical_ids

__all__ = ["LABEL_NAMES", "chest_xray_cases"]

LABEL_NAMES = (
    *("No Finding", "Cardiomegaly", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax"),
    "Pleural Effusion",
)

_NIH_FINDINGS = (
    *LABEL_NAMES[:-1],
    *("Effusion", "Infiltration", "Mass", "Nodule", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
_MIMIC_VIEWS = {
    **dict.fromkeys(("AP", "PA", "AP AXIAL", "PA LLD", "PA RLD", "AP LLD", "AP RLD"), "frontal"),
    **dict.fromkeys(("LATERAL", "LL", "XTABLE LATERAL", "SWIMMERS"), "lateral"),
}

Labels = npt.NDArray[np.int8]


def chest_xray_cases(
    dataset_dir: str | Path,
    *,
    missing: str = "raise",
    uncertain: str = "negative",
    views: str = "all",
    several: str = "drop",
) -> pd.DataFrame:
    """Build the case table from those of the three sources that are below the folder.

    A case is kept if exactly one of the eight labels is positive (1). If none is, the image is left out: it
    is not "No Finding", since it may show another finding, or one that the report does not mention.

    Args:
        dataset_dir: Folder with the downloads.
        missing: See :func:`monai_sf.datasets.build_cases`.
        uncertain: Images of which one of the eight labels is uncertain (-1): ``negative`` treats it as
            negative, ``drop`` leaves the image out.
        views: ``all``, ``frontal`` or ``lateral``. NIH's are all frontal. MIMIC-CXR's are in its metadata
            table, which only ``all`` does without.
        several: Images with more than one positive label: ``drop`` leaves them out, ``first`` uses the first
            finding in the order of :data:`LABEL_NAMES`, "No Finding" last.

    Returns:
        The case table with ``source`` (chexpert, nih14, mimic_cxr) and ``view`` (frontal, lateral, unknown).

    Raises:
        ValueError: If a rule is unknown.
        TableError: If a table lacks columns, names an image twice, or holds an unknown label.
        FileNotFoundError, MissingImagesError: See :func:`monai_sf.datasets.build_cases`.
    """
    for name, value, known in (
        ("uncertain", uncertain, ("negative", "drop")),
        ("views", views, ("all", "frontal", "lateral")),
        ("several", several, ("drop", "first")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    reading = Reading.of("chest_xray", dataset_dir)
    rules = _Rules(reading, uncertain, views, several)
    _chexpert(reading, rules)
    _nih14(reading, rules)
    _mimic_cxr(reading, rules, need_views=views != "all")
    return reading.finish(missing)


class _Rules:
    def __init__(self, reading: Reading, uncertain: str, views: str, several: str) -> None:
        self.reading, self.uncertain, self.views, self.several = reading, uncertain, views, several

    def label(
        self, source: str, view: pd.Series, values: Labels
    ) -> tuple[npt.NDArray[np.intp], pd.DataFrame]:
        """Return the rows (n,) that the rules keep, and their columns that come from labels and views.

        Args:
            source: Name in the report.
            view: Of each row.
            values: (rows, 8) 1 positive, 0 negative or not mentioned, -1 uncertain.
        """
        rows = pd.DataFrame({"row": np.arange(len(values))})

        def keep(kept: npt.NDArray[np.bool_], rule: str) -> None:
            nonlocal rows
            rows = self.reading.keep(rows, kept[rows["row"]], f"{source}: {rule}")

        if self.views != "all":
            keep((view == self.views).to_numpy(np.bool_), f"view is not {self.views}")
        if self.uncertain == "drop":
            keep(~(values == -1).any(axis=1), "an uncertain label")
        count = (values == 1).sum(axis=1, dtype=np.int8)
        keep(count > 0, "none of the eight labels is positive")
        if self.several == "drop":
            keep(count == 1, "several of the eight labels are positive")
        row = rows["row"].to_numpy()
        # "No Finding" is column 0, but last in priority.
        label = (np.roll(values[row] == 1, -1, axis=1).argmax(axis=1) + 1) % len(LABEL_NAMES)
        name = pd.Series(np.array(LABEL_NAMES, object)[label], dtype="str")
        own = {"view": view.iloc[row].array, "label": label, "source": source, "label_name": name}
        return row, pd.DataFrame(own)


def _check_values(table: TableFile, values: npt.NDArray[np.float64]) -> Labels:
    strange = ~(np.isin(values, (-1, 0, 1)) | np.isnan(values))
    if strange.any():
        raise TableError(
            f"{table}: labels must be 1, 0, -1 or empty; {strange.sum()} are not "
            f"(first: {np.unique(values[strange])[:5].tolist()})"
        )
    return np.nan_to_num(values).astype(np.int8)


def _chexpert(reading: Reading, rules: _Rules) -> None:
    columns = ("Path", "Frontal/Lateral", *LABEL_NAMES)
    both = [reading.find_table(name, columns) for name in (r"train\.csv", r"valid\.csv")]
    tables = [table for table in both if table is not None]
    if not tables:
        reading.lacks("chexpert", "no table train.csv or valid.csv with the columns Path, Frontal/Lateral, …")
    elif len(tables) == 1:
        lacking = "valid.csv" if both[0] else "train.csv"
        reading.note(
            f"chexpert: no table {lacking} with the columns Path, Frontal/Lateral, … beside {tables[0]}"
        )
    found: list[tuple[TableFile, pd.Series, pd.Series, pd.Series, Labels]] = []
    for table in tables:
        raw = read_columns(reading.tree, table, columns[:2], numbers=LABEL_NAMES)
        # The first folder is CheXpert-v1.0 or CheXpert-v1.0-small; the four parts below it identify an image.
        values = _check_values(table, raw[list(LABEL_NAMES)].to_numpy(np.float64))
        view = _chexpert_views(table, raw["Frontal/Lateral"])
        path = raw["Path"].fillna("")
        del raw
        wrong = ~path.str.fullmatch(r"(?is)(.*/)?[^/]*/patient[^/]*/[^/]*/[^/]*")
        if wrong.any():
            raise TableError(
                f"{table}: Path must end as train/patient00001/study1/view1_frontal.jpg: "
                f"{path[wrong].iloc[0]!r}"
            )
        image = text_column(last_parts(arrow_texts(path), 4))
        del path
        check_unique(table, pd.concat([*(other for _, other, *_ in found), image]), "Path")
        number = image.str.lower().str.replace("(?s)^[^/]*/patient([^/]*)/.*$", r"\1", regex=True)
        found.append((table, image, reading.groups(table, "Path", number, image), view, values))
    # The full-size download has no folder train: its patients lie in "CheXpert-v1.0 batch 2 (train 1)" to 4.
    # No patient is in both published tables; if one is, the folder must tell them apart.
    patients = [set(group.unique()) for _, _, group, _, _ in found]
    parts = 4 if len(patients) == 2 and patients[0] & patients[1] else 3
    while found:
        table, image, group, view, values = found.pop(0)
        row, labelled = rules.label("chexpert", view, values)
        image, group = (one.iloc[row].reset_index(drop=True) for one in (image, group))
        named = image.str.replace(r"\.[^./]*$", "", regex=True).str.replace("/", "-")
        frame = labelled.assign(
            case_id="chexpert-" + named, image=image, group="chexpert-patient" + group.str.zfill(5)
        )
        reading.add("chexpert", table, frame, parts=parts)
    if tables:
        reading.tables["chexpert"] = ", ".join(map(str, tables))


def _chexpert_views(table: TableFile, view: pd.Series) -> pd.Series:
    view = view.str.lower()
    strange = view[view.notna() & ~view.isin(["frontal", "lateral"])].value_counts()
    if len(strange):
        listed = ", ".join(f"{name} ({count})" for name, count in strange.items())
        raise TableError(f"{table}: unknown Frontal/Lateral (rows): {listed}. Known: Frontal, Lateral")
    return view.fillna("unknown")


def _nih14(reading: Reading, rules: _Rules) -> None:
    columns = ("Image Index", "Finding Labels", "Patient ID")
    table = reading.find_table(r"data_entry_2017.*", columns, telling=True)
    if table is None:
        reading.lacks("nih14", f"no table Data_Entry_2017*.csv with the columns {', '.join(columns)}")
        return
    raw = read_columns(reading.tree, table, columns)
    check_unique(table, raw["Image Index"], "Image Index")
    group = _nih_patients(reading, table, raw)
    view = pd.Series("frontal", index=raw.index, dtype="str")
    row, frame = rules.label("nih14", view, _nih_values(table, raw["Finding Labels"]))
    image, group = (one.iloc[row].reset_index(drop=True) for one in (raw["Image Index"], group))
    frame = frame.assign(
        case_id="nih14-" + image.str.replace(r"\.[^.]*$", "", regex=True),
        image="images/" + image,
        group="nih14-" + group,
    )
    reading.add("nih14", table, frame, parts=1)


def _nih_patients(reading: Reading, table: TableFile, raw: pd.DataFrame) -> pd.Series:
    """Return the patients, 13 of 00000013_005.png; differences from the table's ids are noted."""
    image, written = raw["Image Index"], raw["Patient ID"]
    pattern = r"(?s:0*([0-9]+)_[0-9]+\..*)"
    named = image.str.replace(f"^{pattern}$", r"\1", regex=True).where(image.str.fullmatch(pattern))
    said = pd.Series(canonical_ids(written), index=raw.index, dtype="str")
    if (other := named.notna() & said.notna() & (named != said)).any():
        reading.note(
            f"{table}: {int(other.sum())} images have another patient in their name than in Patient ID "
            f"(first: {image[other].iloc[0]}, {written[other].iloc[0]}); the name counts"
        )
    return reading.groups(table, "Patient ID", named.fillna(written), image)


def _nih_values(table: TableFile, findings: pd.Series) -> Labels:
    code, texts = pd.factorize(findings.fillna(""))
    values = np.zeros((len(texts), len(LABEL_NAMES)), np.int8)
    unknown: dict[str, int] = {}
    for row, text in enumerate(texts):
        for name in text.split("|"):
            if name not in _NIH_FINDINGS:
                unknown[name or "(empty)"] = unknown.get(name, 0) + int((code == row).sum())
            elif _NIH_FINDINGS.index(name) < len(LABEL_NAMES):
                values[row, _NIH_FINDINGS.index(name)] = 1
    if unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in unknown.items())
        raise TableError(
            f"{table}: unknown Finding Labels (rows): {listed}. Known: {', '.join(_NIH_FINDINGS)}"
        )
    return values[code]


def _mimic_cxr(reading: Reading, rules: _Rules, *, need_views: bool) -> None:
    tree = reading.tree
    label_columns = ("subject_id", "study_id", *LABEL_NAMES)
    labels = reading.find_table(r"mimic-cxr-2\.0\.0-chexpert\.csv", label_columns, telling=True)
    images = reading.find_table(
        r"mimic-cxr-2\.0\.0-split\.csv", ("dicom_id", "study_id", "subject_id"), telling=True
    )
    if labels is None or images is None:
        lacking = "chexpert" if labels is None else "split"
        reading.lacks("mimic_cxr", f"no table mimic-cxr-2.0.0-{lacking}.csv or .csv.gz")
        return
    raw = _with_whole_ids(images, read_columns(tree, images, ("dicom_id", "study_id", "subject_id")))
    check_unique(images, raw["dicom_id"], "dicom_id")
    findings = _with_whole_ids(labels, read_columns(tree, labels, label_columns[:2], numbers=LABEL_NAMES))
    check_unique(labels, findings["study_id"], "study_id")
    place = places_of(raw["study_id"], findings["study_id"])
    if not (place >= 0).any():
        raise TableError(
            f"{images} and {labels} have no study in common (first study_id: {raw['study_id'][0]} and "
            f"{findings['study_id'][0]})"
        )
    raw = reading.keep(
        raw.assign(_place=place), place >= 0, f"mimic_cxr: the study has no row in {labels.name}"
    )
    subject, study, dicom = raw["subject_id"], raw["study_id"], raw["dicom_id"]
    place = raw["_place"].to_numpy()
    wrong = np.asarray(findings["subject_id"].array.take(place) != subject.array, np.bool_)
    if wrong.any():
        raise TableError(
            f"{labels} and {images} name different subjects for {wrong.sum()} images "
            f"(first: study {study[wrong].iloc[0]})"
        )
    values = _check_values(labels, findings[list(LABEL_NAMES)].to_numpy(np.float64))[place]
    del findings
    group = reading.groups(images, "subject_id", subject, dicom)
    row, frame = rules.label("mimic_cxr", _mimic_views(reading, dicom, need_views), values)
    raw, group = raw.iloc[row].reset_index(drop=True), group.iloc[row].reset_index(drop=True)
    subject, study, dicom = raw["subject_id"], raw["study_id"], raw["dicom_id"]
    frame = frame.assign(
        case_id="mimic_cxr-" + dicom,
        image=_mimic_paths(subject, study, dicom),
        group="mimic_cxr-p" + group,
    )
    reading.add("mimic_cxr", images, frame, parts=1)


def _mimic_paths(subject: pd.Series, study: pd.Series, dicom: pd.Series) -> pd.Series:
    patient, of_study, image = map(arrow_texts, (subject, study, dicom))
    folder = arrow_texts(subject.str[:2])
    paths = joined("files/p", folder, "/p", patient, "/s", of_study, "/", image, ".jpg")
    return text_column(paths)


def _with_whole_ids(table: TableFile, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{k: whole_numbers(table, frame[k], k) for k in ("subject_id", "study_id")})


def _mimic_views(reading: Reading, dicom: pd.Series, needed: bool) -> pd.Series:
    columns = ("dicom_id", "ViewPosition")
    table = reading.find_table(r"mimic-cxr-2\.0\.0-metadata\.csv", columns, telling=needed)
    if table is None:
        if needed:
            raise TableError(
                "MIMIC-CXR's views are in mimic-cxr-2.0.0-metadata.csv.gz, which is not below "
                f'{reading.tree.root}; add it, or take views="all"'
            )
        return pd.Series("unknown", index=dicom.index, dtype="str")
    raw = read_columns(reading.tree, table, columns)
    check_unique(table, raw["dicom_id"], "dicom_id")
    place = places_of(dicom, raw["dicom_id"])
    if absent := int((place < 0).sum()):
        if needed and absent == len(dicom):
            raise TableError(f"{table} has no row of any of MIMIC-CXR's images: their views are not known")
        reading.note(f"{absent} images of mimic_cxr have no row in {table}: their view is unknown")
    view = raw["ViewPosition"].str.upper().map(_MIMIC_VIEWS).fillna("unknown").to_numpy(object)
    return pd.Series(np.append(view, "unknown")[place], index=dicom.index, dtype="str")
