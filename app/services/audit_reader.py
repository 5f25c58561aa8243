"""Questions to the audit trail: what was used, what happened, what to charge, what if."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from app.audit.calls import past_calls
from app.audit.chain import AuditKeys
from app.audit.closing import Closing, Statement
from app.audit.days import Span
from app.audit.queries import (
    NOBODYS,
    EventFilter,
    EventRecord,
    HourlyCalls,
    Position,
    TrailQueries,
)
from app.audit.recount import Recount, recount
from app.config.catalog import Catalog
from app.ledger.rules import Budget
from app.services.replay import Replay, Replayed
from app.utils.clock import Clock


class AuditReader:
    """Blocking: for the command line, and for views that run in threads. Days are of ``zone``.

    Every method raises DatabaseUnavailableError while Postgres is away.
    """

    def __init__(
        self,
        engine: Engine,
        keys: AuditKeys,
        catalog: Catalog,
        budgets: Callable[[], Sequence[Budget]],
        zone: ZoneInfo,
        clock: Clock,
    ) -> None:
        """``budgets`` returns the present ones."""
        self._engine = engine
        self._queries = TrailQueries(engine)
        self._closing = Closing(engine, keys, zone)
        self._catalog = catalog
        self._budgets = budgets
        self._clock = clock
        self.zone = zone

    def usage(
        self,
        by: Sequence[str],
        first: date | None = None,
        last: date | None = None,
        of: Mapping[str, str] = NOBODYS,
    ) -> list[dict[str, Any]]:
        """As `TrailQueries.usage`."""
        return self._queries.usage(by, first, last, of)

    def calls_by_hour(self, since: datetime, until: datetime) -> list[HourlyCalls]:
        """As `TrailQueries.calls_by_hour`."""
        return self._queries.calls_by_hour(since, until)

    def events(self, wanted: EventFilter) -> list[EventRecord]:
        """As `TrailQueries.events`."""
        return self._queries.events(wanted)

    def event_page(self, wanted: EventFilter) -> tuple[list[EventRecord], Position | None]:
        """As `TrailQueries.page`."""
        return self._queries.page(wanted)

    def recount(self, first: date | None = None, last: date | None = None) -> Recount:
        """As `recount`."""
        return recount(self._engine, self.zone, first, last)

    def chargeback(self, month: date) -> Statement:
        """As `Closing.statement`."""
        return self._closing.statement(month, self._clock.now())

    def replay(
        self,
        first: date,
        last: date,
        prices: Catalog | None = None,
        budgets: Sequence[Budget] | None = None,
    ) -> Replayed:
        """Replay the calls of these days, both included; by default under the present budgets.

        Budgets begin empty: let ``first`` be where their periods begin.
        """
        span = Span(first, last, self.zone)
        chosen = list(self._budgets() if budgets is None else budgets)
        replay = Replay(prices or self._catalog, prices, chosen, self.zone)
        return replay.run(past_calls(self._engine, span.start, span.end))
