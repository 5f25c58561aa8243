"""Budgets as administrators see and set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.alerting.budgets import runs_out_on
from app.config.catalog import Catalog
from app.config.settings import BudgetSettings
from app.ledger.book import Line
from app.ledger.gauges import BudgetGauge, fullest_gauges
from app.ledger.history import PastHold, Stopped, holds_of, stopped_by
from app.ledger.periods import PERIODS, window_at
from app.ledger.raises import end_raises_of
from app.ledger.rules import EVERYBODY, Account, Budget, Payer, accounts_for
from app.ledger.standings import (
    BEFORE_ALL,
    BudgetFilter,
    Position,
    Standing,
    lines_of,
    page_of_standings,
)
from app.ledger.store import LedgerStore
from app.services.actions import RecordAction, unrecorded
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import ConflictError, InvalidFieldError, NotFoundError

# Scopes whose subject is a name of the trail's own.
PAYERS = ("user", "team", "key")
MOST_AT_ONCE = 1_000


class UnknownSubjectError(InvalidFieldError):
    """A budget must say whose it is, and a model's must be of one that exists."""

    def __init__(self) -> None:
        super().__init__("not_a_subject", param="subject")


class BudgetExistsError(ConflictError):
    """There is a budget of this scope, subject, metric and period already."""


class BudgetNotFoundError(NotFoundError):
    """There is no budget of this scope, subject, metric and period."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One budget, whose it is, and how it stands in its present period; money in micro-USD."""

    id: int
    scope: str
    subject: str
    metric: str
    period: str
    mode: str
    limit: int
    # By which it is raised now, and for how long each raise lasts is with the raises.
    raised: int
    posted: int
    pending: int
    left: int
    would_refuse: int
    credited: int
    renews_at: datetime
    # Of a budget for everybody, the line of one of them.
    is_everybodys: bool

    def as_dict(self) -> dict[str, Any]:
        """Return what the command line shows."""
        return {name: getattr(self, name) for name in self.__slots__}


def _state(standing: Standing, ends: Mapping[str, datetime]) -> BudgetState:
    budget, line = standing.budget, standing.line
    left = budget.limit + standing.raised - line.posted - line.pending + line.credited
    return BudgetState(
        id=budget.id,
        scope=budget.scope,
        subject=standing.subject,
        metric=budget.metric,
        period=budget.period,
        mode=budget.mode,
        limit=budget.limit,
        raised=standing.raised,
        posted=line.posted,
        pending=line.pending,
        left=max(0, left),
        would_refuse=line.would_refuse,
        credited=line.credited,
        renews_at=ends[budget.period],
        is_everybodys=budget.subject == EVERYBODY,
    )


def _of_account(account: Account, line: Line) -> BudgetState:
    """As `_state`, of an account, whose limit has its raises in it."""
    raised = replace(account.budget, raises=())
    standing = Standing(raised, account.subject, line, 0)
    return _state(standing, {account.budget.period: account.window.end})


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
        self._check_subject(scope, subject)
        before = self._at(scope, subject, metric, period)
        return self._set(before, scope, subject, metric, period, limit, mode)

    def create(
        self, *, scope: str, subject: str, metric: str, period: str, limit: int, mode: str
    ) -> BudgetState:
        """As `set`, where there is none yet.

        Raises: BudgetExistsError, UnknownSubjectError, DatabaseUnavailableError.
        """
        self._check_subject(scope, subject)
        if self._at(scope, subject, metric, period) is not None:
            raise BudgetExistsError(f"{scope} {subject} {metric}/{period}")
        made = self._set(None, scope, subject, metric, period, limit, mode)
        return self.state(made.id)

    def change(
        self, budget_id: int, *, limit: int | None = None, mode: str | None = None
    ) -> BudgetState:
        """Change a budget, as `set` does; None leaves it as it is.

        Raises: BudgetNotFoundError, DatabaseUnavailableError.
        """
        it = self.one(budget_id)
        place = (it.scope, it.subject, it.metric, it.period)
        self._set(it, *place, it.limit if limit is None else limit, mode or it.mode)
        return self.state(budget_id)

    def remove(self, *, scope: str, subject: str, metric: str, period: str) -> None:
        """Take a budget away, one of the configuration's for good; as `set`, within two seconds.

        Raises: BudgetNotFoundError, DatabaseUnavailableError.
        """
        before = self._at(scope, subject, metric, period)
        if before is None:
            raise BudgetNotFoundError(subject)
        self.remove_by_id(before.id)

    def remove_by_id(self, budget_id: int) -> None:
        """As `remove`; its raises end with it."""
        it = self.one(budget_id)
        if not self._store.remove_budget(it.scope, it.subject, it.metric, it.period):
            raise BudgetNotFoundError(budget_id)
        with self._store.asking() as cursor:
            end_raises_of(cursor, budget_id, self._clock.now(), actor_var.get())
        self._recorded("budget_removed", it, it, None)

    def rules(self) -> list[Budget]:
        """Return the budgets themselves, and change nothing."""
        return self._store.budgets()

    def states(self) -> list[BudgetState]:
        """Return every budget; one for everybody also for each who has drawn on it."""
        found, after = self.page(BudgetFilter(), MOST_AT_ONCE)
        while after is not None:
            more, after = self.page(BudgetFilter(), MOST_AT_ONCE, after)
            found += more
        return found

    def state(self, budget_id: int) -> BudgetState:
        """Return how a budget's own line stands. Raises: BudgetNotFoundError."""
        it = self.one(budget_id)
        states, _ = self.page(BudgetFilter(budget=budget_id, subject=it.subject), 1)
        if not states:
            raise BudgetNotFoundError(budget_id)
        return states[0]

    def page(
        self, wanted: BudgetFilter, limit: int, after: Position = BEFORE_ALL
    ) -> tuple[list[BudgetState], Position | None]:
        """Return so many lines of budgets as they stand now, and the last one's place, if more
        follow.

        Raises: DatabaseUnavailableError.
        """
        self._store.add_missing(self._catalog.limits)
        now = self._clock.now()
        windows = {period: window_at(period, now, self._zone) for period in PERIODS}
        starts = {period: it.start for period, it in windows.items()}
        with self._store.asking() as cursor:
            found = page_of_standings(cursor, starts, now, wanted, limit + 1, after)
        ends = {period: it.end for period, it in windows.items()}
        shown = [_state(it, ends) for it in found[:limit]]
        return shown, (shown[-1].id, shown[-1].subject) if len(found) > limit else None

    def binding(self, payer: Payer) -> list[BudgetState]:
        """Return the budgets that bind whoever pays, but for models', as they stand; also those
        that nobody has drawn on. Raises: DatabaseUnavailableError."""
        now = self._clock.now()
        budgets = [it for it in self._known() if it.scope != "model"]
        accounts = accounts_for(budgets, payer, (), now, self._zone)
        with self._store.asking() as cursor:
            lines = lines_of(cursor, [it.key for it in accounts])
        return [_of_account(it, lines[it.key]) for it in accounts]

    def would_stop(self, budget_id: int, limit: int) -> list[Stopped]:
        """Return whom a shadow budget would have stopped in its present period.

        Raises: BudgetNotFoundError, DatabaseUnavailableError.
        """
        start = window_at(self.one(budget_id).period, self._clock.now(), self._zone).start
        with self._store.asking() as cursor:
            return stopped_by(cursor, budget_id, start, limit)

    def fullest(self, limit: int) -> list[tuple[BudgetGauge, str | None]]:
        """Return the budgets of a day or more: the whole company's, then those that are used by a
        fifth at least, the fullest first; and the day on which each runs out at its pace, if that
        is before it renews.

        Raises: DatabaseUnavailableError.
        """
        now = self._clock.now()
        with self._store.asking() as cursor:
            found = fullest_gauges(cursor, now, self._zone, limit)
        return [(it, runs_out_on(it, now, self._zone)) for it in found]

    def holds_of(self, call_id: str) -> list[PastHold]:
        """Return what a call held, one for each model that was asked.

        Raises: DatabaseUnavailableError.
        """
        with self._store.asking() as cursor:
            return holds_of(cursor, call_id)

    def close(self) -> None:
        self._store.close()

    def _check_subject(self, scope: str, subject: str) -> None:
        """Raises: UnknownSubjectError."""
        if (scope == "global") is bool(subject):
            raise UnknownSubjectError
        if scope == "model" and subject != EVERYBODY and subject not in self._catalog:
            raise UnknownSubjectError

    def _set(self, before: Budget | None, *place_and_amount: Any) -> Budget:
        after = self._store.set_budget(*place_and_amount)
        self._recorded("budget_set", before or after, before, after)
        return after

    def _at(self, *place: str) -> Budget | None:
        found = self._known()
        return next(
            (it for it in found if (it.scope, it.subject, it.metric, it.period) == place), None
        )

    def one(self, budget_id: int) -> Budget:
        """Raises: BudgetNotFoundError, DatabaseUnavailableError."""
        it = next((it for it in self._known() if it.id == budget_id), None)
        if it is None:
            raise BudgetNotFoundError(budget_id)
        return it

    def _known(self) -> list[Budget]:
        self._store.add_missing(self._catalog.limits)
        return self._store.budgets()

    def _recorded(
        self, action: str, of: Budget, before: Budget | None, after: Budget | None
    ) -> None:
        self._record(
            action,
            before=_amount(before),
            after=_amount(after),
            scope=of.scope,
            metric=of.metric,
            period=of.period,
            **whose(of, of.subject),
        )


def whose(budget: Budget, subject: str) -> dict[str, Any]:
    """Return whose it is, by the trail's own name for it."""
    if budget.scope in PAYERS and subject != EVERYBODY:
        return {budget.scope: subject}
    return {"subject": subject}


def _amount(budget: Budget | None) -> dict[str, Any] | None:
    return None if budget is None else {"limit": budget.limit, "mode": budget.mode}
