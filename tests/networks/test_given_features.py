"""Features of classifiers from elsewhere: the input of the layer that gives the output."""

import pytest
import torch
from torch import nn

from helpers.saved_models import IMAGES, Ending, features_of, outputs, saved
from monai_sf.networks import (
    GivenClassifier,
    check_network,
    given_network,
    to_device,
)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (lambda x: 2 * x, "no linear layer gives the output of Ending: name the layer"),
        (nn.Identity(), ""),
        (nn.LogSoftmax(1), ""),
    ],
)
def test_features_are_those_of_the_layer_that_gives_the_output(ending, reason):
    network = GivenClassifier(Ending(ending), 3)
    found = outputs(network)
    assert network.features_missing.startswith(reason)
    assert (found.features is None) == bool(reason) == ("features" not in found.arrays())
    assert (network.last_layer() is not None) == isinstance(ending, nn.Identity)
    assert GivenClassifier(Ending(ending), 3, features=None).features_missing == "none were asked for"


def test_a_named_layer_gives_its_input():
    model = Ending(lambda x: 2 * x)
    network = GivenClassifier(model, 3, features="net.class_layers.out")
    torch.testing.assert_close(outputs(network).features, features_of(model, IMAGES))
    assert network.last_layer() is None  # its output is half of the logits
    again = GivenClassifier(model, 3, features="net.class_layers.flatten")
    torch.testing.assert_close(outputs(again).features, features_of(model, IMAGES))
    with pytest.raises(ValueError, match=r"the layer 'fc', but there are .*net\.class_layers\.out"):
        GivenClassifier(model, 3, features="fc")
    with pytest.raises(ValueError, match=r"layer net\.features has shape \(5, 1, 32, 32\) for 5 images"):
        outputs(GivenClassifier(model, 3, features="net.features"))
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="layer unused, .* is not used"):
        outputs(GivenClassifier(model, 3, features="unused"))


@pytest.mark.parametrize("how", ["scripted", "exported"])
def test_a_named_layer_of_a_file(how, tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 7), nn.ReLU(), nn.Linear(7, 3))
    file = saved(model, how, tmp_path)
    network = given_network(file, num_classes=3, features="1")
    torch.testing.assert_close(outputs(network).features, IMAGES.flatten(1))
    assert network.last_layer() is None
    torch.testing.assert_close(
        outputs(given_network(file, num_classes=3)).features, model[:3](IMAGES).detach()
    )
    with pytest.raises(ValueError, match="the layer 'fc', but there are 1, 3"):
        given_network(file, num_classes=3, features="fc")
    assert outputs(given_network(file, num_classes=3, features=None)).features is None


class Branching(nn.Module):
    """Ends in a branch, as networks do that may drop something before the last layer."""

    def __init__(self):
        super().__init__()
        self.drop, self.fc = 0.5, nn.Linear(16, 3)

    def forward(self, x, twice: bool = False):
        x = x.flatten(1)[:, :16]
        if self.drop > 0.0:
            return self.fc(nn.functional.dropout(x, self.drop, self.training))
        return self.fc(2 * x if twice else x)


def test_a_scripted_branch_hides_no_features(tmp_path):
    network = given_network(saved(Branching(), "scripted", tmp_path), num_classes=3)
    found, (weight, bias) = outputs(network), network.last_layer()
    torch.testing.assert_close(found.features, IMAGES.flatten(1)[:, :16])
    torch.testing.assert_close(found.features @ weight.T + bias, found.logits)


def test_a_script_without_a_linear_layer_says_so(tmp_path):
    file = saved(nn.Sequential(nn.Conv2d(1, 3, 32), nn.Flatten()), "scripted", tmp_path)
    network = given_network(file, num_classes=3)
    assert outputs(network).features is None
    assert network.features_missing.startswith("no linear layer gives the output of the TorchScript graph")
    assert network.last_layer() is None


def test_a_layer_that_gives_probabilities_is_no_last_layer_of_their_logarithms():
    layer = nn.Linear(1024, 3)
    nn.init.zeros_(layer.weight)
    layer.bias.data = torch.tensor([0.5, 0.3, 0.2])
    network = GivenClassifier(nn.Sequential(nn.Flatten(), layer), 3, outputs="softmax")
    torch.testing.assert_close(outputs(network).logits.exp()[0], layer.bias.data)
    assert network.features_layer == "1"
    assert network.last_layer() is None


class Multiplying(nn.Module):
    """A linear layer as older versions of TorchScript wrote it, its weight (C, F) or turned."""

    def __init__(self, turned: bool):
        super().__init__()
        self.turned = turned
        self.weight = nn.Parameter(torch.rand((16, 3) if turned else (3, 16)))
        self.bias = nn.Parameter(torch.rand(3))

    def forward(self, x):
        weight = self.weight if self.turned else self.weight.t()
        return torch.addmm(self.bias, x.flatten(1)[:, :16], weight)


@pytest.mark.parametrize("how", ["traced", "exported"])
@pytest.mark.parametrize("turned", [True, False])
def test_a_multiplication_and_a_sum_are_a_linear_layer(how, turned, tmp_path):
    network = given_network(saved(Multiplying(turned), how, tmp_path), num_classes=3)
    found = outputs(network)
    if how == "exported" and turned:  # exporters do not write a layer so
        assert network.features_missing
        return
    weight, bias = network.last_layer()
    torch.testing.assert_close(found.features, IMAGES.flatten(1)[:, :16])
    torch.testing.assert_close(found.features @ weight.T + bias, found.logits)


class Viewing(nn.Module):
    """Its code needs images, weights and what comes between them to lie row by row in memory."""

    def __init__(self, channels=1):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 4, 3, stride=4)
        self.last = nn.Linear(4 * 8 * 8, 3)
        self.eval()

    def forward(self, x):
        return self.last(self.convolution(x).relu().view(x.shape[0], -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("how", ["module", "scripted"])
def test_a_model_that_views_its_layers_as_rows_keeps_its_layout(how, channels, tmp_path):
    model = Viewing(channels)
    # as a batch of pictures is, whose channels were last in the file
    images = torch.rand(5, 32, 32, channels).permute(0, 3, 1, 2)
    expected = model(images.clone(memory_format=torch.contiguous_format)).detach()
    network = (
        GivenClassifier(model, 3)
        if how == "module"
        else given_network(saved(model, how, tmp_path), num_classes=3)
    )
    network = to_device(network, torch.device("cpu"))
    check_network(network, images)
    torch.testing.assert_close(outputs(network, images).logits, expected)


@pytest.mark.parametrize("how", ["module", "scripted", "exported"])
@pytest.mark.parametrize("broken", [1, 5])
def test_an_image_without_a_finite_output_hides_no_features(how, broken, tmp_path):
    model = Ending(nn.Identity())
    network = (
        GivenClassifier(model, 3)
        if how == "module"
        else given_network(saved(model, how, tmp_path), num_classes=3)
    )
    images = IMAGES.clone()
    images[:broken] = torch.nan
    first = outputs(network, images)
    assert first.logits[:broken].isnan().all()
    if broken < len(images):
        torch.testing.assert_close(first.features[1:], features_of(model, IMAGES)[1:], rtol=1e-4, atol=1e-5)
    else:  # nothing tells, and nothing is decided
        assert (first.features, network.features_missing) == (None, "")
        with pytest.raises(RuntimeError, match="not known before an image has a finite output"):
            network.last_layer()
    torch.testing.assert_close(outputs(network).features, features_of(model, IMAGES), rtol=1e-4, atol=1e-5)
    assert network.last_layer() is not None
