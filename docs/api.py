"""Write docs/api.md: every public name, how it is called, and the first line of what its docstring says.

python docs/api.py
"""

import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

MODULES = (
    "transforms",
    "scores",
    "metrics",
    "results",
    "report",
    "datasets",
    "datasets.phantom",
    "datasets.lidc",
    "data",
    "networks",
    "networks.checkpoints",
    "losses",
    "inferers",
    "handlers",
    "engines",
    "prediction",
    "tables",
    "bundle",
    "benchmark",
    "vocabulary.ids",
    "vocabulary.shifts",
    "vocabulary.titles",
)
HEAD = """# API reference

Written from the docstrings by `python docs/api.py`. For shapes, ranges, errors and sources of one:
`python -m pydoc monai_sf.metrics.aurc`.
"""


def public_names(module: ModuleType) -> list[str]:
    """Return what the module lists in ``__all__``, else what it defines without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    )


def first_sentence(thing: object) -> str:
    """Return the first paragraph of the docstring in one line; of plain data, what it holds."""
    if isinstance(thing, str | int):
        return f"`{thing!r}`"
    if isinstance(thing, Mapping | tuple):
        return ", ".join(f"`{entry}`" for entry in thing)
    paragraph = (inspect.getdoc(thing) or "").split("\n\n")[0]
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(paragraph.split()))
    return text.replace("``", "`").replace("|", "\\|")


def call(name: str, thing: object) -> str:
    """Return the name with the names of its arguments; a default is written as ``=…``."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return name
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return name
    arguments, keyword_only = [], False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            arguments.append("*")
        keyword_only |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        default = "" if parameter.default is parameter.empty else "=…"
        arguments.append(f"{stars}{parameter.name}{default}")
    return f"{name}({', '.join(arguments)})"


def methods(thing: object) -> list[str]:
    """Return the public methods that the class defines itself."""
    if not inspect.isclass(thing):
        return []
    return [
        name
        for name, member in vars(thing).items()
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    ]


def reference() -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for place in MODULES:
        module = importlib.import_module(f"monai_sf.{place}")
        parts.append(f"## monai_sf.{place}\n\n{first_sentence(module)}\n")
        parts.append("| name | |\n|---|---|")
        for name in public_names(module):
            thing = getattr(module, name)
            own = methods(thing)
            also = f" Has `{'`, `'.join(own)}`." if own else ""
            parts.append(f"| `{call(name, thing)}` | {first_sentence(thing)}{also} |")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "api.md").write_text(reference(), encoding="utf-8")
