import pickle

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from monai_sf.transforms import CORRUPTIONS, Corrupt, RandCorrupt, corrupt

IMAGE = torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("severity", [0, 4])
def test_equals_the_function(kind, severity):
    expected = corrupt(IMAGE, kind, severity, modality="ct", seeds=7)
    assert torch.equal(Corrupt(kind, severity, modality="ct")(IMAGE, 7), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_arrays_come_back_as_arrays(kind, dtype):
    array = IMAGE.numpy().astype(dtype)
    result = Corrupt(kind, 3)(array, 1)
    assert isinstance(result, np.ndarray)
    assert result.dtype == dtype
    assert np.array_equal(result, corrupt(torch.from_numpy(array), kind, 3, seeds=1).numpy())
    assert not np.shares_memory(result, array)


@pytest.mark.parametrize("severity", [0, 4])
def test_arrays_never_share_memory(severity):
    array = IMAGE.numpy().copy()
    assert not np.shares_memory(Corrupt("brightness_up", severity)(array), array)


def test_arrays_with_negative_strides():
    array = IMAGE.numpy()[:, ::-1]
    result = Corrupt("brightness_down", 1)(array)
    np.testing.assert_array_equal(result, Corrupt("brightness_down", 1)(array.copy()))


def test_metatensor_stays_one():
    result = Corrupt("elastic", 2)(MetaTensor(IMAGE, meta={"name": "x"}))
    assert isinstance(result, MetaTensor)
    assert result.meta["name"] == "x"


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4, 4)])
def test_volumes_are_refused(shape):
    with pytest.raises(ValueError, match=r"img must be one 2-D image, \(C, H, W\), got shape"):
        Corrupt("elastic", 1)(np.full(shape, 0.5, np.float32))


def test_integer_arrays_are_refused():
    with pytest.raises(TypeError, match="floating point"):
        Corrupt("elastic", 1)(np.ones((1, 4, 4), np.uint8))


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="img must be an array or a tensor, got list"):
        Corrupt("elastic", 1)([[[0.5]]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("blur", 1), "kind must be"),
        (("elastic", 6), "severity must be"),
        (("elastic", 1, "mr"), "modality must be"),
    ],
)
@pytest.mark.parametrize("family", [Corrupt, RandCorrupt])
def test_bad_arguments_are_refused_at_construction(family, arguments, message):
    kind, severity, *modality = arguments
    kwargs = {"modality": modality[0]} if modality else {}
    with pytest.raises(ValueError, match=message):
        Corrupt(kind, severity, **kwargs) if family is Corrupt else RandCorrupt(
            (kind,), (severity,), **kwargs
        )


def test_from_a_bundle_config():
    config = {"_target_": "monai_sf.transforms.Corrupt", "kind": "gaussian_noise", "severity": 2}
    transform = ConfigParser({"t": config}).get_parsed_content("t")
    assert torch.equal(Compose([transform])(IMAGE), corrupt(IMAGE, "gaussian_noise", 2, seeds=0))


# At random.


def test_random_draws_repeat_with_the_random_state():
    first, second = (
        [t(IMAGE) for _ in range(12)] for t in (RandCorrupt(prob=0.7).set_random_state(3) for _ in range(2))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({image.sum().item() for image in first}) > 5
    others = [t(IMAGE) for t in [RandCorrupt(prob=1.0).set_random_state(4)]]
    assert not torch.equal(first[0], others[0])


def test_random_draws_cover_the_choices_and_the_probability():
    transform = RandCorrupt(("elastic", "motion_blur"), (1, 4), prob=0.25).set_random_state(0)
    drawn = []
    for _ in range(2000):
        transform.randomize()
        if transform._do_transform:
            drawn.append((transform._choice.kind, transform._choice.severity, transform._seed))
    assert len(drawn) == pytest.approx(500, rel=0.15)
    assert {(kind, severity) for kind, severity, _ in drawn} == {
        (kind, severity) for kind in ("elastic", "motion_blur") for severity in (1, 4)
    }
    assert len({seed for *_, seed in drawn}) == len(drawn)


def test_a_draw_can_be_repeated():
    transform = RandCorrupt(("elastic",), (5,), prob=1.0).set_random_state(0)
    drawn = transform(IMAGE)
    assert torch.equal(transform(IMAGE, randomize=False), drawn)
    assert not torch.equal(transform(IMAGE), drawn)


def test_probability_0_changes_nothing():
    assert RandCorrupt(prob=0.0)(IMAGE) is IMAGE


def test_transforms_can_be_pickled():
    transform = pickle.loads(pickle.dumps(RandCorrupt(prob=1.0).set_random_state(1)))  # noqa: S301
    assert torch.equal(transform(IMAGE), RandCorrupt(prob=1.0).set_random_state(1)(IMAGE))


def test_no_choice_is_refused():
    with pytest.raises(ValueError, match="kinds and severities must not be empty"):
        RandCorrupt(())


def test_one_string_is_no_sequence_of_kinds():
    with pytest.raises(TypeError, match=r"got the string 'elastic'; write \('elastic',\)"):
        RandCorrupt("elastic")
