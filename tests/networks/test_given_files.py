"""Files of models: what each kind needs, and that nothing in a hostile one runs."""

import hashlib
import io
import json
import math
import os
import pickle
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.saved_models import IMAGES, Ending, densenet, saved
from monai_sf.networks import bundle_preprocessing, given_files, given_network, model_files
from monai_sf.networks.given_exported import _of_expression, load_exported
from monai_sf.networks.given_files import load_state

FACTORY = "helpers.saved_models:densenet"


def outputs(network):
    with torch.no_grad():
        return network.outputs(IMAGES)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


@pytest.fixture
def state():
    torch.manual_seed(7)
    network = densenet()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape) * 0.1)
    return network.state_dict()


@pytest.mark.parametrize("wrapped", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_factory_with_weights(state, wrapped, prefix, tmp_path):
    file = tmp_path / "w.pth"
    torch.save(wrapped({prefix + name: value for name, value in state.items()}), file)
    network = given_network(FACTORY, num_classes=3, weights=file, arguments={"dropout": 0.1})
    direct = densenet()
    direct.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network).logits, direct(IMAGES))
    assert model_files(FACTORY, file) == [file]


def test_the_code_and_the_arguments_of_a_factory_are_part_of_its_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module, source = tmp_path / "nets_of_mine.py", "from torch import nn\n"
    for name in ("ReLU", "Tanh"):
        source += (
            f"def {name}(slope=1):\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.{name}())\n"
        )
    module.write_text(source)
    file = tmp_path / "w.pt"
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).state_dict(), file)

    def sha256(name="ReLU", weights=file, **arguments):
        given = {"weights": weights, "arguments": arguments}
        return given_network(f"nets_of_mine:{name}", num_classes=3, **given).sha256

    first = sha256()
    assert first == sha256() != sha256("Tanh")
    assert len({first, sha256("Tanh"), sha256(slope=2), sha256(weights=None)}) == 4
    moved = tmp_path / "moved.pt"
    file.rename(moved)
    assert sha256(weights=moved) == first
    module.write_text(source.replace("nn.ReLU()", "nn.ReLU6()"))
    assert sha256(weights=moved) != first


def test_a_factory_without_weights_is_known_by_its_tensors():
    one, same = (given_network(FACTORY, num_classes=3) for _ in range(2))
    other = given_network(FACTORY, num_classes=4, arguments={"classes": 4})
    assert one.sha256 == same.sha256 != other.sha256
    assert model_files(FACTORY) == []


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("no_such_package.x:make", {}, "there is no factory no_such_package.x:make: No module named"),
        ("helpers.saved_models:resnet", {}, "there is no factory .* has no attribute 'resnet'"),
        (FACTORY, {"depth": 3}, r"failed with the arguments {'depth': 3} \(TypeError: .*'depth'"),
        ("builtins:dict", {}, "builtins:dict returned a dict, expected a torch.nn.Module"),
    ],
)
def test_a_factory_that_makes_no_network(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        given_network(model, num_classes=3, arguments=arguments)


def test_weights_of_another_architecture_are_compared(state, tmp_path):
    state["class_layers.out.weight"] = torch.zeros(5, 9)
    state["extra"] = torch.zeros(1)
    del state["features.conv0.weight"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="Give the model that these weights belong to") as error:
        given_network(FACTORY, num_classes=3, weights=tmp_path / "w.pt")
    for part in ("1 entries missing ['features.conv0.weight']", "1 unknown ['extra']", "(5, 9) in the file"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a state dict"),
        ({}, "holds a dict, expected a state dict"),
        (
            {"optimizer": {"lr": 1}, "epoch": 2},
            "is no state dict, which holds tensors only: optimizer, epoch",
        ),
    ],
)
def test_a_file_without_a_state_dict(content, message, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=message):
        given_network(FACTORY, num_classes=3, weights=tmp_path / "w.pt")


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file of weights"):
        given_network(FACTORY, num_classes=3, weights=tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match="there is no file .*none.ts: a model is a TorchScript file"):
        given_network(tmp_path / "none.ts", num_classes=3)
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(ValueError, match=r"text.pt is no model: give a TorchScript file"):
        given_network(tmp_path / "text.pt", num_classes=3)
    with pytest.raises(ValueError, match="holds no readable weights"):
        given_network(FACTORY, num_classes=3, weights=tmp_path / "text.pt")
    for how in ("scripted", "exported"):
        file = saved(Ending(nn.Identity()), how, tmp_path)
        content = file.read_bytes()
        with zipfile.ZipFile(file) as archive:
            entry = archive.getinfo(next(n for n in archive.namelist() if n.endswith(("/model.json", ".py"))))
        damaged = bytearray(content)
        damaged[entry.header_offset + 100 : entry.header_offset + 900] = bytes(800)
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="is no readable (TorchScript file|exported program)"):
            given_network(file, num_classes=3)
        with pytest.raises(ValueError, match="weights and arguments are for a factory"):
            given_network(file, num_classes=3, weights=file)


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


NETWORK_DEF = {
    "_target_": "DenseNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [1, 1],
    "dropout_prob": 0.3,
}


@pytest.fixture
def bundle(tmp_path, state):
    """The folder of a bundle as MONAI's model zoo has them."""
    folder = tmp_path / "zoo"
    for name in ("configs", "models", "scripts"):
        (folder / name).mkdir(parents=True)
    (folder / "scripts" / "__init__.py").write_text("")
    (folder / "scripts" / "half.py").write_text("def half(image):\n    return image / 2\n")
    config = {
        "imports": ["$from scripts.half import half"],
        "bundle_root": "/somewhere/else",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": NETWORK_DEF,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": ["image", "label"], "image_only": True},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "AsDiscreted", "keys": "label", "to_onehot": 3},
                {"_target_": "Lambdad", "keys": "image", "func": "$half"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$no_such_name", "transform": "@preprocessing"},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save({"model": state}, folder / "models" / "model.pt")
    return folder


def test_a_monai_bundle_has_its_network_weights_and_preprocessing(bundle, state, tmp_path):
    network = given_network(bundle, num_classes=3)
    direct = densenet()
    direct.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network).logits, direct(IMAGES))
    scripts = [bundle / "scripts" / "__init__.py", bundle / "scripts" / "half.py"]
    files = [bundle / "configs" / "inference.json", bundle / "models" / "model.pt", *scripts]
    assert model_files(bundle) == files
    lines = sorted(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert network.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    transforms = bundle_preprocessing(bundle)
    assert [type(one).__name__ for one in transforms.transforms] == [
        "LoadImaged",
        "EnsureChannelFirstd",
        "Lambdad",
    ]
    np.save(tmp_path / "x.npy", np.full((4, 5), 0.5, np.float32))
    image = transforms({"image": tmp_path / "x.npy"})["image"]
    torch.testing.assert_close(torch.as_tensor(image).as_subclass(torch.Tensor), torch.full((1, 4, 5), 0.25))
    assert str(bundle) not in sys.path


def test_two_bundles_in_one_process_run_their_own_code(bundle, tmp_path):
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    (other / "scripts" / "half.py").write_text("def half(image):\n    return image * 3\n")
    before = set(sys.modules)
    halves = [bundle_preprocessing(folder).transforms[-1] for folder in (bundle, other, bundle)]
    assert [half({"image": torch.ones(1)})["image"].item() for half in halves] == [0.5, 3, 0.5]
    assert not [name for name in sys.modules.keys() - before if name.startswith("scripts")]


def test_a_monai_bundle_with_torchscript_or_a_training_config_only(bundle, state):
    (bundle / "models" / "model.pt").unlink()
    file = saved(Ending(nn.Identity()), "scripted", bundle / "models")
    assert outputs(given_network(bundle, num_classes=3)).features.shape[0] == 5
    assert model_files(bundle)[1] == file
    (bundle / "configs" / "inference.json").rename(bundle / "configs" / "train.json")
    assert outputs(given_network(bundle, num_classes=3)).logits.shape == (5, 3)


def test_a_monai_bundle_that_is_incomplete(bundle, state):
    config = bundle / "configs" / "inference.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "network_def": {**NETWORK_DEF, "out_channels": 4}}))
    with pytest.raises(
        ValueError, match=r"model\.pt is a checkpoint of another network: .* 2 of another shape"
    ):
        given_network(bundle, num_classes=3)
    config.write_text(json.dumps({**content, "network_def": {**NETWORK_DEF, "depth": 4}}))
    with pytest.raises(ValueError, match=r"network_def of .*inference\.json cannot be had .*depth"):
        given_network(bundle, num_classes=3)
    config.write_text(
        json.dumps({k: v for k, v in content.items() if k not in ("network_def", "preprocessing")})
    )
    with pytest.raises(ValueError, match="there is no key network_def"):
        given_network(bundle, num_classes=3)
    with pytest.raises(ValueError, match="there is no key preprocessing"):
        bundle_preprocessing(bundle)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"none of configs/inference\.json, .*, configs/train\.yml"):
        given_network(bundle, num_classes=3)
    config.write_text(json.dumps(content))
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of models/model\.pt, models/model\.ts: download"):
        given_network(bundle, num_classes=3)


def test_nobody_is_advised_to_run_a_pickle(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(pickle.dumps({"weight": 1.5}))
    with pytest.raises(ValueError, match="holds no readable weights") as raised:
        load_state(nn.Linear(2, 2), file)
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("weights", [False, True])
def test_a_file_that_is_replaced_while_it_is_loaded_does_not_lend_its_hash(tmp_path, monkeypatch, weights):
    file = saved(densenet(), "scripted", tmp_path)
    name, given = "load_script", {"model": str(file)}
    if weights:
        file = tmp_path / "weights.pt"
        torch.save(densenet().state_dict(), file)
        name, given = "load_state", {"model": FACTORY, "weights": file}
    load = getattr(given_files, name)

    def then_replaced(*arguments):
        loaded = load(*arguments)
        file.write_bytes(b"another model")
        return loaded

    monkeypatch.setattr(given_files, name, then_replaced)
    with pytest.raises(ValueError, match="was replaced while it was loaded"):
        given_network(num_classes=3, **given)
