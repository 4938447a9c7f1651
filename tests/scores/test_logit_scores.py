"""Further scores of logits: against the papers' formulas, written plainly, and against other libraries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import entropy, rankdata

from monai_sf.scores import CSFS, Reference, derived, dropout_arrays, fit_scores
from monai_sf.scores.divergences import generalized_entropy, log_odds
from monai_sf.scores.of_logits import temperature_of
from monai_sf.scores.temperature import BOUNDS, fit_temperature

GENERATOR = torch.Generator().manual_seed(0)
FITTED = ("T-MSR", "T-PE", "KL-Matching", "Rel-U")
NEW = (*FITTED, "DOCTOR", "GEN")


def cases(n, classes, seed=0, signal=2.0):
    """Overconfident logits, whose labels are often another class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += signal
    return 3 * logits, labels


def score(name, logits, reference):
    """One score of the logits, fitted to a reference where it is fitted."""
    csf, arrays = CSFS[name], {"logits": logits}
    if csf.fit is not None:
        fitted = fit_scores(reference, None)
        assert csf.fit.name not in fitted.failed, fitted.failed
        arrays |= derived(csf.fit, arrays, fitted.arrays)
    return csf(arrays)


def validation(logits, labels):
    return {"validation_logits": np.asarray(logits), "validation_labels": np.asarray(labels)}


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def plain_temperature(logits, labels):
    own = logits[np.arange(len(labels)), labels]

    def likelihood(beta):
        return np.mean(logsumexp(beta * logits, axis=1) - beta * own)

    found = minimize_scalar(likelihood, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-12})
    return 1 / found.x


def plain(name, logits, held_out, labels):
    """The definitions of the papers, case by case, in float64 and with no care for small numbers."""
    p, q = softmax(logits), softmax(held_out)
    classes, wrong = p.shape[1], q.argmax(1) != labels
    if name in ("T-MSR", "T-PE"):
        scaled = softmax(logits / plain_temperature(held_out, labels))
        return np.log(scaled.max(1)) if name == "T-MSR" else -entropy(scaled, axis=1)
    if name == "DOCTOR":
        return np.array([-(1 - sum(x**2 for x in row)) / sum(x**2 for x in row) for row in p])
    if name == "GEN":
        return np.array([-sum((x * (1 - x)) ** 0.1 for x in sorted(row)[::-1][:100]) for row in p])
    if name == "KL-Matching":
        typical = [q[q.argmax(1) == k].mean(0) for k in range(classes) if (q.argmax(1) == k).any()]
        return np.array([-min(entropy(row, d) for d in typical) for row in p])
    weights = np.zeros((classes, classes))
    for i, j in itertools.permutations(range(classes), 2):
        of_wrong, of_right = (np.mean([row[i] * row[j] for row in q[chosen]]) for chosen in (wrong, ~wrong))
        weights[i, j] = max(0, 0.5 * of_wrong - 0.5 * of_right)
    weights /= np.sqrt((weights**2).sum())
    return np.array(
        [-sum(row[i] * row[j] * weights[i, j] for i in range(classes) for j in range(classes)) for row in p]
    )


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("name", NEW)
def test_each_score_is_that_of_its_paper(name, classes, kind):
    held_out, labels = cases(200, classes, seed=1)
    logits, _ = cases(40, classes, seed=2)
    found = score(
        name, kind(logits), {key: kind(value) for key, value in validation(held_out, labels).items()}
    )
    assert found.dtype == torch.float64
    # scipy finds a minimum to the square root of the precision, which is what T differs by
    np.testing.assert_allclose(found, plain(name, logits, held_out, labels), rtol=1e-6, atol=1e-9)


def test_gen_sums_the_hundred_largest_of_many_classes():
    logits, labels = cases(5, 300)
    found = score("GEN", logits, validation(logits, labels))
    np.testing.assert_allclose(found, plain("GEN", logits, logits, labels), rtol=1e-10)
    assert not np.allclose(found, -generalized_entropy(torch.from_numpy(logits).log_softmax(1), largest=300))


@pytest.mark.parametrize("scale", [0.1, 1, 20])
@pytest.mark.parametrize(("n", "classes"), [(50, 2), (3000, 4), (2500, 30)])
def test_the_temperature_has_slope_zero_and_scales_with_the_logits(n, classes, scale):
    logits, labels = cases(n, classes, seed=n)
    found = fit_temperature(logits * scale, labels)
    p = softmax(logits * scale / found)
    own = logits[np.arange(n), labels]
    assert abs(np.mean((p * logits).sum(1) - own)) < 1e-12 * np.abs(logits).max()
    assert found == pytest.approx(scale * fit_temperature(logits, labels), rel=1e-10)
    assert found == pytest.approx(plain_temperature(logits * scale, labels), rel=1e-6)
    assert fit_temperature(np.float32(logits * scale), labels) == pytest.approx(found, rel=1e-6)


def test_the_temperature_does_not_depend_on_the_order_of_cases():
    logits, labels = cases(5000, 5)
    order = np.random.default_rng(0).permutation(5000)
    assert fit_temperature(logits[order], labels[order]) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-9
    )


def test_logits_without_an_error_stay_as_they_are():
    logits, _ = cases(100, 4)
    assert fit_temperature(logits, logits.argmax(1)) == 1
    assert fit_temperature(np.zeros((3, 4)), [0, 1, 2]) == 1
    np.testing.assert_allclose(
        score("T-MSR", logits, validation(logits, logits.argmax(1))), CSFS["MSR"]({"logits": logits})
    )


def test_a_temperature_outside_the_bounds_is_the_nearer_bound():
    logits, labels = cases(100, 4)
    assert fit_temperature(logits, logits.argmin(1)) == BOUNDS[1]  # no confidence is low enough
    assert fit_temperature(logits * 1e-4, labels) == pytest.approx(BOUNDS[0])
    assert fit_temperature(logits * 1e4, labels) == BOUNDS[1]
    one = fit_temperature(np.array([[1.0, 0, -np.inf]]), [1])
    assert one == BOUNDS[1]
    assert fit_temperature(np.array([[1.0, -np.inf, 0.5], [0, 1, 0.5]]), [1, 1]) == BOUNDS[1]


@pytest.mark.parametrize("given", [[0.0], [-1.0], [np.inf], [np.nan], [1.0, 2.0], []])
def test_a_stored_array_that_is_no_temperature_gives_no_score(given):
    logits, _ = cases(5, 3)
    found = derived(CSFS["T-MSR"].fit, {"logits": logits}, {"temperature.temperature": np.array(given)})
    assert CSFS["T-MSR"](found).isnan().all()
    assert CSFS["T-PE"](found).isnan().all()
    assert np.isnan(temperature_of(np.array(given)))


def test_bad_logits_are_named_when_a_fitted_score_reads_them():
    with pytest.raises(ValueError, match=r"^logits must have a last axis .* got shape \(3, 0\)"):
        derived(CSFS["T-MSR"].fit, {"logits": np.zeros((3, 0))}, {"temperature.temperature": np.ones(1)})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 6),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=8),
    st.integers(0, 2**31),
)
def test_the_temperature_is_defined_and_no_other_is_better(classes, scales, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(scales), classes)) * np.array(scales)[:, None]
    labels = rng.integers(classes, size=len(scales))
    found = fit_temperature(logits, labels)
    assert BOUNDS[0] <= found <= BOUNDS[1]
    own = logits[np.arange(len(labels)), labels]
    if (own == logits.max(1)).all():
        assert found == 1
        return

    def likelihood(temperature):
        return np.mean(logsumexp(logits / temperature, axis=1) - own / temperature)

    for other in (*BOUNDS, 1, found * 1.01, found / 1.01):
        if BOUNDS[0] <= other <= BOUNDS[1]:
            assert likelihood(found) <= likelihood(other) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("name", ["T-MSR", "T-PE", "DOCTOR", "GEN", "Rel-U"])
def test_confident_cases_stay_apart_and_in_order(name):
    gaps = np.array([5.0, 20, 30, 40, 50, 100, 300])
    logits = np.stack([gaps, 0 * gaps, 0 * gaps - 1], 1)
    held_out, labels = cases(100, 3)
    assert len(np.unique(softmax(logits).max(1))) < len(gaps)
    assert (np.diff(score(name, logits, validation(held_out, labels))) > 0).all()


def test_log_odds_keep_apart_what_no_probability_can():
    gaps = torch.tensor([-1.0, 0, 40, 800, 801, 1e6], dtype=torch.float64)
    found = log_odds(torch.stack([gaps, torch.zeros_like(gaps), torch.full_like(gaps, -torch.inf)], 1))
    torch.testing.assert_close(found, gaps.abs())
    assert log_odds(torch.tensor([[0.0, -torch.inf]])).tolist() == [torch.inf]


@pytest.mark.parametrize("gap", [0.0, 1.0, 30.0, 60.0])
def test_doctor_and_gen_to_many_digits(gap):
    with mp.workdps(80):
        p = [1 / (1 + 2 * mp.exp(-mpf(gap)))]
        p += 2 * [mp.exp(-mpf(gap)) * p[0]]
        g = sum(x * x for x in p)
        exact = [-(1 - g) / g, -sum((x * (1 - x)) ** mpf("0.1") for x in p)]
    logits = np.array([[gap, 0, 0]])
    for name, value in zip(("DOCTOR", "GEN"), exact, strict=True):
        assert float(score(name, logits, {})) == pytest.approx(float(value), rel=1e-12)


@pytest.mark.parametrize("name", NEW)
def test_neither_the_order_of_classes_nor_that_of_cases_nor_the_block_matters(name, monkeypatch):
    held_out, labels = cases(300, 5)
    logits, _ = cases(50, 5, seed=1)
    expected = score(name, logits, validation(held_out, labels))
    order = np.array([3, 0, 4, 1, 2])
    permuted = score(name, logits[:, order], validation(held_out[:, order], np.argsort(order)[labels]))
    torch.testing.assert_close(permuted, expected, rtol=1e-9, atol=1e-12)
    mixed = np.random.default_rng(0).permutation(300)
    torch.testing.assert_close(
        score(name, logits, validation(held_out[mixed], labels[mixed])), expected, rtol=1e-9, atol=1e-12
    )
    monkeypatch.setattr("monai_sf.scores.reference.BLOCK", 7)
    monkeypatch.setattr("monai_sf.scores.csf.BLOCK", 3)
    torch.testing.assert_close(
        score(name, logits, validation(held_out, labels)), expected, rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        score(name, logits[20:21], validation(held_out, labels)), expected[20:21], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", NEW)
def test_nan_stays_in_its_case(name):
    held_out, labels = cases(50, 4)
    logits, _ = cases(20, 4)
    expected = score(name, logits, validation(held_out, labels))
    logits[3, 1] = np.nan
    found = score(name, logits, validation(held_out, labels))
    assert found.isnan().nonzero().flatten().tolist() == [3]
    keep = np.arange(20) != 3
    torch.testing.assert_close(found[keep], expected[keep])


@pytest.mark.parametrize("name", NEW)
def test_excluded_classes_and_equal_logits_have_a_value(name):
    held_out, labels = cases(50, 3)
    logits = np.array([[1.0, -np.inf, 0.5], [2.0, -np.inf, -np.inf], [0, 0, 0], [3e38, -3e38, 0]])
    assert score(name, logits, validation(held_out, labels)).isfinite().all()
    held_out[:, 2] = -np.inf
    labels[labels == 2] = 0
    found = score(name, logits[:, :2], validation(held_out[:, :2], labels))
    with_excluded = np.concatenate([logits[:, :2], np.full((4, 1), -np.inf)], 1)
    torch.testing.assert_close(score(name, with_excluded, validation(held_out, labels)), found)


def test_scores_of_held_out_cases_are_fitted_to_training_cases_where_there_are_no_others():
    held_out, labels = cases(100, 3)
    logits, _ = cases(20, 3, seed=1)
    training = {"training_logits": held_out, "training_labels": labels}
    fitted = fit_scores(training, None)
    assert {"kl_matching.log_probabilities", "rel_u.weights"} <= set(fitted.arrays)
    assert (
        "temperature.temperature" not in fitted.arrays
    )  # it would be that of a model that knows the answers
    for name in ("KL-Matching", "Rel-U"):
        expected = score(name, logits, validation(held_out, labels))
        torch.testing.assert_close(score(name, logits, training), expected)
        other, other_labels = cases(100, 3, seed=5)
        both = {**validation(held_out, labels), "training_logits": other, "training_labels": other_labels}
        torch.testing.assert_close(score(name, logits, both), expected)
        empty = {**training, **validation(np.zeros((0, 3)), np.zeros(0, int))}
        torch.testing.assert_close(score(name, logits, empty), expected)


def reasons(reference):
    return fit_scores(reference, None).failed


def test_no_validation_case_is_an_error_that_says_so():
    failed = reasons(validation(np.zeros((0, 3)), np.zeros(0, int)))
    assert "no validation case to fit a temperature to" in failed["temperature"]
    assert "no validation and no training case with logits:" in failed["kl_matching"]
    assert "no validation and no training case with logits and labels:" in failed["rel_u"]


def test_undefined_logits_of_the_reference_are_counted():
    held_out, labels = cases(30, 3)
    held_out[4, 1], held_out[7], held_out[9, 0] = np.nan, -np.inf, np.inf
    failed = reasons(validation(held_out, labels))
    assert set(failed) >= {"temperature", "kl_matching", "rel_u"}
    assert failed["temperature"] == failed["kl_matching"] == failed["rel_u"]
    assert failed["rel_u"].startswith("3 of 30 cases of validation_logits are NaN or infinite")


def test_probabilities_of_the_reference_are_refused_by_the_name_of_their_array():
    held_out, labels = cases(30, 3)
    for part in ("validation", "training"):
        failed = reasons({f"{part}_logits": softmax(held_out), f"{part}_labels": labels})
        fits = {"temperature", "kl_matching", "rel_u"} if part == "validation" else {"kl_matching", "rel_u"}
        assert fits <= set(failed)
        for name in fits:
            assert failed[name].startswith(f"{part}_logits are not negative and add up to 1"), failed[name]


@pytest.mark.parametrize("bad", [3, -1, 0.5, np.nan])
def test_labels_that_are_no_classes_are_an_error(bad):
    held_out, labels = cases(30, 3)
    labels = labels.astype(float)
    labels[5] = bad
    failed = reasons(validation(held_out, labels))
    for name in ("temperature", "rel_u"):
        assert "validation_labels must be whole numbers in 0..2" in failed[name]
    assert "kl_matching" not in failed


def test_labels_of_a_reference_without_logits_have_their_own_range():
    assert Reference({"training_labels": np.array([0, 2, 2])}).labels().tolist() == [0, 2, 2]
    assert Reference({"training_labels": np.zeros(0)}).labels().tolist() == []
    with pytest.raises(ValueError, match="training_labels must be whole numbers"):
        Reference({"training_labels": np.array([0, -2, 2])}).labels()


def test_rel_u_without_an_error_or_without_a_right_case():
    held_out, _ = cases(30, 4)
    logits, _ = cases(50, 4, seed=1)
    right = score("Rel-U", logits, validation(held_out, held_out.argmax(1)))
    np.testing.assert_allclose(right, (np.square(softmax(logits)).sum(1) - 1) / np.sqrt(12))
    np.testing.assert_array_equal(rankdata(right), rankdata(score("DOCTOR", logits, {})))
    # Right cases that are as spread as the wrong ones leave no entry of D above 0.
    same = np.zeros((2, 4))
    found = score("Rel-U", logits, validation(same, [0, 1]))
    torch.testing.assert_close(found, right)
    q = softmax(held_out)
    all_wrong = score("Rel-U", logits, validation(held_out, (held_out.argmax(1) + 1) % 4))
    weights = (q.T @ q) * (1 - np.eye(4))
    p = softmax(logits)
    np.testing.assert_allclose(all_wrong, -np.einsum("ni,ij,nj->n", p, weights / np.linalg.norm(weights), p))


def test_classes_that_are_never_predicted_and_one_class_only():
    logits, _ = cases(50, 4, seed=1)
    held_out, _ = cases(30, 4)
    held_out[:, 2] += 100
    fitted = fit_scores(validation(held_out, np.full(30, 2)), None)
    assert fitted.arrays["kl_matching.log_probabilities"].shape == (1, 4)
    for name in FITTED:
        assert score(name, logits, validation(held_out, np.full(30, 2))).isfinite().all()
        assert score(name, logits, validation(held_out[:1], [2])).isfinite().all()


def test_as_many_classes_as_the_largest_study_has():
    held_out, labels = cases(300, 1139)
    logits, _ = cases(10, 1139, seed=1)
    for name in NEW:
        found = score(name, np.float32(logits), validation(np.float32(held_out), labels))
        expected = plain(name, logits, held_out, labels) if name != "Rel-U" else None
        assert found.isfinite().all()
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-5)


TWO_CLASS_RANKING = ["MSR", "PE", "Margin", "T-MSR", "T-PE", "DOCTOR", "GEN", "Rel-U"]


def ranks(names, classes):
    held_out, labels = cases(200, classes)
    logits, _ = cases(200, classes, seed=1)
    return {
        name: rankdata(score(name, logits, validation(held_out, labels)).round(decimals=12)) for name in names
    }


def test_two_classes_make_all_scores_of_the_softmax_one_ranking():
    found = ranks([*TWO_CLASS_RANKING, "MaxLogit", "Energy", "MaxLogit-pNorm", "KL-Matching"], 2)
    for name in TWO_CLASS_RANKING:
        np.testing.assert_array_equal(found[name], found["MSR"], err_msg=name)
    assert len(np.unique(found["MaxLogit-pNorm"])) == 1
    for name in ("MaxLogit", "Energy", "KL-Matching"):
        assert (found[name] != found["MSR"]).any(), name


def test_two_classes_make_the_entropy_of_a_mean_softmax_rank_as_its_maximum():
    for classes in (2, 3):
        arrays = dropout_arrays(torch.randn(10, 60, classes, generator=GENERATOR).double())
        found = [rankdata(CSFS[name](arrays).round(decimals=12)) for name in ("MCD-MSR", "MCD-PE")]
        assert (found[0] == found[1]).all() == (classes == 2)


def test_one_logit_makes_max_logit_and_energy_that_ranking_too():
    one = np.random.default_rng(0).normal(size=(100, 1)) * 5
    expected = rankdata(CSFS["MSR"]({"logits": one}))
    for name in (*set(TWO_CLASS_RANKING) & {"PE", "Margin", "DOCTOR", "GEN"}, "MaxLogit", "Energy"):
        np.testing.assert_array_equal(rankdata(CSFS[name]({"logits": one})), expected, err_msg=name)


def test_three_classes_make_every_score_a_ranking_of_its_own():
    names = [*TWO_CLASS_RANKING, "MaxLogit", "Energy", "MaxLogit-pNorm", "KL-Matching"]
    found = ranks(names, 3)
    for one, other in itertools.combinations(names, 2):
        assert (found[one] != found[other]).any(), (one, other)


def pytorch_ood(name):
    return getattr(pytest.importorskip("pytorch_ood.detector", reason="no pytorch-ood here"), name)


def test_agrees_with_pytorch_ood():
    held_out, labels = (torch.from_numpy(values) for values in cases(500, 6))
    logits = torch.from_numpy(cases(80, 6, seed=1)[0])
    reference = validation(held_out, labels)
    matching = pytorch_ood("KLMatching")(None).fit_logits(held_out)
    torch.testing.assert_close(
        score("KL-Matching", logits, reference), -matching.predict_logits(logits), rtol=1e-6, atol=1e-6
    )
    # It takes the mean over the classes, not the sum, with probabilities in [1e-7, 1 - 1e-7].
    inside = (logits.softmax(1) > 1e-7).all(1) & (logits.softmax(1) < 1 - 1e-7).all(1)
    assert 20 < inside.sum() < 80
    torch.testing.assert_close(
        score("GEN", logits, reference)[inside],
        -6 * pytorch_ood("GEN").score(logits)[inside],
        rtol=1e-6,
        atol=1e-6,
    )
    # Its 50 steps with a learning rate of 0.01 end before the minimum, unless they begin there.
    scaling = pytorch_ood("TemperatureScaling")(None)
    temperature = fit_temperature(held_out, labels)
    scaling.t.data = torch.tensor(temperature, dtype=torch.float64)
    scaling.fit_logits(held_out, labels)
    assert float(scaling.t) == pytest.approx(temperature, rel=1e-6)
    torch.testing.assert_close(
        score("T-MSR", logits, reference).exp(),
        -scaling.predict_logits(logits).detach(),
        rtol=1e-6,
        atol=1e-6,
    )
