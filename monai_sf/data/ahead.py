"""Making of the next item while the last one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


def ahead(items: Iterable[Item]) -> Generator[Item]:
    """Yield items, each of which a thread makes while the caller uses the one before.

    At most one item waits besides the one that is used. An error in making an item is raised in its place, so
    no item is lost or comes after an error, which MONAI's ``ThreadBuffer`` does not promise: there the items
    just end. Closing the generator waits for the item that is being made.

    Args:
        items: iterated over in the thread only.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = thread.submit(next, iterator, _END)
            yield item
            del item  # else it would stay beside the next one
