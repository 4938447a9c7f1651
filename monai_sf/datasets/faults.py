"""Everything that is wrong with a table, collected to be said at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from monai_sf.datasets.table_rows import TableError

__all__ = ["Faults"]

_MOST_LISTED = 20


class Faults:
    """Collects what is wrong with a table.

    Args:
        table: Its name.
        rows: Returns the number of each row in the file; called at most once, since it may read that.
    """

    def __init__(self, table: str, rows: Callable[[], Sequence[int]]) -> None:
        self._table, self._read_numbers = table, rows
        self._texts: list[str] = []

    @cached_property
    def _numbers(self) -> Sequence[int]:
        return self._read_numbers()

    def add(self, text: str) -> None:
        """Add a fault."""
        self._texts.append(text)

    def row(self, place: int) -> str:
        """Return the name of a row, by its place in the table."""
        return f"row {self._numbers[place]}"

    def rows(self, what: str, places: Sequence[int], cells: Sequence[object], advice: str = "") -> None:
        """Add a fault of some rows, if there are any.

        Args:
            what: The fault.
            places: Of the rows in the table.
            cells: What is shown of each row of the table; None for nothing.
            advice: What to do.
        """
        if not places:
            return
        shown = [self.row(k) + ("" if cells[k] is None else f" ({cells[k]})") for k in places[:_MOST_LISTED]]
        more = f" and {len(places) - _MOST_LISTED} more" if len(places) > _MOST_LISTED else ""
        end = f". {advice}" if advice else ""
        self.add(f"{what}, {len(places)} rows: {', '.join(shown)}{more}{end}")

    def check(self) -> None:
        """Raise TableError if anything was added; says all."""
        if len(self._texts) == 1:
            raise TableError(f"{self._table}, {self._texts[0]}")
        if self._texts:
            listed = "\n  ".join(self._texts)
            raise TableError(f"{self._table} has {len(self._texts)} faults:\n  {listed}")
