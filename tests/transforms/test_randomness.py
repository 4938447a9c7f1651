import numpy as np
import torch
from monai_sf.transforms.randomness import case_seed, further_seeds, to_normal, uniform_bits, uniform_numbers
from scipy import stats


def test_case_seeds_are_fixed_for_ever():
    assert case_seed(0, "elastic", "ISIC_0000000") == 3851199004930928391
    assert case_seed(1, "elastic", "ISIC_0000000") != case_seed(0, "elastic", "ISIC_0000000")
    assert case_seed(0, "motion_blur", "ISIC_0000000") != case_seed(0, "elastic", "ISIC_0000000")


def test_case_seeds_fit_signed_tensors_and_do_not_collide():
    seeds = {case_seed(0, "elastic", case_id) for case_id in range(20000)}
    assert len(seeds) == 20000
    assert 2**62 < max(seeds) < 2**63


def test_an_integer_and_its_digits_are_one_id():
    assert case_seed(0, "elastic", 17) == case_seed(0, "elastic", "17")


def test_bits_are_fixed_for_ever():
    assert uniform_bits([0, 2**64 - 1], 3).tolist() == [[55451, 2276, 47716], [23547, 36318, 8645]]


def test_bits_of_a_case_depend_on_neither_count_nor_neighbours():
    alone = uniform_bits([7], 1001)[0]
    assert np.array_equal(uniform_bits([3, 7], 6)[1], alone[:6])
    assert not np.array_equal(uniform_bits([8], 1001)[0], alone)


def test_bits_are_uniform():
    counts = np.bincount(uniform_bits([5], 2**18)[0] >> 8, minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_every_normal_number_once_has_mean_0_and_variance_1():
    values = to_normal(torch.arange(2**16).to(torch.uint16)).double()
    assert abs(values.mean()) < 1e-9
    assert abs(values.var(correction=0) - 1) < 1e-6
    assert torch.equal(values, -values.flip(0))
    assert torch.all(values.diff() > 0)


def test_normal_numbers_are_normal():
    values = to_normal(torch.from_numpy(uniform_bits([1], 200_000)))[0].numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(stats.skew(values)) < 0.02
    assert abs(stats.kurtosis(values)) < 0.05
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01


def test_numbers_are_uniform_and_those_of_numpy():
    numbers = uniform_numbers([5, 2**64 - 1], 5000)
    assert stats.kstest(numbers[0], "uniform").pvalue > 1e-3
    expected = np.random.Generator(np.random.Philox(key=2**64 - 1)).random(5000)
    assert np.array_equal(numbers[1], expected)
    assert np.array_equal(uniform_numbers([5], 3)[0], numbers[0, :3])


def test_further_seeds_do_not_collide():
    numbers = uniform_numbers([1], 20000)[0]
    assert len(set(further_seeds(numbers))) == 20000
    assert further_seeds(np.array([0, 2.0**-53, 1 - 2.0**-53])) == [0, 1, 2**53 - 1]
