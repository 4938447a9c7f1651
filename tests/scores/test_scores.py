"""Confidence scores against plain float64 or 60-digit arithmetic, and where a float32 softmax fails."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from monai_sf.scores import (
    CSFS,
    csfs_for,
    deep_gamblers_confidence,
    dropout_arrays,
    energy,
    expected_entropy,
    learned_confidence,
    log_softmax,
    logit_margin,
    max_logit,
    max_logit_p_norm,
    maximum_softmax_response,
    mean_log_softmax,
    mutual_information,
    needs_dropout_samples,
    needs_views,
    predictive_entropy,
    usual_csfs,
    view_arrays,
)

PAPER = ["MSR", "PE", "MCD-MSR", "MCD-PE", "MCD-EE", "ConfidNet", "DG-MCD-MSR", "DG-RES", "DeVries"]
ENSEMBLES = ["DE-MSR", "DE-PE", "DE-EE", "DE-MI"]
FURTHER = [
    *("MaxLogit", "Energy", "Margin", "MaxLogit-pNorm"),
    *("T-MSR", "T-PE", "DOCTOR", "GEN", "KL-Matching", "Rel-U"),
    *("MCD-MI", "MCD-SV", "MCD-WAIC", "TTA-MSR", "TTA-PE", "TTA-EE", "TTA-MI"),
    *("MDS", "RMDS", "kNN", "ViM", "Residual", "DDU", "NNGuide", "fDBD", "SHE"),
    *("ReAct", "ASH", "SCALE", "DICE", "GradNorm"),
    *("SIRC-MSR-L1", "SIRC-MSR-Res", "RankAvg-MSR-MDS", "RankProd-MSR-MDS"),
    *ENSEMBLES,
]
FITTED = [name for name in CSFS if CSFS[name].fit is not None]
EXTRAS = [name for name in FURTHER if name not in FITTED]
OF_LOGITS = (
    maximum_softmax_response,
    predictive_entropy,
    max_logit,
    energy,
    logit_margin,
    max_logit_p_norm,
)
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 5, generator=GENERATOR) * 4
SAMPLES = LOGITS + torch.randn(12, 40, 5, generator=GENERATOR)
VIEW_LOGITS = torch.stack([LOGITS, LOGITS + torch.randn(40, 5, generator=GENERATOR)])
P = LOGITS.double().softmax(-1)
SAMPLE_P = SAMPLES.double().softmax(-1)


def entropy(p):
    return -(p * p.log()).sum(-1)


ARRAYS = {
    "logits": LOGITS,
    "reservation_logit": torch.randn(40, generator=GENERATOR) * 3,
    "confidence_logit": torch.randn(40, generator=GENERATOR) * 3,
    **dropout_arrays(SAMPLES),
    **view_arrays(VIEW_LOGITS),
    "mcd_log_softmax": mean_log_softmax(SAMPLES),  # stored as float32
    "tta_log_softmax": mean_log_softmax(VIEW_LOGITS),
    "ensemble_log_softmax": mean_log_softmax(SAMPLES),
    "ensemble_entropy": expected_entropy(SAMPLES),
}
EVERYTHING = tuple(ARRAYS)
WITH_RESERVATION = torch.cat([LOGITS, ARRAYS["reservation_logit"][:, None]], dim=1).double().softmax(-1)
MEAN_P = SAMPLE_P.mean(0)
VIEW_P = VIEW_LOGITS.double().softmax(-1)
PREDICTED = torch.stack([p[range(40), MEAN_P.argmax(-1)].log() for p in SAMPLE_P])
CENTRED = LOGITS.double() - LOGITS.double().mean(-1, keepdim=True)
# What each score is, from probabilities and without any care for small numbers.
PLAIN = {
    "MSR": P.amax(-1).log(),
    "PE": -entropy(P),
    "MCD-MSR": MEAN_P.amax(-1).log(),
    "MCD-PE": -entropy(MEAN_P),
    "MCD-EE": -entropy(SAMPLE_P).mean(0),
    "ConfidNet": ARRAYS["confidence_logit"].double().sigmoid().log(),
    "DG-MCD-MSR": MEAN_P.amax(-1).log(),
    "DG-RES": (1 - WITH_RESERVATION[:, -1]).log(),
    "DeVries": ARRAYS["confidence_logit"].double().sigmoid().log(),
    "MCD-MI": entropy(SAMPLE_P).mean(0) - entropy(MEAN_P),
    "MCD-SV": -(SAMPLE_P**2).mean(0).sub(MEAN_P**2).mean(-1),
    "MCD-WAIC": PREDICTED.mean(0) - ((PREDICTED - PREDICTED.mean(0)) ** 2).mean(0),
    "TTA-MSR": VIEW_P.mean(0).amax(-1).log(),
    "TTA-PE": -entropy(VIEW_P.mean(0)),
    "TTA-EE": -entropy(VIEW_P).mean(0),
    "TTA-MI": entropy(VIEW_P).mean(0) - entropy(VIEW_P.mean(0)),
    "DE-MSR": MEAN_P.amax(-1).log(),
    "DE-PE": -entropy(MEAN_P),
    "DE-EE": -entropy(SAMPLE_P).mean(0),
    "DE-MI": entropy(SAMPLE_P).mean(0) - entropy(MEAN_P),
    "MaxLogit": LOGITS.double().amax(-1),
    "Energy": LOGITS.double().exp().sum(-1).log(),
    "Margin": P.sort(-1).values[:, -1].log() - P.sort(-1).values[:, -2].log(),
    "DOCTOR": 1 - 1 / P.square().sum(-1),
    "GEN": -((P * (1 - P)) ** 0.1).sum(-1),
    "MaxLogit-pNorm": CENTRED.amax(-1) / (CENTRED.abs() ** 5).sum(-1) ** 0.2,
}


@pytest.mark.parametrize(
    "kind", [lambda x: x, lambda x: x.numpy(), lambda x: x.float()], ids=["torch", "numpy", "f32"]
)
@pytest.mark.parametrize("name", PLAIN)
def test_every_score_is_what_it_is_called(name, kind):
    confidence = CSFS[name].confidence({key: kind(ARRAYS[key]) for key in CSFS[name].needs})
    assert confidence.dtype == torch.float64
    torch.testing.assert_close(confidence, PLAIN[name], rtol=1e-5, atol=1e-6)
    exact = CSFS[name].confidence(ARRAYS)
    torch.testing.assert_close(exact, PLAIN[name], rtol=1e-10, atol=1e-12)


def test_the_functions_give_the_usual_quantities_with_any_leading_axes():
    torch.testing.assert_close(maximum_softmax_response(LOGITS), P.amax(-1))
    torch.testing.assert_close(predictive_entropy(LOGITS), entropy(P))
    torch.testing.assert_close(mean_log_softmax(SAMPLES).exp(), MEAN_P)
    torch.testing.assert_close(expected_entropy(SAMPLES), entropy(SAMPLE_P).mean(0))
    torch.testing.assert_close(mutual_information(SAMPLES), entropy(MEAN_P) - entropy(SAMPLE_P).mean(0))
    torch.testing.assert_close(log_softmax(SAMPLES), SAMPLE_P.log())
    pixels = LOGITS.reshape(4, 10, 5)
    assert maximum_softmax_response(pixels).shape == (4, 10)
    assert mean_log_softmax(SAMPLES.reshape(12, 4, 10, 5)).shape == (4, 10, 5)
    assert maximum_softmax_response(LOGITS[0]).shape == ()
    assert mutual_information(SAMPLES[:, 0]).shape == ()


@pytest.mark.parametrize("function", [*OF_LOGITS, expected_entropy, mutual_information])
def test_leading_axes_are_cases(function):
    given = LOGITS if function in OF_LOGITS else SAMPLES
    shape = given.shape[:-2]
    found = function(given.reshape(*shape, 4, 5, 2, 5))
    torch.testing.assert_close(found, function(given).reshape(4, 5, 2))
    torch.testing.assert_close(function(given[..., 7, :]), function(given)[7])


def test_deep_gamblers_of_leading_axes_and_of_two_classes():
    reservation = ARRAYS["reservation_logit"]
    whole = deep_gamblers_confidence(LOGITS, reservation)
    found = deep_gamblers_confidence(LOGITS.reshape(4, 5, 2, 5), reservation.reshape(4, 5, 2))
    torch.testing.assert_close(found, whole.reshape(4, 5, 2))
    torch.testing.assert_close(
        deep_gamblers_confidence(LOGITS[:, None], reservation[:, None]), whole[:, None]
    )
    two = torch.cat([LOGITS[:, :2], reservation[:, None]], dim=1).double().softmax(-1)
    torch.testing.assert_close(
        deep_gamblers_confidence(LOGITS[:, :2], reservation), (1 - two[:, 2]).log(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("function", [log_softmax, *OF_LOGITS])
def test_bad_logits_are_named(function):
    with pytest.raises(ValueError, match=r"^logits must have a last axis .* got shape \(3, 0\)"):
        function(torch.zeros(3, 0))
    with pytest.raises(ValueError, match="^logits are True and False"):
        function(LOGITS > 0)


def test_bad_log_probabilities_are_named():
    for array, message in ((torch.zeros(3, 0), "must have a last axis"), (LOGITS, "")):
        with pytest.raises(ValueError, match=f"^mcd_log_softmax {message}"):
            CSFS["MCD-MSR"]({"mcd_log_softmax": array})


def test_order_names_and_descriptions_of_the_table():
    assert list(CSFS) == PAPER + FURTHER
    assert set(PLAIN) == set(CSFS) - set(FITTED)
    for name, csf in CSFS.items():
        assert csf.name == name
        assert set(csf.needs) <= {*EVERYTHING, *(csf.fit.gives if csf.fit else ())}
        assert set(csf.stored) <= {*EVERYTHING, "features"}
        assert csf.description.endswith(".")
        assert csf.scale in ("log_probability", "nats", "raw")
    with pytest.raises(dataclasses.FrozenInstanceError):
        CSFS["MSR"].name = "other"
    with pytest.raises(TypeError):
        CSFS["new"] = CSFS["MSR"]


@pytest.mark.parametrize("name", [name for name in PLAIN if CSFS[name].scale == "log_probability"])
def test_log_probabilities_show_as_probabilities(name):
    shown = CSFS[name].confidence(ARRAYS).exp()
    assert (shown > 0).all()
    assert (shown <= 1).all()


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (None, PAPER + EXTRAS),
        ("mine", PAPER + EXTRAS),
        ("confidnet", PAPER[:6] + EXTRAS),
        ("classifier", PAPER[:5] + EXTRAS),
        ("deepgamblers", ["DG-MCD-MSR", "DG-RES"]),
        ("devries", ["DeVries"]),
    ],
)
def test_scores_of_a_method(method, names):
    assert csfs_for(method, EVERYTHING) == tuple(names)


def test_scores_are_limited_to_the_arrays_that_are_there():
    assert csfs_for("confidnet", ["logits"]) == (
        "MSR",
        "PE",
        "MaxLogit",
        "Energy",
        "Margin",
        "MaxLogit-pNorm",
        "DOCTOR",
        "GEN",
    )
    assert csfs_for(None, ["logits", "mcd_log_softmax"])[:4] == ("MSR", "PE", "MCD-MSR", "MCD-PE")
    # Without a reservation logit no network is a Deep Gamblers one.
    assert "DG-MCD-MSR" not in csfs_for(None, ["logits", "mcd_log_softmax", "mcd_entropy"])
    assert csfs_for("deepgamblers", ["logits"]) == ()


GAPS = torch.tensor([10.0, 20, 30, 40, 50, 60, 100, 300, 700])


@pytest.mark.parametrize(
    "name", ["MSR", "PE", "MCD-MSR", "MCD-PE", "DG-RES", "ConfidNet", "DeVries", "Margin"]
)
@pytest.mark.parametrize("as_stored", [torch.float32, torch.float64])
def test_saturated_outputs_stay_apart_and_in_order(name, as_stored):
    gaps = GAPS if as_stored == torch.float64 else GAPS[:6]
    logits = torch.stack([gaps, torch.zeros_like(gaps), -gaps], dim=1)
    assert len(logits.softmax(-1).amax(-1).unique()) < len(gaps)
    arrays = {
        "logits": logits,
        "reservation_logit": torch.zeros_like(gaps),
        "confidence_logit": gaps,
        "mcd_log_softmax": mean_log_softmax(torch.stack([logits, logits])).to(as_stored),
    }
    confidence = CSFS[name].confidence(arrays)
    assert (confidence.diff() > 0).all(), confidence


@pytest.mark.parametrize("gap", [0.0, 1.0, 36.0, 50.0, 60.0, 200.0, 700.0])
def test_log_probability_and_entropy_of_a_gap_to_sixty_digits(gap):
    with mp.workdps(400):
        others = 2 * mp.exp(-mpf(gap))
        p = 1 / (1 + others)
        log_p = -mp.log1p(others)
        rest = mp.exp(-mpf(gap)) * p
        exact = [float(x) for x in (log_p, -p * log_p - 2 * rest * mp.log(rest))]
    logits = torch.tensor([3.0, 3.0 - gap, 3.0 - gap])
    assert float(log_softmax(logits)[0]) == pytest.approx(exact[0], rel=1e-12)
    assert float(predictive_entropy(logits)) == pytest.approx(exact[1], rel=1e-12)


def test_mean_of_samples_near_one_and_near_zero_to_many_digits():
    samples = torch.tensor([[50.0, 0.0], [60.0, 0.0], [55.0, 0.0]], dtype=torch.float64)
    with mp.workdps(60):
        rest = sum(1 / (1 + mp.exp(mpf(g))) for g in (50, 60, 55)) / 3
        exact = [float(mp.log1p(-rest)), float(mp.log(rest))]
    assert mean_log_softmax(samples).tolist() == pytest.approx(exact, rel=1e-12)


def test_classes_that_are_ruled_out_and_equal_logits():
    logits = torch.tensor([[1.0, -torch.inf, 1.0], [2.0, -torch.inf, -torch.inf]])
    assert predictive_entropy(logits).tolist() == pytest.approx([np.log(2), 0])
    assert maximum_softmax_response(logits).tolist() == [0.5, 1.0]
    equal = torch.full((2, 4), 3.0)
    assert maximum_softmax_response(equal).tolist() == [0.25, 0.25]
    assert max_logit_p_norm(equal).tolist() == [0, 0]
    assert logit_margin(equal).tolist() == [0, 0]


def test_huge_logits_do_not_overflow():
    logits = torch.tensor([[3e38, -3e38, 0.0], [1e-38, 0.0, -1e-38]])
    for function in (maximum_softmax_response, predictive_entropy, max_logit, energy, max_logit_p_norm):
        assert function(logits).isfinite().all(), function.__name__


def test_nan_stays_in_its_case():
    logits = LOGITS.clone()
    logits[3, 1] = torch.nan
    for name in csfs_for(None, ["logits"]):
        assert CSFS[name].confidence({"logits": logits}).isnan().nonzero().flatten().tolist() == [3], name


def test_read_only_memory_maps_are_read_without_a_warning(tmp_path, recwarn):
    np.save(tmp_path / "logits.npy", LOGITS.numpy())
    stored = np.load(tmp_path / "logits.npy", mmap_mode="r")
    torch.testing.assert_close(CSFS["MSR"].confidence({"logits": stored}), PLAIN["MSR"])
    assert not [w for w in recwarn if "writ" in str(w.message)]


@pytest.mark.parametrize("p", [0.5, 1, 2, 30])
def test_the_p_norm_of_any_positive_order(p):
    expected = CENTRED.amax(-1) / (CENTRED.abs() ** p).sum(-1) ** (1 / p)
    torch.testing.assert_close(max_logit_p_norm(LOGITS, p=p), expected, rtol=1e-10, atol=1e-12)


def test_two_classes_make_the_p_norm_constant():
    assert len(max_logit_p_norm(LOGITS[:, :2], p=2).unique()) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_softmax(torch.tensor(1.0)), r"logits must have a last axis .* got shape \(\)"),
        (lambda: max_logit(torch.zeros(3, 0)), r"logits must have a last axis .* got shape \(3, 0\)"),
        (
            lambda: deep_gamblers_confidence(LOGITS[:, :1], torch.zeros(40)),
            "logits must have at least 2 classes here, got 1",
        ),
        (lambda: energy([[1.0, 2.0], [1.0]]), "logits must be an array, with rows of one length"),
        (lambda: max_logit_p_norm(LOGITS, p=0), "p must be > 0, got 0"),
        (
            lambda: mean_log_softmax(torch.zeros(3)),
            r"sample_logits must be \(T, ..., C\) .* got shape \(3,\)",
        ),
        (lambda: mutual_information(torch.zeros(4, 3, 0)), "^sample_logits must have a last axis"),
        (lambda: expected_entropy(torch.zeros(0, 2, 3)), r"sample_logits must be .* got shape \(0, 2, 3\)"),
        (
            lambda: deep_gamblers_confidence(LOGITS, torch.zeros(40).cfloat()),
            "^reservation_logit must be real, got torch.complex64",
        ),
        (lambda: energy(np.zeros(3, dtype=complex)), "logits must be real, got complex128"),
        (
            lambda: learned_confidence(torch.zeros(3).cfloat()),
            "confidence_logit must be real, got torch.complex64",
        ),
        (
            lambda: deep_gamblers_confidence(LOGITS, torch.zeros(40, 1)),
            r"reservation_logit must have shape \(40,\), .* got \(40, 1\)",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-700, 700, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(-100, 100, width=32),
)
def test_softmax_scores_ignore_a_shift_and_keep_their_ranges(rows, shift):
    assume(min(map(min, rows)) < 0)  # or some are one-hot, which no logits are
    logits = torch.tensor(rows, dtype=torch.float64)
    moved = logits + shift
    torch.testing.assert_close(log_softmax(logits), log_softmax(moved), rtol=1e-9, atol=1e-9)
    assert (log_softmax(logits) <= 0).all()
    torch.testing.assert_close(log_softmax(logits).exp().sum(-1), torch.ones(len(rows), dtype=torch.float64))
    assert (predictive_entropy(logits) >= 0).all()
    assert (predictive_entropy(logits) <= np.log(3) + 1e-12).all()
    samples = torch.stack([logits, moved.flip(-1), logits * 0.5])
    assert (mutual_information(samples) >= 0).all()
    assert (mutual_information(samples) <= np.log(3) + 1e-12).all()


def test_tables_show_the_paper_s_scores_and_those_of_ensembles():
    assert usual_csfs() == (*PAPER, *ENSEMBLES)


@pytest.mark.parametrize(
    ("method", "dropout", "views"),
    [
        (None, True, True),
        ("mine", True, True),
        ("classifier", True, True),
        ("confidnet", True, True),
        ("deepgamblers", True, False),
        ("devries", False, False),
    ],
)
def test_only_methods_whose_scores_read_dropout_samples_or_views_need_them(method, dropout, views):
    assert (needs_dropout_samples(method), needs_views(method)) == (dropout, views)
