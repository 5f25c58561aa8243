"""A circuit breaker: who fails again and again is left alone, then tried with one call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# A trial whose end nobody reports (its worker was killed) does not keep others out for ever.
TRIAL_LIFETIME_S = 30.0


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class Breaker:
    """``now_s`` is any clock's seconds, the same one in every call."""

    threshold: int
    cooldown_s: float
    failures_in_a_row: int = 0
    # When it opened, or when its last trial failed.
    opened_at_s: float | None = None
    trial_until_s: float = 0.0
    # How many there have been; the last one's word counts.
    trials: int = 0

    def state(self, now_s: float) -> BreakerState:
        if self.opened_at_s is None:
            return BreakerState.CLOSED
        is_cool = now_s - self.opened_at_s >= self.cooldown_s
        return BreakerState.HALF_OPEN if is_cool else BreakerState.OPEN

    def admit(self, now_s: float) -> bool:
        """Tell whether a call may pass; after the cooldown only one may, until its end is told."""
        is_admitted = self.would_admit(now_s)
        if is_admitted and self.opened_at_s is not None:
            self.trial_until_s = now_s + TRIAL_LIFETIME_S
            self.trials += 1
        return is_admitted

    def would_admit(self, now_s: float) -> bool:
        """Tell what `admit` would, and change nothing."""
        state = self.state(now_s)
        is_trial_due = state is BreakerState.HALF_OPEN and now_s >= self.trial_until_s
        return state is BreakerState.CLOSED or is_trial_due

    def succeed(self) -> bool:
        """Take note of a success; tell whether this closed the breaker."""
        was_open = self.opened_at_s is not None
        self.failures_in_a_row = 0
        self.opened_at_s = None
        self.trial_until_s = 0.0
        return was_open

    def fail(self, now_s: float, *, is_trial: bool = False) -> bool:
        """Take note of a failure; tell whether this opened the breaker, or kept it open.

        While it is open only the trial's word counts: other calls are from before.
        """
        if self.opened_at_s is not None and not is_trial:
            return False
        self.failures_in_a_row += 1
        if not is_trial and self.failures_in_a_row < self.threshold:
            return False
        self.opened_at_s = now_s
        self.trial_until_s = 0.0
        return True

    def abandon(self) -> None:
        """Take note that an admitted call ended without a verdict: another may be the trial."""
        self.trial_until_s = 0.0
