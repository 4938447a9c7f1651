"""The network, weights and preprocessing of a MONAI bundle that was made elsewhere.

A bundle's configs are Python: its ``imports`` and expressions are run, as MONAI itself runs them.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.transforms import Compose, MapTransform, Transform
from torch import nn

#: Configs that name the network, the first that exists, and files with its weights.
_CONFIGS = tuple(
    f"configs/{name}.{ending}" for name in ("inference", "train") for ending in ("json", "yaml", "yml")
)
_STATE, _SCRIPT = "models/model.pt", "models/model.ts"


def bundle_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a bundle's network comes from: its config, its weights, and its Python files.

    Raises:
        FileNotFoundError: it has no config or no weights.
    """
    root = Path(folder)
    return [_config_of(root), _weights_of(root), *sorted(root.rglob("*.py"))]


def _config_of(root: Path) -> Path:
    return _first(root, _CONFIGS, "a MONAI bundle has a config of its inference or training")


def _weights_of(root: Path) -> Path:
    return _first(root, (_STATE, _SCRIPT), "download the bundle's weights, or train it")


def _first(root: Path, names: tuple[str, ...], advice: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"the folder {root} has none of {', '.join(names)}: {advice}")


def bundle_model(
    folder: str | os.PathLike[str],
    load_state: Callable[[nn.Module, Path], None],
    load_script: Callable[[Path], nn.Module],
) -> nn.Module:
    """Return a bundle's ``network_def`` with the weights ``models/model.pt``, else ``models/model.ts``.

    Args:
        folder: the bundle's.
        load_state: loads a file's weights into a network.
        load_script: loads a TorchScript file.

    Raises:
        FileNotFoundError: the bundle has no config or no weights.
        ValueError: the config does not give a network, or the weights are not its.
    """
    weights = _weights_of(Path(folder))
    if weights.name == Path(_SCRIPT).name:
        return load_script(weights)
    network = _parsed(Path(folder), "network_def")
    if not isinstance(network, nn.Module):
        raise ValueError(f"network_def of the bundle {folder} is a {type(network).__name__}, and no network")
    load_state(network, weights)
    return network


def bundle_preprocessing(folder: str | os.PathLike[str]) -> Compose:
    """Return the transforms of a bundle's ``preprocessing`` that act on the key ``image``.

    Others, such as those of labels, are left out; a missing key is no error.

    Raises:
        FileNotFoundError: the bundle has no config.
        ValueError: the config has no preprocessing, or it is no list of transforms.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from monai_sf.networks import bundle_preprocessing
        >>> steps = [{"_target_": "ScaleIntensityd", "keys": "image"}]
        >>> steps += [{"_target_": "AsDiscreted", "keys": "label"}]  # left out
        >>> Path("bundle/configs").mkdir(parents=True)
        >>> _ = Path("bundle/configs/inference.json").write_text(
        ...     json.dumps({"preprocessing": steps})
        ... )
        >>> [type(step).__name__ for step in bundle_preprocessing("bundle").transforms]
        ['ScaleIntensityd']
    """
    found = _parsed(Path(folder), "preprocessing")
    transforms = found.transforms if isinstance(found, Compose) else found
    if not isinstance(transforms, (list, tuple)):
        transforms = [transforms]
    kept = []
    for transform in transforms:
        if not isinstance(transform, (Transform, MapTransform)) and not callable(transform):
            raise ValueError(
                f"preprocessing of the bundle {folder} holds a {type(transform).__name__}, and no transform"
            )
        if isinstance(transform, MapTransform):
            if "image" not in transform.keys:
                continue
            transform.allow_missing_keys = True
        kept.append(transform)
    composed = copy.copy(found) if type(found) is Compose else Compose()  # with its options, such as lazy
    composed.transforms = tuple(kept)
    return composed


def _parsed(root: Path, key: str) -> Any:
    """Return a component of a bundle's config, evaluated as MONAI does."""
    config = _config_of(root)
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        if key not in parser:
            raise ValueError(f"there is no key {key}")
        parser["bundle_root"] = str(root)
        if "device" in parser:  # weights and images are read on the CPU, and moved when all is known
            parser["device"] = "cpu"
        with _importable(root):
            return parser.get_parsed_content(key)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"{key} of {config} cannot be had ({type(cause).__name__}: {cause})") from error


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Make the Python packages of a bundle's folder importable, as MONAI's command line does.

    Bundles call theirs alike, ``scripts``: one that stayed would be that of the next bundle too.
    """
    folder, before = root.resolve(), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in sys.modules.keys() - before:
            own = folder / name.partition(".")[0]  # other modules below it may be those of an environment
            if any(place.with_suffix("") == own or place.is_relative_to(own) for place in _places(name)):
                del sys.modules[name]


def _places(name: str) -> list[Path]:
    """Return the file of a module, and the folders of a package."""
    module = sys.modules[name]
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return [Path(place).resolve() for place in places if place]
