"""Compares a day's requests with what LiteLLM says of them, by itself once a day and when asked.

Only reads, but for two things: what was settled on an estimate is corrected where LiteLLM knows
better, and what was found is kept and put on record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.audit.days import DAY, EARLIEST, LATEST, Span
from app.audit.event import AuditEvent
from app.audit.reading import snapshot
from app.audit.recount import DROPPED
from app.audit.store import RETRY_AFTER_S, AuditStore, transaction
from app.config.catalog import Catalog
from app.dialects.base import Usage
from app.ledger.store import LedgerStore
from app.reconciliation.bill import BillRow, beside
from app.reconciliation.compare import Pair, Tolerance, can_be_corrected, compare
from app.reconciliation.later_truth import LaterTruth
from app.reconciliation.result import (
    LAST_DAY,
    Gathered,
    Reconciliation,
    latest,
    save,
    saved,
)
from app.reconciliation.sides import pairs_of
from app.services.token_service import cost_of
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    InvalidFieldError,
    NotFoundError,
)
from app.utils.helpers import generate_request_id

logger = logging.getLogger("reconciliation")

RECONCILED = "reconciled"
# "reconcil" in ASCII: any number will do that nobody else locks.
LOCK_ID = 0x7265636F6E63696C
TRY_LOCK, UNLOCK = "SELECT pg_try_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)"
# What began in the day's last minutes is over by then, and its event here; and a month is closed
# an hour after its end, with the corrections of its last day.
DUE_AFTER = timedelta(minutes=30)
# Days that nobody reconciled, while all was switched off.
MOST_DAYS_LATE = 7
LOOK_EVERY_S = 60.0
CORRECTED_AT_ONCE = 200
CLOSE_PATIENCE_S = 5.0


class AlreadyReconcilingError(ConflictError):
    """Another process is at it: one at a time."""

    sentence = "busy"


class FutureDayError(InvalidFieldError):
    """The day is still to come."""

    def __init__(self) -> None:
        super().__init__("not_past", param="day")


class DayDroppedError(NotFoundError):
    """Retention dropped rows of the day: there is nothing to compare with."""


class DayNotReconciledError(NotFoundError):
    """Nobody has compared the day yet."""


class _StoppedError(Exception):
    """The worker closes; the day is begun again by another, or later."""


class ReconciliationService:
    """One instance a process; every method but `open` and `close` blocks. Days are of ``zone``."""

    def __init__(
        self,
        engine: Engine,
        ledger: LedgerStore,
        trail: AuditStore,
        catalog: Catalog,
        zone: ZoneInfo,
        clock: Clock,
        *,
        look_every_s: float = LOOK_EVERY_S,
        tolerance: Tolerance | None = None,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._trail = trail
        self._catalog = catalog
        self._clock = clock
        self._look_every_s = look_every_s
        self._tolerance = tolerance or Tolerance()
        self._later_truth = LaterTruth(engine, ledger.apply, trail, self._price)
        self._stopped = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self.zone = zone

    async def open(self) -> None:
        """Look from time to time whether a day is due."""
        self._stopped.clear()
        self._task = asyncio.create_task(self._keep_looking(), name="reconciliation")

    async def close(self) -> None:
        self._stopped.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await asyncio.to_thread(self._ledger.close)

    def reconcile(self, day: date) -> Reconciliation:
        """Compare a day, correct what can be, keep and record what was found. Again whenever
        asked, with the same result where nothing new has come.

        Raises: FutureDayError, AlreadyReconcilingError, DayDroppedError,
        DatabaseUnavailableError.
        """
        if day > self.today():
            raise FutureDayError
        with self._alone():
            if self._is_dropped(day):
                raise DayDroppedError(day)
            return self._reconciled(day)

    def reconcile_due(self) -> list[Reconciliation]:
        """Compare the days that are over and have not been, where no other process does.

        Raises: DatabaseUnavailableError.
        """
        try:
            with self._alone():
                return [self._reconciled(day) for day in self._due()]
        except AlreadyReconcilingError:
            return []

    def results(self, first: date, last: date) -> list[Reconciliation]:
        """Return what was found of these days, both included, as far as they were compared.

        Raises: DatabaseUnavailableError.
        """
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            return list(saved(cursor, first, last))

    def result(self, day: date) -> Reconciliation:
        """Return what was found of a day.

        Raises: DayNotReconciledError, DatabaseUnavailableError.
        """
        found = self.results(day, day)
        if not found:
            raise DayNotReconciledError(day)
        return found[0]

    def page(
        self, first: date | None, last: date | None, limit: int, before: date | None = None
    ) -> tuple[list[Reconciliation], date | None]:
        """Return what was found of the last ``limit`` of these days, the latest first; and the
        first of them, if there are earlier ones.

        Raises: DatabaseUnavailableError.
        """
        span = (first or EARLIEST, min(last or LATEST, before - DAY if before else LATEST))
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            found = list(latest(cursor, *span, limit + 1))
        shown = found[:limit]
        return shown, shown[-1].day if len(found) > limit else None

    def yesterday(self) -> date:
        return self.today() - DAY

    def today(self) -> date:
        return self._clock.now().astimezone(self.zone).date()

    def beside_bill(
        self, days: Sequence[Reconciliation], bill: dict[tuple[date, str], int]
    ) -> list[BillRow]:
        """Put what a provider bills for these days beside what both sides have."""
        known = {it.day for it in days}
        ours, theirs = (
            {(it.day, row["model"] or ""): row[name] for it in days for row in it.models}
            for name in ("our_micro_usd", "litellm_micro_usd")
        )
        return beside(
            {place: cost for place, cost in bill.items() if place[0] in known},
            ours,
            theirs,
            self._catalog,
        )

    def _reconciled(self, day: date) -> Reconciliation:
        gathered = Gathered()
        for pair in self._corrected(pairs_of(self._engine, day, self.zone)):
            if verdict := compare(pair, self._tolerance):
                gathered.add(pair, verdict)
        found = gathered.result(day, self.zone.key, self._clock.now())
        with transaction(self._engine) as cursor:
            self._trail.append_in(cursor, [self._event(found)])
            save(cursor, found)
        logger.info(RECONCILED, extra=found.counts)
        return found

    def _corrected(self, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """Yield every pair, some later, when what can be corrected of it has been."""
        waiting: list[Pair] = []
        for pair in pairs:
            if self._stopped.is_set():
                raise _StoppedError
            if not can_be_corrected(pair):
                yield pair
                continue
            waiting.append(pair)
            if len(waiting) >= CORRECTED_AT_ONCE:
                yield from self._correct(waiting)
                waiting = []
        if waiting:
            yield from self._correct(waiting)

    def _correct(self, pairs: Sequence[Pair]) -> list[Pair]:
        return self._later_truth.correct(pairs, actor_var.get(), self._clock.now())

    def _event(self, found: Reconciliation) -> AuditEvent:
        return AuditEvent(
            event_id=generate_request_id(),
            at=found.reconciled_at,
            event=RECONCILED,
            detail={"by": actor_var.get(), **found.counts},
        )

    def _due(self) -> list[date]:
        """Return the days to compare, the earliest first: only yesterday, the first time."""
        last = (self._clock.now() - DUE_AFTER).astimezone(self.zone).date() - DAY
        first = max(min(self._last_done() or last, last), last - (MOST_DAYS_LATE - 1) * DAY)
        done = {it.day for it in self.results(first, last) if self._is_final(it)}
        return [day for day in Span(first, last, self.zone).days() if day not in done]

    def _is_dropped(self, day: date) -> bool:
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            cursor.execute(DROPPED)
            return bool(Span(day, day, self.zone).days_in(month for (month,) in cursor.fetchall()))

    def _is_final(self, found: Reconciliation) -> bool:
        """Tell whether the day was over when it was compared."""
        end = Span(found.day, found.day, ZoneInfo(found.timezone)).end
        return found.reconciled_at >= end + DUE_AFTER

    def _last_done(self) -> date | None:
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            cursor.execute(LAST_DAY)
            found: date | None = cursor.fetchone()[0]
            return found

    def _price(self, model: str, usage: Usage) -> int | None:
        known = self._catalog.models.get(model)
        return cost_of(known, usage) if known else None

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                await asyncio.to_thread(self.reconcile_due)
            except DatabaseUnavailableError:
                continue
            except _StoppedError:
                return
            except Exception:
                # Migrations that are not done yet, for one: whatever it is, it may pass.
                logger.exception("reconciliation_failed")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises: AlreadyReconcilingError, DatabaseUnavailableError."""
        try:
            connection: Any = self._engine.raw_connection()
        except (DBAPIError, PoolTimeoutError) as fault:
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
        try:
            if not _asked(connection, TRY_LOCK):
                raise AlreadyReconcilingError
            try:
                yield
            finally:
                _unlock(connection)
        except psycopg2.Error as fault:
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
        finally:
            connection.close()


def _asked(connection: Any, question: str) -> bool:
    """The lock is the session's: no transaction is open while it all goes on."""
    with connection.cursor() as cursor:
        cursor.execute(question, (LOCK_ID,))
        answer = cursor.fetchone()
    connection.commit()
    return bool(answer[0])


def _unlock(connection: Any) -> None:
    """Not by ending the session alone: Postgres notices that a little later."""
    try:
        _asked(connection, UNLOCK)
    except psycopg2.Error:
        connection.invalidate()
