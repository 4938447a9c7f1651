"""Published weights find their places; the first convolution fits other channels; errors say what to do."""

import re
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from monai.networks.nets import DenseNet

from monai_sf.networks import ConfidenceClassifier, backbones
from monai_sf.networks.backbones import backbone, convert, inflate, start_from

SMALL = {"init_features": 8, "growth_rate": 4, "block_config": (2, 1)}


@pytest.fixture
def small(monkeypatch):
    """DenseNet161 with the same key layout, in small."""
    monkeypatch.setattr(backbones, "_DENSENET161", SMALL)


def loaded(name, weights, folder, in_channels=3):
    """A backbone of two classes with the weights of a file, or with those that are published."""
    network = backbone(name, in_channels=in_channels, num_classes=2, dropout=0.1)
    start_from(SimpleNamespace(backbone=network), weights, folder)
    return network


def torchvision_layout(network, old):
    """The names that torchvision's DenseNet (old: its files) gives to the same weights."""
    state = {}
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        key = re.sub(r"\.layers\.(norm|conv)([12])", r".\1.\2" if old else r".\1\2", key)
        state[key.replace("class_layers.out", "classifier")] = value
    return state


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_densenet_from_torchvisions_layout(small, tmp_path, old, channels):
    torch.manual_seed(0)
    original = DenseNet(2, 3, 1000, **SMALL).eval()
    state = torchvision_layout(original, old)
    assert "features.denseblock1.denselayer1." + ("norm.1" if old else "norm1") + ".weight" in state
    torch.save(state, tmp_path / "w.pth")
    network = loaded("densenet161", tmp_path / "w.pth", tmp_path, channels).eval()
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = original.features(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(network.features(grey.expand(-1, channels, -1, -1)), expected)
    assert network.class_layers.out.out_features == 2


def test_densenet161_has_the_published_size_and_names():
    network = backbone("densenet161", in_channels=3, num_classes=1000, dropout=0.1)
    assert sum(p.numel() for p in network.parameters()) == 28_681_000  # as torchvision documents it
    converted = convert("densenet161", torchvision_layout(network, True))
    assert set(converted) == {k for k in network.state_dict() if not k.endswith("num_batches_tracked")}


def test_efficientnet_from_its_published_layout(tmp_path):
    torch.manual_seed(0)
    original = backbone("efficientnet-b4", in_channels=3, num_classes=1000, dropout=0.2)
    state = {re.sub(r"^_blocks\.\d+\.", "_blocks.", key): v for key, v in original.state_dict().items()}
    assert "_blocks.31._bn2.weight" in state  # 32 blocks, numbered throughout
    torch.save(state, tmp_path / "w.pth")
    network = loaded("efficientnet-b4", tmp_path / "w.pth", tmp_path, 1)
    own = network.state_dict()
    for key, value in original.state_dict().items():
        if not key.startswith(("_fc", "_conv_stem")):
            assert torch.equal(own[key], value), key
    torch.testing.assert_close(own["_conv_stem.weight"], original._conv_stem.weight.sum(1, keepdim=True))
    assert network._dropout.p == 0.1


def test_inflation_answers_to_equal_channels_as_before():
    torch.manual_seed(0)
    weight, grey = torch.randn(4, 3, 3, 3), torch.rand(1, 1, 8, 8)
    expected = torch.conv2d(grey.expand(-1, 3, -1, -1), weight)
    for channels in (1, 3, 6):
        found = torch.conv2d(grey.expand(-1, channels, -1, -1), inflate(weight, channels))
        torch.testing.assert_close(found, expected)
    assert torch.equal(inflate(weight, 6)[:, 3:] * 2, weight)
    with pytest.raises(ValueError, match=r"weight must be \(filters, 3, kh, kw\), got \(4, 1, 3, 3\)"):
        inflate(torch.zeros(4, 1, 3, 3), 3)
    with pytest.raises(ValueError, match=r"channels must be 1 or a multiple of 3 .* got 4"):
        inflate(weight, 4)


@pytest.mark.parametrize("name", backbones.BACKBONES[:3])
def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path, name):
    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr("monai.networks.nets.densenet.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("monai.networks.nets.efficientnet.model_zoo.load_url", unreachable)
    with pytest.raises(ConnectionError, match=f"cannot download the ImageNet weights of {name} .*as weights"):
        loaded(name, "imagenet", tmp_path)


def classifier(name, dropout=0.1):
    return ConfidenceClassifier(backbone(name, in_channels=3, num_classes=2, dropout=dropout), 2)


def test_a_run_starts_from_published_weights_and_resumes_from_its_own(small, tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision_layout(DenseNet(2, 3, 1000, **SMALL), False), tmp_path / "w.pth")
    published = torch.load(tmp_path / "w.pth", weights_only=True)["features.conv0.weight"]
    network = classifier("densenet161")
    head = network.head[-1].weight.clone()
    (tmp_path / "last.pt").write_bytes(b"")
    start_from(network, tmp_path / "w.pth", tmp_path)
    assert not torch.equal(network.backbone.features.conv0.weight, published)
    (tmp_path / "last.pt").unlink()
    start_from(network, tmp_path / "w.pth", tmp_path)
    assert torch.equal(network.backbone.features.conv0.weight, published)
    assert torch.equal(network.head[-1].weight, head)


def test_networks_without_published_weights(tmp_path):
    start_from(classifier("densenet-small"), None, tmp_path)
    with pytest.raises(ValueError, match="no published weights are known for densenet-small: set weights to"):
        start_from(classifier("densenet-small"), "imagenet", tmp_path)
    own = ConfidenceClassifier(DenseNet(2, 1, 2, **SMALL), 2)
    with pytest.raises(ValueError, match="no published weights are known for DenseNet"):
        start_from(own, "imagenet", tmp_path)


def test_downloaded_weights_are_used(monkeypatch, small, tmp_path):
    torch.manual_seed(0)
    original = DenseNet(2, 3, 1000, **SMALL)
    state = torchvision_layout(original, True)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *args, **kwargs: state)
    network = loaded("densenet161", "imagenet", tmp_path)
    assert torch.equal(network.features.conv0.weight, original.features.conv0.weight)


def test_wrong_arguments_and_files(small, tmp_path):
    with pytest.raises(ValueError, match=r"backbone must be one of .*'densenet161'.* got 'resnet'"):
        backbone("resnet", in_channels=1, num_classes=2, dropout=0.1)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        backbone("densenet161", in_channels=1, num_classes=2, dropout=1)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        loaded("densenet161", tmp_path / "none.pth", tmp_path, 1)
    other = DenseNet(2, 3, 1000, **{**SMALL, "growth_rate": 8})
    torch.save(torchvision_layout(other, False), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="weights of another architecture: .* differ in shape"):
        loaded("densenet161", tmp_path / "other.pth", tmp_path, 1)
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"does not hold the weights of this backbone: \d+ of \d+ entries"):
        loaded("densenet161", tmp_path / "a.pth", tmp_path, 1)
