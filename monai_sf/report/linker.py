"""Linking of the page's ES modules into one classic script.

A page that is opened from a file cannot load modules, and its policy allows scripts by their hash only. The
linker accepts only the forms of import and export that the modules use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{\s*([\w$]+(?:,\s*[\w$]+)*),?\s*\} from "\./([\w-]+\.js)";$', re.MULTILINE)
_DECLARED = re.compile(r"^(export )?(?:async )?(?:function|class|const|let) ([\w$]+)", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) [\w$])", re.MULTILINE)
_OTHER = re.compile(r"^\s*(?:import|export)\b.*|.*\bimport(?:\(|\.meta\b).*", re.MULTILINE)


class LinkError(ValueError):
    """The modules cannot be linked into one script."""


def link(modules: Mapping[str, str], entry: str) -> str:
    """Link ES modules into one classic script that does what the modules would do.

    Each module becomes a function that returns its exports: what it does not export stays its own. They are
    called in the order of the imports, depth first, as a browser does it.

    Args:
        modules: name of a file to its source; all are in one folder.
        entry: the file to start from; modules that it does not need are left out.

    Returns:
        The script.

    Raises:
        LinkError: a module or an export is missing, modules import each other in a circle, a module declares
            a name twice, or an import or export has another form than ``import { a, b } from "./file.js";``
            and ``export`` before a ``function``, ``class`` or ``const``, each at the start of a line.
    """
    linked: dict[str, str] = {}
    exports: dict[str, list[str]] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise LinkError(f"modules import each other: {' -> '.join([*path[path.index(name) :], name])}")
        if name not in modules:
            raise LinkError(f"{name} does not exist{f', but {path[-1]} imports it' if path else ''}")
        source = modules[name]
        declared = [found[2] for found in _DECLARED.finditer(source)]
        exports[name] = [found[2] for found in _DECLARED.finditer(source) if found[1]]

        def bind(found: re.Match[str]) -> str:
            names, other = re.split(r",\s*", found[1]), found[2]
            if other not in linked:
                visit(other, (*path, name))
            if missing := [n for n in names if n not in exports[other]]:
                raise LinkError(f"{name} imports {', '.join(missing)}, which {other} does not export")
            declared.extend(names)
            return f"const {{ {', '.join(names)} }} = {_variable(other)};"

        body = _EXPORT.sub("", _IMPORT.sub(bind, source))
        if other := _OTHER.search(body):
            raise LinkError(f"{name}: this form of import or export is not supported: {other[0].strip()}")
        if twice := sorted({n for n in declared if declared.count(n) > 1}):
            raise LinkError(f"{name} declares twice: {', '.join(twice)}")
        result = f"return {{ {', '.join(exports[name])} }};"
        linked[name] = f"const {_variable(name)} = (() => {{\n{body.strip()}\n{result}\n}})();\n"

    visit(entry, ())
    return '(() => {\n"use strict";\n' + "".join(linked.values()) + "})();"


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))
