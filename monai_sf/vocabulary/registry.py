"""Registries of methods and scores by name, with those that other packages announce by entry points."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

#: A name is part of the names of folders, files, columns and config keys.
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
NAME_RULE = "begin with a letter or digit and hold nothing but letters, digits and _.+-"


def is_name(text: object) -> bool:
    """Return whether a text may be the name of a method or score, registered or not; see `NAME_RULE`."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


class Named(Protocol):
    """An object that can be registered."""

    @property
    def name(self) -> str:
        """The name of the object everywhere."""


Entry = TypeVar("Entry", bound=Named)


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Read-only mapping from names to registered entries, in the order of registration.

    Entry points of other packages are loaded when the mapping is first read, in every process.

    Args:
        kind: type of the entries.
        group: of the entry points, each of which names one entry.
        entries: the package's own, which come first.
        taken: reserved names, which mean something else in the place of an entry's name.
    """

    def __init__(
        self, kind: type[Entry], group: str, entries: Iterable[Entry], taken: Collection[str] = ()
    ) -> None:
        self._kind, self.group, self._taken = kind, group, taken
        self._entries = {entry.name: entry for entry in entries}
        self._is_loaded = False
        self._loading = threading.local()
        _REGISTRIES[group] = self

    def register(self, entry: Entry) -> Entry:
        """Add an entry; adding the same object again has no effect.

        Returns:
            The entry.

        Raises:
            TypeError: it is not of the registry's kind.
            ValueError: another one has its name, or the name does not consist of letters, digits and
                ``_ . + -``.
        """
        if not isinstance(entry, self._kind):
            raise TypeError(f"expected a {self._kind.__name__}, got {entry!r:.80}")
        if not is_name(entry.name) or entry.name in self._taken:
            raise ValueError(
                f"the name of a {self._kind.__name__} must {NAME_RULE}, and be none of "
                f"{', '.join(self._taken)}, got {entry.name!r}"
            )
        if self._entries.setdefault(entry.name, entry) is not entry:
            raise ValueError(f"another {self._kind.__name__} is registered as {entry.name!r}")
        return entry

    def _all(self) -> dict[str, Entry]:
        # A package that is being loaded may read the entries so far.
        if not self._is_loaded and not getattr(self._loading, "now", False):
            self._loading.now = True
            try:
                for point in announced(self.group):
                    _load(point, self.register)
                self._is_loaded = True
            finally:
                self._loading.now = False
        return self._entries

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._all()))

    def __len__(self) -> int:
        return len(self._all())


#: By group of entry points.
_REGISTRIES: dict[str, Registry[Any]] = {}


def taken_names(group: str) -> Collection[str]:
    """Return the names that are registered or reserved in a group; none before its package is imported."""
    registry = _REGISTRIES.get(group)
    return () if registry is None else {*registry, *registry._taken}


def announced(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, in the same order in every process."""
    return sorted(entry_points(group=group), key=lambda point: (_distribution(point), point.name))


def plugins(*groups: str) -> dict[str, str]:
    """Return the version of every distribution that has entry points in one of the groups, by its name."""
    points = [point for group in groups for point in announced(group)]
    return {point.dist.name: point.dist.version for point in points if point.dist is not None}


def _load(point: EntryPoint, register: Callable[[Entry], Entry]) -> None:
    try:
        register(point.load())
    except Exception as error:
        raise ImportError(
            f"the entry point {point.name} = {point.value} ({point.group}) of the distribution "
            f"{_distribution(point)} cannot be used: {type(error).__name__}: {error}. Repair or uninstall it"
        ) from error


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"
