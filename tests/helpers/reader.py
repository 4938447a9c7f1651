"""A reader of a page, who runs its blocks in their order in one folder."""

import contextlib
import doctest
import io
import json
import os
import tomllib
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import monai_sf
from helpers.commands import Shell
from helpers.fences import ROOT, Fence, PageError, fences

#: Where warnings of ours come from: the two folders of the library.
OURS = (str(Path(monai_sf.__file__).parent), str(ROOT / "transforms"))


@dataclass(frozen=True)
class Page:
    """What a page needs that its reader has: files, and names of the reader's own program."""

    #: Write files into the folder; return names for the Python blocks.
    prepare: Callable[[Path], Mapping[str, Any] | None] = lambda folder: None
    #: What is replaced in the text of the blocks: addresses and numbers of the reader's machine.
    swaps: Mapping[str, str] = field(default_factory=dict)
    #: What is done with the blocks of data in their order, once parsed: with the folder and the text.
    uses: tuple[Callable[[Path, str], None], ...] = ()
    #: Commands that the reader gave before, as a script of bash.
    before: str = ""
    #: Further variables of the commands' environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What the page's benchmarks run, with which overlays besides the one that makes them tiny.
    method: str = "confidnet"
    overlays: tuple[str, ...] = ("small.yaml",)
    #: Look at the names that the Python blocks leave, and at the files.
    check: Callable[[Mapping[str, Any]], None] = lambda names: None


class Reader:
    """Runs the blocks of a page.

    Args:
        page: the file.
        about: what it needs.
        folder: where its reader works.
        own: a folder for the files of the reading itself, with those that make commands small.
    """

    def __init__(self, page: Path, about: Page, folder: Path, own: Path):
        self.fences, self.about = fences(page), about
        self.folder = self.here = folder
        self.names: dict[str, Any] = {"__name__": "__main__", "__file__": str(folder / "script.py")}
        self.shell, self.uses = Shell(own, self._filled(about.environment)), list(about.uses)
        self.output = ""  # of the Python block before

    def read(self) -> None:
        """Run every block; raise :class:`PageError` with page and line at the first that does not run."""
        before = Path.cwd()
        try:
            os.chdir(self.folder)
            self.names |= self.about.prepare(self.folder) or {}
            if self.about.before:
                self._bash(Fence("what was run before", 2, "bash", ""), self.about.before)
            swaps = self._filled(self.about.swaps)
            for fence in self.fences:
                text = fence.text
                for old, new in swaps.items():
                    text = text.replace(old, new)
                getattr(self, f"_{fence.language}")(fence, text)
                self.output = self.output if fence.language == "python" else ""
            if self.uses:
                raise PageError(f"{self.fences[0].page}: {len(self.uses)} uses of its data are left over")
            self.about.check(self.names)
        finally:
            self.shell.close()
            os.chdir(before)

    def _filled(self, texts: Mapping[str, str]) -> dict[str, str]:
        return {name: text.replace("{folder}", str(self.folder)) for name, text in texts.items()}

    def _bash(self, fence: Fence, text: str) -> None:
        self.here = self.shell.run(fence, text, self.here)
        os.chdir(self.here)

    def _python(self, fence: Fence, text: str) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with _named(fence), contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile("\n" * (fence.line - 1) + text, fence.page, "exec"), self.names)
        for one in caught:
            if one.filename == fence.page or one.filename.startswith(OURS):
                line = one.lineno if one.filename == fence.page else fence.line
                raise PageError(f"{fence.page}:{line}: warns: {one.message}")
        self.output = output.getvalue()

    def _text(self, fence: Fence, text: str) -> None:
        """Compare what the Python block before it printed, if it did, with what the page says."""
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        if self.output and not doctest.OutputChecker().check_output(text, self.output, flags):
            raise PageError(f"{fence.place}: the block before it prints\n{self.output}")

    def _yaml(self, fence: Fence, text: str) -> None:
        self._data(fence, text, yaml.safe_load)

    def _json(self, fence: Fence, text: str) -> None:
        # a part of an object is shown without its braces
        self._data(
            fence, text, lambda part: json.loads(part if part.startswith(("{", "[")) else f"{{{part}}}")
        )

    def _toml(self, fence: Fence, text: str) -> None:
        self._data(fence, text, tomllib.loads)

    def _data(self, fence: Fence, text: str, parse: Callable[[str], Any]) -> None:
        with _named(fence):
            parse(text)
            if self.uses:
                self.uses.pop(0)(self.here, text)


@contextlib.contextmanager
def _named(fence: Fence) -> Iterator[None]:
    """Name page and line in an error."""
    try:
        yield
    except PageError:
        raise
    except BaseException as error:
        if isinstance(error, SyntaxError) and error.filename == fence.page:
            lines = [error.lineno or fence.line]
        else:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == fence.page and frame.lineno]
        place = f"{fence.page}:{lines[-1] if lines else fence.line}"
        raise PageError(f"{place}: {type(error).__name__}: {error}") from error
