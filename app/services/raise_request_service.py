"""A person asks for more of their budget; an administrator approves or declines.

Reasons and answers are kept with the request, not on record: they may name a person, and could
never be erased.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.ledger.rules import EVERYBODY
from app.services.actions import RecordAction, unrecorded
from app.services.budget_service import BudgetNotFoundError, BudgetService
from app.services.raise_request_store import RaiseRequest, RaiseRequestStore
from app.services.raise_service import RaiseService
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import ConflictError, NotFoundError

MOST_DAYS = 92


class RaiseRequestNotFoundError(NotFoundError):
    """Nobody has asked under this number."""


class RaiseRequestDecidedError(ConflictError):
    """It has its answer."""

    sentence = "no_longer"


class RaiseRequestService:
    """Blocking: for views that run in threads."""

    def __init__(
        self,
        store: RaiseRequestStore,
        budgets: BudgetService,
        raises: RaiseService,
        clock: Clock,
        record: RecordAction = unrecorded,
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._raises = raises
        self._clock = clock
        self._record = record

    def ask(
        self, user_id: str, budget_id: int, *, amount: int, days: int, reason: str
    ) -> RaiseRequest:
        """Ask for ``amount`` more of a budget that binds this person, for so many days.

        Raises: BudgetNotFoundError, also for somebody else's budget; AlreadyAskedError,
        DatabaseUnavailableError.
        """
        budget = self._budgets.one(budget_id)
        if budget.scope != "user" or budget.subject not in (user_id, EVERYBODY):
            raise BudgetNotFoundError(budget_id)
        asked = self._store.add(
            budget_id=budget_id,
            subject=user_id,
            amount=amount,
            days=days,
            reason=reason,
            now=self._clock.now(),
        )
        self._recorded("raise_requested", asked, amount=amount, days=days)
        return asked

    def page(
        self,
        limit: int,
        *,
        state: str | None = None,
        subject: str | None = None,
        before: int | None = None,
    ) -> tuple[list[RaiseRequest], int | None]:
        """Return requests, the latest first; and the last one's number, if more follow.

        Raises: DatabaseUnavailableError.
        """
        found = self._store.page(limit + 1, state=state, subject=subject, before=before)
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    def approve(
        self, request_id: int, *, amount: int | None = None, days: int | None = None
    ) -> RaiseRequest:
        """Grant what was asked for, or another amount or time; it binds within two seconds.

        Raises: RaiseRequestNotFoundError, RaiseRequestDecidedError, BudgetNotFoundError,
        DatabaseUnavailableError.
        """
        asked = self._decide(request_id, "approved", "")
        expires_at = self._clock.now() + timedelta(days=days or asked.days)
        try:
            granted = self._raises.grant(
                asked.budget_id,
                subject=asked.subject,
                amount=amount or asked.amount,
                expires_at=expires_at,
                reason=asked.reason,
            )
        except BaseException:
            self._store.reopen(request_id)
            raise
        self._store.granted(request_id, granted.id)
        facts = {"amount": granted.amount, "expires_at": granted.expires_at}
        self._recorded("raise_request_approved", asked, **facts)
        return self.one(request_id)

    def decline(self, request_id: int, *, answer: str = "") -> RaiseRequest:
        """Raises: RaiseRequestNotFoundError, RaiseRequestDecidedError, DatabaseUnavailableError."""
        asked = self._decide(request_id, "declined", answer)
        self._recorded("raise_request_declined", asked)
        return self.one(request_id)

    def one(self, request_id: int) -> RaiseRequest:
        """Raises: RaiseRequestNotFoundError, DatabaseUnavailableError."""
        found = self._store.one(request_id)
        if found is None:
            raise RaiseRequestNotFoundError(request_id)
        return found

    def _decide(self, request_id: int, state: str, answer: str) -> RaiseRequest:
        asked = self.one(request_id)
        is_decided = self._store.decide(
            request_id, state=state, now=self._clock.now(), by=actor_var.get(), answer=answer
        )
        if not is_decided:
            raise RaiseRequestDecidedError(request_id)
        return asked

    def _recorded(self, action: str, asked: RaiseRequest, **facts: Any) -> None:
        self._record(
            action,
            user=asked.subject,
            request=asked.id,
            metric=asked.metric,
            period=asked.period,
            **facts,
        )
