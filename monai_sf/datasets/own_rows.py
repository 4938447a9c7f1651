"""From the rows of a table of one's own to its cases: every cell is checked, and every fault named."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monai_sf.datasets.any_table import AnyTable, as_kept, as_texts
from monai_sf.datasets.conditions import absent_columns
from monai_sf.datasets.faults import Faults
from monai_sf.datasets.image_paths import locate_images, relative_name
from monai_sf.datasets.own_labels import read_classes
from monai_sf.datasets.path_lists import PathLists
from monai_sf.datasets.reading import MissingImagesError, Reading
from monai_sf.datasets.split_checks import SPLITS
from monai_sf.datasets.table_rows import TableError
from monai_sf.datasets.texts import (
    TEXT,
    Texts,
    arrow_texts,
    distinct,
    is_text,
    joined,
    shared_list,
    text_column,
)
from monai_sf.datasets.tree import TableFile
from monai_sf.files.naming import is_utf8

__all__ = ["ROLES", "SPLIT_WORDS", "Builder"]

ROLES = ("image", "label", "group", "source", "case_id", "split", "slice")
"""What a column of a table can be; an image and a label are needed."""

SPLIT_WORDS: Mapping[str, str] = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("valid", "validation"), "val"),
    "calib": "calibration",
    **dict.fromkeys(("test", "testing"), "iid"),
}
"""Names of own splits, in any letter case, to the splits that they mean."""

_OURS = (*ROLES, "label_name", "data_kind")
_PART = re.compile(r"\{([^{}]+)\}")
_CHANNEL = "channel"
#: What a path may hold that :func:`relative_name` changes or refuses.
_NOT_PLAIN = r"^/|//|/$|(^|/)\.\.?(/|$)|\\|\x00|^[A-Za-z]:|^$"
_NO_GROUPS = (
    "no column of patients is known, so that every case counts as a patient of its own. If patients have "
    "several images, these land in training and test alike, and results look better than they are: name the "
    "column, columns={'group': ...}. The preparation looks for images that look alike"
)
_MOST_LISTED = 20


class Builder:
    """Builds the case table of one table.

    Args:
        table: One row per case.
        dataset_dir: Folder that the images' paths are relative to.
        columns: See :func:`monai_sf.datasets.table_cases`.
        channels: See :func:`monai_sf.datasets.table_cases`.
        dataset: Name of the dataset.
        reading: Of the folder, if its files have been listed before.

    Raises:
        TableError: If a column is missing; names all, and those there are.
        FileNotFoundError: If the folder does not exist.
    """

    def __init__(
        self,
        table: AnyTable,
        dataset_dir: str | Path,
        columns: Mapping[str, str | Sequence[str]],
        channels: Sequence[str | int],
        dataset: str,
        reading: Reading | None = None,
    ) -> None:
        self.table, self.frame = table, table.frame
        self.faults = Faults(table.name, table.rows)
        self.columns = {role: column for role, column in columns.items() if role != "image"}
        self.patterns = self._patterns(columns["image"], channels)
        self._check_columns()
        self.reading = reading or Reading.of(dataset, dataset_dir)
        for note in table.notes:
            self.reading.note(note)

    def build(self, classes: Sequence[str] | None, missing: str, unknown: Sequence[str] = ()) -> pd.DataFrame:
        """Return the case table."""
        self._check_text()
        self.faults.check()
        self._check_whole_rows()
        texts = {role: as_texts(self.frame[str(column)]) for role, column in self.columns.items()}
        names = self._image_names()
        label = shared_list(texts["label"])
        labels = read_classes(label, str(self.columns["label"]), classes, self.faults, unknown)
        slices = self._slices(texts.get("slice"))
        split = self._splits(texts.get("split"))
        case_id = self._case_ids(texts.get("case_id"), names, slices)
        self.faults.check()

        paths, there = self._locate(names, missing)
        self._check_same_images(paths, slices)
        group = self._groups(texts.get("group"), case_id)
        if split is not None:
            self._check_leaks(group, split)
        self.faults.check()

        source = texts.get("source")
        if source is not None and source.null_count:
            self.reading.note(f"{source.null_count} cases have no source: it is called unknown")
        cases = pd.DataFrame(
            {
                "case_id": text_column(case_id),
                "image": self._image_column(paths),
                "label": labels.label,
                "label_name": pd.Series(labels.label_name, dtype="str"),
                "group": group,
                "source": self.reading.dataset
                if source is None
                else text_column(pc.fill_null(source, "unknown")),
            }
        )
        if split is not None:
            cases["split"] = pd.Series(split, dtype="str")
        if slices is not None:
            cases["slice"] = slices
        cases = pd.concat([cases, self._kept()], axis=1)
        self._note_sources(cases, texts)
        self.reading.notes += labels.notes
        self.reading.add_located(TableFile(self.table.name), cases, there)
        result = self.reading.finish(missing)
        result.attrs |= {
            "dataset": self.reading.dataset,
            "unavailable": {},
            "classes": list(labels.names),
        }
        return result

    def images(self) -> pd.DataFrame:
        """Return ``case_id``, ``image`` and, if the table names it, ``slice``; absent images keep their row.

        Raises:
            TableError: As :func:`monai_sf.datasets.table_cases`.
        """
        self._check_text()
        self.faults.check()
        texts = {role: as_texts(self.frame[str(column)]) for role, column in self.columns.items()}
        names = self._image_names()
        slices = self._slices(texts.get("slice"))
        case_id = self._case_ids(texts.get("case_id"), names, slices)
        self.faults.check()
        paths, _ = self._locate(names, "keep")
        self._check_same_images(paths, slices)
        self.faults.check()
        found = pd.DataFrame({"case_id": text_column(case_id), "image": self._image_column(paths)})
        return found if slices is None else found.assign(slice=slices)

    @staticmethod
    def _image_column(paths: Sequence[Texts]) -> pd.Series:
        return text_column(paths[0]) if len(paths) == 1 else pd.Series(PathLists.of_channels(paths))

    def _patterns(
        self, image: str | Sequence[str], channels: Sequence[str | int]
    ) -> list[tuple[str, dict[str, str]]]:
        """Return, per channel file, a column or a pattern, and what its ``{channel}`` stands for."""
        entries = [image] if isinstance(image, str) else list(image)
        with_channel = [entry for entry in entries if f"{{{_CHANNEL}}}" in entry and entry not in self.frame]
        if channels and (len(entries) > 1 or not with_channel):
            raise ValueError(
                f"channels are for one pattern with {{{_CHANNEL}}}, such as "
                f"'{{id}}_w{{{_CHANNEL}}}.png', got {image!r}"
            )
        if isinstance(channels, str):
            raise ValueError(f"channels must be a list, got {channels!r}")
        if channels:
            return [(entries[0], {_CHANNEL: str(channel)}) for channel in channels]
        return [(entry, {}) for entry in entries]

    def _check_columns(self) -> None:
        """Raise if the table lacks a column; says all."""
        header = list(self.frame.columns)
        names: list[str] = []
        for pattern, known in self.patterns:
            if pattern in header or not _PART.search(pattern):
                names.append(pattern)
            else:
                names += [part for part in _PART.findall(pattern) if part not in known]
        names += map(str, self.columns.values())
        if absent := absent_columns(list(dict.fromkeys(names)), header):
            raise TableError(f"{self.table.name}: {absent}")

    def _check_text(self) -> None:
        """Add a fault for text that no file can hold: lone surrogates, as bytes that are not UTF-8 leave."""
        for column in self.frame.columns:
            if is_text(self.frame[column]):  # Arrow holds nothing else
                continue
            cells = self.frame[column].tolist()
            if is_utf8("".join(cell for cell in cells if isinstance(cell, str))):
                continue
            wrong = [k for k, cell in enumerate(cells) if isinstance(cell, str) and not is_utf8(cell)]
            self.faults.rows(f"column {column!r}: text that is not UTF-8", wrong, list(map(ascii, cells)))

    def _check_whole_rows(self) -> None:
        if len(self.frame.columns) < 2:
            return
        named = [*(pattern for pattern, _ in self.patterns), self.columns.get("case_id")]
        own = [self.frame[name] for name in named if name in self.frame]
        if any(is_text(column) and distinct(column) for column in own):
            return
        text = self.frame.astype(object).astype(str)
        self._add_same(
            "rows are the same in all columns", pd.util.hash_pandas_object(text, index=False).tolist()
        )

    def _add_same(self, what: str, keys: Sequence[Any] | Texts, advice: str = "Keep one of each") -> None:
        """Add a fault if several rows have one key that is not None."""
        if isinstance(keys, pa.ChunkedArray):
            if distinct(keys):
                return
            keys = keys.to_pylist()
        places: dict[Any, list[int]] = {}
        if len(set(keys)) == len(keys):
            return
        for place, key in enumerate(keys):
            if key is not None:
                places.setdefault(key, []).append(place)
        again = {own[0]: own[1:] for own in places.values() if len(own) > 1}
        first = {k: f"as {self.faults.row(one)}" for one, own in again.items() for k in own}
        repeated = sorted(first)
        self.faults.rows(what, repeated, [first.get(k) for k in range(len(keys))], advice)

    def _image_names(self) -> list[Texts]:
        """Return each case's relative path, per channel, as the table names it; "" for a faulty one."""
        by_channel = []
        root = self.reading.tree.root
        for pattern, known in self.patterns:
            if pattern in self.frame.columns:
                texts = as_texts(self.frame[pattern])
                what = f"column {pattern!r}"
            else:
                texts = self._filled(pattern, known)
                what = f"images {pattern!r}"
            odd = pc.fill_null(pc.match_substring_regex(texts, _NOT_PLAIN), True)
            if not pc.any(odd).as_py():
                by_channel.append(texts)
                continue
            wrong: dict[str, dict[int, str]] = defaultdict(dict)
            names = []
            for place, text in enumerate(texts.to_pylist()):
                name = ""
                try:
                    if text is None:
                        raise ValueError("is empty")
                    name = relative_name(text, root)
                except ValueError as error:
                    wrong[str(error)][place] = "" if text is None else repr(text)
                names.append(name)
            for why, cells in wrong.items():
                shown = [cells.get(k) or None for k in range(len(texts))]
                self.faults.rows(f"{what}: the path {why}", list(cells), shown)
            by_channel.append(arrow_texts(names))
        return by_channel

    def _filled(self, pattern: str, known: Mapping[str, str]) -> Texts:
        """Return the pattern with each row's cells for the columns' names; null where one is empty."""
        pieces: list[Any] = _PART.split(pattern)
        pieces[1::2] = [known.get(part) or as_texts(self.frame[part]) for part in pieces[1::2]]
        if all(isinstance(piece, str) for piece in pieces):
            return arrow_texts(["".join(pieces)] * len(self.frame))
        return joined(*pieces)

    def _slices(self, texts: Texts | None) -> npt.NDArray[np.int64] | None:
        if texts is None:
            return None
        right = pc.fill_null(pc.match_substring_regex(texts, "^[0-9]{1,9}$"), False)
        if not pc.all(right).as_py():
            shown = ["empty" if text is None else repr(text) for text in texts.to_pylist()]
            wrong = np.flatnonzero(~right.to_numpy()).tolist()
            self.faults.rows(f"column {self.columns['slice']!r}: no whole number from 0", wrong, shown)
        return np.asarray(pc.if_else(right, texts, "0").cast(pa.int64()), np.int64)

    def _splits(self, texts: Texts | None) -> list[str] | None:
        if texts is None:
            return None
        cells = shared_list(texts)
        split = [SPLIT_WORDS.get((text or "").casefold()) for text in cells]
        self.faults.rows(
            f"column {self.columns['split']!r}: none of {', '.join(SPLIT_WORDS)}",
            [k for k, own in enumerate(split) if own is None],
            ["empty" if text is None else repr(text) for text in cells],
        )
        words = {str(text): own for text, own in zip(cells, split, strict=True) if own and text != own}
        if words:
            said = ", ".join(f"{text!r} is {own}" for text, own in sorted(words.items()))
            self.reading.note(f"splits of {self.table.name}: {said}")
        return [own or "" for own in split]

    def _case_ids(
        self, texts: Texts | None, names: Sequence[Texts], slices: npt.NDArray[np.int64] | None
    ) -> Texts:
        if texts is None:
            return names[0] if slices is None else _with_slices(names[0], slices)
        what = f"column {self.columns['case_id']!r}"
        if texts.null_count:
            empty = np.flatnonzero(texts.is_null().to_numpy()).tolist()
            self.faults.rows(f"{what}: no id", empty, [None] * len(texts))
        self._add_same(f"{what}: the id of another row", texts, "Ids of cases must differ")
        return pc.fill_null(texts, "")

    def _locate(self, names: Sequence[Texts], missing: str) -> tuple[list[Texts], npt.NDArray[np.bool_]]:
        """Return the paths of each case's files, per channel, and whether all are there."""
        width, count = len(names), len(names[0])
        order = np.arange(width * count).reshape(width, count)
        flat = names[0]
        if width > 1:  # case by case, as messages name them
            flat = pa.chunked_array([part for own in names for part in own.chunks], TEXT)
            flat = flat.take(pa.array(order.T.ravel()))
        located = locate_images(self.reading.tree, flat)
        for note in located.notes:
            self.reading.note(note)
        found = [located.paths]
        if width > 1:
            found = [located.paths.take(pa.array(np.arange(k, width * count, width))) for k in range(width)]
        there = np.logical_and.reduce([pc.is_valid(own).to_numpy() for own in found])
        if missing == "raise" and not there.all():
            self._refuse_missing(names, found, there)
        return [pc.coalesce(own, wanted) for own, wanted in zip(found, names, strict=True)], there

    def _refuse_missing(
        self, names: Sequence[Texts], found: Sequence[Texts], there: npt.NDArray[np.bool_]
    ) -> None:
        root = self.reading.tree.root
        images, lines = [], []
        lost = pa.array(np.flatnonzero(~there))
        wanted = zip(*(own.take(lost).to_pylist() for own in names), strict=True)
        paths = zip(*(own.take(lost).to_pylist() for own in found), strict=True)
        for place, all_names, all_paths in zip(lost.to_pylist(), wanted, paths, strict=True):
            absent = [name for name, path in zip(all_names, all_paths, strict=True) if path is None]
            images += absent
            lines += [f"{self.faults.row(place)}: {name}" for name in absent]
        what = f"{self.table.name}, images of {int((~there).sum())} of {len(there)} rows are not below {root}"
        base = images[0].rsplit("/", 1)[-1].casefold()
        near = [file for file in self.reading.tree.files if file.rsplit("/", 1)[-1].casefold() == base]
        hint = (
            f" A file of the first one's name is at {near[0]}: is dataset_dir the right folder?"
            if near
            else ""
        )
        error = MissingImagesError.of(
            self.reading.dataset,
            what,
            lines,
            "Add them, give the folder that the paths are relative to, or leave the rows out with "
            f'missing="drop".{hint}',
        )
        error.images = images
        raise error

    def _check_same_images(self, paths: Sequence[Texts], slices: npt.NDArray[np.int64] | None) -> None:
        if not distinct(paths[0] if slices is None else _with_slices(paths[0], slices)):
            listed = [own.to_pylist() for own in paths] + ([] if slices is None else [slices.tolist()])
            keys = list(zip(*listed, strict=True))
            self._add_same("the image of another row", keys, "A case is one image: keep one row of each")
        if any(pc.any(pc.equal(one, two)).as_py() for one, two in combinations(paths, 2)):
            rows = list(zip(*(own.to_pylist() for own in paths), strict=True))
            several = [k for k, own in enumerate(rows) if len(set(own)) < len(own)]
            self.faults.rows("one file for two channels", several, [own[0] for own in rows])

    def _groups(self, texts: Texts | None, case_id: Texts) -> pd.Series:
        ids = text_column(case_id)
        if texts is None or texts.null_count == len(texts):
            self.reading.note(_NO_GROUPS)
            return "image " + ids
        table = TableFile(self.table.name)
        group = text_column(texts)
        if texts.null_count:
            group = pd.Series(shared_list(texts), dtype=object)
        return self.reading.groups(table, str(self.columns["group"]), group, ids)

    def _check_leaks(self, group: pd.Series, split: Sequence[str]) -> None:
        both = pd.DataFrame({"group": group, "split": split})
        leaking = both.groupby("group")["split"].nunique()
        names = leaking.index[leaking > 1]
        texts = []
        for name in names[:_MOST_LISTED]:
            own = both[both["group"] == name]
            first = own.drop_duplicates("split")
            rows = [f"{one} ({self.faults.row(int(k))})" for k, one in first["split"].items()]
            texts.append(f"{name}: {', '.join(rows)}")
        if texts:
            more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
            self.faults.add(
                f"column {self.columns['split']!r}: {len(names)} groups are on both sides of the split: "
                f"{'; '.join(texts)}{more}. Put all cases of a group into one split"
            )

    def _kept(self) -> pd.DataFrame:
        """Return the columns without a role, and that of the source under its own name."""
        taken = {str(column) for role, column in self.columns.items() if role != "source"}
        taken |= {pattern for pattern, _ in self.patterns}
        if self.columns.get("source") == "source":
            taken.add("source")
        names = [name for name in self.frame.columns if name not in taken]
        renamed: dict[str, str] = {}
        for name in names:
            new = name
            while new in _OURS or (new != name and new in names):
                new = f"table_{new}"
            renamed[name] = new
        if clashes := {name: new for name, new in renamed.items() if name != new}:
            said = ", ".join(f"{name!r} is kept as {new!r}" for name, new in clashes.items())
            self.reading.note(f"columns without a role that are called like our own: {said}")
        return pd.DataFrame(
            {renamed[name]: as_kept(self.frame[name]) for name in names}, index=self.frame.index
        )

    def _note_sources(self, cases: pd.DataFrame, texts: Mapping[str, Any]) -> None:
        if "source" not in texts or "group" not in texts:
            return
        pairs = cases[["group", "source"]].drop_duplicates()["group"]
        several = int(pairs[pairs.duplicated()].nunique())
        if several:
            self.reading.note(
                f"{several} groups have cases of several sources, and count as one patient each; if their "
                "ids mean other patients elsewhere, make them differ"
            )


def _with_slices(paths: Texts, slices: npt.NDArray[np.int64]) -> Texts:
    """Return ``path#slice`` of each case."""
    return joined(paths, "#", pa.chunked_array([pa.array(slices).cast(TEXT)]))
