"""Files of models: what each kind needs, and that nothing in a hostile one runs."""

import zipfile

import pytest
import torch
from torch import nn

from helpers.saved_models import FACTORY, IMAGES, Ending, densenet, outputs, saved
from monai_sf.networks import given_files, given_network, model_files


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
