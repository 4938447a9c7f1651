"""Scores of features against their published definitions, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy.special import logsumexp

from helpers.feature_scores import NAMES, defined, further, make, scores
from monai_sf.scores import CSFS, Reference, csf, derived, fit_scores, fits_for, neighbours, pieces, reference
from monai_sf.scores.principal_space import PRINCIPAL_SPACE
from monai_sf.scores.triangles import add_gram, both_triangles, times_lower
from monai_sf.scores.whitening import RIDGE

IN_FLOAT32 = ("kNN", "NNGuide")


def assert_same(found, expected, rtol=1e-8, names=NAMES):
    for name in names:
        tolerance = 1e-6 if name in IN_FLOAT32 else rtol
        np.testing.assert_allclose(found[name], expected[name], tolerance, tolerance, err_msg=name)


def test_names_and_what_they_read():
    assert NAMES == ("MDS", "RMDS", "kNN", "ViM", "Residual", "DDU", "NNGuide", "fDBD", "SHE")
    for name in NAMES:
        score = csf.CSFS[name]
        assert score.prediction == "logits"
        assert score.scale == "raw"
        assert set(score.stored) <= {"features", "logits"}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 30), st.integers(60, 300), st.floats(0.01, 10)
)
def test_every_score_is_what_its_paper_defines(seed, classes, width, n, spread):
    given_cases = make(n, 20, width, classes, seed, spread)
    found, failed = scores(*given_cases)
    if failed:  # whether the logits allow it is chance
        assert failed.keys() == {"virtual_logit"}
        assert "must be positive" in failed["virtual_logit"]
    assert_same(found, defined(*given_cases), 1e-5, tuple(found))


@pytest.mark.parametrize(
    ("options", "rtol"),
    [
        ({"n": 2000, "width": 40}, 1e-9),
        ({"classes": 2}, 1e-9),
        ({"width": 1, "classes": 2}, 1e-9),
        ({"n": 30, "width": 40}, 1e-6),  # fewer cases than features
    ],
)
def test_definitions_at_other_sizes(options, rtol):
    given_cases = make(**options)
    found, failed = scores(*given_cases)
    assert not failed
    # Where the covariance is singular, the plain difference of distances has lost digits.
    exact = [name for name in NAMES if rtol < 1e-6 or name != "RMDS"]
    assert_same(found, defined(*given_cases), rtol, exact)


@pytest.mark.parametrize(("n", "width"), [(600, 769), (100, 800)])
def test_the_principal_space_has_512_dimensions_or_half_of_what_the_cases_span(n, width):
    given_reference, cases = make(n=n, m=10, width=width, classes=2)
    found, _ = scores(given_reference, cases, ("ViM", "Residual", "kNN"))
    assert_same(found, further(given_reference, cases), names=("ViM", "Residual", "kNN"))


def test_the_relative_distance_keeps_its_digits_where_the_distances_are_large():
    """Fewer cases than features: the distances are 1e6 times their difference."""
    given_reference, cases = make(n=15, m=10, width=20)
    x, labels = given_reference["training_features"], given_reference["training_labels"]
    found, _ = scores(given_reference, cases, ("MDS", "RMDS"))
    with mp.workdps(60):
        rows = [mp.matrix(row.tolist()) for row in x]
        of_class = {c: [rows[i] for i in np.flatnonzero(labels == c)] for c in set(labels)}
        zero = mp.zeros(20, 1)
        centres = {c: sum(members, zero) / len(members) for c, members in of_class.items()}
        middle = sum(rows, zero) / 15
        apart = [v - centres[c] for c, members in of_class.items() for v in members]
        within = sum((v * v.T for v in apart), mp.zeros(20)) / 15
        everyone = sum(((v - middle) * (v - middle).T for v in rows), mp.zeros(20)) / 15
        ridge = mp.eye(20) * RIDGE * sum(within[i, i] for i in range(20)) / 20
        within, everyone = (within + ridge) ** -1, (everyone + ridge) ** -1
        for case, row in enumerate(cases["features"]):
            v = mp.matrix(row.tolist())
            to_class = min(((v - c).T * within * (v - c))[0] for c in centres.values())
            relative = to_class - ((v - middle).T * everyone * (v - middle))[0]
            assert found["MDS"][case] == pytest.approx(float(-to_class), rel=1e-7)
            assert found["RMDS"][case] == pytest.approx(float(-relative), rel=1e-7)


def crosses(centres, sizes):
    """Cases whose mean and covariance in each class are exactly a centre and diag(sizes^2)."""
    width = len(sizes)
    arms = np.concatenate([np.eye(width), -np.eye(width)]) * sizes * width**0.5
    features = np.concatenate([centre + arms for centre in centres])
    return features, np.repeat(np.arange(len(centres)), 2 * width)


def test_gaussian_classes_have_their_closed_form():
    centres, sizes = np.array([[2.0, 0, 0, 0], [-2.0, 0, 0, 0]]), np.array([1.0, 2, 0.5, 0.1])
    features, labels = crosses(centres, sizes)
    new = np.random.default_rng(0).normal(size=(30, 4)) * 3
    found, _ = scores(
        {"training_features": features, "training_labels": labels}, {"features": new}, ("MDS", "RMDS", "DDU")
    )
    own = (((new[:, None] - centres) / sizes) ** 2).sum(2)
    everyone = (new**2 / (sizes**2 + [4, 0, 0, 0])).sum(1)
    density = logsumexp(-own / 2, axis=1) - np.log(2 * np.prod(sizes) * (2 * np.pi) ** 2)
    np.testing.assert_allclose(found["MDS"], -own.min(1), rtol=1e-12)
    np.testing.assert_allclose(found["RMDS"], everyone - own.min(1), rtol=1e-10)
    np.testing.assert_allclose(found["DDU"], density, rtol=1e-12)


def test_a_permutation_of_classes_or_features_changes_nothing():
    given_reference, cases = make(classes=4)
    expected, _ = scores(given_reference, cases)
    rng = np.random.default_rng(1)
    columns, order = rng.permutation(12), rng.permutation(4)
    new_name = np.argsort(order)
    moved = {
        "training_features": given_reference["training_features"][:, columns],
        "training_logits": given_reference["training_logits"][:, order],
        "training_labels": new_name[given_reference["training_labels"]],
        "last_layer_weight": given_reference["last_layer_weight"][order][:, columns],
        "last_layer_bias": given_reference["last_layer_bias"][order],
    }
    found, _ = scores(moved, {"features": cases["features"][:, columns], "logits": cases["logits"][:, order]})
    assert_same(found, expected)


def test_a_far_away_input_is_less_sure():
    """Far in a feature that no logit reads, on the side where no training case lies."""
    given_reference, cases = make(m=200)
    rng = np.random.default_rng(0)
    labels = given_reference["training_labels"]
    columns = {"training_features": 3 + labels / 2 + rng.normal(size=400), "last_layer_weight": np.zeros(3)}
    for name, column in columns.items():
        given_reference[name] = np.concatenate([given_reference[name], column[:, None]], axis=1)
    near = np.concatenate([cases["features"], rng.normal(3, 1, (200, 1))], axis=1)
    sure, far = {**cases, "features": near}, {**cases, "features": near - 100 * np.eye(13)[12]}
    expected, found = scores(given_reference, sure)[0], scores(given_reference, far)[0]
    evident = logsumexp(cases["logits"], axis=1) > 0  # or NNGuide's product is of two negative numbers
    assert evident.mean() > 0.8
    for name in NAMES:
        assert (found[name] < expected[name])[evident].all(), name


def test_order_of_cases_and_blocks_change_nothing(monkeypatch):
    given_reference, cases = make(n=500, m=50)
    expected, _ = scores(given_reference, cases)
    monkeypatch.setattr(reference, "BLOCK", 64)
    monkeypatch.setattr(csf, "BLOCK", 16)
    monkeypatch.setattr(pieces, "PIECE", 7)
    rows, order = np.random.default_rng(0).permutation(500), np.random.default_rng(1).permutation(50)
    shuffled = {
        name: array[rows] if name.startswith("training") else array for name, array in given_reference.items()
    }
    found, _ = scores(shuffled, {name: array[order] for name, array in cases.items()})
    assert_same(found, {name: values[order] for name, values in expected.items()}, 1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("array", ["features", "logits"])
def test_nan_stays_in_its_case(array, bad):
    given_reference, cases = make()
    expected, _ = scores(given_reference, cases)
    broken = {name: values.copy() for name, values in cases.items()}
    broken[array][7, 2] = bad
    found, _ = scores(given_reference, broken)
    reads_it = [name for name in NAMES if array in csf.CSFS[name].stored]
    for name in reads_it:
        assert not np.isfinite(found[name][7]) or (name, bad) in IGNORE_MINUS_INFINITY, name
        np.testing.assert_allclose(np.delete(found[name], 7), np.delete(expected[name], 7), 1e-6)


#: An excluded class has the logit -inf.
IGNORE_MINUS_INFINITY = {(name, -np.inf) for name in ("ViM", "NNGuide", "fDBD", "SHE")}


def test_memory_maps_and_stored_fits_are_read_without_a_warning(tmp_path, recwarn):
    given_reference, cases = make()
    expected, _ = scores(given_reference, cases)

    def stored(arrays):
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        return {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays}

    fitted = stored(fit_scores(stored(given_reference), None).arrays)
    maps = stored(cases)
    found = {
        name: csf.CSFS[name]({**maps, **derived(csf.CSFS[name].fit, maps, fitted)}).numpy() for name in NAMES
    }
    assert_same(found, expected, 1e-12)
    assert not [w for w in recwarn if "writ" in str(w.message)]


def test_features_in_16_bits_give_the_scores_of_the_same_numbers_in_32():
    reference, cases = make()
    names = [name for name, csf in CSFS.items() if csf.fit is not None and "features" in csf.stored]
    assert set(NAMES) < set(names)
    narrow = cases["features"].astype(np.float16)
    found, _ = scores(reference, {**cases, "features": narrow}, names)
    expected, _ = scores(reference, {**cases, "features": narrow.astype(np.float32)}, names)
    assert len(found) > len(NAMES)
    for name, confidence in expected.items():
        np.testing.assert_array_equal(found[name], confidence)


def test_given_arrays_are_not_changed():
    given_reference, cases = make()
    tensors = {name: torch.as_tensor(array).double() for name, array in {**given_reference, **cases}.items()}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    scores({name: tensors[name] for name in given_reference}, {name: tensors[name] for name in cases})
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name]), name


def test_a_large_training_set_gives_the_bank_a_fixed_sample(monkeypatch):
    given_reference, cases = make(n=400)
    monkeypatch.setattr(neighbours, "BANK", 100)
    found, _ = scores(given_reference, cases)
    rows = neighbours._drawn(400)
    assert len(set(rows.tolist())) == 100
    assert set(rows.tolist()) <= set(range(400))
    assert np.array_equal(rows, neighbours._drawn(400))
    sample = {
        name: array[rows] if name.startswith("training") else array for name, array in given_reference.items()
    }
    assert_same(found, defined(sample, cases), names=IN_FLOAT32)


@pytest.mark.parametrize("copies", [1, 60, 300])
@pytest.mark.parametrize("step", [0.0, 1e-7, 1e-5, 1e-3])
def test_near_duplicates_have_exact_distances(copies, step):
    """A similarity of 1 - 1e-10 is 1 in float32; the 50th neighbour is among the copies or behind."""
    rng = np.random.default_rng(0)
    one = rng.random(200) + 0.5
    bank = np.concatenate([one + step * rng.normal(size=(copies, 200)), rng.random((400 - copies, 200))])
    given_reference = {"training_features": bank, "training_logits": rng.normal(size=(400, 3))}
    new = np.stack([one, one + step * rng.normal(size=200), bank[0], bank[-1]])
    found, _ = scores(given_reference, {"features": new, "logits": rng.normal(size=(4, 3))}, ("kNN",))
    unit, units = (x / np.linalg.norm(x, axis=1)[:, None] for x in (new, bank))
    exact = np.sort(np.linalg.norm(unit[:, None] - units, axis=2), axis=1)[:, 49]
    np.testing.assert_allclose(-found["kNN"], exact, rtol=0, atol=2e-7)


def test_residuals_are_exact_where_almost_nothing_is_left():
    """The square outside the principal space is 1e-20 of the whole: a difference would be noise."""
    given_reference, _ = make()
    fitted = {k: np.asarray(v) for k, v in PRINCIPAL_SPACE.fit(Reference(given_reference)).items()}
    basis, origin = fitted["basis"], fitted["origin"]
    outside = np.linalg.svd(basis)[0][:, -1]
    new = origin + 1e5 * basis[:, :1].T + 1e-5 * outside
    found = PRINCIPAL_SPACE({"features": new}, fitted)["residual_norm"].numpy()
    expected = np.linalg.norm((new - origin) - (new - origin) @ basis @ basis.T, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found, 1e-5, rtol=1e-3)


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 300, 1100])
def test_products_with_triangles(size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, size, dtype=torch.float64, generator=generator)
    lower = torch.randn(size, size, dtype=torch.float64, generator=generator).tril()
    torch.testing.assert_close(times_lower(x, lower), x @ lower.T)
    total = torch.zeros(size, size, dtype=torch.float64)
    add_gram(total, x)
    add_gram(total, x[:2])
    both_triangles(total)
    torch.testing.assert_close(total, x.T @ x + x[:2].T @ x[:2])


def test_scores_share_what_they_compute():
    assert {fits_for(None)[f.name] is f for f in (csf.CSFS[n].fit for n in NAMES)} == {True}
    assert csf.CSFS["MDS"].fit is csf.CSFS["RMDS"].fit
    assert csf.CSFS["ViM"].fit.uses is csf.CSFS["Residual"].fit
    assert csf.CSFS["kNN"].fit is csf.CSFS["NNGuide"].fit
