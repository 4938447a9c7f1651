"""Exported programs (``torch.export``) from elsewhere, loaded only if nothing in the file runs as Python.

``torch.export.load`` unpickles what it finds, resolves names of functions below ``torch`` and ``operator``,
and evaluates symbolic sizes and guards as Python. So an archive is read first, by the reader that torch uses:
every operator must be one of ATen's or plain arithmetic, every name an identifier, every size an arithmetic
expression, and every pickle one of tensors only.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import PT2ArchiveReader

_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file|save)\w+\.\w+"  # these two write files
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt)"
)
#: Names, and strings that operators take, such as the equation of einsum: nothing that could call anything.
_TEXT = re.compile(r"[\w .,:>-]*")
#: Functions of sizes, as sympy prints them, and the methods of a tensor in guards.
_FUNCTIONS = frozenset(
    (
        *("Abs", "CeilToInt", "FloorToInt", "TruncToInt", "ToFloat", "FloorDiv", "IntTrueDiv", "Mod"),
        *("PythonMod", "PowByNatural", "Max", "Min", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "Not", "Or", "And"),
        *("Symbol", "Integer", "Add", "Mul", "Pow", "size", "stride", "storage_offset"),
    )
)
_EXPRESSION = (
    *(ast.Expression, ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Name, ast.Subscript),
    *(ast.Attribute, ast.Call, ast.keyword, ast.Load, ast.operator, ast.unaryop, ast.cmpop, ast.boolop),
)
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
#: Parts of an archive that a program of tensors and ATen operators has.
_PARTS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|extra/.*|models/model\.json"
    r"|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)|data/sample_inputs/model\.pt"
)


def load_exported(path: str | os.PathLike[str]) -> ExportedProgram:
    """Load an exported program, if the file holds nothing but tensors and ATen operators.

    Raises:
        ValueError: it holds something else, which is named, or is damaged.
    """
    content = Path(path).read_bytes()
    try:
        faults = _faults(PT2ArchiveReader(io.BytesIO(content)))
        if "version" in zipfile.ZipFile(io.BytesIO(content)).namelist():
            faults.append("an archive of an older format")  # to which torch.export.load would turn
    except Exception as error:  # RuntimeError, KeyError, JSONDecodeError, ... of damaged files
        raise ValueError(
            f"{path} is no readable exported program ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    if faults:
        raise ValueError(
            f"{path} is refused, since reading it might run code: it holds {'; '.join(faults[:5])}. Export "
            "the model again with torch.export.save, without compiled parts or objects of your own"
        )
    try:
        with _tensors_only():
            return torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise ValueError(
            f"{path} cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0]}): export it "
            f"again, with this version of PyTorch ({torch.__version__})"
        ) from error


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Let torch.load unpickle tensors and plain values only, whoever calls it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _faults(archive: PT2ArchiveReader) -> list[str]:
    faults = [f"the part {name!r}" for name in archive.get_file_names() if not _PARTS.fullmatch(name)]
    program = json.loads(archive.read_string("models/model.json"))
    return faults + list(dict.fromkeys(_of_program(program, "")))


def _of_program(value: Any, key: str) -> Iterator[str]:
    """Yield what in the description of a program is not plain; ``key`` is that of the value."""
    if key in ("metadata", "torch_version"):  # where the operators come from; nothing of it is run
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _of_expression(name) if key == "range_constraints" else _of_text(name, _TEXT)
            yield from _of_program(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _of_program(inner, key)
    elif not isinstance(value, str):
        return
    elif key == "target":
        yield from _of_text(value, _OPERATOR)
    elif key in ("in_spec", "out_spec"):
        yield from _of_containers(json.loads(value)[1])
    elif key in ("expr_str", "guards_code"):
        yield from _of_expression(value)
    else:
        yield from _of_text(value, _TEXT)


def _of_text(value: str, allowed: re.Pattern[str]) -> Iterator[str]:
    if not allowed.fullmatch(value):
        yield f"the {'operator' if allowed is _OPERATOR else 'name'} {value[:80]!r}"


def _of_expression(text: str) -> Iterator[str]:
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        nodes = []
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    names += [one.id for one in called if isinstance(one, ast.Name)]
    is_plain = (
        bool(nodes)
        and all(isinstance(node, _EXPRESSION) for node in nodes)
        and all(isinstance(one, (ast.Name, ast.Attribute)) for one in called)
        and _FUNCTIONS.issuperset(names)
        and all(  # sympy would evaluate a text
            node.value.isidentifier()
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
    )
    if not is_plain or "__" in text:
        yield f"the expression {text[:80]!r}"


def _of_containers(spec: Any) -> Iterator[str]:
    if spec["type"] not in _CONTAINERS or "__enum__" in str(spec["context"]):
        yield f"the container {str(spec['type'])[:80]!r}"
    for inner in spec["children_spec"]:
        yield from _of_containers(inner)
