"""Budgets as administrators see and set them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.config.catalog import Catalog
from app.config.settings import BudgetSettings
from app.ledger.book import Line
from app.ledger.periods import window_at
from app.ledger.rules import EVERYBODY, Account, Budget
from app.ledger.store import LedgerStore
from app.utils.clock import Clock


class UnknownSubjectError(ValueError):
    """A budget must say whose it is, and a model's must be of one that exists."""


class BudgetNotFoundError(LookupError):
    """There is no budget of this scope, subject, metric and period."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One budget, whose it is, and how it stands in its present period."""

    account: Account
    line: Line

    def as_dict(self) -> dict[str, Any]:
        """Return what the command line and the API show; money in micro-USD."""
        budget, line = self.account.budget, self.line
        return {
            "scope": budget.scope,
            "subject": self.account.subject,
            "metric": budget.metric,
            "period": budget.period,
            "mode": budget.mode,
            "limit": budget.limit,
            "posted": line.posted,
            "pending": line.pending,
            "left": max(0, budget.limit - line.posted - line.pending),
            "would_refuse": line.would_refuse,
            "renews_at": self.account.window.end,
        }


class BudgetService:
    """Blocking: for the command line, and for views that run in threads."""

    def __init__(
        self, settings: BudgetSettings, catalog: Catalog, store: LedgerStore, clock: Clock
    ) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._catalog = catalog
        self._store = store
        self._clock = clock

    def set(
        self, *, scope: str, subject: str, metric: str, period: str, limit: int, mode: str
    ) -> Budget:
        """Make or change the budget of this place; binds every worker within two seconds.

        Raises: UnknownSubjectError, DatabaseUnavailableError.
        """
        if (scope == "global") is bool(subject):
            raise UnknownSubjectError(subject)
        if scope == "model" and subject != EVERYBODY and subject not in self._catalog:
            raise UnknownSubjectError(subject)
        self._store.add_missing(self._catalog.limits)
        return self._store.set_budget(scope, subject, metric, period, limit, mode)

    def remove(self, *, scope: str, subject: str, metric: str, period: str) -> None:
        """Take a budget away, one of the configuration's for good; as `set`, within two seconds.

        Raises: BudgetNotFoundError, DatabaseUnavailableError.
        """
        self._store.add_missing(self._catalog.limits)
        if not self._store.remove_budget(scope, subject, metric, period):
            raise BudgetNotFoundError(subject)

    def close(self) -> None:
        self._store.close()

    def states(self) -> list[BudgetState]:
        """Return every budget; one for everybody also for each who has drawn on it."""
        self._store.add_missing(self._catalog.limits)
        now = self._clock.now()
        return [state for budget in self._store.budgets() for state in self._states(budget, now)]

    def _states(self, budget: Budget, now: datetime) -> list[BudgetState]:
        window = window_at(budget.period, now, self._zone)
        lines = self._store.lines(budget.id, window.start)
        if budget.subject not in lines:
            lines = {budget.subject: Line(), **lines}
        return [
            BudgetState(Account(budget, subject, window), lines[subject])
            for subject in sorted(lines)
        ]
