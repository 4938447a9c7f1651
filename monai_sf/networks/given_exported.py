"""Exported programs (``torch.export``) from elsewhere, loaded only if nothing in the file runs as Python.

``torch.export.load`` unpickles what it finds, resolves names of functions below ``torch`` and ``operator``,
and evaluates symbolic sizes and guards as Python. So an archive is read first, by the reader that torch uses:
every operator must be one of ATen's or plain arithmetic, every name an identifier, every size an arithmetic
expression, and every pickle one of tensors only. Which string is what, torch's own schema says, and not the
name of a key, which a file is free to choose in places.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch._export.serde import schema
from torch.export import ExportedProgram

_OPERATOR = re.compile(
    r"torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt)"
)
_ATEN = re.compile(r"torch\.ops\.aten\.(?!from_file|save)(\w+)\.(\w+)")  # these two write files
#: Which argument of an operator is a function that it calls; it must be a graph.
_CALLED = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": 1,
    "torch.ops.higher_order.wrap_with_autocast": 4,
}
#: Names of values: they become variables of the Python code that torch makes of a graph.
_NAME = re.compile(r"\w*")
#: Names of layers, and strings that operators take, such as the equation of einsum: nothing that could
#: call anything.
_TEXT = re.compile(r"[\w .,:>-]*")
#: Places whose values say where operators come from; nothing of them is run.
_NOT_RUN = ("Node.metadata", "GraphModule.metadata", "ExportedProgram.torch_version")
#: Places of names with dots, and of strings that operators take.
_TEXT_PLACES = (
    *("Argument.as_string", "Argument.as_strings", "Argument.as_string_to_argument"),
    *("ConstantValue.as_string", "Device.type", "InputToTensorConstantSpec.tensor_constant_name"),
    *("InputToParameterSpec.parameter_name", "ParameterMutationSpec.parameter_name"),
    *("InputToBufferSpec.buffer_name", "BufferMutationSpec.buffer_name"),
    *("ModuleCallEntry.fqn", "GraphModule.treespec_namedtuple_fields"),
)
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
        faults = _faults(io.BytesIO(content))
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


def _faults(content: io.BytesIO) -> list[str]:
    from torch.export.pt2_archive import PT2ArchiveReader  # it imports as slowly as half of torch

    archive = PT2ArchiveReader(content)
    faults = [f"the part {name!r}" for name in archive.get_file_names() if not _PARTS.fullmatch(name)]
    program = json.loads(archive.read_string("models/model.json"))
    return faults + list(dict.fromkeys(_of_value(schema.ExportedProgram, program, "")))


def _of_value(kind: Any, value: Any, place: str) -> Iterator[str]:
    """Yield what in a value of the description of a program is not plain, as torch's schema reads it.

    Args:
        kind: its type in the schema.
        value: from JSON.
        place: class and field that hold it.
    """
    inner = get_args(kind)
    if value is None or place in _NOT_RUN:
        return
    if type(None) in inner:
        yield from _of_value(inner[0], value, place)
    elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
        for name, one in get_type_hints(kind, vars(schema)).items():
            if name in value:
                yield from _of_value(one, value[name], f"{getattr(kind, '__name__', '')}.{name}")
        if kind is schema.Node:
            yield from _of_called(value)
    elif get_origin(kind) is list and isinstance(value, list):
        for one in value:
            yield from _of_value(inner[0], one, place)
    elif get_origin(kind) is dict and isinstance(value, dict):
        for name, one in value.items():
            yield from _of_string(name, place)
            yield from _of_value(inner[1], one, place)
    elif kind is str and isinstance(value, str):
        yield from _of_string(value, place)
    elif kind is float and isinstance(value, str):  # an infinity
        yield from _of_text(value, _TEXT)
    elif kind is str or get_origin(kind) or dataclasses.is_dataclass(kind) or not _is_number(value):
        yield f"the value {str(value)[:80]!r} at {place or 'the top'}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _of_string(value: str, place: str) -> Iterator[str]:
    if place == "Node.target":
        if not _is_operator(value):
            yield f"the operator {value[:80]!r}"
    elif place == "Argument.as_operator":  # operators would call it
        yield f"the operator {value[:80]!r} as an argument"
    elif place in ("ModuleCallSignature.in_spec", "ModuleCallSignature.out_spec"):
        yield from _of_containers(json.loads(value)[1], _NAME if place.endswith("in_spec") else _TEXT)
    elif place in ("SymExpr.expr_str", "ExportedProgram.guards_code", "ExportedProgram.range_constraints"):
        yield from _of_expression(value)
    else:
        yield from _of_text(value, _TEXT if place in _TEXT_PLACES else _NAME)


def _is_operator(name: str) -> bool:
    if (found := _ATEN.fullmatch(name)) is None:
        return bool(_OPERATOR.fullmatch(name))
    operator = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)
    return isinstance(operator, torch._ops.OpOverload)  # and no method, such as __reduce_ex__.__call__


def _of_called(node: dict[str, Any]) -> Iterator[str]:
    """Yield what an operator that calls one of its arguments would call, if it is no graph."""
    place = _CALLED.get(node["target"])
    if place is None:
        return
    inputs = node["inputs"]
    by_position = all(one["name"] == "" for one in inputs)
    if not by_position or len(inputs) <= place or [*inputs[place]["arg"]] != ["as_graph"]:
        yield f"the operator {node['target']!r} without a graph to call"


def _of_text(value: str, allowed: re.Pattern[str]) -> Iterator[str]:
    if not allowed.fullmatch(value):
        yield f"the name {value[:80]!r}"


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
    if not is_plain or "__" in text or not text.isprintable():  # sympy joins lines
        yield f"the expression {text[:80]!r}"


def _of_containers(spec: Any, allowed: re.Pattern[str]) -> Iterator[str]:
    """Yield containers that are not plain, and keys that are not; those of the input become variables."""
    if spec["type"] not in _CONTAINERS:
        yield f"the container {str(spec['type'])[:80]!r}"
    keys = json.loads(spec["context"]) if isinstance(spec["context"], str) else spec["context"]
    for key in keys if isinstance(keys, list) else [keys]:
        if isinstance(key, str):
            yield from _of_text(key, allowed)
        elif key is not None and not _is_number(key):  # torch imports what an object names
            yield f"the key {str(key)[:80]!r} of a container"
    for inner in spec["children_spec"]:
        yield from _of_containers(inner, allowed)
