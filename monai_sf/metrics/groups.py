"""Subgroups of the cases: who is affected by silent failures more than others.

A mark needs evidence that more patients like these would show the same, so cases of one patient count as what
they are, and looking at many groups is paid for (Holm). docs/guides/metrics.md explains the tests and their
limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # imports scipy.stats when it is used
from numpy.typing import NDArray

from monai_sf.metrics.areas import augrc
from monai_sf.metrics.arrays import ArrayLike, as_number, check_cases
from monai_sf.metrics.bootstrap import bootstrap_ci, groups_of, on_cpu
from monai_sf.metrics.clusters import effective_sizes, wilson
from monai_sf.metrics.paired import holm
from monai_sf.vocabulary.ids import Groups

if TYPE_CHECKING:
    import pandas as pd

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A group with fewer cases or clusters (patients) is too small to be judged, and so is the rest of the cases.
FEWEST_CASES, FEWEST_CLUSTERS = 20, 10
#: More different groups are a mistake, such as a column of ids.
MOST_GROUPS = 2000
#: Name of the group of cases without one.
MISSING = "missing"
#: A group is marked if its adjusted p-value is below.
ALPHA = 0.05

_NUMBERS = re.compile(r"(\d{1,18})")
#: How missing values are spelled in text. "None" and "unknown" may be what is known of a patient.
_ABSENT = frozenset(("", "nan", "nat", "<na>", "na", "n/a", "#n/a"))


def by_group(
    confidence: ArrayLike,
    error: ArrayLike,
    groups: Iterable[Any] | ArrayLike,
    *,
    threshold: float,
    clusters: ArrayLike | Sequence[Any] | Groups | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return coverage, silent failures and AUGRC of every group, and which groups are worse than the rest.

    A case is trusted if its confidence is at or above the threshold, and a silent failure is a trusted case
    that is wrong. For errors between 0 and 1 the counts are sums of errors, and all rates are means.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1], 1 where the prediction is wrong.
        groups: (N,) of text, numbers or booleans. None, NaN, blanks and "n/a" are the group "missing". Groups
            are sorted by name, numbers in it by value; those of a pandas categorical in the order of its
            categories.
        threshold: Lowest confidence that is trusted; infinity for none. It should not come from these cases.
        clusters: (N,) ids of patients, as the groups of `bootstrap_ci`: cases of one patient are not
            independent. Several groups may share a patient. By default each case is its own cluster.
        seed: Of the bootstrap for the intervals of AUGRC; all other numbers need no draw.

    Returns:
        One row per group, with the columns

        - ``group`` (text), ``cases``, ``clusters`` (numbers of them), ``errors`` (their sum), ``error_rate``;
        - ``coverage`` (share of trusted cases), ``silent_failures``, ``silent_failure_rate`` (silent failures
          over all cases of the group), each rate with its 95 % interval in ``..._low`` and ``..._high``
          (Wilson's with the effective number of cases; NaN for a single cluster);
        - ``selective_risk`` (silent failures over trusted cases, NaN without);
        - ``augrc`` with ``augrc_low`` and ``augrc_high``, 95 % (bootstrap of the clusters);
        - ``difference`` (silent-failure rate minus that of all other cases), ``p_value`` (one-sided: as many
          silent failures or more if the group were like the rest), ``p_holm`` (corrected for the number of
          judged groups) and ``worse`` (p_holm below 0.05);
        - ``too_small``: fewer than 20 cases or 10 clusters, so there is no p-value; nor is there one where
          the rest of the cases is too small for a comparison;
        - ``gap_before`` (error rate minus that of the other cases), ``gap_after`` (selective risk minus
          theirs) and ``gap_widens``: deferring cases improves the average, but leaves this group further
          behind the others than before, significantly after Holm's correction (Jones et al., "Selective
          Classification Can Magnify Disparities Across Groups", ICLR 2021).

        With a single group there is no rest, and what compares with it is NaN or False.

    Raises:
        ValueError: If the threshold is NaN, groups has another length or more than 2,000 different values,
            and as in `risk_coverage_curve` and `bootstrap_ci`.

    Examples:
        Two clinics with 100 cases of as many patients each. All answers are trusted, and in one clinic more
        are wrong:

        >>> import numpy as np
        >>> from monai_sf.metrics import by_group
        >>> clinic = np.repeat(["north", "south"], 100)
        >>> error = np.arange(200) % 100 < np.where(clinic == "south", 20, 4)
        >>> table = by_group(np.linspace(0.5, 1, 200), error, clinic, threshold=0.5)
        >>> table[["group", "cases", "silent_failures"]].values.tolist()
        [['north', 100, 4], ['south', 100, 20]]
        >>> table["p_holm"].round(3).tolist(), table["worse"].tolist()
        ([1.0, 0.001], [False, True])
    """
    return marked(statistics_of(confidence, error, groups, threshold=threshold, clusters=clusters, seed=seed))


def statistics_of(
    confidence: ArrayLike,
    error: ArrayLike,
    groups: Iterable[Any] | ArrayLike,
    *,
    threshold: float,
    clusters: ArrayLike | Sequence[Any] | Groups | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the rows of `by_group` before Holm's correction, with ``gap_p_value`` and without marks.

    Rows of several divisions of the cases can be put together, and then be `marked` as one family.
    """
    import pandas as pd

    values, errors = (on_cpu(array) for array in check_cases(confidence, error))
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"confidence must be finite, got {bad} of {len(values)} values NaN or infinite")
    threshold = as_number(threshold, "threshold")
    names, of_case = _named(groups, len(values))
    beside = {"confidence": confidence, "error": error, "groups": groups}
    patients = np.arange(len(values)) if clusters is None else clusters
    known = groups_of(patients, len(values), beside, "clusters")
    trusted = values >= threshold
    everyone = _Part.of(trusted, errors, known.of_case, len(known))
    number = int if bool(np.isin(errors, (0.0, 1.0)).all()) else float
    order = np.argsort(of_case, kind="stable")
    starts = np.searchsorted(of_case[order], np.arange(len(names) + 1))
    rows = []
    for i, name in enumerate(names):
        where = order[starts[i] : starts[i + 1]]
        own = _Part.of(trusted[where], errors[where], known.of_case[where], len(known))
        rest = everyone.without(own)
        inside = None if clusters is None else known.at(where)
        area = bootstrap_ci(augrc, values[where], errors[where], groups=inside, seed=seed)
        judged = own.is_enough and rest.is_enough
        rows.append(
            {
                "group": name,
                "cases": int(own.cases),
                "clusters": own.clusters,
                "errors": number(own.errors),
                "error_rate": own.error_rate,
                **_with_interval("coverage", own.trusted, own.counted),
                "silent_failures": number(own.silent_failures),
                **_with_interval("silent_failure_rate", own.silent, own.counted),
                "selective_risk": own.selective_risk,
                "augrc": augrc(values[where], errors[where]),
                "augrc_low": area.low,
                "augrc_high": area.high,
                "difference": own.silent_rate - rest.silent_rate,
                "p_value": _p_of_more(own, rest) if judged else math.nan,
                "too_small": not own.is_enough,
                "gap_before": own.error_rate - rest.error_rate,
                "gap_after": own.selective_risk - rest.selective_risk,
                "gap_p_value": _p_of_wider(own, rest) if judged else math.nan,
            }
        )
    return pd.DataFrame(rows)


def marked(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return rows of `statistics_of` as `by_group` does, adjusted by Holm's method over all of them."""
    rows = statistics.drop(columns="gap_p_value")
    adjusted = holm(rows["p_value"].to_numpy(np.float64))
    after = list(rows.columns).index("p_value") + 1
    rows.insert(after, "p_holm", adjusted)
    rows.insert(after + 1, "worse", adjusted < ALPHA)
    rows["gap_widens"] = holm(statistics["gap_p_value"].to_numpy(np.float64)) < ALPHA
    return rows


@dataclass(frozen=True)
class _Part:
    """Sums over some of the cases, per cluster (C,) of all cases: 0 for a cluster without any of them.

    Attributes:
        counted: Number of cases.
        trusted: Number of trusted ones.
        wrong: Sum of the errors.
        silent: Sum of the errors of the trusted ones.
        squares: Sum of their squares.
    """

    counted: Float
    trusted: Float
    wrong: Float
    silent: Float
    squares: Float

    @classmethod
    def of(cls, trusted: NDArray[np.bool_], error: Float, cluster: Integers, n_clusters: int) -> _Part:
        silent = error * trusted
        columns = (np.ones(len(error)), trusted, error, silent, silent**2)
        return cls(*(np.bincount(cluster, c, n_clusters).astype(np.float64) for c in columns))

    def without(self, other: _Part) -> _Part:
        """Return the sums over the cases that are not in a part of these."""
        return _Part(
            self.counted - other.counted,
            self.trusted - other.trusted,
            self.wrong - other.wrong,
            self.silent - other.silent,
            self.squares - other.squares,
        )

    @property
    def cases(self) -> float:
        return float(self.counted.sum())

    @property
    def clusters(self) -> int:
        return int(np.count_nonzero(self.counted))

    @property
    def trusted_cases(self) -> float:
        return float(self.trusted.sum())

    @property
    def errors(self) -> float:
        return float(self.wrong.sum())

    @property
    def silent_failures(self) -> float:
        return float(self.silent.sum())

    @property
    def error_rate(self) -> float:
        return _share(self.errors, self.cases)

    @property
    def silent_rate(self) -> float:
        return _share(self.silent_failures, self.cases)

    @property
    def selective_risk(self) -> float:
        return _share(self.silent_failures, self.trusted_cases)

    @property
    def is_enough(self) -> bool:
        return self.cases >= FEWEST_CASES and self.clusters >= FEWEST_CLUSTERS


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _with_interval(name: str, part: Float, counted: Float) -> dict[str, float]:
    """Return a rate with its interval, from sums per cluster."""
    there = counted > 0
    rate = _share(float(part.sum()), float(counted.sum()))
    low, high = wilson(rate, float(effective_sizes(part[there], counted[there])))
    return {name: rate, f"{name}_low": low, f"{name}_high": high}


def _p_of_more(own: _Part, rest: _Part) -> float:
    """Return the probability of so many silent failures or more in a group that is like the rest.

    Fisher's exact test, with all counts divided by the design effect (Rao & Scott, "A simple method for the
    analysis of clustered binary data", Biometrics 1992) and rounded so that the p-value is larger.
    """
    effect = _design_effect(own, rest)
    wrong_own = _rounded_down(own.silent_failures / effect)
    wrong_rest = -_rounded_down(-rest.silent_failures / effect)
    cases_own = -_rounded_down(-own.cases / effect)
    cases_rest = max(_rounded_down(rest.cases / effect), wrong_rest)
    tail = scipy.stats.hypergeom.sf(wrong_own - 1, cases_own + cases_rest, wrong_own + wrong_rest, cases_own)
    return min(1.0, float(tail))


def _rounded_down(value: float) -> int:
    return math.floor(value + 1e-9)  # what is whole but for the order of a sum is whole


def _design_effect(own: _Part, rest: _Part) -> float:
    """Return by how much clusters raise the variance of the difference of two silent-failure rates.

    The largest of 1 and two estimates, under the hypothesis of one rate for both parts. The first is the sum
    of squared scores per cluster over that per case. It follows the clusters of both parts, but misses those
    that happen to hold no failure, so where the rest is small it can be too low. The second takes the
    correlation within clusters from all cases.
    """
    cases = own.cases + rest.cases
    rate = (own.silent_failures + rest.silent_failures) / cases
    parts = (own, rest)
    scores = [part.silent - rate * part.counted for part in parts]
    squares = [float((p.squares - 2 * rate * p.silent + rate**2 * p.counted).sum()) for p in parts]
    if not sum(squares) > 0:  # none or all are wrong
        return 1.0
    seen = float(((scores[0] / own.cases - scores[1] / rest.cases) ** 2).sum())
    seen /= squares[0] / own.cases**2 + squares[1] / rest.cases**2
    counted = own.counted + rest.counted
    # One more cluster, all of it wrong: a few clusters can hide how alike their cases are.
    unseen = max(part.cases / part.clusters for part in parts)
    pairs = float((counted * (counted - 1)).sum()) + unseen * (unseen - 1)
    alike = 0.0
    if pairs:
        covariance = float(((scores[0] + scores[1]) ** 2).sum()) - sum(squares)
        covariance += (1 - rate) ** 2 * unseen * (unseen - 1)
        variance = (sum(squares) + (1 - rate) ** 2 * unseen) / (cases + unseen)
        alike = min(1.0, max(0.0, covariance / pairs / variance))
    weights = ((own.counted / own.cases - rest.counted / rest.cases) ** 2).sum()
    weights /= 1 / own.cases + 1 / rest.cases
    return max(1.0, seen, 1 + alike * (float(weights) - 1))


def _p_of_wider(own: _Part, rest: _Part) -> float:
    """Return the one-sided p-value that a group's selective risk lags further behind than its error rate did.

    The hypothesis is gap after <= |gap before|, which two one-sided tests have to refuse. Each is a t test of
    a sum of rates with the variance between clusters, to which one more cluster of failures is added for
    either part: with few silent failures the variance that is seen is too small. NaN where deferring does not
    lower the error rate of all cases, or too few are trusted.
    """
    trusted = [part.trusted_cases for part in (own, rest)]
    clusters = [np.count_nonzero(part.trusted) for part in (own, rest)]
    if min(trusted) < FEWEST_CASES or min(clusters) < FEWEST_CLUSTERS:
        return math.nan
    silent, wrong = own.silent_failures + rest.silent_failures, own.errors + rest.errors
    if not silent / sum(trusted) < wrong / (own.cases + rest.cases):
        return math.nan
    before, after = own.error_rate - rest.error_rate, own.selective_risk - rest.selective_risk
    of_before = _influence(own.wrong, own.counted) - _influence(rest.wrong, rest.counted)
    of_after = _influence(own.silent, own.trusted) - _influence(rest.silent, rest.trusted)
    unseen = sum(1 / n**2 for n in clusters)
    p_values = []
    for sign in (-1, 1):
        variance = float(((of_after + sign * of_before) ** 2).sum()) + unseen
        p_values.append(
            float(scipy.stats.t.sf((after + sign * before) / math.sqrt(variance), min(clusters) - 1))
        )
    return max(p_values)


def _influence(part: Float, counted: Float) -> Float:
    """Return the influence of every cluster on the rate sum(part) / sum(counted)."""
    total = counted.sum()
    influence: Float = (part - part.sum() / total * counted) / total
    return influence


def _named(groups: Any, n_cases: int) -> tuple[list[str], Integers]:
    """Return the names of the groups in order, and the number of each case's group.

    Raises:
        ValueError: If the number of entries differs from that of the cases, or there are too many groups.
    """
    if getattr(groups, "ndim", 1) != 1 or isinstance(groups, str | bytes):
        raise ValueError("groups must have one dimension (N,), like confidence")
    if not isinstance(groups, Iterable) or isinstance(groups, Mapping | Set):
        raise ValueError(f"groups must be a sequence in the order of the cases, got {type(groups).__name__}")
    listed = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(listed) != n_cases:
        raise ValueError(f"groups must have {n_cases} entries like confidence, got {len(listed)}")
    names = [group_name(value) for value in listed]
    different = set(names)
    if len(different) > MOST_GROUPS:
        raise ValueError(
            f"groups holds {len(different)} different values, more than {MOST_GROUPS}: put numbers into "
            "bins, and leave out ids and free text"
        )
    categories = getattr(getattr(groups, "dtype", None), "categories", None)
    if categories is None:
        ordered = in_order(different)
    else:
        ordered = [
            name for name in dict.fromkeys(map(group_name, categories)) if name in different - {MISSING}
        ]
    if MISSING in different:
        ordered = [*(name for name in ordered if name != MISSING), MISSING]
    place = {name: i for i, name in enumerate(ordered)}
    return ordered, np.fromiter(map(place.__getitem__, names), np.int64, n_cases)


def group_name(value: Any) -> str:
    """Return the name of a group: text with single blanks, a whole number without its decimal point.

    A missing value, also one that has been turned into text, is `MISSING`.
    """
    if isinstance(value, str):
        text = " ".join(value.split())
        return MISSING if text.lower() in _ABSENT else text
    # pandas' NA cannot be compared
    if value is None or type(value).__name__ == "NAType" or value != value:
        return MISSING
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort numbers by value, and text as people do: "class 2" before "class 10"."""

    def parts(name: str) -> list[str | int]:
        return [int(part) if i % 2 else part.casefold() for i, part in enumerate(_NUMBERS.split(name))]

    def value(name: str) -> tuple[float, str]:
        return float(name), name

    listed = sorted(names)
    try:
        return sorted(listed, key=value)
    except ValueError:
        return sorted(listed, key=parts)
