"""Dropout samples: real, seeded per case, reduced exactly."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.nets import DenseNet, EfficientNetBN, resnet18

from helpers.toy_problem import tiny_network
from monai_sf.inferers import (
    VIEWS,
    EnsembleInferer,
    LogitsInferer,
    MCDropoutInferer,
    OutputInferer,
    dropout_stream,
)
from monai_sf.inferers.masks import Mask, keep_masks
from monai_sf.networks import ConfidenceClassifier
from monai_sf.networks.backbones import BACKBONES, backbone
from monai_sf.networks.heads import ConfidNetHead, DeVriesHead, ReservationHead
from monai_sf.results import Results
from monai_sf.scores import CSFS


def trained(network, channels=1, size=32):
    """Give batch norm statistics of images, so that features differ from case to case."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, channels, size, size))
    return network.eval()


NETWORKS = {
    "densenet161 with few layers": lambda: ConfidenceClassifier(
        DenseNet(
            2, 1, 3, init_features=96, growth_rate=48, block_config=(1, 1, 1, 1), dropout_prob=0.1, bn_size=1
        ),
        3,
    ),
    "densenet": lambda: ConfidenceClassifier(
        DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2), dropout_prob=0.2), 3
    ),
    "efficientnet": lambda: ConfidenceClassifier(
        EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=1, num_classes=3), 3
    ),
}
IDS = ["a", "b", "c", "d"]
MCD = ("mcd_log_softmax", "mcd_entropy", "mcd_softmax_variance", "mcd_waic")


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return trained(NETWORKS[request.param]())


def test_logits_alone_of_networks_that_give_more(network):
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        expected = network.outputs(images).logits
        for given in (network, lambda x: (network(x), network.features(x)), torch.jit.script(network)):
            torch.testing.assert_close(LogitsInferer()(images, given), expected)


def test_shapes_dtypes_and_plain_pass(network):
    images = torch.rand(4, 1, 32, 32)
    outputs = MCDropoutInferer(3)(images, network, IDS)
    assert {k: (tuple(v.shape), v.dtype) for k, v in outputs.items()} == {
        "logits": ((4, 3), torch.float32),
        "features": ((4, network.num_features), torch.float32),
        "mcd_log_softmax": ((4, 3), torch.float32),
        "mcd_entropy": ((4,), torch.float64),
        "mcd_softmax_variance": ((4,), torch.float64),
        "mcd_waic": ((4,), torch.float64),
    }
    with torch.no_grad():
        torch.testing.assert_close(outputs["logits"], network(images))
    torch.testing.assert_close(outputs["mcd_log_softmax"].exp().sum(1), torch.ones(4))
    assert set(MCDropoutInferer(0)(images, network)) == {"logits", "features"}


def test_a_plain_pass_on_request(network):
    images = torch.rand(4, 1, 32, 32)
    everything = MCDropoutInferer(3)(images, network, IDS)
    plain = MCDropoutInferer(3)(images, network, IDS, plain=True)
    assert set(plain) == {"logits", "features"}
    assert all(torch.equal(array, everything[name]) for name, array in plain.items())
    without_dropout = tiny_network(dropout=0.0).eval()
    assert set(MCDropoutInferer(3)(images, without_dropout, plain=True)) == {"logits", "features"}


def test_samples_differ(network):
    images = torch.rand(4, 1, 32, 32)
    one = [MCDropoutInferer(1, seed=seed)(images, network, IDS)["mcd_log_softmax"] for seed in range(8)]
    assert (torch.stack(one).var(0) > 0).all()


def test_samples_differ_within_one_call(network):
    """Equal samples have no mutual information: the entropy of their mean is the mean of their entropies."""
    outputs = MCDropoutInferer(8)(torch.rand(4, 1, 32, 32), network, IDS)
    log_mean = outputs["mcd_log_softmax"].double()
    information = -(log_mean.exp() * log_mean).sum(1) - outputs["mcd_entropy"]
    single = MCDropoutInferer(1)(torch.rand(4, 1, 32, 32), network, IDS)
    log_single = single["mcd_log_softmax"].double()
    none = -(log_single.exp() * log_single).sum(1) - single["mcd_entropy"]
    assert (information > 10 * none.abs().max()).all()


@pytest.mark.parametrize("name", BACKBONES)
def test_samples_differ_for_every_backbone_at_its_full_size(name):
    torch.manual_seed(0)
    network = ConfidenceClassifier(backbone(name, in_channels=1, num_classes=3, dropout=0.2), 3)
    trained(network)
    images = torch.rand(2, 1, 32, 32)
    one = [MCDropoutInferer(1, seed=s)(images, network, IDS[:2])["mcd_log_softmax"] for s in range(4)]
    assert (torch.stack(one).var(0) > 0).all()


def test_outputs_do_not_depend_on_the_batch_or_the_tiling(network):
    images = torch.rand(4, 1, 32, 32)
    whole = MCDropoutInferer(5)(images, network, IDS)
    small_tiles = MCDropoutInferer(5, max_batch=1)(images, network, IDS)
    backwards = MCDropoutInferer(5)(images.flip(0), network, IDS[::-1])
    alone = [MCDropoutInferer(5)(images[i : i + 1], network, IDS[i : i + 1]) for i in range(4)]
    for name, expected in whole.items():
        torch.testing.assert_close(small_tiles[name], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backwards[name].flip(0), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [partial(ConfidNetHead, width=8), ReservationHead, DeVriesHead])
def test_learned_confidence_comes_with_the_plain_pass(head):
    torch.manual_seed(0)
    network = trained(tiny_network(confidence=head), size=16)
    images = torch.rand(64, 1, 16, 16)
    ids = [str(i) for i in range(64)]
    whole = MCDropoutInferer(3)(images, network, ids)
    assert set(whole) == {"logits", "features", *MCD, head_output(head)}
    plain = MCDropoutInferer(3)(images, network, plain=True)
    assert plain.keys() == {"logits", "features"}
    assert all(torch.equal(array, whole[name]) for name, array in plain.items())
    with torch.no_grad():
        torch.testing.assert_close(
            whole[head_output(head)], getattr(network.outputs(images), head_output(head))
        )
    alone = [MCDropoutInferer(3)(images[i : i + 1], network, ids[i : i + 1]) for i in range(64)]
    for name, array in whole.items():
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), array, rtol=1e-4, atol=1e-5)


def head_output(head):
    return getattr(head, "func", head).output


def test_dropout_samples_of_deep_gamblers_ignore_the_reservation_class():
    torch.manual_seed(0)
    network = trained(tiny_network(confidence=ReservationHead), size=16)
    images = torch.rand(4, 1, 16, 16)
    before = MCDropoutInferer(3)(images, network, IDS)
    with torch.no_grad():
        network.confidence.layers.bias += 100.0
    after = MCDropoutInferer(3)(images, network, IDS)
    for name in ("logits", *MCD):
        assert torch.equal(before[name], after[name])
    assert (after["reservation_logit"] > before["reservation_logit"] + 99).all()
    for csf in ("DG-MCD-MSR", "DG-RES"):
        moved = CSFS[csf].confidence(before) != CSFS[csf].confidence(after)
        assert moved.all() == (csf == "DG-RES")
        assert moved.any() == (csf == "DG-RES")


def test_same_seed_same_bits_other_seed_or_case_other_samples(network):
    images = torch.rand(1, 1, 32, 32).expand(2, -1, -1, -1)
    first = MCDropoutInferer(4)(images, network, ["a", "b"])["mcd_entropy"]
    again = MCDropoutInferer(4)(images, network, ["a", "b"])["mcd_entropy"]
    other = MCDropoutInferer(4, seed=1)(images, network, ["a", "b"])["mcd_entropy"]
    assert torch.equal(first, again)
    assert (first != other).all()
    assert first[0] != first[1]


def test_without_case_ids_the_images_seed(network):
    images = torch.rand(4, 1, 32, 32)
    whole = MCDropoutInferer(4)(images, network)["mcd_entropy"]
    torch.testing.assert_close(
        MCDropoutInferer(4)(images[2:], network)["mcd_entropy"], whole[2:], rtol=1e-4, atol=1e-6
    )


def test_reduction_equals_the_definition_over_single_samples():
    """The mean softmax of T samples is the mean over t of what T = t + 1 adds."""
    network = trained(tiny_network(dropout=0.3))
    images = torch.rand(3, 1, 16, 16)
    sums = [torch.zeros(3, 2, dtype=torch.float64)]
    entropies = [torch.zeros(3, dtype=torch.float64)]
    for t in range(1, 5):
        outputs = MCDropoutInferer(t)(images, network, IDS[:3])
        sums.append(t * outputs["mcd_log_softmax"].double().exp())
        entropies.append(t * outputs["mcd_entropy"])
    for t in range(1, 5):
        sample = sums[t] - sums[t - 1]
        assert ((sample > -1e-6) & (sample < 1 + 1e-6)).all()
        torch.testing.assert_close(
            entropies[t] - entropies[t - 1],
            -(sample * sample.clamp_min(1e-300).log()).sum(1),
            rtol=1e-4,
            atol=1e-5,
        )


def test_confident_cases_do_not_tie_at_probability_1():
    network = trained(tiny_network(dropout=0.3))
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.nn.init.constant_(last.bias, 0.0)
    last.bias.data[0] = 60.0
    outputs = MCDropoutInferer(4)(torch.rand(3, 1, 16, 16), network, IDS[:3])
    sure = outputs["mcd_log_softmax"][:, 0]
    assert (sure < 0).all()
    assert len(sure.unique()) == 3


def test_samples_follow_dropout_in_mean_and_variance():
    """The seeded masks must act as torch's own dropout does."""
    network = trained(tiny_network(dropout=0.4))
    images = torch.rand(2, 1, 16, 16)
    ours = torch.stack(
        [
            MCDropoutInferer(1, seed=s)(images, network, IDS[:2])["mcd_log_softmax"][:, 0].exp()
            for s in range(200)
        ]
    )
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.dropout._DropoutNd):
            layer.train()
    torch.manual_seed(0)
    with torch.no_grad():
        torchs = torch.stack([network(images).softmax(1)[:, 0] for _ in range(200)])
    error = (ours.var(0) + torchs.var(0)).sqrt() / math.sqrt(200)
    assert ((ours.mean(0) - torchs.mean(0)).abs() < 5 * error).all()
    torch.testing.assert_close(ours.std(0), torchs.std(0), rtol=0.25, atol=0)


def test_masks_are_fair_and_independent():
    streams = torch.arange(4000)
    one = Mask(2, (16,), 0.3)
    mask = keep_masks(streams, [one])[one].double()
    assert abs(mask.mean().item() - 0.7) < 0.01
    correlation = torch.corrcoef(mask.T) - torch.eye(16)
    assert correlation.abs().max() < 0.08
    layers = [Mask(i, (1,), 0.3) for i in range(6)]
    between = torch.corrcoef(torch.cat(list(keep_masks(streams, layers).values()), 1).double().T)
    assert (between - torch.eye(6)).abs().max() < 0.08


def test_masks_are_fixed_for_all_time():
    streams = torch.tensor([dropout_stream("a"), dropout_stream("b", 1)])
    first, second = Mask(0, (3, 1, 1), 0.5), Mask(77, (2, 3), 0.3)
    made = keep_masks(streams, [first, second])
    assert made[first].flatten(1).int().tolist() == [[1, 1, 0], [0, 0, 0]]
    assert made[second].flatten(1).int().tolist() == [[1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 1, 0]]


@given(
    st.lists(
        st.tuples(st.integers(0, 80), st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)),
        unique=True,
        min_size=1,
        max_size=5,
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
)
def test_a_mask_does_not_depend_on_those_made_with_it(shapes, streams):
    masks = [Mask(layer, shape, 0.4) for layer, shape in shapes]
    together = keep_masks(torch.tensor(streams), masks)
    for mask in masks:
        for row, stream in enumerate(streams):
            alone = keep_masks(torch.tensor([stream]), [mask])[mask]
            assert torch.equal(together[mask][row], alone[0])
            assert alone[0].flatten().tolist() == [
                by_definition(stream, mask.layer, position) >= round(0.4 * 2**24)
                for position in range(mask.size)
            ]


def by_definition(stream, layer, position):
    """24 bits of SplitMix64 (Steele et al. 2014), with Python's integers."""

    def mixed(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    gamma = 0x9E3779B97F4A7C15
    start = mixed((stream + (layer + 1) * gamma) % 2**64)
    return mixed((start + (position + 1) * gamma) % 2**64) >> 40


def test_masks_made_together_from_the_second_batch_on_change_nothing(network):
    images = torch.rand(4, 1, 32, 32)
    again = MCDropoutInferer(3)
    again(images[:, :, :16, :16].repeat(1, 1, 2, 2), network, IDS[::-1])
    first, second = MCDropoutInferer(3)(images, network, IDS), again(images, network, IDS)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_part_before_the_first_dropout_is_computed_once():
    network = trained(NETWORKS["densenet"]())
    first, second = list(network.backbone.features.denseblock1)
    seen = []
    for name, layer in (("first", first), ("second", second)):
        layer.layers.conv2.register_forward_hook(lambda m, x, y, name=name: seen.append((name, len(y))))
    MCDropoutInferer(3)(torch.rand(4, 1, 32, 32), network, IDS)
    assert seen == [("first", 4), ("second", 4), ("second", 12)]


@pytest.mark.parametrize("head", [ConfidNetHead, ReservationHead, DeVriesHead])
def test_in_16_bits_what_follows_the_features_is_in_float32(head):
    torch.manual_seed(0)
    network = trained(tiny_network(confidence=head), size=16)
    images = torch.rand(64, 1, 16, 16)
    exact = MCDropoutInferer(3, views=["horizontal_flip"])(images, network, [str(i) for i in range(64)])
    short = MCDropoutInferer(3, views=["horizontal_flip"], precision="bfloat16")(
        images, network, [str(i) for i in range(64)]
    )
    assert {name: array.dtype for name, array in short.items()} == {
        name: array.dtype for name, array in exact.items()
    }
    for name, array in exact.items():
        assert not torch.equal(short[name], array)
        torch.testing.assert_close(short[name], array, rtol=0.05, atol=0.05)
    assert torch.equal(short["features"].bfloat16().float(), short["features"])
    for name in ("logits", head.output):
        assert not torch.equal(short[name].bfloat16().float(), short[name])
        assert len(short[name].unique()) == short[name].numel()


def test_network_stays_as_it_was(network):
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        before = network(images)
        MCDropoutInferer(3)(images, network, IDS[:2])
        assert torch.equal(network(images), before)
    assert not network.training


def test_dropout_stream_is_fixed_for_all_time():
    assert dropout_stream("LIDC-IDRI-0001") == 4346933998169977866
    assert dropout_stream("LIDC-IDRI-0001", 1) != dropout_stream("LIDC-IDRI-0001")


def test_refusals():
    network = tiny_network(dropout=0.0).eval()
    images = torch.rand(2, 1, 16, 16)
    with pytest.raises(ValueError, match="has no dropout layer"):
        MCDropoutInferer(2)(images, network)
    with pytest.raises(ValueError, match="has no dropout layer"):
        MCDropoutInferer(2)(
            images,
            ConfidenceClassifier(resnet18(spatial_dims=2, n_input_channels=1, num_classes=2), 2).eval(),
        )
    with pytest.raises(ValueError, match="training mode"):
        MCDropoutInferer(2)(images, network.train())
    with pytest.raises(ValueError, match="case_ids has 1 names for 2 images"):
        MCDropoutInferer(2)(images, tiny_network().eval(), ["a"])
    with pytest.raises(ValueError, match="samples must be at least 0, got -1"):
        MCDropoutInferer(-1)
    with pytest.raises(ValueError, match="max_batch must be at least 1, got 0"):
        MCDropoutInferer(1, max_batch=0)
    with pytest.raises(ValueError, match="precision must be one of float32, tf32, .*, got 'half'"):
        MCDropoutInferer(1, precision="half")
    with pytest.raises(ValueError, match="the device cpu is not computed in float16: take float32"):
        MCDropoutInferer(0, precision="float16")(images, network.eval())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64, torch.bool])
def test_bytes_are_refused_by_every_inferer(dtype):
    network = tiny_network().eval()
    images = torch.ones(2, 1, 16, 16, dtype=dtype)
    scripted = torch.jit.script(network)
    for inferer, model in (
        (MCDropoutInferer(2), network),
        (OutputInferer(), network),
        (LogitsInferer(), network),
        (LogitsInferer(), scripted),
        (EnsembleInferer(), torch.nn.ModuleList([network])),
    ):
        with pytest.raises(TypeError, match=f"got {dtype}: pass bytes through monai_sf.data.as_unit first"):
            inferer(images, model)


@pytest.fixture
def sharp():
    """A network whose softmax differs much between an image and its views."""
    torch.manual_seed(0)
    network = trained(NETWORKS["densenet"]())
    with torch.no_grad():
        network.head[-1].weight *= 50
    return network


def test_views_are_the_image_and_its_copies_turned_by_hand(sharp):
    images = torch.rand(4, 1, 32, 32)
    pixels = images.numpy()
    views = {
        "horizontal_flip": pixels[..., ::-1],
        "vertical_flip": pixels[..., ::-1, :],
        "rotate_90": np.swapaxes(pixels, 2, 3)[..., ::-1, :],
        "rotate_180": pixels[..., ::-1, ::-1],
        "rotate_270": np.swapaxes(pixels, 2, 3)[..., ::-1],
    }
    assert views.keys() == VIEWS.keys()
    with torch.no_grad():
        plain = sharp(images).double().softmax(1)
        shares = {n: sharp(torch.tensor(v.copy())).double().softmax(1) for n, v in views.items()}
    for names in (["horizontal_flip"], ["rotate_90", "vertical_flip"], list(views)):
        outputs = MCDropoutInferer(2, views=names)(images, sharp, IDS)
        p = torch.stack([plain, *(shares[name] for name in names)])
        mean = outputs["tta_log_softmax"].double().exp()
        torch.testing.assert_close(mean, p.mean(0), rtol=1e-5, atol=1e-6)
        assert ((p.mean(0) - plain).abs().amax(1) > 1e-3).all()
        entropy = -(p * p.log()).sum(-1).mean(0)
        torch.testing.assert_close(outputs["tta_entropy"], entropy, rtol=1e-5, atol=1e-6)
        assert (outputs["tta_log_softmax"].dtype, outputs["tta_entropy"].dtype) == (
            torch.float32,
            torch.float64,
        )


def test_views_change_no_other_output_and_draw_no_dropout(sharp):
    images = torch.rand(4, 1, 32, 32)
    without = MCDropoutInferer(3)(images, sharp, IDS)
    with_views = MCDropoutInferer(3, views=["vertical_flip"])(images, sharp, IDS)
    assert with_views.keys() - without.keys() == {"tta_log_softmax", "tta_entropy"}
    assert all(torch.equal(array, with_views[name]) for name, array in without.items())
    only = MCDropoutInferer(0, views=["vertical_flip"])(images, sharp)
    assert set(only) == {"logits", "features", "tta_log_softmax", "tta_entropy"}
    assert torch.equal(only["tta_log_softmax"], with_views["tta_log_softmax"])
    assert set(MCDropoutInferer(3, views=["vertical_flip"])(images, sharp, IDS, plain=True)) == {
        "logits",
        "features",
    }


def test_the_views_of_a_case_depend_on_no_other_case(sharp):
    images = torch.rand(4, 1, 32, 32)
    inferer = MCDropoutInferer(0, views=list(VIEWS))
    whole = inferer(images, sharp)
    backwards = inferer(images.flip(0), sharp)
    alone = [inferer(images[i : i + 1], sharp) for i in range(4)]
    for name, expected in whole.items():
        torch.testing.assert_close(backwards[name].flip(0), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), expected, rtol=1e-4, atol=1e-5)


def test_an_image_that_equals_its_views_gets_the_plain_softmax(sharp):
    quarter = torch.rand(2, 1, 16, 16)
    half = torch.cat([quarter + quarter.mT, (quarter + quarter.mT).flip(-1)], -1) / 2
    images = torch.cat([half, half.flip(-2)], -2)
    assert all(torch.equal(view(images), images) for view in VIEWS.values())
    outputs = MCDropoutInferer(0, views=list(VIEWS))(images, sharp)
    for tta, plain in (("TTA-MSR", "MSR"), ("TTA-PE", "PE"), ("TTA-EE", "PE")):
        torch.testing.assert_close(CSFS[tta](outputs), CSFS[plain](outputs), rtol=1e-5, atol=1e-7)
    assert (CSFS["TTA-MI"](outputs).abs() < 1e-6).all()


def test_stored_views_are_what_results_make_of_their_logits(sharp):
    images = torch.rand(4, 1, 32, 32)
    outputs = MCDropoutInferer(0, views=["horizontal_flip", "rotate_180"])(images, sharp)
    with torch.no_grad():
        logits = torch.stack([sharp(v) for v in (images, images.flip(-1), images.flip(-1, -2))], dim=1)
    run = Results.from_arrays(outputs["logits"], [0, 1, 2, 0], tta_samples=logits)
    for name in ("tta_log_softmax", "tta_entropy"):
        np.testing.assert_allclose(run.test_sets["iid"].arrays[name], outputs[name], rtol=1e-5, atol=1e-6)


def test_rotations_that_exchange_height_and_width_need_square_images(sharp):
    images = torch.rand(2, 1, 32, 48)
    wide = MCDropoutInferer(0, views=["horizontal_flip", "vertical_flip", "rotate_180"])(images, sharp)
    assert wide["tta_log_softmax"].shape == (2, 3)
    with pytest.raises(ValueError, match="rotate_90 and rotate_270 need square images, got 32 x 48 pixels"):
        MCDropoutInferer(0, views=["rotate_90", "vertical_flip", "rotate_270"])(images, sharp)


@pytest.mark.parametrize("views", [["mirror", "rotate_90"], "horizontal_flip", ["vertical_flip"] * 2])
def test_unknown_and_repeated_views_are_refused_with_the_valid_names(views):
    message = "views must be a list of different ones of horizontal_flip, .*, rotate_270, got "
    with pytest.raises(ValueError, match=message):
        MCDropoutInferer(views=views)
