import numpy as np

from monai_sf.report.working_points import NEVER, PROMISED, missed_and_caught


def test_counts_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    steps = rng.choice([1, 2, 50, 99, 100, NEVER], (60, 3)).astype(np.uint8)
    promised = rng.integers(0, 2, (60, 3)).astype(np.uint8)
    wrong = rng.random((60, 3)) < 0.6
    counts = missed_and_caught(steps, promised, wrong)
    assert counts.shape == (3, 3, PROMISED)
    for a in range(3):
        for b in range(3):
            for t in (1, 2, 3, 49, 50, 51, 99, 100):
                plain = sum(
                    w[a] and w[b] and s[a] <= t and not s[b] <= t for s, w in zip(steps, wrong, strict=True)
                )
                assert counts[a, b, t - 1] == plain, (a, b, t)
            plain = sum(w[a] and w[b] and p[a] > p[b] for p, w in zip(promised, wrong, strict=True))
            assert counts[a, b, PROMISED - 1] == plain, (a, b)
    assert counts.sum() > 0


def test_no_failure_is_no_disagreement():
    assert not missed_and_caught(*np.ones((2, 4, 2), np.uint8), np.zeros((4, 2), bool)).any()
