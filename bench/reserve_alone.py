"""One reservation at a time: where the wall time of its way to Postgres and back goes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2.extensions
import uvloop
from sqlalchemy import create_engine

from app.config.settings import PROJECT_ROOT
from app.ledger.batcher import LedgerBatcher
from app.ledger.book import Demand, Operation, Outcome, Reserve, Settle, Spend
from app.ledger.periods import window_at
from app.ledger.rules import Account
from app.ledger.store import LedgerStore
from app.utils.clock import SystemClock
from bench.contenders.base import STOP_GRACE_S, StartError, Workplace, passed_environment
from bench.engine import start_engine
from bench.machine import on_core
from bench.table import Block, duration, in_columns
from bench.wire import MODEL

CALLS = 1000
# The first open the lines, and have Postgres plan.
WARM_UP = 50
LIMIT = 10**12


class Stopwatch:
    """Adds up what one reservation spends in Postgres."""

    def __init__(self) -> None:
        self.trips = 0
        self.in_postgres_s = 0.0
        self.in_thread_s = 0.0

    def reset(self) -> None:
        self.trips, self.in_postgres_s, self.in_thread_s = 0, 0.0, 0.0

    def timed(self, run: Callable[..., Any], *arguments: Any) -> Any:
        started_at_s = time.perf_counter()
        try:
            return run(*arguments)
        finally:
            self.trips += 1
            self.in_postgres_s += time.perf_counter() - started_at_s

    def connect(self, dsn: str) -> Any:
        """Return a connection whose every statement, and commit, is timed."""
        watch = self

        class TimedCursor(psycopg2.extensions.cursor):
            def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002  # as its base
                watch.timed(super().execute, query, vars)

        class TimedConnection(psycopg2.extensions.connection):
            def commit(self) -> None:
                watch.timed(super().commit)

        return psycopg2.connect(dsn, connection_factory=TimedConnection, cursor_factory=TimedCursor)


def reserve_alone_lines(place: Workplace) -> list[str]:
    folder = place.folder / "alone"
    keeper, url = start_engine("postgres", folder, place)
    try:
        _upgrade(url, folder)
        with on_core(place.cores.server):
            rows = uvloop.run(_measure(url))
    finally:
        keeper.stop(STOP_GRACE_S)
    heads = (
        "one client, p50",
        "wall time",
        "in Postgres",
        "round trips",
        "thread, Python",
        "hand-over",
    )
    return in_columns(Block(heads, rows))


def _upgrade(url: str, folder: Path) -> None:
    variables = {
        **passed_environment(),
        "DATABASE_URL": url,
        "ENVIRONMENT": "development",
        "SPOOL_DIR": str(folder / "spool"),
    }
    command = [str(Path(sys.executable).with_name("solaris")), "db", "upgrade"]
    result = subprocess.run(
        command, env=variables, cwd=PROJECT_ROOT, capture_output=True, check=False
    )
    if result.returncode != 0:
        raise StartError(result.stderr.decode(errors="replace")[-2000:])


async def _measure(url: str) -> list[tuple[str, ...]]:
    watch = Stopwatch()
    engine = create_engine(
        "postgresql+psycopg2://", creator=lambda: watch.connect(url), max_overflow=0
    )
    store = LedgerStore(engine)
    batcher: LedgerBatcher[Operation, Outcome] = LedgerBatcher(
        lambda operations: _apply(store, watch, operations),
        is_urgent=lambda operation: isinstance(operation, Reserve),
    )
    accounts = _accounts(store)
    reserves, settles = [], []
    for number in range(CALLS + WARM_UP):
        request_id = f"alone-{number:06d}"
        reserves.append(await _timed(batcher, watch, _reserve(request_id, accounts)))
        settles.append(await _timed(batcher, watch, Settle(request_id, Spend(75, 705))))
    await asyncio.to_thread(batcher.close)
    store.close()
    return [_row("reserve", reserves[WARM_UP:]), _row("settle", settles[WARM_UP:])]


def _apply(store: LedgerStore, watch: Stopwatch, operations: Sequence[Operation]) -> list[Outcome]:
    started_at_s = time.perf_counter()
    outcomes = store.apply(operations)
    watch.in_thread_s = time.perf_counter() - started_at_s
    return outcomes


async def _timed(
    batcher: LedgerBatcher[Operation, Outcome], watch: Stopwatch, operation: Operation
) -> tuple[float, float, int, float]:
    watch.reset()
    started_at_s = time.perf_counter()
    await batcher.run(operation)
    return (
        time.perf_counter() - started_at_s,
        watch.in_postgres_s,
        watch.trips,
        watch.in_thread_s,
    )


def _row(name: str, measured: Sequence[tuple[float, float, int, float]]) -> tuple[str, ...]:
    return (
        name,
        duration(median(wall for wall, _, _, _ in measured)),
        duration(median(postgres for _, postgres, _, _ in measured)),
        f"{median(trips for _, _, trips, _ in measured):.0f}",
        duration(median(thread - postgres for _, postgres, _, thread in measured)),
        duration(median(wall - thread for wall, _, _, thread in measured)),
    )


def _accounts(store: LedgerStore) -> tuple[Account, ...]:
    """Return as many lines as the shipped budgets have for any model: one enforced, two not."""
    now, zone = SystemClock().now(), ZoneInfo("UTC")
    budgets = [
        store.set_budget("global", "", "cost", "month", LIMIT, "enforce"),
        store.set_budget("global", "", "tokens", "minute", LIMIT, "shadow"),
        store.set_budget("global", "", "requests", "minute", LIMIT, "shadow"),
    ]
    return tuple(Account(it, "", window_at(it.period, now, zone)) for it in budgets)


def _reserve(request_id: str, accounts: tuple[Account, ...]) -> Reserve:
    demand = Demand(300, 256, 1, 5_000_000, 15_000_000, is_flexible=False)
    expires_at = datetime.now(UTC) + timedelta(seconds=30)
    return Reserve(request_id, MODEL, accounts, demand, expires_at)
