"""A network as TorchScript and ONNX, by MONAI's exporters, without traces of the machine that wrote it."""

from __future__ import annotations

import errno
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from monai.bundle import ckpt_export, onnx_export

from monai_sf.networks import ConfidenceClassifier
from monai_sf.networks.checkpoints import full_disk_is_an_os_error
from monai_sf.networks.with_features import OUTPUTS, WithFeatures

#: Name of the input of both files.
INPUT = "image"

#: Files of a TorchScript archive with source lines and folders of the machine, which nothing needs.
_DEBUG = ".debug_pkl"
#: Records that torch's writer adds itself.
_WRITTEN = ("serialization_id", "version", "byteorder", ".storage_alignment")


def check_onnx() -> None:
    """Raise ModuleNotFoundError, which tells the remedy, if what writes ONNX is not installed."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"the export needs {' and '.join(missing)}: pip install 'monai-sf[onnx]'", name=missing[0]
        )


def write_portable(
    folder: Path,
    network: ConfidenceClassifier,
    config: Path,
    metadata: Path,
    shape: Sequence[int],
    *,
    any_size: bool,
) -> None:
    """Write ``model.ts`` and ``model.onnx``, whose outputs are logits and features, for batches of any size.

    Args:
        folder: of the two files.
        network: the classifier, with its weights.
        config: inference config with ``network_def``; the TorchScript file contains it, and ``metadata``.
        metadata: metadata.json of the bundle.
        shape: (channels, H, W) of an image.
        any_size: whether other heights and widths are possible.

    Raises:
        OSError: a file cannot be written.
        ValueError: the TorchScript file does not give the outputs of the network.
    """
    with TemporaryDirectory(dir=folder, prefix=".") as place, _quiet():
        weights = Path(place) / "weights.pt"
        with full_disk_is_an_os_error():
            torch.save(WithFeatures(network).state_dict(), weights)
        override: dict[str, Any] = {
            "exported": {
                "_target_": "monai_sf.networks.with_features.WithFeatures",
                "network": "@network_def",
            }
        }
        scripted = Path(place) / "model.ts"
        with _fault_named("TorchScript"):
            ckpt_export("exported", str(scripted), str(weights), str(metadata), str(config), **override)
            _copy_without_debug(scripted, folder / "model.ts")
        converted = Path(place) / "model.onnx"
        with _fault_named("ONNX"):
            onnx_export(
                *("exported", str(converted), str(weights), str(metadata), str(config)),
                use_trace=True,  # MONAI passes the arguments of the conversion on only then
                input_shape=[2, *shape],  # a single image could fix the size of batches
                converter_kwargs={
                    "input_names": [INPUT],
                    "output_names": list(OUTPUTS),
                    "dynamo": True,
                    "dynamic_shapes": ({0: "batch", **({2: "height", 3: "width"} if any_size else {})},),
                    "external_data": False,
                    "verbose": False,
                },
                **override,
            )
            _copy_without_traces(converted, folder / "model.onnx")
    _check_scripted(folder / "model.ts", network, shape)


@contextmanager
def _fault_named(kind: str) -> Iterator[None]:
    """Tell a network that has no such form from a disk that is full, which torch reports alike."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # of compilers: of any kind
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if "PytorchStreamWriter" in text:
            raise OSError(errno.EIO, f"writing failed ({text})") from error
        raise ValueError(f"the network cannot be written as {kind}: {text}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what MONAI and torch say about each step."""
    names = ("monai.bundle.scripts", "torch.onnx")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _copy_without_debug(source: Path, target: Path) -> None:
    reader = torch._C.PyTorchFileReader(str(source))
    writer = torch._C.PyTorchFileWriter(
        str(target)
    )  # MONAI Deploy wants the file's name in all of the archive's
    for name in reader.get_all_records():
        if not name.endswith((_DEBUG, *_WRITTEN)):
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def _copy_without_traces(source: Path, target: Path) -> None:
    import onnx  # an extra

    model = onnx.load(str(source))
    _clear(model.graph)
    for function in model.functions:
        _clear(function)
    onnx.save(model, str(target))


def _clear(graph: Any) -> None:
    for part in (graph, *graph.node, *getattr(graph, "value_info", ())):
        part.doc_string = ""
        del part.metadata_props[:]


def _check_scripted(file: Path, network: ConfidenceClassifier, shape: Sequence[int]) -> None:
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    scripted = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    with torch.no_grad():
        expected, found = network.cpu().eval().outputs(images), scripted(images)
    for name, here in zip(OUTPUTS, found, strict=True):
        if not torch.allclose(here, expected.arrays()[name], rtol=1e-4, atol=1e-5):
            raise ValueError(f"the TorchScript file gives other {name} than the network")
