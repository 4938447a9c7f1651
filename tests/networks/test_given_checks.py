"""What is refused before anything is measured: outputs that depend on the batch, on chance, or are others."""

import pytest
import torch
from torch import nn

from helpers.saved_models import IMAGES, Ending, densenet, saved
from monai_sf.networks import GivenClassifier, check_network, given_network


@pytest.mark.parametrize("how", ["traced", "exported"])
def test_training_mode_that_a_file_keeps_is_refused(how, tmp_path):
    network = given_network(saved(Ending(nn.Identity()), how, tmp_path, mode="train"), num_classes=3)
    with pytest.raises(
        ValueError, match=r"two passes over the same images differ by up to .*% .*model\.eval\(\)"
    ):
        check_network(network, IMAGES)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1024, 3))
    network = given_network(saved(model, how, tmp_path, mode="train"), num_classes=3)
    with pytest.raises(ValueError, match=r"depend on the rest of the batch, and differ by up to .*%"):
        check_network(network, IMAGES * torch.rand(5, 1, 1, 1))


@pytest.mark.parametrize("how", ["scripted", "module"])
def test_training_mode_that_can_be_left_is_left(how, tmp_path):
    model = Ending(nn.Identity())
    expected = model(IMAGES).detach()
    model.train()
    network = (
        GivenClassifier(model, 3)
        if how == "module"
        else given_network(saved(model, how, tmp_path, mode="train"), num_classes=3)
    )
    check_network(network, IMAGES)
    torch.testing.assert_close(network(IMAGES).detach(), expected, rtol=1e-4, atol=1e-5)


class Centred(nn.Module):
    """Takes the mean of the batch away, which no mode changes."""

    def forward(self, x):
        return x - 0.2 * x.mean(0)


@pytest.mark.parametrize(
    ("model", "declared", "message"),
    [
        (Ending(Centred()), {}, "depend on the rest of the batch"),
        (Ending(nn.Softmax(1)), {}, "or declare the outputs as 'softmax'"),
        (
            Ending(nn.Identity()),
            {"outputs": "softmax"},
            "do not add up to 1 for 5 of 5 images: are they 'logits'",
        ),
        (Ending(nn.Sigmoid()), {"outputs": "softmax"}, r"Independent probabilities \(multi-label\)"),
        (
            Ending(lambda x: 50 * x, 1),
            {"outputs": "sigmoid"},
            r"not in \[0, 1\] for \d of 5 images: are they a",
        ),
        (Ending(lambda x: x / 0, 3), {}, "NaN or infinite for 5 of 5 images"),
        (Ending(nn.Identity(), 4), {}, r"gives \(5, 4\) for 5 images, expected \(5, 3\)"),
        (
            densenet(channels=3),
            {},
            r"takes images of 3 channels, and these have 1 \(channels x height x width: 1 x",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(7, 3)),
            {},
            "fails on 5 images of 1 x 32 x 32 .*mat1 and mat2",
        ),
        (densenet(), {"mean": [0.1, 0.2, 0.3]}, "mean and std have 3 channels, the images 1"),
        (
            nn.Sequential(nn.Flatten(), nn.Unflatten(0, (1, 5)), nn.Flatten(0, 1), nn.Linear(1024, 3)),
            {},
            "not one of 1",
        ),
    ],
)
def test_what_is_not_as_declared_is_refused(model, declared, message):
    num_classes = 2 if declared.get("outputs") == "sigmoid" else 3
    with pytest.raises(ValueError, match=message):
        check_network(GivenClassifier(model, num_classes, **declared), IMAGES)


@pytest.mark.parametrize("how", ["traced", "scripted", "exported"])
def test_another_number_of_channels_is_said_for_files_too(how, tmp_path):
    network = given_network(saved(Ending(nn.Identity()), how, tmp_path), num_classes=3)
    with pytest.raises(
        ValueError, match=r"takes images of 1 channel, and these have 3|Guard failed: x.size\(\)\[1\]"
    ):
        check_network(network, IMAGES.expand(-1, 3, -1, -1))


def test_a_program_for_one_size_of_batch_only_is_refused(tmp_path):
    network = given_network(saved(Ending(nn.Identity()), "exported", tmp_path, batch=None), num_classes=3)
    with pytest.raises(
        ValueError, match=r"takes a batch of 5 images, but not one of 1 \(AssertionError: Guard fai"
    ):
        check_network(network, IMAGES)


def test_all_faults_are_named_at_once():
    with pytest.raises(ValueError, match="declare the outputs as 'softmax'.*depend on the rest of the batch"):
        check_network(GivenClassifier(Ending(lambda x: (x - x.mean(0)).softmax(1)), 3), IMAGES)
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        check_network(GivenClassifier(densenet(), 3), IMAGES[:3])


def test_independent_outputs_after_a_sigmoid_are_no_logits():
    network = GivenClassifier(Ending(nn.Sigmoid()), 3)
    message = r"\[0, 1\] and do not add up to 1, as after a 'sigmoid' .*multi-label.*declare 'softmax'"
    with pytest.raises(ValueError, match=message):
        check_network(network, torch.cat([IMAGES, IMAGES.flip(-1)]))
