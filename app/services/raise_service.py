"""Raises: more of a budget for somebody, for a while, as an administrator grants it.

A raise binds every worker within two seconds and ends at its own moment, or with its budget. The
reason is kept with the raise, not on record: it may name a person, and could never be erased.
"""

from __future__ import annotations

from datetime import datetime

from app.ledger.raises import RaiseRecord, add_raise, end_raise, page_of_raises
from app.ledger.rules import EVERYBODY, Budget, Raise
from app.ledger.store import LedgerStore
from app.services.actions import RecordAction, unrecorded
from app.services.budget_service import BudgetNotFoundError, BudgetService, whose
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import InvalidFieldError, NotFoundError


class RaiseNotFoundError(NotFoundError):
    """No raise of this number lasts."""


class RaiseService:
    """Blocking: for the command line, and for views that run in threads."""

    def __init__(
        self,
        store: LedgerStore,
        budgets: BudgetService,
        clock: Clock,
        record: RecordAction = unrecorded,
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._clock = clock
        self._record = record

    def grant(
        self,
        budget_id: int,
        *,
        amount: int,
        expires_at: datetime,
        reason: str,
        subject: str | None = None,
    ) -> RaiseRecord:
        """Raise a budget by ``amount``; one for everybody, for one ``subject`` of its scope.

        Raises: BudgetNotFoundError, InvalidFieldError, DatabaseUnavailableError.
        """
        budget = self._budgets.one(budget_id)
        whose_line = _subject(budget, subject)
        now = self._clock.now()
        if expires_at <= now:
            raise InvalidFieldError("not_in_future", param="expires_at")
        before = budget.raised(whose_line, now).limit
        with self._store.asking() as cursor:
            raised = Raise(whose_line, amount, now, expires_at)
            record = add_raise(cursor, budget_id, raised, reason=reason, by=actor_var.get())
        self._recorded("budget_raised", record, budget, before, before + amount)
        return record

    def grant_to(
        self,
        *,
        scope: str,
        subject: str,
        metric: str,
        period: str,
        amount: int,
        expires_at: datetime,
        reason: str,
    ) -> RaiseRecord:
        """As `grant`, of the budget that binds ``subject``: their own, else the one for everybody.

        Raises: BudgetNotFoundError, InvalidFieldError, DatabaseUnavailableError.
        """
        wanted = (scope, metric, period)
        found = {
            it.subject: it
            for it in self._budgets.rules()
            if (it.scope, it.metric, it.period) == wanted
        }
        budget = found.get(subject) or found.get(EVERYBODY)
        if budget is None:
            raise BudgetNotFoundError(f"{scope} {subject} {metric}/{period}")
        return self.grant(
            budget.id, subject=subject, amount=amount, expires_at=expires_at, reason=reason
        )

    def end(self, raise_id: int) -> RaiseRecord:
        """End a raise before its time.

        Raises: RaiseNotFoundError, DatabaseUnavailableError.
        """
        now = self._clock.now()
        with self._store.asking() as cursor:
            record = end_raise(cursor, raise_id, now, actor_var.get())
        if record is None:
            raise RaiseNotFoundError(raise_id)
        budget = self._budgets.one(record.budget_id)
        after = budget.raised(record.subject, now).limit
        self._recorded("budget_raise_ended", record, budget, after + record.amount, after)
        return record

    def page(
        self,
        limit: int,
        *,
        past: bool = False,
        budget: int | None = None,
        subject: str | None = None,
        before: int | None = None,
    ) -> tuple[list[RaiseRecord], int | None]:
        """Return the raises that last, or all; the latest first; and the last one's number, if more
        follow.

        Raises: DatabaseUnavailableError.
        """
        now = self._clock.now()
        with self._store.asking() as cursor:
            found = page_of_raises(
                cursor, now, limit + 1, past=past, budget=budget, subject=subject, before=before
            )
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    def _recorded(
        self, action: str, record: RaiseRecord, budget: Budget, before: int, after: int
    ) -> None:
        self._record(
            action,
            before={"limit": before},
            after={"limit": after},
            scope=budget.scope,
            metric=budget.metric,
            period=budget.period,
            expires_at=record.expires_at,
            **whose(budget, record.subject),
        )


def _subject(budget: Budget, subject: str | None) -> str:
    """Return whose line is raised. Raises: InvalidFieldError."""
    if budget.subject == EVERYBODY:
        if not subject or subject == EVERYBODY:
            raise InvalidFieldError("not_whose", param="subject")
        return subject
    if subject not in (None, budget.subject):
        raise InvalidFieldError("not_whose", param="subject")
    return budget.subject
