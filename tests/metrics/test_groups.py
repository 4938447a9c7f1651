"""Subgroups: counts by hand, tests against SciPy and brute force, marks that keep their level, bad input."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest, fisher_exact, hypergeom, t

from monai_sf.metrics import Interval, augrc, bootstrap_ci, by_group, groups

NAN = float("nan")


@pytest.fixture
def no_areas(monkeypatch):
    """The bootstrap takes most of the time, and no mark depends on it."""
    monkeypatch.setattr(groups, "bootstrap_ci", lambda *_, **__: Interval(NAN, NAN))


def cases(seed=0, n=400, rate=(0.1, 0.1), shares=(0.3, 0.7)):
    """Confidence, error and group; a case of group i is wrong with probability rate[i]."""
    rng = np.random.default_rng(seed)
    group = rng.choice(len(shares), n, p=shares)
    return rng.random(n), (rng.random(n) < np.array(rate)[group]) * 1.0, group


def clustered(rng, rate=0.08, alike=0.6, patients=120, images=5):
    """Silent failures of images that are alike within a patient, and one group per patient."""
    scale = (1 - alike) / alike
    own = rng.beta(rate * scale, (1 - rate) * scale, patients).repeat(images)
    cluster = np.arange(patients).repeat(images)
    error = (rng.random(len(own)) < own) * 1.0
    group = (np.arange(patients) < patients // 4).repeat(images)
    return np.ones(len(own)), error, group, cluster


def test_every_number_by_hand():
    group = ["b", "a", "a", "b", "a", "b", "a", "b"]
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    error = np.array([1, 0, 1, 1, 1, 0, 0, 1])
    found = by_group(confidence, error, group, threshold=0.5, clusters=[1, 2, 2, 1, 3, 3, 4, 5])
    a, b = found.to_dict("records")
    expected = {
        **{"group": "a", "cases": 4, "clusters": 3, "errors": 2, "error_rate": 0.5, "coverage": 0.75},
        **{"silent_failures": 2, "silent_failure_rate": 0.5, "selective_risk": 2 / 3, "difference": 0.0},
        **{"gap_before": -0.25, "gap_after": 2 / 3 - 1, "too_small": True, "worse": False},
        **{"gap_widens": False, "augrc": augrc(confidence[[1, 2, 4, 6]], error[[1, 2, 4, 6]])},
    }
    assert {name: a[name] for name in expected} == pytest.approx(expected)
    assert (b["group"], b["clusters"], b["errors"], b["silent_failures"]) == ("b", 3, 3, 2)
    assert b["selective_risk"] == 1
    assert math.isnan(a["p_value"])
    assert list(found) == [
        *("group", "cases", "clusters", "errors", "error_rate", "coverage", "coverage_low", "coverage_high"),
        *("silent_failures", "silent_failure_rate", "silent_failure_rate_low", "silent_failure_rate_high"),
        *("selective_risk", "augrc", "augrc_low", "augrc_high", "difference", "p_value", "p_holm", "worse"),
        *("too_small", "gap_before", "gap_after", "gap_widens"),
    ]


def test_the_test_of_independent_cases_is_fishers():
    confidence, error, group = cases(1, rate=(0.3, 0.15))
    found = by_group(confidence, error, group, threshold=0.4)
    silent = error * (confidence >= 0.4)
    for number, row in enumerate(found.itertuples()):
        own = group == number
        table = [
            [silent[own].sum(), (own - silent)[own].sum()],
            [silent[~own].sum(), (~own - silent)[~own].sum()],
        ]
        assert row.p_value == pytest.approx(fisher_exact(table, "greater").pvalue, rel=1e-9)
    first, second = found["p_value"]
    assert first < second
    assert found["p_holm"].tolist() == pytest.approx([2 * first, max(2 * first, second)])


def test_the_test_of_clusters_is_not_bolder_than_permuting_patients():
    """The share of relabelled patients with as many silent failures in the group is the exact p-value."""
    rng = np.random.default_rng(3)
    for _ in range(12):
        confidence, error, group, cluster = clustered(rng)
        per_patient = error.reshape(-1, 5).sum(axis=1)
        own = group.reshape(-1, 5)[:, 0]
        drawn = np.array([per_patient[rng.permutation(own)].sum() for _ in range(4000)])
        exact = (drawn >= per_patient[own].sum()).mean()
        found = by_group(confidence, error, group, threshold=0, clusters=cluster)["p_value"][1]
        alone = by_group(confidence, error, group, threshold=0)["p_value"][1]
        assert found > exact - 0.03
        # within bounds for a conservative test, and unlike the test that takes images for patients
        if 0.01 < exact < 0.3:
            assert exact - 0.03 < found < 3 * exact + 0.05
            assert alone < found


def drawn(seed, patients, images, rate, alike, n_own):
    """Error (N,), whether trusted (N,), cluster (N,) and whether in the group (N,); some share a patient."""
    rng = np.random.default_rng(seed)
    cluster = np.arange(patients).repeat(images)
    of_patient = (rng.random(patients) < rate)[cluster]
    error = np.where(rng.random(len(cluster)) < alike, of_patient, rng.random(len(cluster)) < rate)
    trusted = rng.random(len(cluster)) < 0.8
    is_own = cluster < n_own
    is_own[: 3 * images : images] = False
    return error * rng.choice([0.5, 1.0], len(cluster)), trusted, cluster, is_own


def parts_of(error, trusted, cluster, is_own):
    n_clusters = cluster.max() + 1
    return [groups._Part.of(trusted[w], error[w], cluster[w], n_clusters) for w in (is_own, ~is_own)]


def slow_design_effects(silent, cluster, is_own):
    """The estimates of `_design_effect`, from pairs of cases."""
    size = np.where(is_own, is_own.sum(), (~is_own).sum())
    weight = np.where(is_own, 1, -1) / size
    same = cluster[:, None] == cluster[None]
    rate = silent.mean()
    score = silent - rate
    seen = ((weight * score)[:, None] * (weight * score)[None] * same).sum() / ((weight * score) ** 2).sum()
    more = max(part.sum() / len(set(cluster[part])) for part in (is_own, ~is_own))
    covariance = (score[:, None] * score[None] * same).sum() - (score**2).sum()
    covariance = (covariance + (1 - rate) ** 2 * more * (more - 1)) / (
        same.sum() - len(same) + more * (more - 1)
    )
    variance = ((score**2).sum() + (1 - rate) ** 2 * more) / (len(score) + more)
    alike = min(1, max(0, covariance / variance))
    return 1, seen, 1 + alike * ((weight[:, None] * weight[None] * same).sum() / (weight**2).sum() - 1)


ONE_WRONG_IMAGE_OF_FIVE = (
    np.tile([1.0, 0, 0, 0, 0], 40),
    np.ones(200),
    np.arange(200) // 5,
    np.arange(200) % 2 == 0,
)


# In both parts, beside a patient of 15 images in one of them: its images are as alike as can be.
ONE_LARGE_WRONG_PATIENT = (
    (np.arange(104) < 14) * 1.0,
    np.ones(104),
    np.repeat(np.arange(77), [14, 15, *[1] * 75]),
    (np.arange(104) % 2 == 0) | ((np.arange(104) >= 14) & (np.arange(104) < 29)),
)


@pytest.mark.parametrize(
    ("given", "largest"),
    [
        (drawn(6, 30, 4, 0.3, 0.9, 6), 1),
        (drawn(0, 30, 4, 0.3, 0.9, 10), 2),
        (drawn(2, 40, 3, 0.1, 0.2, 4), 2),
        (ONE_WRONG_IMAGE_OF_FIVE, 0),
        (ONE_LARGE_WRONG_PATIENT, 2),
        ((*drawn(0, 30, 4, 0.3, 0.9, 10)[:3], np.arange(120) % 2 == 0), 0),
        ((np.arange(120) == 30, np.ones(120), np.arange(120) // 4, np.arange(120) < 60), 2),
    ],
)
def test_the_design_effect_is_the_largest_of_its_estimates(given, largest):
    error, trusted, cluster, is_own = given
    estimates = slow_design_effects(error * trusted, cluster, is_own)
    assert np.argmax(estimates) == largest, estimates
    assert groups._design_effect(*parts_of(*given)) == pytest.approx(max(estimates), rel=1e-12)


@pytest.mark.parametrize("error", [np.zeros(40), np.ones(40)])
def test_there_is_no_design_effect_where_none_or_all_are_wrong(error):
    assert groups._design_effect(*parts_of(error, np.ones(40), np.arange(40) // 4, np.arange(40) < 20)) == 1


def test_a_wider_gap_takes_as_many_trusted_cases_as_a_group():
    error = np.zeros(80)
    error[[1, 2, 38, 39, 78]] = 1
    for n, enough in ((20, True), (19, False)):
        trusted = np.arange(80) % 40 < n
        parts = parts_of(error, trusted, np.arange(80), np.arange(80) < 40)
        assert math.isnan(groups._p_of_wider(*parts)) != enough
    for n, enough in ((10, True), (9, False)):
        trusted = np.arange(80) % 40 < 20
        of_own = np.minimum(np.arange(80), n - 1)
        parts = parts_of(
            error, trusted, np.where(np.arange(80) < 40, of_own, np.arange(80)), np.arange(80) < 40
        )
        assert math.isnan(groups._p_of_wider(*parts)) != enough


def test_no_gap_widens_where_everybody_is_trusted():
    error = (np.arange(80) % 7 == 0) * 1.0
    parts = parts_of(error, np.ones(80), np.arange(80), np.arange(80) < 40)
    assert math.isnan(groups._p_of_wider(*parts))


def test_counts_over_the_design_effect_are_rounded_against_a_mark(monkeypatch):
    error = np.zeros(50)
    error[:8], error[20:23] = 0.9, 0.9  # 7.2 in the group, 2.7 in the rest
    parts = parts_of(error, np.ones(50), np.arange(50), np.arange(50) < 20)
    monkeypatch.setattr(groups, "_design_effect", lambda *_: 1.5)
    # 4.8 of 13.3 and 1.8 of 20
    assert groups._p_of_more(*parts) == pytest.approx(hypergeom.sf(3, 34, 6, 14), rel=1e-12)


@pytest.mark.parametrize("turned", [False, True])
def test_the_test_of_a_wider_gap_by_its_formula(turned):
    error, _, cluster, is_own = drawn(1, 40, 4, 0.3, 0.4, 15)
    trusted = np.random.default_rng(0).random(160) < np.where(error > 0, np.where(is_own, 0.8, 0.3), 0.8)
    if turned:
        is_own = ~is_own
    sign = np.where(is_own, 1, -1)
    n, n_trusted = (np.where(is_own, w[is_own].sum(), w[~is_own].sum()) for w in (np.ones(160), trusted))
    rate = np.where(is_own, error[is_own].mean(), error[~is_own].mean())
    own_of_trusted, rest_of_trusted = is_own & trusted, ~is_own & trusted
    risk = np.where(is_own, error[own_of_trusted].mean(), error[rest_of_trusted].mean())
    before = np.bincount(cluster, sign * (error - rate) / n)
    after = np.bincount(cluster, sign * trusted * (error - risk) / n_trusted)
    gaps = rate[is_own][0] - rate[~is_own][0], risk[is_own][0] - risk[~is_own][0]
    clusters = [len(set(cluster[where])) for where in (own_of_trusted, rest_of_trusted)]
    p_values = [
        t.sf(
            (gaps[1] + s * gaps[0])
            / math.sqrt(((after + s * before) ** 2).sum() + (1 / np.square(clusters)).sum()),
            min(clusters) - 1,
        )
        for s in (-1, 1)
    ]
    found = groups._p_of_wider(*parts_of(error, trusted, cluster, is_own))
    assert found == pytest.approx(max(p_values), rel=1e-9)


def any_mark(make, runs, column="worse", **options):
    marks = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        confidence, error, group, cluster = make(rng)
        marks += by_group(confidence, error, group, threshold=0.5, clusters=cluster, **options)[column].any()
    return marks / runs


def independent(rng, rates):
    group = np.arange(1000) % len(rates)
    return np.ones(1000), (rng.random(1000) < np.array(rates)[group]) * 1.0, group, None


@pytest.mark.usefixtures("no_areas")
def test_marks_where_none_is_planted_are_rare_and_a_planted_one_is_found():
    assert any_mark(lambda rng: independent(rng, (0.05,) * 5), 150) <= 0.07
    assert any_mark(lambda rng: independent(rng, (0.15, *(0.05,) * 4)), 60) > 0.9


@pytest.mark.usefixtures("no_areas")
def test_images_taken_for_patients_would_give_false_marks():
    assert any_mark(clustered, 150) <= 0.05
    assert any_mark(lambda rng: (*clustered(rng)[:3], None), 150) > 0.12


def alike_in_one_group(rng):
    """Five images per patient, all wrong or all right in the first group, independent in the other."""
    cluster = np.arange(1000) // 5
    group = (cluster >= 40) * 1
    wrong = np.where(group == 0, rng.random(200)[cluster], rng.random(1000)) < 0.08
    return np.ones(1000), wrong * 1.0, group, cluster


@pytest.mark.usefixtures("no_areas")
def test_correlation_in_one_group_only_is_seen():
    assert any_mark(alike_in_one_group, 150) <= 0.06


def test_a_few_patients_may_hide_how_alike_their_cases_are():
    patients = np.arange(240) // 10
    group = (patients >= 12) * 1
    error = (np.arange(240) % 10 == 0) * (group == 0) * 1.0  # one image of each patient of a group
    found, alone = (
        by_group(np.ones(240), error, group, threshold=0, clusters=c)["p_value"][0] for c in (patients, None)
    )
    assert 2 * alone < found


def test_few_silent_failures_do_not_widen_a_gap():
    group = np.repeat([0, 1], 50)
    trusted = np.tile(np.arange(50) < 30, 2)
    error = np.zeros(100)
    error[:10] = 1  # trusted, in the first group
    error[30:35] = 1
    error[80:95] = 1  # as many errors in the other, all deferred
    found = by_group(trusted * 1.0, error, group, threshold=0.5)
    assert found["gap_before"][0] == 0
    assert found["gap_after"][0] == pytest.approx(10 / 30)
    assert not found["gap_widens"].any()


@pytest.mark.usefixtures("no_areas")
def test_a_group_is_marked_after_holm_only(monkeypatch):
    def make(rng):
        return independent(rng, (0.05,) * 12)

    with_holm = any_mark(make, 100)
    monkeypatch.setattr(groups, "holm", lambda p_values: np.asarray(p_values))
    assert with_holm <= 0.06
    assert any_mark(make, 100) > 0.15


def gap(seed, coverage, silent, deferred, n=3000, images=1):
    """Two groups; ``silent`` and ``deferred`` are error rates among trusted and deferred cases, per group."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    trusted = rng.random(n) < np.array(coverage)[group]
    rate = np.where(trusted, np.array(silent)[group], np.array(deferred)[group])
    error = (rng.random(n) < rate) * 1.0
    return trusted * 1.0, error, group


def test_a_gap_that_widens_while_the_average_improves():
    # both err in 20 %; deferring helps the first group only
    found = by_group(*gap(0, (0.7, 0.7), (0.02, 0.2), (0.62, 0.2)), threshold=0.5)
    assert found["gap_widens"].tolist() == [False, True]
    assert abs(found["gap_before"][1]) < 0.05 < 0.1 < found["gap_after"][1]
    # a gap that stays as it is, and one that closes
    for silent, deferred in (((0.05, 0.15), (0.55, 0.65)), ((0.05, 0.05), (0.3, 0.6))):
        found = by_group(*gap(1, (0.7, 0.7), silent, deferred), threshold=0.5)
        assert not found["gap_widens"].any()
    # nobody is better off on average
    found = by_group(*gap(2, (0.7, 0.7), (0.2, 0.4), (0.05, 0.0)), threshold=0.5)
    assert found["gap_after"][1] > found["gap_before"][1] > 0
    assert not found["gap_widens"].any()
    # a large gap the other way round is smaller afterwards
    found = by_group(*gap(3, (0.7, 0.7), (0.1, 0.15), (0.9, 0.05)), threshold=0.5)
    assert found["gap_before"][1] < 0 < found["gap_after"][1]
    assert not found["gap_widens"].any()


def test_a_gap_needs_many_patients_not_many_images():
    few = gap(4, (0.7, 0.7), (0.05, 0.15), (0.4, 0.25), n=200)
    assert not by_group(*few, threshold=0.5)["gap_widens"].any()
    confidence, error, group = (np.repeat(column, 20) for column in few)
    patients = np.repeat(np.arange(200), 20)
    assert by_group(confidence, error, group, threshold=0.5)["gap_widens"].any()
    assert not by_group(confidence, error, group, threshold=0.5, clusters=patients)["gap_widens"].any()


@pytest.mark.usefixtures("no_areas")
def test_small_groups_are_not_judged_but_counted():
    n = 60
    error = np.zeros(n)
    error[:19] = 1
    group = np.repeat(["small", "rest"], [19, n - 19])
    small = by_group(np.ones(n), error, group, threshold=0).set_index("group")
    assert small["too_small"].to_dict() == {"small": True, "rest": False}
    assert small.loc["small", "silent_failures"] == 19
    assert small[["p_value", "p_holm"]].isna().all(axis=None)
    assert not small["worse"].any()
    group[19] = "small"
    assert by_group(np.ones(n), error, group, threshold=0)["worse"].tolist() == [False, True]
    # many images of few patients
    patients = np.concatenate([np.arange(20) % 9, np.arange(9, 49)])
    assert by_group(np.ones(n), error, group, threshold=0, clusters=patients)["too_small"].tolist() == [
        False,
        True,
    ]


def test_intervals_are_wilsons_with_the_effective_number_of_cases():
    confidence, error, group = cases(5)
    row = by_group(confidence, error, group, threshold=0.4).iloc[0]
    exact = binomtest(int(row.silent_failures), int(row.cases)).proportion_ci(0.95, "wilson")
    assert (row.silent_failure_rate_low, row.silent_failure_rate_high) == pytest.approx(tuple(exact))
    area = bootstrap_ci(augrc, confidence[group == 0], error[group == 0])
    assert (row.augrc_low, row.augrc_high) == area
    # five copies of every case tell no more; Student's quantiles for so many patients hardly differ
    five = [np.repeat(column, 5) for column in (confidence, error, group)]
    again = by_group(*five, threshold=0.4, clusters=np.repeat(np.arange(400), 5)).iloc[0]
    for name in ("coverage_low", "silent_failure_rate_high", "augrc", "silent_failure_rate"):
        assert again[name] == pytest.approx(row[name], abs=0.001)
    assert again.augrc_high == pytest.approx(row.augrc_high, abs=0.004)


def test_the_order_of_rows_does_not_matter():
    confidence, error, group = cases(6)
    patients = np.arange(400) // 3
    one = by_group(confidence, error, group, threshold=0.4, clusters=patients)
    order = np.random.default_rng(0).permutation(400)
    other = by_group(confidence[order], error[order], group[order], threshold=0.4, clusters=patients[order])
    drawn = ["augrc_low", "augrc_high"]
    pd.testing.assert_frame_equal(one.drop(columns=drawn), other.drop(columns=drawn), check_exact=True)
    again = by_group(confidence, error, group, threshold=0.4, clusters=patients)
    pd.testing.assert_frame_equal(one, again, check_exact=True)
    seeded = by_group(confidence, error, group, threshold=0.4, clusters=patients, seed=1)
    assert (seeded["augrc_low"] != one["augrc_low"]).any()


def test_patients_are_one_however_they_are_spelled():
    confidence, error, group = cases(7, n=60)
    ids = np.arange(60) // 2
    spelled = [f"P{i}" if n % 2 else f"p{i} " for n, i in enumerate(ids)]
    kwargs = {"threshold": 0.4}
    one = by_group(confidence, error, group, clusters=ids, **kwargs)
    other = by_group(confidence, error, group, clusters=spelled, **kwargs)
    pd.testing.assert_frame_equal(one.drop(columns="augrc_low"), other.drop(columns="augrc_low"), rtol=0.2)
    assert one["clusters"].tolist() == other["clusters"].tolist()


def test_tensors_and_columns_of_pandas_give_the_same():
    confidence, error, group = cases(8, n=80)
    one = by_group(confidence, error, group, threshold=0.4)
    tensors = by_group(torch.tensor(confidence), torch.tensor(error), torch.tensor(group), threshold=0.4)
    columns = by_group(*(pd.Series(c) for c in (confidence, error, group)), threshold=0.4)
    pd.testing.assert_frame_equal(one, tensors, check_exact=True)
    pd.testing.assert_frame_equal(one, columns, check_exact=True)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([2, 10.0, 2.0, 10], ["2", "10"]),
        ([0.5, 0.25, -1.0, 0.5], ["-1", "0.25", "0.5"]),
        ([True, False, True, True], ["False", "True"]),
        (["class 10", "class 2", " class  2", "class 10"], ["class 2", "class 10"]),
        (["b", None, NAN, "a"], ["a", "b", "missing"]),
        (["b", "", " ", "zebra"], ["b", "zebra", "missing"]),
        (["b", "nan", pd.NA, pd.NaT], ["b", "missing"]),
        (
            pd.Categorical(["old", "young", None, "old"], ["young", "none such", "old"]),
            ["young", "old", "missing"],
        ),
        (["unknown", "none", "missing", "x"], ["none", "unknown", "x", "missing"]),
        (["n/a", "NA", "N/A", "x"], ["x", "missing"]),
        (["9" * 5000, "a", "a", "a"], ["9" * 5000, "a"]),
    ],
)
def test_names_of_groups(values, names):
    n = len(values)
    found = by_group(np.arange(n), np.zeros(n), values, threshold=0)
    assert found["group"].tolist() == names
    assert found["cases"].sum() == n


def test_one_group_has_no_rest():
    confidence, error, _ = cases(9)
    found = by_group(confidence, error, ["all"] * 400, threshold=0.5).iloc[0]
    assert found.cases == 400
    assert not found.too_small
    compared = ["difference", "p_value", "p_holm", "gap_before", "gap_after"]
    assert found[compared].isna().all()
    assert not (found.worse)
    assert not (found.gap_widens)


@pytest.mark.parametrize(("threshold", "coverage"), [(math.inf, 0), (-math.inf, 1)])
@pytest.mark.parametrize("wrong", [0, 1])
def test_nobody_or_everybody_is_trusted_or_wrong(threshold, coverage, wrong):
    confidence, _, group = cases(10, n=120)
    found = by_group(confidence, np.full(120, wrong), group, threshold=threshold)
    assert found["coverage"].tolist() == [coverage] * 2
    assert found["silent_failures"].tolist() == (found["cases"] * coverage * wrong).tolist()
    assert found["selective_risk"].isna().all() == (coverage == 0)
    assert found["p_value"].tolist() == [1, 1]
    assert not found[["worse", "gap_widens"]].any(axis=None)
    assert found["silent_failure_rate_high"].between(0, 1).all()


def test_a_group_without_a_trusted_case():
    confidence, error, group = cases(11, rate=(0.4, 0.4))
    confidence = np.where(group == 0, confidence / 10, confidence)
    found = by_group(confidence, error, group, threshold=0.2)
    assert found["coverage"][0] == 0
    assert math.isnan(found["selective_risk"][0])
    assert found["p_value"][0] == 1
    assert found["worse"].tolist() == [False, True]


def test_errors_between_0_and_1_are_means_and_weaker_evidence_than_failures():
    confidence, error, group = cases(12, rate=(0.4, 0.2))
    half = by_group(confidence, error / 2, group, threshold=0.3)
    whole = by_group(confidence, error, group, threshold=0.3)
    assert half["silent_failures"].tolist() == (whole["silent_failures"] / 2).tolist()
    assert half["p_value"][0] > whole["p_value"][0]
    assert half["silent_failures"].dtype.kind == "f"
    assert whole["silent_failures"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 10**400}, "threshold must be a number that float64 holds"),
        ({"threshold": NAN}, "threshold must be a number, got nan"),
        ({"threshold": None}, "threshold must be a number, got None"),
        ({"threshold": "0.5"}, "threshold must be a number, got '0.5'"),
        ({"groups": None}, "groups must be a sequence in the order of the cases, got NoneType"),
        ({"groups": dict.fromkeys("abcd")}, "groups must be a sequence in the order of the cases, got dict"),
        ({"groups": set("abcd")}, "groups must be a sequence in the order of the cases, got set"),
        ({"confidence": [0.1, NAN, 0.3, math.inf]}, "confidence must be finite, got 2 of 4 values"),
        ({"error": [0, 1, 2, 0]}, r"error must lie in \[0, 1\], got 1 of 4"),
        ({"groups": ["a", "b", "a"]}, "groups must have 4 entries like confidence, got 3"),
        ({"groups": "abab"}, r"groups must have one dimension \(N,\)"),
        ({"groups": np.zeros((4, 1))}, r"groups must have one dimension \(N,\)"),
        ({"clusters": [1, 2]}, r"clusters must have shape \(4,\)"),
    ],
)
def test_bad_arguments(change, message):
    given = {
        "confidence": [0.1, 0.2, 0.3, 0.4],
        "error": [0, 1, 0, 1],
        "groups": list("abab"),
        "threshold": 0.2,
    }
    given |= change
    confidence, error, group = (given.pop(name) for name in ("confidence", "error", "groups"))
    with pytest.raises(ValueError, match=message):
        by_group(np.array(confidence), np.array(error), group, **given)


def test_a_column_of_ids_is_refused():
    n = 5000
    with pytest.raises(ValueError, match="groups holds 5000 different values, more than 2000: put numbers"):
        by_group(np.ones(n), np.zeros(n), np.arange(n), threshold=0)


def test_so_many_groups_are_just_taken():
    names, of_case = groups._named(np.arange(2000), 2000)
    assert names == [str(i) for i in range(2000)]
    assert of_case.tolist() == list(range(2000))


def test_an_exact_test_by_listing_all_assignments(monkeypatch):
    """All ways to choose which of the cases are the group's, counted one by one."""
    monkeypatch.setattr(groups, "FEWEST_CASES", 1)
    monkeypatch.setattr(groups, "FEWEST_CLUSTERS", 1)
    error = np.array([1, 0, 1, 0, 1, 0, 0, 0, 0, 1])
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    chosen = list(itertools.combinations(range(10), 4))
    exact = np.mean([error[list(rows)].sum() >= 2 for rows in chosen])
    found = by_group(np.ones(10), error, group, threshold=0)["p_value"][0]
    assert found == pytest.approx(exact, rel=1e-12)
