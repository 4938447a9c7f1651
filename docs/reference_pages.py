"""Write the reference's pages of public names, for Sphinx to fill from their docstrings."""

import importlib
import inspect
import sys
from pathlib import Path
from textwrap import indent

from public_names import MODULES, public_names
from sphinx.pycode import ModuleAnalyzer


def write_pages(folder: Path) -> None:
    """Write one page per module, with a table of its names and then what their docstrings say.

    Args:
        folder: where to write ``<module>.rst`` and ``index.rst``; made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place in MODULES:
        _write_if_other(folder / f"{place}.rst", _page(place))
    _write_if_other(folder / "index.rst", _contents())


def _contents() -> str:
    entries = "\n".join(f"   monai_sf.{place} <{place}>" for place in MODULES)
    return f"{_title('Public names')}\n.. toctree::\n\n{entries}\n"


def _page(place: str) -> str:
    full = f"monai_sf.{place}"
    module = importlib.import_module(full)
    names = public_names(module)
    documented = [name for name in names if not _is_data(getattr(module, name))]
    summary = "\n".join(f"   {name}" for name in documented)
    entries = "\n".join(_entry(full, name, getattr(module, name)) for name in names)
    return (
        f"{_title(full)}\n.. automodule:: {full}\n\n"
        f".. currentmodule:: {full}\n\n.. autosummary::\n   :nosignatures:\n\n{summary}\n\n{entries}"
    )


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _is_data(thing: object) -> bool:
    return not (inspect.isclass(thing) or inspect.isroutine(thing))


def _entry(module: str, name: str, thing: object) -> str:
    if _is_data(thing):
        return f".. py:data:: {name}\n\n{indent(_comment(name, thing), '   ')}\n"
    if inspect.isclass(thing):
        return f".. autoclass:: {name}\n   :members:\n   :special-members: __call__\n"
    return f".. autofunction:: {name}\n"


def _comment(name: str, thing: object) -> str:
    """Return what is written above or below a constant where it is defined, wherever that is.

    Raises:
        ValueError: if nothing is written there.
    """
    for module in sorted(sys.modules):
        if module.startswith("monai_sf.") and vars(sys.modules[module]).get(name) is thing:
            written = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", name) in written:
                return "\n".join(written["", name])
    raise ValueError(f"{name} has no comment #: that says what it is")


def _write_if_other(path: Path, text: str) -> None:
    """Leave an unchanged page alone, so that a second build does not read it again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
