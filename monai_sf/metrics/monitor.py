"""Whether a promised risk is still kept after deployment, at any time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_sf.metrics.arrays import ArrayLike, NumpyArray, as_float64, check_finite
from monai_sf.metrics.bootstrap import on_cpu
from monai_sf.vocabulary.outputs import refuse_other_order

# Sums of errors that are judged together: few enough for the processor's cache.
_BLOCK_ROWS = 1024
_COUNTS = ("cases", "accepted", "labelled")


class RiskMonitor:
    """An alarm for the day on which the risk of trusted answers is no longer what was promised.

    A bet against the promise: somebody who starts with 1 and bets on errors at odds that are fair if their
    probability is the target multiplies this by 1 + λ (error − target) with each case. As long as the risk,
    given all that came before, is at most the target, the wealth ever reaches 1 / delta with a probability of
    at most delta (Ville's inequality), however long one looks. So the alarm is false in at most delta of all
    infinite runs, without a number of cases or looks that had to be planned. Waudby-Smith & Ramdas,
    "Estimating means of bounded random variables by betting", JRSS B 86, 2024; Podkopaev & Ramdas, "Tracking
    the risk of a deployed model and detecting harmful distribution shifts", ICLR 2022.

    The wealth is shared among bets λ of all sizes, most of it among those for about twice the target, so it
    depends on the number of cases and the sum of their errors only, not on the order in which they came.

    It holds if whether (and when) a case gets a label does not depend on the answer being right, and if each
    case is a patient of its own: pass one case of each patient, chosen without regard to the answer.

    Args:
        target_risk: Promised error rate among the accepted cases, in (0, 1).
        delta: Probability with which there may ever be a false alarm, in (0, 1).
        threshold: Cases of a lower confidence are deferred: they count for the coverage, not for the risk.
            By default every case is accepted.

    Attributes:
        cases: Number of cases so far.
        accepted: Number of those with a confidence of at least the threshold.
        labelled: Number of accepted cases whose error is known; all below but the coverage rests on these.
        alarm_after: Value of `labelled` when the alarm was raised, None if it was not.

    Raises:
        ValueError: If target_risk or delta is out of range, or the threshold is NaN or plus infinity.

    Example:
        >>> monitor = RiskMonitor(target_risk=0.05, delta=0.05, threshold=0.9)
        >>> monitor.update(np.array([0.99, 0.5, 0.95]), np.array([0, 1, np.nan]))
        >>> monitor.cases, monitor.accepted, monitor.labelled, monitor.alarm
        (3, 2, 1, False)
    """

    def __init__(self, target_risk: float, delta: float, *, threshold: float = -math.inf) -> None:
        for name, value in (("target_risk", target_risk), ("delta", delta)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {value}")
        if not threshold < math.inf:
            raise ValueError(f"threshold must be a number, or -inf to accept every case, got {threshold}")
        self.target_risk, self.delta, self.threshold = float(target_risk), float(delta), float(threshold)
        self.cases = self.accepted = self.labelled = 0
        self.alarm_after: int | None = None
        self._errors = 0.0
        self._bets, self._log_shares = _make_bets(self.target_risk)

    def update(
        self,
        confidence: float | Sequence[float] | ArrayLike,
        error: float | Sequence[float | None] | ArrayLike | None = None,
    ) -> None:
        """Take cases into account, each of them once: when its label is known, or never will be.

        An array gives the same as its entries one by one.

        Args:
            confidence: A finite number, or (N,) of them, higher = more sure.
            error: As many, in [0, 1], 1 where the answer is wrong; NaN or None where that is not known. The
                wealth is exact for 0 and 1, and too low (never too high) for errors in between.

        Raises:
            ValueError: For other shapes, unequal lengths, a confidence that is NaN or infinite, and errors
                outside [0, 1]. Then nothing has changed.
        """
        values, errors = _check_update(confidence, error)
        is_accepted = values >= self.threshold
        known = errors[is_accepted & ~np.isnan(errors)]
        sums = np.cumsum(np.concatenate(([self._errors], known)))
        if self.alarm_after is None:
            # A smaller error lowers the wealth, whatever the bet.
            for rows in _blocks(np.flatnonzero(known > self.target_risk)):
                wealth = self._log_wealth(self.target_risk, sums[rows + 1], self.labelled + rows + 1.0)
                reached = np.flatnonzero(wealth >= -math.log(self.delta))
                if len(reached):
                    self.alarm_after = self.labelled + int(rows[reached[0]]) + 1
                    break
        self.cases += len(values)
        self.accepted += int(is_accepted.sum())
        self.labelled += len(known)
        self._errors = float(sums[-1])

    @property
    def alarm(self) -> bool:
        """Whether the wealth has reached 1 / delta at any time; an alarm stays."""
        return self.alarm_after is not None

    @property
    def evidence(self) -> float:
        """The wealth now, an e-value: 1 at the start, an alarm once it is at least 1 / delta."""
        with np.errstate(over="ignore"):
            return float(np.exp(self._wealth_against(self.target_risk)))

    @property
    def lower_bound(self) -> float:
        """Lower bound on the risk: with probability 1 - delta it is never, at no time, above the true one.

        Of a risk that changes it bounds the highest so far. It is above the target while the evidence is at
        least 1 / delta.
        """
        low, high = 0.0, self._errors / max(self.labelled, 1)
        for _ in range(60):
            middle = (low + high) / 2
            is_excluded = self._wealth_against(middle) >= -math.log(self.delta)
            low, high = (middle, high) if is_excluded else (low, middle)
        return low

    @property
    def risk(self) -> float:
        """Mean error of the labelled cases so far; NaN without one."""
        return self._errors / self.labelled if self.labelled else math.nan

    @property
    def coverage(self) -> float:
        """Share of the cases that were accepted; NaN without one."""
        return self.accepted / self.cases if self.cases else math.nan

    def state_dict(self) -> dict[str, float | int | None]:
        """Return all that is needed to go on elsewhere, as JSON can hold it; no threshold is None."""
        return {
            **self._promise(),
            **{name: getattr(self, name) for name in _COUNTS},
            "errors": self._errors,
            "alarm_after": self.alarm_after,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a monitor of the same promise.

        Raises:
            ValueError: If the state is of another target, delta or threshold, lacks an entry or has an
                unknown one, or its numbers are impossible. Then nothing has changed.
        """
        expected = self.state_dict().keys()
        if not isinstance(state, Mapping) or state.keys() != expected:
            given = sorted(map(str, state)) if isinstance(state, Mapping) else state
            raise ValueError(f"a state must have the entries {', '.join(expected)}, got {given}")
        others = {
            name: state[name]
            for name, own in self._promise().items()
            if type(state[name]) is bool or state[name] != own
        }
        if others:
            raise ValueError(f"the state is of another monitor: it has {others}, this one {self._promise()}")
        cases, accepted, labelled = (_count(state, name) for name in _COUNTS)
        errors = state["errors"]
        alarm_after = None if state["alarm_after"] is None else _count(state, "alarm_after")
        is_number = isinstance(errors, int | float) and not isinstance(errors, bool)
        if not (
            labelled <= accepted <= cases
            and is_number
            and 0 <= errors <= labelled
            and (alarm_after is None or 1 <= alarm_after <= labelled)
        ):
            raise ValueError(
                "a state must have alarm_after and errors <= labelled <= accepted <= cases, got "
                f"{ {name: state[name] for name in (*_COUNTS, 'errors', 'alarm_after')} }"
            )
        self.cases, self.accepted, self.labelled = cases, accepted, labelled
        self._errors, self.alarm_after = float(errors), alarm_after

    def _promise(self) -> dict[str, float | None]:
        threshold = None if self.threshold == -math.inf else self.threshold
        return {"target_risk": self.target_risk, "delta": self.delta, "threshold": threshold}

    def _wealth_against(self, risk: float) -> float:
        sums, counts = np.array([self._errors]), np.array([float(self.labelled)])
        return float(self._log_wealth(risk, sums, counts)[0])

    def _log_wealth(self, risk: float, sums: NumpyArray, counts: NumpyArray) -> NumpyArray:
        """Return the log of the wealth (K,) from betting against a risk, after so many cases and errors.

        Of errors strictly between 0 and 1 it is a lower bound: log(1 + λ (e − r)) is concave in e, so it is
        at least e log(1 + λ (1 − r)) + (1 − e) log(1 − λ r).
        """
        # Against a higher risk than the target the largest bets would risk more than all.
        bets = np.minimum(self._bets, self._bets[-1] * self.target_risk / max(risk, self.target_risk))
        won, lost = np.log1p(bets * (1 - risk)), np.log1p(-bets * risk)
        logs = sums[:, None] * won + (counts - sums)[:, None] * lost + self._log_shares
        highest = logs.max(axis=1, keepdims=True)
        total: NumpyArray = highest[:, 0] + np.log(np.exp(logs - highest).sum(axis=1))
        return total


def _make_bets(target_risk: float) -> tuple[NumpyArray, NumpyArray]:
    """Return bets λ in (0, 1 / target) by size, and the log of each one's share of the wealth at the start.

    The bet λ is the best one if the risk is in truth target + λ target (1 − target). These excesses are the
    target times powers of the root of 2, and shares fall by as much per two powers on both sides of 1, a
    doubled risk. No bet can lose all.
    """
    powers = np.arange(-32, 200) / 2
    staked = min(target_risk, 1 - target_risk) / (1 - target_risk) * 2.0**powers
    powers, staked = powers[staked < 0.95], staked[staked < 0.95]
    shares = 2.0 ** (-abs(powers) / 2)
    return staked / target_risk, np.log(shares / shares.sum())


def _check_update(confidence: Any, error: Any) -> tuple[NumpyArray, NumpyArray]:
    """Return both as float64 vectors (N,), unknown errors as NaN."""
    refuse_other_order({"confidence": confidence, "error": error})
    values = on_cpu(as_float64(confidence, "confidence"))
    if error is None:
        errors = np.full(values.shape, math.nan)
    else:
        if isinstance(error, list | tuple):
            error = np.array([math.nan if one is None else one for one in error])
        errors = on_cpu(as_float64(error, "error"))
    if values.ndim > 1 or values.shape != errors.shape:
        raise ValueError(
            "confidence and error must be two numbers or have the same shape (N,), got shapes "
            f"{values.shape} and {errors.shape}"
        )
    values, errors = np.atleast_1d(values), np.atleast_1d(errors)
    check_finite(values)
    if bad := int(((errors < 0) | (errors > 1)).sum()):
        raise ValueError(f"error must lie in [0, 1] or be NaN, got {bad} of {len(errors)} values outside")
    return values, errors


def _blocks(rows: NumpyArray) -> list[NumpyArray]:
    return [rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS)]


def _count(state: Mapping[str, Any], name: str) -> int:
    value = state[name]
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{name} of a state must be a whole number from 0 to 2**53, got {value!r}")
    return value
