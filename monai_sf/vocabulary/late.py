"""Public names of a package that are imported when one is first asked for (PEP 562).

``python -m`` imports a package before the command in it. So the packages with commands name what takes
seconds to import in a module of their own, and a command's help does not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def late(package: str, module: str) -> Callable[[str], Any]:
    """Return the function ``__getattr__`` of a package that has the public names of a module.

    Args:
        package: full name of the package, which is imported.
        module: name of the module in it; its ``__all__`` lists the names, none of which is a module's.
    """

    def get(name: str) -> Any:
        place = f"{package}.{name}"
        if name == "__all__" or not (name.startswith("_") or find_spec(place)):  # or a module would load all
            public = import_module(f"{package}.{module}")
            if name == "__all__" or name in public.__all__:
                value = getattr(public, name)
                setattr(sys.modules[package], name, value)
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
