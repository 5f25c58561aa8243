"""What the caller's own budgets have left: nobody else draws on them, so the caller may know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.ledger.book import NOTHING, Spend, Standing
from app.ledger.rules import METRICS


@dataclass(frozen=True, slots=True)
class Rest:
    """How one budget stands; ``left`` is never below zero."""

    metric: str
    limit: int
    left: int
    renews_at: datetime
    renews_in_s: float


@dataclass(slots=True)
class Allowance:
    """One call's own budgets, known by the way: every reservation of its sees them. The last one
    counts."""

    standings: tuple[Standing, ...] = ()
    # What the call has of them: held, or spent where that is known by now.
    taken: Spend = NOTHING

    def rests(self, now: datetime) -> list[Rest]:
        """Return the budget with the least left of each metric. What is over by ``now`` says
        nothing, and a shadow stops nobody."""
        rests = [
            _rest(it, self.taken, now)
            for it in self.standings
            if it.account.budget.is_enforced and it.account.window.end > now
        ]
        return [
            min(of_metric, key=_tightness)
            for metric in METRICS
            if (of_metric := [it for it in rests if it.metric == metric])
        ]


def _rest(standing: Standing, taken: Spend, now: datetime) -> Rest:
    budget, end = standing.account.budget, standing.account.window.end
    left = max(0, standing.left - taken.of(budget.metric))
    return Rest(budget.metric, budget.limit, left, end, (end - now).total_seconds())


def _tightness(rest: Rest) -> tuple[int, float]:
    return rest.left, -rest.renews_at.timestamp()
