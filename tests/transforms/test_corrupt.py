import functools
import hashlib
import itertools

import numpy as np
import pytest
import torch
from drawings import phantom
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai_sf.transforms import CORRUPTIONS, MODALITIES, corrupt
from torch.utils._python_dispatch import TorchDispatchMode

FIELDS = ("motion_blur", "elastic", "gaussian_noise")


def pattern(*shape):
    """Pixels from integers alone, so that they are the same everywhere."""
    numbers = np.arange(np.prod(shape), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    return torch.from_numpy((numbers >> np.uint64(16)).astype(np.float32) / 65536).view(*shape)


natural_like = functools.cache(phantom)


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().astype("<f4").tobytes()).hexdigest()[:16]


# The exact float32 bits, since every step is one correctly rounded operation on every processor.
GOLDEN = {
    "brightness_up": "35f32f74627ac30d",
    "brightness_down": "702da54a81dc263c",
    "motion_blur": "96b93ffbcaf09a86",
    "elastic": "675b5a5255040fd9",
    "gaussian_noise": "9528721a823274a4",
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_golden_bits(kind):
    assert digest(corrupt(pattern(2, 260, 300), kind, 4, seeds=11)) == GOLDEN[kind]


def test_same_bits_with_more_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        bits = {kind: digest(corrupt(pattern(2, 260, 300), kind, 4, seeds=11)) for kind in CORRUPTIONS}
    finally:
        torch.set_num_threads(threads)
    assert bits == GOLDEN  # which every process of the tests gives by one thread


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(7, 3, 40, 33), (3, 1, 600, 700)])  # the second takes several chunks
def test_same_bits_in_any_batch(kind, shape):
    batch, seeds = pattern(*shape), list(range(100, 100 + shape[0]))
    together = corrupt(batch, kind, 5, seeds=seeds)
    assert together.shape == batch.shape
    for image, seed, result in zip(batch, seeds, together, strict=True):
        assert torch.equal(corrupt(image, kind, 5, seeds=seed), result)
    order = torch.arange(shape[0]).flip(0)
    assert torch.equal(corrupt(batch[order], kind, 5, seeds=torch.tensor(seeds)[order]), together[order])


@pytest.mark.parametrize("kind", FIELDS)
def test_another_seed_gives_other_pixels(kind):
    image = pattern(1, 64, 64)
    assert not torch.equal(corrupt(image, kind, 3, seeds=0), corrupt(image, kind, 3, seeds=1))


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1, np.int64(3), np.uint64(2**64 - 1)])
def test_any_64_bit_seed(kind, seed):
    corrupt(pattern(1, 32, 32), kind, 3, seeds=seed)


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_change_rises_with_severity_on_natural_like_images(kind, modality, size):
    image = torch.from_numpy(natural_like(modality, size))
    for preset in (modality, None):
        for seed in range(3):
            changes = [
                (corrupt(image, kind, severity, modality=preset, seeds=seed) - image).abs().mean().item()
                for severity in range(6)
            ]
            assert changes[0] == 0
            assert changes[1] > 5e-4
            assert all(b > 1.01 * a for a, b in itertools.pairwise(changes)), changes


@pytest.mark.parametrize("kind", ["motion_blur", "elastic"])
def test_fields_act_alike_on_all_channels(kind):
    result = corrupt(pattern(1, 50, 60).expand(6, -1, -1), kind, 5, seeds=4)
    assert all(torch.equal(channel, result[0]) for channel in result)


def test_noise_is_independent_per_channel():
    noise = corrupt(torch.full((6, 100, 100), 0.5), "gaussian_noise", 1, seeds=4).flatten(1) - 0.5
    correlations = torch.corrcoef(noise.double()) - torch.eye(6)
    assert correlations.abs().max() < 0.05


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_severity_0_is_an_unchanged_copy(kind):
    image = pattern(1, 8, 8)
    result = corrupt(image, kind, 0, seeds=0)
    assert torch.equal(result, image)
    assert result.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_input_is_left_alone(kind):
    image = pattern(2, 3, 40, 40)
    before = image.clone()
    corrupt(image, kind, 5, seeds=[0, 1])
    assert torch.equal(image, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_strided_input(kind):
    image = pattern(40, 50, 3)
    expected = corrupt(image.permute(2, 0, 1).contiguous(), kind, 3, seeds=0)
    assert torch.equal(corrupt(image.permute(2, 0, 1), kind, 3, seeds=0), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_other_dtypes_give_the_same_picture(kind, dtype):
    image = pattern(1, 70, 60).to(dtype)
    result = corrupt(image, kind, 3, seeds=5)
    assert result.dtype == dtype
    expected = corrupt(image.float(), kind, 3, seeds=5)
    if dtype == torch.float64:
        torch.testing.assert_close(result.float(), expected, rtol=0, atol=2e-5)
    else:
        assert torch.equal(result, expected.to(dtype))


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("severity", [0, 3])
def test_metadata_is_kept(kind, severity):
    image = MetaTensor(
        pattern(1, 16, 16), affine=torch.diag(torch.tensor([2.0, 3, 1, 1])), meta={"name": "a"}
    )
    result = corrupt(image, kind, severity, seeds=0)
    assert isinstance(result, MetaTensor)
    assert result.meta["name"] == "a"
    assert torch.equal(result.affine, image.affine)
    result.meta["name"] = "b"
    assert image.meta["name"] == "a"
    assert torch.equal(result.as_tensor(), corrupt(image.as_tensor(), kind, severity, seeds=0))


def test_gradients_do_not_flow():
    assert not corrupt(pattern(1, 8, 8).requires_grad_(), "brightness_up", 1, seeds=0).requires_grad


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(CORRUPTIONS),
    severity=st.integers(0, 5),
    modality=st.sampled_from([None, *MODALITIES]),
    batch=st.integers(1, 3),
    channels=st.integers(1, 7),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    seed=st.integers(0, 2**64 - 3),
)
def test_any_shape_and_dtype(kind, severity, modality, batch, channels, height, width, dtype, seed):
    images = pattern(batch, channels, height, width).to(dtype)
    seeds = [seed + case for case in range(batch)]
    result = corrupt(images, kind, severity, modality=modality, seeds=seeds)
    assert result.shape == images.shape
    assert result.dtype == dtype
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(result[-1], corrupt(images[-1], kind, severity, modality=modality, seeds=seeds[-1]))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["motion_blur", "elastic"]),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    value=st.floats(0, 1, width=32),
    seed=st.integers(0, 2**63),
)
def test_flat_images_stay_flat(kind, height, width, value, seed):
    image = torch.full((1, height, width), value)
    torch.testing.assert_close(corrupt(image, kind, 5, seeds=seed), image, rtol=1e-6, atol=1e-7)


# What is refused.

GOOD = torch.full((2, 1, 4, 4), 0.5)


@pytest.mark.parametrize("severity", [0, 3])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "got NaN"),
        (1.5, "values from 0.5 to 1.5"),
        (-0.125, "from -0.125 to 0.5"),
        (1.00001, r"to 1\.0000"),
    ],
)
def test_bad_pixels(value, message, severity):
    images = GOOD.clone()
    images[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=message):
        corrupt(images, "elastic", severity, seeds=[0, 1])


@pytest.mark.parametrize("severity", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_rounding_adds_to_white_is_taken_off(dtype, severity):
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    images[0, 0, 0], images[1, 0, 0] = 0, 1
    rounded = images.clone()
    rounded[0, 0, 0], rounded[1, 0, 0] = -1e-7, 1.0000001
    expected = corrupt(images, "gaussian_noise", severity, seeds=[0, 1])
    torch.testing.assert_close(corrupt(rounded, "gaussian_noise", severity, seeds=[0, 1]), expected)
    assert corrupt(rounded, "gaussian_noise", severity, seeds=[0, 1]).max() <= 1


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinite_pixels(value):
    with pytest.raises(ValueError, match="must lie in"):
        corrupt(torch.full((1, 4, 4), value), "elastic", 1, seeds=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_images(dtype):
    with pytest.raises(TypeError, match=rf"floating point in \[0, 1\], got {dtype}.*ScaleIntensityRange"):
        corrupt(GOOD.to(dtype), "brightness_up", 1, seeds=[0, 1])


def test_arrays_are_for_the_transforms():
    with pytest.raises(TypeError, match="got ndarray; Corrupt takes NumPy arrays"):
        corrupt(GOOD.numpy(), "brightness_up", 1, seeds=[0, 1])


@pytest.mark.parametrize("shape", [(4, 4), (2, 1, 4, 4, 4)])
def test_wrong_number_of_axes(shape):
    with pytest.raises(ValueError, match=r"must be 2-D images.*take slices of a volume"):
        corrupt(torch.full(shape, 0.5), "brightness_up", 1, seeds=[0, 1])


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (1, 0, 4, 4), (1, 1, 0, 4), (1, 4, 0)])
def test_empty_images(shape):
    with pytest.raises(ValueError, match="must not be empty"):
        corrupt(torch.zeros(shape), "brightness_up", 1, seeds=[0])


@pytest.mark.parametrize("seeds", [0, [0], [0, 1, 2], torch.tensor([1])])
def test_one_seed_for_each_case(seeds):
    with pytest.raises(ValueError, match="one integer for each of the 2 cases, got"):
        corrupt(GOOD, "gaussian_noise", 1, seeds=seeds)


@pytest.mark.parametrize("seeds", [[0, 1.5], [True, 0], ["0", "1"], torch.tensor([0.0, 1.0]), "01", None])
def test_seeds_that_are_no_integers(seeds):
    with pytest.raises(TypeError, match="seeds must be integers"):
        corrupt(GOOD, "gaussian_noise", 1, seeds=seeds)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match=r"seeds must lie in \[0, 2\^64\), got"):
        corrupt(GOOD, "gaussian_noise", 1, seeds=[0, seed])


def test_unknown_kind():
    with pytest.raises(ValueError, match="kind must be one of brightness_up"):
        corrupt(GOOD, "blur", 1, seeds=[0, 1])


def test_unknown_modality():
    with pytest.raises(ValueError, match="modality must be None or one of dermoscopy"):
        corrupt(GOOD, "elastic", 1, modality="mr", seeds=[0, 1])


def test_severity_out_of_range():
    with pytest.raises(ValueError, match="from 0 to 5, got 6"):
        corrupt(GOOD, "elastic", 6, seeds=[0, 1])


class _Divisions(TorchDispatchMode):
    """Notes the divisors that are numbers: CUDA multiplies by their reciprocals, and so rounds twice."""

    def __init__(self):
        super().__init__()
        self.numbers = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.div, torch.ops.aten.div_):
            self.numbers += [one for one in args[1:] if not isinstance(one, torch.Tensor)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_no_step_is_rounded_otherwise_on_a_gpu(kind):
    with _Divisions() as seen:
        corrupt(torch.full((2, 3, 24, 24), 0.5), kind, 3, seeds=[1, 2])
    assert seen.numbers == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(5, 3, 64, 64), (3, 1, 33, 47)])
def test_a_gpu_gives_the_pixels_of_the_cpu(kind, shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for severity in (1, 5):
        expected = corrupt(images, kind, severity, seeds=range(len(images)))
        assert torch.equal(corrupt(images.cuda(), kind, severity, seeds=range(len(images))).cpu(), expected)
