"""Models from their files: TorchScript, ``torch.export``, a factory with weights, or a MONAI bundle.

TorchScript and exported programs are read as data. A factory and the configs of a MONAI bundle are Python
that is run: give only what you would run yourself. Weights are read as tensors, never as pickled objects.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from monai_sf.files import sha256_of
from monai_sf.networks.classifier import load_weights
from monai_sf.networks.given import GivenClassifier
from monai_sf.networks.given_bundles import bundle_files, bundle_model
from monai_sf.networks.given_exported import load_exported
from monai_sf.networks.tapped import AUTO
from monai_sf.vocabulary.outputs import OutputKind

#: Entries of a checkpoint under which others keep the state dict.
_NESTED = ("state_dict", "model_state_dict", "model", "network", "net")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
#: What torch says of an object that it does not unpickle.
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
#: Names in the code of a TorchScript file by which it writes files or calls other machines.
_BEYOND_TENSORS = re.compile(rb"\b(?:save|from_file|rpc_\w+)\b")
_KINDS = (
    'a TorchScript file, a torch.export file (.pt2), "package.module:factory", or the folder of a MONAI '
    "bundle"
)


def given_network(
    model: str | os.PathLike[str],
    *,
    num_classes: int,
    weights: str | os.PathLike[str] | None = None,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    outputs: OutputKind = "logits",
    class_order: Sequence[int] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    transposed: bool = False,
    features: str | None = AUTO,
) -> GivenClassifier:
    """Load a model that was trained elsewhere.

    Args:
        model: a TorchScript file, a ``torch.export`` file (.pt2), ``"package.module:factory"`` (a function or
            class that returns a module), or the folder of a MONAI bundle. The last two run Python.
        num_classes: see :class:`GivenClassifier`, as for ``outputs`` and what follows.
        weights: file with the state dict of the factory's network, written by ``torch.save``, as it is or
            under a key such as ``state_dict``; names may begin with ``module.``. None if the factory itself
            loads them.
        arguments: of the factory.
        outputs: what the model gives.
        class_order: positions of the classes among the outputs.
        mean: subtracted from images in [0, 1].
        std: divisor after that.
        transposed: whether the model takes images with rows and columns exchanged.
        features: "auto", the name of a layer, or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is none of these, cannot be loaded, its weights are those of another network, or
            a file would run code when it is read.

    Examples:
        >>> import torch
        >>> from monai.networks.nets import Classifier
        >>> from monai_sf.networks import given_network
        >>> shape = {"in_shape": [1, 8, 8], "classes": 2, "channels": [4], "strides": [2]}
        >>> # a training of somebody else
        >>> torch.save(Classifier(**shape).state_dict(), "model.pt")
        >>> made = {"weights": "model.pt", "arguments": shape}
        >>> network = given_network("monai.networks.nets:Classifier", num_classes=2, **made)
        >>> tuple(network(torch.rand(3, 1, 8, 8)).shape)
        (3, 2)
    """
    before = _hashes(model, weights)
    loaded = _load(model, weights, arguments)
    network = GivenClassifier(
        loaded,
        num_classes,
        outputs=outputs,
        class_order=class_order,
        mean=mean,
        std=std,
        transposed=transposed,
        features=features,
    )
    if is_factory(model):
        network.files_sha256 = _sha256_of_made(network.sha256, str(model), weights, arguments)
    else:
        network.files_sha256 = sha256_of_files(model_files(model))
    if _hashes(model, weights) != before:
        raise ValueError(f"a file of {model} was replaced while it was loaded: load it again")
    return network


def _hashes(model: str | os.PathLike[str], weights: str | os.PathLike[str] | None) -> list[str]:
    """Return the hashes of what is loaded, by which another file that took its place is known."""
    files = model_files(model) if weights is None else [Path(weights)]
    return [sha256_of(file) for file in files if file.is_file()]


def _sha256_of_made(
    tensors: str, factory: str, weights: str | os.PathLike[str] | None, arguments: Mapping[str, Any]
) -> str:
    """Return a SHA-256 of a factory's name, code, arguments and weights, or else tensors."""
    module_name, make = _factory(factory)
    named = {module_name, str(getattr(make, "__module__", module_name))}
    files = {getattr(sys.modules.get(name), "__file__", None) or "" for name in named}
    parts = [
        factory,
        json.dumps(dict(arguments), sort_keys=True, default=str),
        *sorted(sha256_of(file) for file in files if file.endswith(".py") and Path(file).is_file()),
        tensors if weights is None else sha256_of(weights),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def model_files(model: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the files that a model consists of; none for a factory without weights.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: the model is of no known kind.

    Examples:
        >>> from pathlib import Path
        >>> from monai_sf.networks import model_files
        >>> for name in ("configs/inference.json", "models/model.pt", "scripts/net.py"):
        ...     Path("bundle", name).parent.mkdir(parents=True, exist_ok=True)
        ...     Path("bundle", name).touch()
        >>> [file.name for file in model_files("bundle")]  # what its hash is made of
        ['inference.json', 'model.pt', 'net.py']
        >>> model_files("my_package.models:resnet")  # a factory without weights
        []
    """
    if is_factory(model):
        files = [] if weights is None else [Path(weights)]
    elif Path(model).is_dir():
        files = bundle_files(model)
    else:
        files = [Path(model)]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise FileNotFoundError(f"there is no file {', '.join(missing)}: a model is {_KINDS}")
    return files


def is_factory(model: str | os.PathLike[str]) -> bool:
    """Return whether a model is ``"package.module:factory"``, and no file."""
    return bool(_FACTORY.fullmatch(str(model))) and not Path(model).exists()


def sha256_of_files(files: Sequence[Path]) -> str:
    """Return a SHA-256 of several files, independent of their folder; that of a single one is its own."""
    if len(files) == 1:
        return sha256_of(files[0])
    lines = sorted(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _load(
    model: str | os.PathLike[str], weights: str | os.PathLike[str] | None, arguments: Mapping[str, Any]
) -> nn.Module | ExportedProgram:
    if is_factory(model):
        return _made(str(model), weights, arguments)
    if weights is not None or arguments:
        raise ValueError(f"weights and arguments are for a factory; {model} has its own: leave them out")
    if Path(model).is_dir():
        return bundle_model(model, load_state, load_script)
    (file,) = model_files(model)
    kind = _kind_of(file)
    return load_exported(file) if kind == "export" else load_script(file)


def _kind_of(file: Path) -> str:
    """Return "script" or "export", by the content."""
    names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
    parts = {name.partition("/")[2] for name in names}
    if "archive_format" in parts or "models/model.json" in parts:
        return "export"
    if "constants.pkl" in parts and any(name.startswith("code/") for name in parts):
        return "script"
    if "data.pkl" in parts or file.read_bytes()[:1] == b"\x80":
        raise ValueError(
            f"{file} holds weights or a pickled module, but not the network that they belong to: give "
            '"package.module:factory" as the model and this file as its weights, or save the model with '
            "torch.jit.save or torch.export.save"
        )
    raise ValueError(f"{file} is no model: give {_KINDS}")


def load_script(file: Path) -> torch.jit.ScriptModule:
    """Load a TorchScript file to the CPU.

    TorchScript is no Python, but has operators that write files and call other machines.

    Raises:
        ValueError: it cannot be read, or uses such operators.
    """
    try:
        archive = torch._C.PyTorchFileReader(str(file))
        code = [archive.get_record(name) for name in archive.get_all_records() if name.startswith("code/")]
        used = sorted({found.decode() for text in code for found in _BEYOND_TENSORS.findall(text)})
        if not used:
            return torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-any-return,no-untyped-call]
    except Exception as error:
        raise ValueError(
            f"{file} is no readable TorchScript file ({type(error).__name__}: {_first_line(error)}): save it "
            "again with torch.jit.save"
        ) from error
    raise ValueError(
        f"{file} is refused, since its code uses {', '.join(used)}, which may write files or call other "
        "machines"
    )


def _factory(factory: str) -> tuple[str, Any]:
    """Return the name of a factory's module, and the factory."""
    module_name, _, name = factory.partition(":")
    try:
        make: Any = importlib.import_module(module_name)
        for part in name.split("."):
            make = getattr(make, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"there is no factory {factory}: {error}. Install its package, or correct it"
        ) from error
    return module_name, make


def _made(factory: str, weights: str | os.PathLike[str] | None, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the module that a factory makes, with its weights."""
    _, make = _factory(factory)
    try:
        network = make(**arguments)
    except Exception as error:
        raise ValueError(
            f"{factory} failed with the arguments {dict(arguments)} ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{factory} returned a {type(network).__name__}, expected a torch.nn.Module")
    if weights is not None:
        load_state(network, Path(weights))
    return network


def load_state(network: nn.Module, file: Path) -> None:
    """Load a complete state dict from a file into a network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds more than tensors and plain values, no state dict, or that of another
            network.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of weights {file}") from None
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and (found := _GLOBAL.search(str(error))):
            raise ValueError(
                f"{file} holds Python objects ({found[1]}), which may run code when they are read. Where "
                "you trust the file, save the weights alone: torch.save(model.state_dict(), ...)"
            ) from error
        # torch's text of an unpickling error advises to read the file as code
        said = "" if isinstance(error, pickle.UnpicklingError) else f": {_first_line(error)}"
        raise ValueError(
            f"{file} holds no readable weights ({type(error).__name__}{said}): save them "
            "with torch.save(model.state_dict(), ...)"
        ) from error
    load_weights(
        network, _state_of(content, file), str(file), advice="Give the model that these weights belong to"
    )


def _state_of(content: Any, file: Path) -> dict[str, Tensor]:
    """Return the state dict in the content of a file, without the prefix of parallel training."""
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{file} holds a {type(content).__name__}, expected a state dict: names to tensors")
    if wrong := [str(name) for name, value in content.items() if not isinstance(value, Tensor)]:
        raise ValueError(
            f"{file} is no state dict, which holds tensors only: {', '.join(wrong[:5])} are none. A state "
            f"dict may lie under one of the keys {', '.join(_NESTED)}"
        )
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(prefix): value for name, value in content.items()}


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")
