"""Backbone and head are those of MONAI, and the stem ends before dropout begins."""

import pytest
import torch
from monai.networks.nets import DenseNet, EfficientNetBN, resnet18
from torch import nn

from monai_sf.networks import (
    ConfidenceClassifier,
    dropout_layers,
    has_dropout,
    load_weights,
)
from monai_sf.networks.classifier import gains_from_channels_last


def densenet(dropout=0.3, out=3):
    return DenseNet(2, 1, out, init_features=8, growth_rate=4, block_config=(2, 2), dropout_prob=dropout)


BACKBONES = {
    "densenet": lambda: densenet(),
    "densenet without dropout": lambda: densenet(0.0),
    "efficientnet": lambda: EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=1, num_classes=3),
    "resnet": lambda: resnet18(spatial_dims=2, n_input_channels=1, num_classes=3),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_same_logits_as_the_backbone_it_was_made_of(name):
    torch.manual_seed(0)
    backbone = BACKBONES[name]().eval()
    images = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        expected = backbone((images - 0.5) / 0.25)
        network = ConfidenceClassifier(backbone, 3).eval()
        outputs = network.outputs(images)
        torch.testing.assert_close(outputs.logits, expected)
        torch.testing.assert_close(network(images), expected)
        torch.testing.assert_close(network.features(images), outputs.features)
        assert outputs.features.shape == (3, network.num_features)


def test_active_dropout_drops_what_it_drops_in_the_backbone():
    backbone = densenet(0.3).eval()
    for layer in dropout_layers(backbone):
        layer.train()
    images = torch.rand(3, 1, 32, 32)
    torch.manual_seed(1)
    expected = backbone((images - 0.5) / 0.25)
    network = ConfidenceClassifier(backbone, 3)
    torch.manual_seed(1)
    assert torch.equal(network.outputs(images).logits, expected)


@pytest.mark.parametrize("name", BACKBONES)
def test_stem_is_the_same_for_all_samples_and_holds_no_dropout(name):
    network = ConfidenceClassifier(BACKBONES[name](), 3).eval()
    images = torch.rand(2, 1, 32, 32)
    for layer in dropout_layers(network):
        layer.train()
    with torch.no_grad():
        assert torch.equal(network.stem(images), network.stem(images))
        sampled = [network.head(network.trunk(network.stem(images))) for _ in range(2)]
    assert torch.equal(*sampled) == (not has_dropout(network))


def test_stem_is_a_densenets_first_dense_layer_too_and_of_efficientnet_all_features():
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert ConfidenceClassifier(densenet(), 3).eval().stem(images).shape == (2, 8 + 4, 8, 8)
        efficient = ConfidenceClassifier(BACKBONES["efficientnet"](), 3).eval()
        assert efficient.stem(images).shape == (2, efficient.num_features)


def test_features_stand_before_the_heads_dropout():
    efficient = ConfidenceClassifier(BACKBONES["efficientnet"](), 3)
    assert not has_dropout(efficient.backbone)
    assert [layer.p for layer in dropout_layers(efficient)] == [0.2]


def test_normalisation_is_part_of_the_network():
    backbone = densenet()
    one, two = ConfidenceClassifier(backbone, 3, mean=0.1, std=2.0).eval(), backbone
    with torch.no_grad():
        images = torch.rand(2, 1, 32, 32)
        torch.testing.assert_close(one.features(images), two.eval()((images - 0.1) / 2.0))


def test_construction_refuses():
    with pytest.raises(ValueError, match="DenseNet has 3 outputs, num_classes is 2"):
        ConfidenceClassifier(densenet(), 2)
    with pytest.raises(ValueError, match="num_classes must be at least 2, one logit per class, got 1"):
        ConfidenceClassifier(nn.Linear(4, 1), 1)
    with pytest.raises(ValueError, match="Conv2d has no linear layer"):
        ConfidenceClassifier(nn.Conv2d(1, 1, 1), 2)
    with pytest.raises(ValueError, match="std must be positive, got 0"):
        ConfidenceClassifier(densenet(), 3, std=0)


def test_weights_of_another_network_say_what_differs(tmp_path):
    network = ConfidenceClassifier(densenet(), 3)
    other = ConfidenceClassifier(densenet(out=5), 5)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"x\.pt is a checkpoint of another network: 0 .* 2 of another shape"
    ):
        load_weights(network, other.state_dict(), "x.pt")
    state = network.state_dict()
    state["head.1.bias"] = state.pop("head.0.bias")
    with pytest.raises(ValueError, match=r"1 entries missing .* 1 unknown \['head.1.bias'\]"):
        load_weights(network, state, "x.pt")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number_are_not_cast(dtype):
    network = ConfidenceClassifier(densenet(), 3)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = {k: v.to(dtype) if k == "head.0.weight" else v for k, v in before.items()}
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(
        ValueError, match=rf"x\.pt holds .* 1 entries, .* head.0.weight: {name} in the file, f"
    ):
        load_weights(network, state, "x.pt")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_weights_of_another_precision_are_loaded():
    network = ConfidenceClassifier(densenet(), 3)
    load_weights(
        network,
        {k: v.half() if v.is_floating_point() else v.int() for k, v in network.state_dict().items()},
        "",
    )


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [("densenet", "cuda", True), ("efficientnet", "cuda", False), ("efficientnet", "cpu", True)],
)
def test_depth_wise_convolutions_keep_their_layout_on_a_gpu(name, device, expected):
    network = ConfidenceClassifier(BACKBONES[name](), 3)
    assert gains_from_channels_last(network, torch.device(device)) == expected
