"""Hostile files of models: nothing in them runs."""

import io
import json
import math
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.saved_models import FACTORY, IMAGES, densenet, outputs, saved
from monai_sf.networks import given_network
from monai_sf.networks.given_exported import _of_expression, load_exported
from monai_sf.networks.given_files import load_state


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_a_pickle_that_wants_to_run_code_is_refused(state, tmp_path):
    trace = tmp_path / "ran"
    torch.save({"state_dict": state, "hyper_parameters": Hostile(trace)}, tmp_path / "hostile.pt")
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps(Hostile(trace)))
    torch.save(densenet(), tmp_path / "module.pt")
    for name in ("hostile.pt", "raw.pkl", "module.pt"):
        with pytest.raises(ValueError, match=r"Python objects|no readable weights"):
            given_network(FACTORY, num_classes=3, weights=tmp_path / name)
        with pytest.raises(ValueError, match="holds weights or a pickled module, but not the network"):
            given_network(tmp_path / name, num_classes=3)
    assert not trace.exists()
    with pytest.raises(ValueError, match=r"Python objects \(posix\.system\), which may run code"):
        given_network(FACTORY, num_classes=3, weights=tmp_path / "hostile.pt")
    with pytest.raises(ValueError, match=r"Python objects \(monai\.networks\.nets\.densenet\.DenseNet\)"):
        given_network(FACTORY, num_classes=3, weights=tmp_path / "module.pt")


class Writing(nn.Module):
    """Writes a file when it is called, in TorchScript."""

    def __init__(self, file):
        super().__init__()
        self.file, self.fc = str(file), nn.Linear(1024, 3)

    def forward(self, x):
        torch.save(x, self.file)
        return self.fc(x.flatten(1))


def test_torchscript_that_writes_files_is_refused(tmp_path):
    file = saved(Writing(tmp_path / "written"), "scripted", tmp_path)
    with pytest.raises(ValueError, match="is refused, since its code uses save, which may write files"):
        given_network(file, num_classes=3)
    torch.jit.load(file)(IMAGES)  # it would
    assert (tmp_path / "written").exists()


def rewritten(file, change):
    """Write an archive anew, with the content of each part changed by ``change(name, content)``."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in change({n.partition("/")[2]: content for n, content in parts.items()}).items():
            archive.writestr(f"model/{name}", content)


def in_program(edit):
    def change(parts):
        program = json.loads(parts["models/model.json"])
        edit(program, parts)
        return {**parts, "models/model.json": json.dumps(program).encode()}

    return change


def _weight(program, parts, content):
    config = json.loads(parts["data/weights/model_weights_config.json"])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    parts["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    parts["data/weights/" + entry["path_name"]] = content


def _pickled(thing):
    stream = io.BytesIO()
    torch.save(thing, stream)
    return stream.getvalue()


def _constant(program, parts, name, content):
    config = {
        "config": {"c": {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}}
    }
    parts["data/constants/model_constants_config.json"] = json.dumps(config).encode()
    parts[f"data/constants/{name}"] = content


def attacks(trace):
    """Changes of an exported program that make torch.export.load, or the program, run code."""
    call = f"__import__('os').system('touch {trace}')"

    def node(program):
        return program["graph_module"]["graph"]["nodes"][0]

    def renamed(program, parts):
        text = json.dumps(program)
        program.clear()
        program.update(json.loads(text.replace('"input"', json.dumps(f"input={call}"))))

    def sized(program, parts):
        text = json.dumps(program)
        program.clear()
        program.update(json.loads(re.sub(r'"expr_str": "[^"]*"', json.dumps({"expr_str": call})[1:-1], text)))

    def hidden(program, parts):
        text = json.dumps(program["graph_module"]).replace('"input"', '"metadata"')
        program["graph_module"] = module = json.loads(text)
        module["graph"]["tensor_values"]["metadata"]["sizes"][0] = {
            "as_expr": {"expr_str": call, "hint": None}
        }

    def argument(**value):
        return {"name": "", "arg": value, "kind": 1}

    def calling(function):
        wrap = "torch.ops.higher_order.wrap_with_set_grad_enabled"
        inputs = [argument(as_bool=False), argument(as_operator=function), argument(as_string="x")]
        return {"target": wrap, "inputs": inputs, "outputs": [], "metadata": {}}

    leaf = {"type": None, "context": None, "children_spec": []}

    def keyed(program, parts):
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        protocol, spec = json.loads(signature["in_spec"])
        spec["children_spec"][0]["children_spec"] = []
        spec["children_spec"][1].update(context=json.dumps([f"x={call}"]), children_spec=[leaf])
        signature.update(in_spec=json.dumps([protocol, spec]), forward_arg_names=None)

    context = '[{"\\u005f_enum__": true, "fqn": "antigravity:x", "name": "x"}]'
    imported = json.dumps([1, {"type": "builtins.dict", "context": context, "children_spec": [leaf]}])
    return {
        "operator": lambda p, parts: node(p).update(target="torch.serialization.os.system"),
        "writing": lambda p, parts: node(p).update(target="torch.ops.aten.from_file.default"),
        "load": lambda p, parts: node(p).update(target="torch.load"),
        "method": lambda p, parts: node(p).update(target="torch.ops.aten.__reduce_ex__.__call__"),
        "size under a name": hidden,
        "operator as an argument": lambda p, parts: p["graph_module"]["graph"]["nodes"].append(
            calling("torch.ops.aten.relu.default")
        ),
        "function as an argument": lambda p, parts: p["graph_module"]["graph"]["nodes"].append(
            calling("torch.serialization.os.system")
        ),
        "value called": lambda p, parts: p["graph_module"]["graph"]["nodes"].append(
            {**calling(""), "inputs": [argument(as_bool=False), argument(as_tensor={"name": "linear"})]}
        ),
        "function by keyword": lambda p, parts: p["graph_module"]["graph"]["nodes"].append(
            {**calling(""), "inputs": [argument(as_bool=False), {**argument(as_string="x"), "name": "f"}]}
        ),
        "keyword of the input": keyed,
        "imported by a container": lambda p, parts: p["graph_module"]["module_call_graph"][0][
            "signature"
        ].update(out_spec=imported),
        "text for a number": lambda p, parts: p.update(
            range_constraints={"s0": {"min_val": call, "max_val": 9}}
        ),
        "guard": lambda p, parts: p.update(guards_code=[call]),
        "name": renamed,
        "size": sized,
        "container": lambda p, parts: p["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec=json.dumps([1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}])
        ),
        "pickled weight": lambda p, parts: _weight(p, parts, _pickled(Hostile(trace))),
        "sample": lambda p, parts: parts.update({"data/sample_inputs/model.pt": _pickled(Hostile(trace))}),
        "object": lambda p, parts: _constant(p, parts, "opaque_obj_0", pickle.dumps(Hostile(trace))),
        "pickled constant": lambda p, parts: _constant(p, parts, "tensor_0", _pickled(Hostile(trace))),
        "library": lambda p, parts: parts.update({"data/aotinductor/model/x.wrapper.so": b"\x7fELF"}),
        "old": lambda p, parts: parts.update({"models/other.json": b"{}"}),
    }


@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_an_exported_program_that_wants_to_run_code_is_refused(attack, tmp_path):
    trace = tmp_path / "ran"
    file = saved(nn.Sequential(nn.Flatten(), nn.Linear(1024, 3)), "exported", tmp_path)
    rewritten(file, lambda parts: parts)
    assert outputs(given_network(file, num_classes=3)).logits.shape == (5, 3)  # unchanged, it is read
    rewritten(file, in_program(attacks(trace)[attack]))
    unread = "UnpicklingError" if attack in ("pickled weight", "pickled constant", "sample") else "is refused"
    with pytest.raises(ValueError, match=unread):
        outputs(given_network(file, num_classes=3))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Mod(s77, 2)", True),
        ("L['x'].size()[0] <= 16", True),
        ("2*s0 + 1", True),
        ("exit()", False),
        ("s0.mro()", False),
        ("(lambda: 0)()", False),
        ("Symbol('exit()')", False),
        ("L['x'].__class__", False),
        ("not an expression", False),
        ("s0 if s1 else s2", False),
        ("Max(1,\n2)", False),
    ],
)
def test_sizes_and_guards_are_arithmetic(text, is_plain):
    assert list(_of_expression(text)) == ([] if is_plain else [f"the expression {text[:80]!r}"])


class Composed(nn.Module):
    """Uses what an exported program may hold besides plain layers: graphs, sizes, text and keys."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1024, 3)

    def forward(self, image):
        with torch.no_grad():
            scale = torch.einsum("bcij->b", image) / math.inf
        with torch.autocast("cpu"):
            shifted = image + scale[:, None, None, None]
        flat = shifted.float().reshape(image.shape[0], image.shape[2] * image.shape[3])
        return {"of the classes": self.fc(flat)}


def test_an_exported_program_with_more_than_layers_is_read(tmp_path):
    file = saved(Composed(), "exported", tmp_path)
    text = zipfile.ZipFile(file).read("model/models/model.json").decode()
    assert "wrap_with_set_grad_enabled" in text
    assert "wrap_with_autocast" in text
    with torch.no_grad():
        torch.testing.assert_close(
            load_exported(file).module()(IMAGES), torch.export.load(file).module()(IMAGES)
        )


def test_nobody_is_advised_to_run_a_pickle(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(pickle.dumps({"weight": 1.5}))
    with pytest.raises(ValueError, match="holds no readable weights") as raised:
        load_state(nn.Linear(2, 2), file)
    assert "weights_only" not in str(raised.value)
