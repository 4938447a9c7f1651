"""The code blocks of the project's pages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]

#: What a block may be: commands and Python that are run, data that is parsed, and what is only looked at.
LANGUAGES = ("bash", "python", "yaml", "json", "toml", "text")


class PageError(AssertionError):
    """A block of a page does not run; the message begins with page and line."""


@dataclass(frozen=True)
class Fence:
    """A block of code: its page below the root, the number of its first line there, its language and text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page that a person wrote, without those that the site's build writes."""
    found = [
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/**/*.md"),
        *(page for page in ROOT.glob("docs/**/*.md") if not is_written(page)),
        *ROOT.glob("bundles/*/docs/*.md"),
        *ROOT.glob("monai_sf/bundle/templates/**/*.md"),
    ]
    return sorted(found)


def is_written(page: Path) -> bool:
    """Return whether a page is one that the site's build writes; git ignores those."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    places = tuple(place for place in ignored if place.startswith("docs/"))
    return page.relative_to(ROOT).as_posix().startswith(places)


def fences(page: Path) -> list[Fence]:
    """Return the blocks of a page in their order, also those within directives such as tabs."""
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    return list(_fences(name, page.read_text(encoding="utf-8").splitlines(), 1))


def _fences(page: str, lines: list[str], first: int) -> Iterator[Fence]:
    opened = 0  # the line after the opening one, counted from 1
    ticks = language = ""
    for number, line in enumerate(lines, 1):
        mark = re.fullmatch(r"\s*(`{3,}|~{3,})\s*(.*?)\s*", line)
        if not opened and mark:
            opened, ticks, language = number + 1, mark[1], mark[2]
        elif opened and mark and mark[1].startswith(ticks) and not mark[2]:
            body = lines[opened - 1 : number - 1]
            if language.startswith("{") and not re.match(r"\{code(-block|-cell)?\}", language):
                yield from _fences(page, body, first + opened - 1)
            else:
                yield Fence(page, first + opened - 1, language, dedent("\n".join(body)) + "\n")
            opened = 0
    if opened:
        raise ValueError(f"{page}:{first + opened - 2}: a block that does not end")
