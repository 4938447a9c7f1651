"""Whether a promised risk is still kept after deployment; docs/concepts/guarantee.md derives the test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from monai_sf.metrics.arrays import ArrayLike, NumpyArray, as_float64, as_number, check_finite
from monai_sf.metrics.bootstrap import on_cpu
from monai_sf.vocabulary.outputs import refuse_other_order
from monai_sf.vocabulary.promise import check_promise

# So many labelled cases apart, part of the wealth that is left makes new bets.
_BLOCK = 32
_AT_ONCE = 2**15
_COUNTS = ("cases", "accepted", "labelled")
_STATE = (*_COUNTS, "errors", "errors_of_block", "log_wealth", "alarm_after")


class RiskMonitor:
    """An alarm for the day on which the risk of trusted answers is no longer what was promised.

    A bet against the promise: somebody starts with 1 and bets on errors at odds that would be fair if their
    probability were the target. As long as the risk of a case, given all that came before, is at most the
    target, the wealth ever reaches 1 / delta with a probability of at most delta (Ville's inequality),
    however long and often one looks. So the alarm is false in at most delta of all infinite runs, and nobody
    has to plan a number of cases or looks. Waudby-Smith & Ramdas, "Estimating means of bounded random
    variables by betting", JRSS B 86, 2024; Podkopaev & Ramdas, "Tracking the risk of a deployed model and
    detecting harmful distribution shifts", ICLR 2022.

    A bet θ multiplies its wealth by exp(θ error) / (1 + target (exp(θ) - 1)) with each case. Half of the
    wealth is bet from the start; the rest is spent slowly on bets that start later, so that a risk that rises
    after a long good time is found, too. At each start bets of all sizes share it, most of it for about twice
    the target.

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
        ValueError: If target_risk or delta is out of range, the target is so near 1 that no error is a
            surprise, or the threshold is NaN or plus infinity.

    Examples:
        Cases of a low confidence are deferred, and the label of the third is not known. An alarm comes when
        the accepted answers are wrong too often:

        >>> import numpy as np
        >>> from monai_sf.metrics import RiskMonitor
        >>> monitor = RiskMonitor(target_risk=0.05, delta=0.05, threshold=0.9)
        >>> monitor.update(np.array([0.99, 0.5, 0.95]), np.array([0, 1, np.nan]))
        >>> monitor.cases, monitor.accepted, monitor.labelled, monitor.alarm
        (3, 2, 1, False)
        >>> monitor.update(np.full(40, 0.95), np.arange(40) % 4 == 0)
        >>> monitor.alarm, monitor.alarm_after
        (True, 22)
    """

    def __init__(self, target_risk: float, delta: float, *, threshold: float = -math.inf) -> None:
        check_promise(target_risk, delta)
        self.target_risk, self.delta = float(target_risk), float(delta)
        self.threshold = as_number(threshold, "threshold")
        if self.threshold == math.inf:
            raise ValueError("threshold must be a number, or -inf to accept every case, got inf")
        self.cases = self.accepted = self.labelled = 0
        self.alarm_after: int | None = None
        self._errors = self._errors_of_block = 0.0
        self._tilts, self._log_shares = _make_bets(self.target_risk)
        self._losses = _log_mean(self._tilts, self.target_risk)
        self._log_wealth = self._log_shares + np.log(_bet_at(0))

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
        self.cases += len(values)
        self.accepted += int(is_accepted.sum())
        for start in range(0, len(known), _AT_ONCE):
            self._bet_on(known[start : start + _AT_ONCE])

    @property
    def alarm(self) -> bool:
        """Whether the wealth has reached 1 / delta at any time; an alarm stays."""
        return self.alarm_after is not None

    @property
    def evidence(self) -> float:
        """The wealth now, an e-value: 1 at the start, an alarm once it is at least 1 / delta."""
        in_block = np.array([self._errors_of_block]), np.array([self.labelled % _BLOCK])
        logs = self._log_evidence(self._log_wealth[None], *in_block, np.array([self.labelled // _BLOCK]))
        with np.errstate(over="ignore"):
            return float(np.exp(logs[0]))

    @property
    def lower_bound(self) -> float:
        """Lower bound on the mean risk so far, which holds at all times together with probability 1 - delta.

        The risk may change from case to case; the bound is on the mean over the labelled cases. An alarm for
        a risk that has risen lately comes before this mean is above the target.
        """
        low, high = 0.0, self._errors / max(self.labelled, 1)
        for _ in range(60):
            middle = (low + high) / 2
            won = self._tilts * self._errors - self.labelled * _log_mean(self._tilts, middle)
            is_excluded = _log_sum(self._log_shares + won) >= -math.log(self.delta)
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

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on elsewhere, as JSON can hold it; no threshold is None."""
        return {
            **self._promise(),
            **{name: getattr(self, name) for name in _COUNTS},
            "errors": self._errors,
            "errors_of_block": self._errors_of_block,
            "log_wealth": self._log_wealth.tolist(),
            "alarm_after": self.alarm_after,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a monitor of the same promise.

        Raises:
            ValueError: If the state is of another target, delta or threshold, lacks an entry or has an
                unknown one, or its numbers are impossible. Then nothing has changed.
        """
        names = (*self._promise(), *_STATE)
        if not isinstance(state, Mapping) or set(state) != set(names):
            given = sorted(map(str, state)) if isinstance(state, Mapping) else state
            raise ValueError(f"a state must have the entries {', '.join(names)}, got {given}")
        others = {
            name: state[name]
            for name, own in self._promise().items()
            if not isinstance(state[name], int | float | None) or state[name] != own
        }
        if others:
            raise ValueError(f"the state is of another monitor: it has {others}, this one {self._promise()}")
        cases, accepted, labelled = (_count(state, name) for name in _COUNTS)
        alarm_after = None if state["alarm_after"] is None else _count(state, "alarm_after")
        errors, of_block = (_number(state[name], name) for name in ("errors", "errors_of_block"))
        if not (
            labelled <= accepted <= cases
            and 0 <= errors <= labelled
            and 0 <= of_block <= min(errors, labelled % _BLOCK)
            and (alarm_after is None or 1 <= alarm_after <= labelled)
        ):
            raise ValueError(
                "a state must have alarm_after and errors <= labelled <= accepted <= cases, and "
                f"errors_of_block <= labelled % {_BLOCK}, got "
                f"{ {name: state[name] for name in _STATE if name != 'log_wealth'} }"
            )
        wealth = state["log_wealth"]
        if not isinstance(wealth, list) or len(wealth) != len(self._tilts):
            raise ValueError(f"log_wealth of a state must be a list of {len(self._tilts)} numbers")
        log_wealth = np.array([_number(one, "log_wealth") for one in wealth])
        self._check_wealth(log_wealth, labelled - labelled % _BLOCK, errors - of_block)
        self.cases, self.accepted, self.labelled, self.alarm_after = cases, accepted, labelled, alarm_after
        self._errors, self._errors_of_block, self._log_wealth = errors, of_block, log_wealth

    def _check_wealth(self, log_wealth: NumpyArray, cases: int, errors: float) -> None:
        """Refuse wealth (bets,) that so many labelled cases cannot give, whatever their order.

        Half of all is bet from the start; what is bet later loses in no case without an error.
        """
        lost = cases * self._losses
        lowest = self._log_shares + math.log(_bet_at(0)) + errors * self._tilts - lost
        highest = self._log_shares + errors * (self._tilts - self._losses)
        rounding = 1e-6 + 1e-9 * (errors * self._tilts + lost)
        wrong = (log_wealth < lowest - rounding) | (log_wealth > highest + rounding)
        if wrong.any():
            raise ValueError(
                f"log_wealth of a state must be what {cases} labelled cases with {errors:g} errors give; "
                f"{wrong.sum()} of {len(wrong)} bets cannot have that wealth"
            )

    def _promise(self) -> dict[str, float | None]:
        threshold = None if self.threshold == -math.inf else self.threshold
        return {"target_risk": self.target_risk, "delta": self.delta, "threshold": threshold}

    def _bet_on(self, errors: NumpyArray) -> None:
        """Take the errors (n,) of labelled cases into account."""
        block, before = divmod(self.labelled, _BLOCK)
        end = before + len(errors)
        n_full = end // _BLOCK
        padded = np.zeros((n_full + 1, _BLOCK))
        padded.flat[before:end] = errors
        # What the block has already is in front of the rest, so that an array adds up as its entries do.
        padded.flat[max(before - 1, 0)] += self._errors_of_block
        sums = padded.cumsum(axis=1)
        wealth = np.empty((n_full + 1, len(self._tilts)))
        wealth[0] = self._log_wealth
        won = sums[:, -1:] * self._tilts - _BLOCK * self._losses
        for row in range(n_full):
            new_bet = self._log_shares + np.log(_bet_at(block + row + 1))
            np.logaddexp(wealth[row] + won[row], new_bet, out=wealth[row + 1])
        if self.alarm_after is None:
            # A smaller error lowers the wealth, whatever the bet.
            places = before + np.flatnonzero(errors > self.target_risk)
            rows, columns = np.divmod(places, _BLOCK)
            logs = self._log_evidence(wealth[rows], sums[rows, columns], columns + 1, block + rows)
            reached = places[logs >= -math.log(self.delta)]
            if len(reached):
                self.alarm_after = block * _BLOCK + int(reached[0]) + 1
        self.labelled += len(errors)
        self._errors = float(np.cumsum(np.concatenate(([self._errors], errors)))[-1])
        self._errors_of_block = float(sums[-1, end % _BLOCK - 1]) if end % _BLOCK else 0.0
        self._log_wealth = wealth[-1]

    def _log_evidence(
        self, log_wealth: NumpyArray, sums: NumpyArray, counts: NumpyArray, blocks: NumpyArray
    ) -> NumpyArray:
        """Return the log of all wealth (K,), after so many cases of a block with so many errors (K,).

        Args:
            log_wealth: (K, bets) at the start of the block.
            sums: (K,) errors in the block.
            counts: (K,) cases in the block.
            blocks: (K,) number of the block.
        """
        bets = _log_sum(log_wealth + sums[:, None] * self._tilts - counts[:, None] * self._losses)
        result: NumpyArray = np.logaddexp(np.log(_left_after(blocks)), bets)
        return result


def _make_bets(target_risk: float) -> tuple[NumpyArray, NumpyArray]:
    """Return the bets θ by size, and the log of each one's share of what is bet at one time.

    The bet θ is the best one if the odds of an error are exp(θ) times those at the target. These risks exceed
    the target by its multiples with powers of the root of 2; the shares halve with every two powers on both
    sides of 1, a doubled risk.
    """
    powers = np.arange(-32, 200) / 2
    excess = min(target_risk, 1 - target_risk) * 2.0**powers
    is_risk = (excess < 0.95 * (1 - target_risk)) & (target_risk + excess < 1)
    if not (is_risk & (target_risk + excess > target_risk)).any():
        raise ValueError(f"target_risk must not be so near 1 that no risk is higher, got {target_risk!r}")
    powers, risks = powers[is_risk], target_risk + excess[is_risk]
    shares = 2.0 ** (-abs(powers) / 2)
    odds = risks / (1 - risks) * (1 - target_risk) / target_risk
    return np.log(odds), np.log(shares / shares.sum())


def _bet_at(block: int) -> float:
    """Return the part of the initial wealth of 1 that is bet from the start of a block on."""
    return 0.5 if block == 0 else float(_left_after(block - 1) - _left_after(block))


def _left_after(block: int | NumpyArray) -> NumpyArray:
    """Return the part that is left when the bets of a block are made: it falls to 0, but slowly."""
    result: NumpyArray = 0.5 / np.log(math.e + block)
    return result


def _log_mean(tilts: NumpyArray, risk: float) -> NumpyArray:
    """Return log E exp(θ error) at a risk; of errors between 0 and 1 an upper bound, by convexity."""
    result: NumpyArray = np.log1p(risk * np.expm1(tilts))
    return result


def _log_sum(logs: NumpyArray) -> NumpyArray:
    """Return the log of the sum of exponentials over the last dimension."""
    highest = logs.max(axis=-1, keepdims=True)
    total: NumpyArray = highest[..., 0] + np.log(np.exp(logs - highest).sum(axis=-1))
    return total


def _check_update(confidence: Any, error: Any) -> tuple[NumpyArray, NumpyArray]:
    """Return both as float64 vectors (N,), unknown errors as NaN."""
    refuse_other_order({"confidence": confidence, "error": error})
    values = on_cpu(as_float64(confidence, "confidence"))
    if error is None:
        errors = np.full(values.shape, math.nan)
    else:
        errors = on_cpu(as_float64(_with_nan(error), "error"))
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


def _with_nan(error: Any) -> Any:
    """Return errors with NaN where they are None or pandas' NA."""
    given = error
    if not isinstance(error, Tensor | list | tuple) and np.asarray(error).dtype == object:
        given = np.asarray(error).tolist()
    if isinstance(given, list | tuple):
        return [math.nan if _is_absent(one) else one for one in given]
    return math.nan if _is_absent(given) else given


def _is_absent(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"  # which cannot be compared


def _count(state: Mapping[str, Any], name: str) -> int:
    value = state[name]
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{name} of a state must be a whole number from 0 to 2**53, got {value!r}")
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not abs(value) < 2**53:
        raise ValueError(f"{name} of a state must be a number, got {value!r}")
    return float(value)
