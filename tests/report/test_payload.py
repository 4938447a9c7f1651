"""What the scripts are told about the payload, and what it is."""

import re
from importlib import resources

import numpy as np
import pytest

from helpers.pages import payload
from helpers.promises import promise, promised, with_promise
from monai_sf.report.packing import TYPES, Packer
from monai_sf.report.page import build_report
from monai_sf.results import Results

SOURCE = (resources.files("monai_sf.report") / "scripts/payload.js").read_text(encoding="utf-8")
TYPEDEF = re.compile(r"@typedef \{object\} (\w+)(.*?)(?=@typedef|\*/)", re.DOTALL)
PROPERTY = re.compile(r"@property \{(.+?)\} (\w+)")
SHAPES = {name: {p: t for t, p in PROPERTY.findall(body)} for name, body in TYPEDEF.findall(SOURCE)}
PLAIN = {"string": str, "number": (int, float), "boolean": bool, "null": type(None)}


def parts(text, separator):
    """Split a type at a separator outside of all brackets."""
    found, depth = [""], 0
    for character in text:
        depth += (character in "([<{") - (character in ")]>}")
        if character == separator and not depth:
            found.append("")
        else:
            found[-1] += character
    return [part.strip() for part in found]


def faults(value, kind, place):
    """Where a value is not of a type of the typedefs."""
    either = parts(kind, "|")
    if len(either) > 1:
        return [] if any(not faults(value, one, place) for one in either) else [f"{place} is no {kind}"]
    if kind.startswith("(") and kind.endswith(")"):
        return faults(value, kind[1:-1], place)
    if kind.endswith("[]"):
        kind, inner = "array", kind[:-2]
        if isinstance(value, list):
            return [f for i, v in enumerate(value) for f in faults(v, inner, f"{place}[{i}]")]
    if kind.startswith("["):
        inner = parts(kind[1:-1], ",")
        if isinstance(value, list) and len(value) == len(inner):
            pairs = enumerate(zip(value, inner, strict=True))
            return [f for i, (v, t) in pairs for f in faults(v, t, f"{place}[{i}]")]
    if kind.startswith("Record<string,") and isinstance(value, dict) and "$array" not in value:
        inner = kind.removeprefix("Record<string,")[:-1].strip()
        return [f for k, v in value.items() for f in faults(v, inner, f"{place}.{k}")]
    if kind in SHAPES and isinstance(value, dict):
        if value.keys() != SHAPES[kind].keys():
            return [f"{place}: {sorted(value.keys() ^ SHAPES[kind].keys())} only in the payload or in {kind}"]
        return [f for k, v in value.items() for f in faults(v, SHAPES[kind][k], f"{place}.{k}")]
    if kind in TYPES.values() and isinstance(value, dict) and value.get("$array", [None])[0] == kind:
        return []
    if kind in PLAIN and isinstance(value, PLAIN[kind]):
        return [] if kind == "boolean" or not isinstance(value, bool) else [f"{place} is no {kind}"]
    return [f"{place} is no {kind}"]


@pytest.mark.parametrize("kind", ["rich", "poor", "graded"])
def test_the_typedef_says_what_is_written(make_run, tmp_path, kind):
    runs = [make_run("iid", n=30), make_run("texture", n=30, seed=1), make_run("mskcc", n=30)]
    if kind == "rich":
        csfs = {"MSR": promise(-0.1), "PE": promise(needed=900), "MCD-PE": promise()}
        calibration = make_run(n=300, seed=5, corruptions=())
        runs[:2] = [with_promise(runs[0], csfs), promised(runs[1], calibration, target_risk=0.3)]
    if kind == "poor":
        runs = [make_run(n=2, width=0, pictures=None, corruptions=())]
    if kind == "graded":
        domains = ["iid"] * 5 + ["corruption-blur-1"] * 5
        ids = [*"abcde"] * 2
        runs = [Results.from_scores(range(10), np.arange(10) / 9, domains=domains, case_ids=ids)]
    assert faults(payload(build_report(runs, tmp_path / "r.html")), "Payload", "payload") == []


def test_every_typedef_is_used():
    named = set(re.findall(r"\b[A-Z]\w+\b", " ".join(t for shape in SHAPES.values() for t in shape.values())))
    assert SHAPES.keys() - named == {"Payload"}


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ([1, "a"], "(number | string)[]", []),
        ([1, None], "number[]", ["x[1] is no number"]),
        (True, "number", ["x is no number"]),
        ([0.5, None], "[number, number | null]", []),
        ([0.5], "[number, number]", ["x is no [number, number]"]),
        ({"a": [[1, 2]]}, "Record<string, [number, number][]>", []),
        ({"a": None}, "Record<string, string>", ["x.a is no string"]),
        ({"about": "map"}, "Note", ["x: ['text'] only in the payload or in Note"]),
        (Packer().add([1], "uint8"), "null | Uint8Array", []),
        (Packer().add([1], "uint8"), "Uint16Array", ["x is no Uint16Array"]),
    ],
)
def test_faults_are_found(value, kind, found):
    assert faults(value, kind, "x") == found
