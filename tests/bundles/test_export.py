"""The network of every bundle as TorchScript and ONNX, exported as MONAI does by default."""

import tempfile
from pathlib import Path

import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export

from helpers.forks import as_new, forked, run_module

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL = {"network_def#backbone#name": "densenet-small"}

#: Bundle to a method's overlay, and what makes the network small; EfficientNet stays as it is.
CASES = {
    "dermoscopy": ((), {}),
    "chest_xray": (("deepgamblers.yaml",), SMALL),
    "fc_microscopy": (("devries.yaml",), SMALL),
    "lung_nodule_ct": ((), SMALL),
    "pneumonia": ((), {}),
}


@pytest.mark.e2e
@pytest.mark.parametrize("name", CASES)
def test_the_exported_network_gives_the_logits(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where MONAI leaves what it reads again
    overlays, overrides = CASES[name]
    configs = [str(BUNDLES / name / "configs" / file) for file in ("inference.json", *overlays)]
    meta = str(BUNDLES / name / "configs" / "metadata.json")
    parser = ConfigParser()
    parser.read_config(configs)
    parser.update(overrides)
    network = parser.get_parsed_content("network_def").eval()
    checkpoint, exported = str(tmp_path / "best.pt"), str(tmp_path / "model.ts")
    torch.save({"network": network.state_dict()}, checkpoint)
    if name == "dermoscopy":  # once by the command of the docs, where nothing was imported for it
        options = ["--net_id", "network_def", "--filepath", exported, "--ckpt_file", checkpoint]
        options += ["--meta_file", meta, "--config_file", configs[0], "--key_in_ckpt", "network"]

        def monai_bundle():
            as_new()
            run_module("monai.bundle", "ckpt_export", *options)

        done = forked(monai_bundle, tmp_path)
        assert done.returncode == 0, done.stderr
    else:
        ckpt_export("network_def", exported, checkpoint, meta, configs, key_in_ckpt="network", **overrides)
    channels = parser.get_parsed_content("network_def#backbone#in_channels")
    images = torch.rand(3, channels, 64, 64)
    with torch.no_grad():
        expected = network.outputs(images).logits
        torch.testing.assert_close(torch.jit.load(exported)(images), expected)
        torch.testing.assert_close(network(images), expected)
    converted, shape = str(tmp_path / "model.onnx"), [1, channels, 64, 64]
    onnx_export(
        *("network_def", converted, checkpoint, meta, configs),
        key_in_ckpt="network",
        input_shape=shape,
        **overrides,
    )
    session = onnxruntime.InferenceSession(converted)
    (found,) = session.run(None, {session.get_inputs()[0].name: images[:1].numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected[:1], rtol=1e-3, atol=1e-4)
    assert expected.std(0).max() > 0  # or the images would make no difference
