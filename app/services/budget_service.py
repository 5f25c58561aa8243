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
from app.services.actions import RecordAction, unrecorded
from app.utils.clock import Clock

# Scopes whose subject is a name of the trail's own.
PAYERS = ("user", "team", "key")


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
            "left": max(0, budget.limit - line.posted - line.pending + line.credited),
            "would_refuse": line.would_refuse,
            "credited": line.credited,
            "renews_at": self.account.window.end,
        }


class BudgetService:
    """Blocking: for the command line, and for views that run in threads."""

    def __init__(
        self,
        settings: BudgetSettings,
        catalog: Catalog,
        store: LedgerStore,
        clock: Clock,
        record: RecordAction = unrecorded,
    ) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._record = record

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
        before = self._at(scope, subject, metric, period)
        after = self._store.set_budget(scope, subject, metric, period, limit, mode)
        self._recorded("budget_set", before or after, before, after)
        return after

    def remove(self, *, scope: str, subject: str, metric: str, period: str) -> None:
        """Take a budget away, one of the configuration's for good; as `set`, within two seconds.

        Raises: BudgetNotFoundError, DatabaseUnavailableError.
        """
        self._store.add_missing(self._catalog.limits)
        before = self._at(scope, subject, metric, period)
        if before is None or not self._store.remove_budget(scope, subject, metric, period):
            raise BudgetNotFoundError(subject)
        self._recorded("budget_removed", before, before, None)

    def _at(self, *place: str) -> Budget | None:
        found = self._store.budgets()
        return next(
            (it for it in found if (it.scope, it.subject, it.metric, it.period) == place), None
        )

    def _recorded(
        self, action: str, of: Budget, before: Budget | None, after: Budget | None
    ) -> None:
        whose: dict[str, Any] = {}
        if of.scope in PAYERS and of.subject != EVERYBODY:
            whose[of.scope] = of.subject
        else:
            whose["subject"] = of.subject
        self._record(
            action,
            before=_amount(before),
            after=_amount(after),
            scope=of.scope,
            metric=of.metric,
            period=of.period,
            **whose,
        )

    def close(self) -> None:
        self._store.close()

    def rules(self) -> list[Budget]:
        """Return the budgets themselves, and change nothing."""
        return self._store.budgets()

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


def _amount(budget: Budget | None) -> dict[str, Any] | None:
    return {"limit": budget.limit, "mode": budget.mode} if budget else None
