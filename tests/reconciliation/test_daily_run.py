"""A day is compared by itself, once, when it is over, whatever else runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine

from app.audit.queries import EventFilter, TrailQueries
from app.audit.store import AuditStore
from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings
from app.ledger.store import LedgerStore
from app.services.reconciliation_service import (
    LOCK_ID,
    AlreadyReconcilingError,
    ReconciliationService,
)
from tests.audit.trails import ZONE, changed
from tests.fakes.clock import FakeClock
from tests.reconciliation.days import DAY, Day, request_id
from tests.waiting import wait_until

ONE = timedelta(days=1)


class ClockAt(FakeClock):
    def __init__(self, now: datetime) -> None:
        super().__init__()
        self._now = now


def service_at(
    engine: Engine, store: AuditStore, now: datetime, look_every_s: float = 60.0
) -> ReconciliationService:
    catalog = load_catalog(LiteLLMSettings().config_path)
    return ReconciliationService(
        engine,
        LedgerStore(engine),
        store,
        catalog,
        ZONE,
        ClockAt(now),
        look_every_s=look_every_s,
    )


@pytest.fixture
def somebody_else_at_it(engine: Engine) -> Iterator[None]:
    with changed(engine) as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK_ID,))
        yield
        cursor.execute("SELECT pg_advisory_unlock(%s)", (LOCK_ID,))


def days_of(service: ReconciliationService) -> list[date]:
    return [it.day for it in service.reconcile_due()]


def test_yesterday_is_due_once(service: ReconciliationService) -> None:
    assert [days_of(service) for _ in range(3)] == [[DAY], [], []]


@pytest.mark.parametrize(("minutes", "due"), [(29, DAY - ONE), (30, DAY)])
def test_day_is_due_half_an_hour_after_its_end(
    engine: Engine, store: AuditStore, minutes: int, due: date
) -> None:
    midnight = datetime(2026, 11, 23, 3, tzinfo=UTC)

    assert days_of(service_at(engine, store, midnight + timedelta(minutes=minutes))) == [due]


def test_day_that_was_compared_before_its_end_is_due_again(
    engine: Engine, store: AuditStore, service: ReconciliationService
) -> None:
    service_at(engine, store, datetime(2026, 11, 22, 20, tzinfo=UTC)).reconcile(DAY)

    assert days_of(service) == [DAY]


def test_days_that_nobody_compared_are_made_up_for(
    engine: Engine, store: AuditStore, service: ReconciliationService
) -> None:
    service_at(engine, store, datetime(2026, 11, 20, 12, tzinfo=UTC)).reconcile_due()

    assert days_of(service) == [DAY - 2 * ONE, DAY - ONE, DAY]


def test_a_week_is_made_up_for_at_most(
    engine: Engine, store: AuditStore, service: ReconciliationService
) -> None:
    service_at(engine, store, datetime(2026, 9, 1, 12, tzinfo=UTC)).reconcile_due()

    assert days_of(service) == [DAY - days * ONE for days in reversed(range(7))]


def test_many_workers_compare_a_day_once(engine: Engine, store: AuditStore, day: Day) -> None:
    day.add(request_id(1), {}, None)
    day.write()
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    workers = [service_at(engine, store, now) for _ in range(4)]
    together = threading.Barrier(len(workers))

    def work(service: ReconciliationService) -> list[date]:
        together.wait(20)
        return days_of(service)

    with ThreadPoolExecutor(len(workers)) as pool:
        done = list(pool.map(work, workers))

    assert sorted(done) == [[], [], [], [DAY]]
    assert len(TrailQueries(engine).events(EventFilter(event="reconciled"))) == 1


def test_nobody_compares_while_another_does(
    service: ReconciliationService, somebody_else_at_it: None
) -> None:
    assert service.reconcile_due() == []
    with pytest.raises(AlreadyReconcilingError):
        service.reconcile(DAY)


def test_what_was_found_is_on_record_in_numbers(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    day.add(request_id(1), {}, {})
    day.add(request_id(2), {}, None)
    day.add(request_id(3), {}, {"cost_micro_usd": 2_500})
    day.write()

    service.reconcile_due()

    (event,) = TrailQueries(engine).events(EventFilter(event="reconciled"))
    assert event.detail == {
        "by": "system",
        "day": "2026-11-22",
        "matched": 1,
        "missing_here": 0,
        "missing_there": 1,
        "differing": 1,
        "difference_micro_usd": 2_500,
        "adjusted": 0,
    }


def test_results_are_those_of_the_days_that_are_asked_for(
    engine: Engine, store: AuditStore, service: ReconciliationService
) -> None:
    for before in range(3):
        service.reconcile(DAY - before * ONE)

    found = service.results(DAY - ONE, DAY)

    assert [it.day for it in found] == [DAY - ONE, DAY]


def test_worker_looks_by_itself_and_closes_soon(
    engine: Engine, store: AuditStore, service: ReconciliationService
) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    worker = service_at(engine, store, now, look_every_s=0.01)

    async def work() -> None:
        await worker.open()
        try:
            await asyncio.to_thread(wait_until, lambda: service.results(DAY, DAY), 20)
        finally:
            await worker.close()

    asyncio.run(work())

    assert [it.day for it in service.results(DAY - 7 * ONE, DAY)] == [DAY]
