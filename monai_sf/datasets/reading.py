"""The assembly of a case table from downloads, with a report of what was read or left out and why."""

from __future__ import annotations

import logging
import os
import posixpath
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monai_sf.datasets.same_names import choose_files
from monai_sf.datasets.tables import TableError, find_table
from monai_sf.datasets.texts import TEXT, Texts, arrow_texts, changed, joined, text_column
from monai_sf.datasets.tree import TableFile, Tree, read_tree
from monai_sf.vocabulary.ids import group_cases
from monai_sf.vocabulary.shifts import UNKNOWN

__all__ = ["MISSING", "MissingImagesError", "Reading", "describe_cases"]

MISSING = ("raise", "drop", "keep")
_CASE_COLUMNS = ("case_id", "image", "label", "label_name", "group", "source")

_log = logging.getLogger(__name__)


class MissingImagesError(FileNotFoundError):
    """The tables name images that the folder lacks.

    Attributes:
        images: All of them, as paths relative to the folder.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import MissingImagesError, table_cases
        >>> table = {"file": ["a.png", "b.png"], "finding": ["benign", "malignant"]}
        >>> try:
        ...     table_cases(
        ...         pd.DataFrame(table), ".", columns={"image": "file", "label": "finding"}
        ...     )
        ... except MissingImagesError as error:
        ...     print(error.images)
        ['a.png', 'b.png']
    """

    def __init__(self, message: str, images: list[str]) -> None:
        super().__init__(message)
        self.images = images

    @classmethod
    def of(
        cls,
        dataset: str,
        what: str,
        images: list[str],
        advice: str = 'Complete the download, or leave them out with missing="drop"',
    ) -> MissingImagesError:
        """Write all of them into a temporary file, and name the first ten."""
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"missing-{dataset}-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("\n".join(images) + "\n")
        listed = "\n  ".join(images[:10])
        return cls(
            f"{what}; first {min(10, len(images))}:\n  {listed}\nAll are listed in {file.name}. {advice}",
            images,
        )


@dataclass
class Reading:
    """Collects the parts of a case table and remarks about them.

    Attributes:
        dataset: Name of the dataset.
        tree: The folder's files.
        tables: Source to the table it was read from.
        absent: Source to the reason why it has no case.
        dropped: Rule to the number of cases it left out.
        notes: Further remarks for the report.
    """

    dataset: str
    tree: Tree
    tables: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _parts: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def of(cls, dataset: str, dataset_dir: str | os.PathLike[str]) -> Reading:
        """Walk the folder."""
        reading = cls(dataset, read_tree(os.fspath(dataset_dir)))
        for remark in reading.tree.remarks():
            reading.note(remark)
        return reading

    def note(self, text: str) -> None:
        """Record a remark for the report, and log it."""
        self.notes.append(text)
        _log.warning("%s: %s", self.dataset, text)

    def lacks(self, source: str, why: str) -> None:
        """Record why a source has no case, and log it."""
        self.absent[source] = why
        _log.warning("%s: no cases of %s: %s", self.dataset, source, why)

    def find_table(
        self, name: str, columns: Sequence[str], wanted: Sequence[str] = (), *, telling: bool = False
    ) -> TableFile | None:
        """Call :func:`monai_sf.datasets.tables.find_table`, and record in the report which table it chose."""
        return find_table(self.tree, name, columns, wanted, telling=telling, note=self.note)

    def keep(self, frame: pd.DataFrame, mask: pd.Series | npt.NDArray[np.bool_], rule: str) -> pd.DataFrame:
        """Return the rows where the mask is true; the others are counted under the rule."""
        mask = np.asarray(mask, dtype=np.bool_)
        if count := int((~mask).sum()):
            self.dropped[rule] = self.dropped.get(rule, 0) + count
        return frame[mask] if count else frame

    def groups(self, table: TableFile, what: str, ids: pd.Series, images: pd.Series) -> pd.Series:
        """Return the groups of a table's cases, one spelling each; merged and missing ids are noted.

        Args:
            table: The table of the ids.
            what: The name of the ids in the table, such as ``patient_id``.
            ids: Of the patients, as published.
            images: Of the cases; one without an id becomes the group "image <its own>".

        Raises:
            TableError: If most cases have a placeholder such as "anonymous" as id.
        """
        groups = group_cases(ids, images)
        try:
            groups.check()
        except ValueError as error:
            raise TableError(f"{table}, {what}: {error}") from error
        for text in groups.notes:
            self.note(f"{table}, {what}: {text}")
        names = groups.names[groups.of_case]
        names[groups.missing] = "image " + images.to_numpy(object)[groups.missing]
        return pd.Series(names, index=ids.index, dtype="str")

    def add(self, source: str, table: TableFile, frame: pd.DataFrame, *, parts: int) -> None:
        """Add a source's cases, with the actual paths of their images.

        Args:
            source: Name of the source in messages.
            table: The table of the rows.
            frame: The rows, with the case table's columns; ``image`` as published, relative to the table's
                folder.
            parts: Number of that path's last parts that identify an image.
        """
        paths, there = self.locate(source, table, arrow_texts(frame["image"]), parts=parts)
        self.add_located(table, frame.assign(image=text_column(paths, frame.index)), there)

    def add_located(self, table: TableFile, frame: pd.DataFrame, there: npt.NDArray[np.bool_]) -> None:
        """Add a table's cases whose column ``image`` holds the actual paths."""
        self.tables.update(dict.fromkeys(frame["source"].unique(), str(table)))
        self._parts.append(frame.assign(_there=there))
        pa.default_memory_pool().release_unused()  # what reading the table took, before the next one

    def locate(
        self, source: str, table: TableFile, images: Texts, *, parts: int
    ) -> tuple[Texts, npt.NDArray[np.bool_]]:
        """Return the paths of the images; for missing ones the published path.

        Raises:
            AmbiguousImagesError: If several files match an image, and their content differs.
        """
        found = self.tree.find_images(images, parts)
        there = pc.is_valid(found.paths).to_numpy()
        if there.all():
            return found.paths, there
        published = _published(table.folder, images)
        named = {k: published[k].as_py() for k in found.several}
        chosen, notes = choose_files(
            self.tree.root, {named[k]: own for k, own in found.several.items()}, table.folder
        )
        for note in notes:
            self.note(f"{source}: {note}")
        paths = pc.coalesce(found.paths, published)
        if chosen:
            places = sorted(named)
            there[places] = True
            mask = np.zeros(len(there), np.bool_)
            mask[places] = True
            taken = pa.array([chosen[named[k]] for k in places], TEXT)
            paths = pa.chunked_array([pc.replace_with_mask(paths.combine_chunks(), pa.array(mask), taken)])
        return paths, there

    def finish(self, missing: str) -> pd.DataFrame:
        """Return the case table of all sources.

        Raises:
            FileNotFoundError: If no source has a case.
            ValueError: If the rules leave out all cases; names the rules.
            MissingImagesError: If images are missing and ``missing`` is "raise".
        """
        if not self._parts:
            why = "; ".join(f"{source}: {reason}" for source, reason in self.absent.items())
            raise FileNotFoundError(f"no case of {self.dataset} below {self.tree.root}: {why}")
        parts, self._parts = self._parts, []
        cases = pd.concat(parts, ignore_index=True)
        del parts
        if cases.empty:
            why = "; ".join(f"{count}: {rule}" for rule, count in self.dropped.items())
            raise ValueError(f"no case of {self.dataset} below {self.tree.root} is left. Left out were {why}")
        first = [*_CASE_COLUMNS, *(c for c in cases.columns if c not in _CASE_COLUMNS)]
        cases = self._handle_missing(cases[first], missing)
        cases["label"] = cases["label"].astype(np.int64)
        cases["data_kind"] = "phantom" if self.tree.is_phantom else "real"
        cases.attrs["reading"] = {
            "tables": self.tables,
            "absent": self.absent,
            "dropped": self.dropped,
            "notes": self.notes,
        }
        _log.info("%s", describe_cases(cases))
        return cases

    def _handle_missing(self, cases: pd.DataFrame, missing: str) -> pd.DataFrame:
        there = cases.pop("_there").to_numpy(np.bool_)
        count = int((~there).sum())
        if not count:
            return cases
        if missing == "keep":
            self.note(f"{count} images that the tables name are not on disk; their rows are kept")
            return cases
        if missing == "drop" and there.any():
            by_source = cases.loc[~there, "source"].value_counts().to_dict()
            self.dropped["image not on disk"] = count
            self.note(f"{count} cases left out because their image is not on disk: {by_source}")
            for source in sorted(set(cases["source"]) - set(cases.loc[there, "source"])):
                self.lacks(source, f"none of the images that {self.tables[source]} names is on disk")
            return cases[there].reset_index(drop=True)
        names = [
            image
            for images in cases.loc[~there, "image"]
            for image in (self._absent(images) if isinstance(images, list) else [images])
        ]
        if missing == "drop":
            what = f"none of the {count} cases has its image below {self.tree.root}"
            raise MissingImagesError.of(
                self.dataset, what, names, "Complete the download, or give its folder"
            )
        what = f"the images of {count} of {len(cases)} cases are not below {self.tree.root}"
        raise MissingImagesError.of(self.dataset, what, names)

    def _absent(self, channels: list[str]) -> list[str]:
        return [image for image in channels if not (self.tree.root / image).is_file()]


def _published(folder: str, images: Texts) -> Texts:
    """Return published paths below the folder of their table, from which ``../`` leads upwards."""
    if pc.any(pc.starts_with(images, "../")).as_py():
        return changed(images, lambda image: _above(folder, image))
    return joined(f"{folder}/", images) if folder else images


def _above(folder: str, image: str) -> str:
    if not image.startswith("../"):
        return f"{folder}/{image}" if folder else image
    return _above(posixpath.dirname(folder), image.removeprefix("../"))


def describe_cases(cases: pd.DataFrame) -> str:
    """Report how a case table was read: counts, cases left out by each rule, and missing sources.

    Args:
        cases: Case table of :func:`monai_sf.datasets.build_cases`. If its ``attrs`` were lost (in a CSV file,
            say), only the counts are reported.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import describe_cases, table_cases
        >>> table = pd.DataFrame(
        ...     {"file": ["a.png", "b.png", "c.png"], "finding": ["no", "yes", "no"]}
        ... )
        >>> table["patient"] = [1, 2, 2]
        >>> roles = {"image": "file", "label": "finding", "group": "patient"}
        >>> print(describe_cases(table_cases(table, ".", columns=roles, missing="keep")))
        3 cases in 2 groups, 2 classes
          own: 3 (from the table)
            no: 2
            yes: 1
          note: classes, in this order: 0 'no' (2 cases), 1 'yes' (1 cases)
          note: 3 images that the tables name are not on disk; their rows are kept
    """
    reading: dict[str, Any] = cases.attrs.get("reading", {})
    by_class = cases.groupby(["source", "label_name"]).size().reset_index(name="cases")
    known = cases["label"] != UNKNOWN
    classes = cases["label_name"][known].nunique()
    groups = len(group_cases(cases["group"]))
    others = "" if known.all() else f", and {int((~known).sum())} cases of none of them"
    lines = [f"{len(cases)} cases in {groups} groups, {classes} classes{others}"]
    for source, count in cases["source"].value_counts().sort_index().items():
        table = reading.get("tables", {}).get(source)
        lines.append(f"  {source}: {count}" + (f" (from {table})" if table else ""))
        if classes <= 20:
            own = by_class[by_class["source"] == source]
            lines += [
                f"    {name}: {number}" for name, number in zip(own["label_name"], own["cases"], strict=True)
            ]
    lines += [f"  left out: {count}: {rule}" for rule, count in reading.get("dropped", {}).items()]
    lines += [f"  no cases of {source}: {why}" for source, why in reading.get("absent", {}).items()]
    lines += [
        f"  study {study} cannot be run: {why}" for study, why in cases.attrs.get("unavailable", {}).items()
    ]
    lines += [f"  note: {note}" for note in reading.get("notes", [])]
    return "\n".join(lines)
