from __future__ import annotations

import numpy as np
import pytest

from monai_sf.datasets.random_stream import Stream

UNIFORM = [0.09403963501945234, 0.2258205622563778, 0.4957280732507462]
CENTRED = [1.512616728064502, 0.7659140595872937, 0.5078684482564975]


def test_same_numbers_for_the_same_key_for_good() -> None:
    # Written down once: a change would change every rendered slice.
    numbers = Stream("1.2.3", 4).uniform(0, 1, (3,))
    np.testing.assert_array_equal(numbers, Stream("1.2.3", 4).uniform(0, 1, (3,)))
    np.testing.assert_allclose(numbers, UNIFORM, rtol=1e-15)
    np.testing.assert_allclose(Stream("1.2.3", 4).centred((3,)), CENTRED, rtol=1e-14)


def test_other_keys_give_other_numbers() -> None:
    drawn = [
        tuple(Stream(*key).uniform(0, 1, (2,))) for key in [("a",), ("b",), ("a", 1), ("a", 1, 0), ("a", 10)]
    ]
    assert len(set(drawn)) == 5


def test_uniform_fills_its_range_evenly() -> None:
    numbers = Stream("x").uniform(-3, 5, (50, 400))
    assert numbers.shape == (50, 400)
    assert -3 <= numbers.min() < -2.99
    assert 4.99 < numbers.max() < 5
    assert numbers.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(201, 201), (200, 200)])
def test_centred_has_mean_0_and_variance_1_and_no_correlation(shape: tuple[int, int]) -> None:
    numbers = Stream("y").centred(shape)
    assert numbers.shape == shape
    assert abs(numbers.mean()) < 0.02
    assert numbers.var() == pytest.approx(1, abs=0.02)
    assert abs(numbers).max() < 2.46
    for axis in (0, 1):
        shifted = np.roll(numbers, 1, axis)
        assert abs((numbers * shifted).mean()) < 0.02
