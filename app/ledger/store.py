"""The ledger in Postgres: a batch of operations is one transaction.

Rows are locked in the order of their keys, holds before lines: two processes' batches deadlocked
without it. Only this module knows the ledger's SQL.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg2
from psycopg2.extras import execute_values
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.config.catalog import Limit
from app.ledger.book import (
    Book,
    Entry,
    Hold,
    HoldState,
    Line,
    LineKey,
    Operation,
    Outcome,
    Refused,
    Spend,
    keys_of,
)
from app.ledger.rules import Budget
from app.utils.exceptions import DatabaseUnavailableError

_HOLD_COLUMNS = (
    "request_id, state, model, user_id, team_id, key_id, entries, held, checkpoint, posted,"
    " is_estimated, expires_at"
)

LOCK_HOLDS = f"""
    SELECT {_HOLD_COLUMNS} FROM holds
    WHERE request_id = ANY(%s) ORDER BY request_id FOR UPDATE
"""  # noqa: S608  # names only
OPEN_LINES = """
    INSERT INTO budget_lines (budget_id, subject, period_start)
    VALUES %s ON CONFLICT DO NOTHING
"""
LOCK_LINES = """
    SELECT line.budget_id, line.subject, line.period_start,
      line.posted, line.pending, line.would_refuse
    FROM budget_lines AS line JOIN (VALUES %s) AS wanted (budget_id, subject, period_start)
      ON line.budget_id = wanted.budget_id
     AND line.subject = wanted.subject
     AND line.period_start = wanted.period_start
    ORDER BY line.budget_id, line.subject, line.period_start FOR UPDATE OF line
"""
SAVE_LINES = """
    UPDATE budget_lines AS line
    SET posted = new.posted, pending = new.pending, would_refuse = new.would_refuse
    FROM (VALUES %s) AS new (budget_id, subject, period_start, posted, pending, would_refuse)
    WHERE line.budget_id = new.budget_id
      AND line.subject = new.subject
      AND line.period_start = new.period_start
"""
SAVE_HOLDS = f"""
    INSERT INTO holds ({_HOLD_COLUMNS}) VALUES %s
    ON CONFLICT (request_id) DO UPDATE SET
      state = excluded.state, model = excluded.model, entries = excluded.entries,
      held = excluded.held, checkpoint = excluded.checkpoint, posted = excluded.posted,
      is_estimated = excluded.is_estimated, expires_at = excluded.expires_at
"""  # noqa: S608  # names only
HOLDS_THERE = "SELECT count(*) FROM holds WHERE request_id = ANY(%s)"
# What is known has been locked; any other hold was made by another process meanwhile.
IF_KNOWN = "WHERE holds.request_id = ANY(%s)"
EXPIRED = """
    SELECT request_id FROM holds WHERE state = 'pending' AND expires_at < %s
    ORDER BY request_id LIMIT %s
"""
BUDGETS = """
    SELECT id, scope, subject, metric, period, limit_amount, mode FROM budgets
    WHERE is_active ORDER BY id
"""
SET_BUDGET = """
    INSERT INTO budgets (scope, subject, metric, period, limit_amount, mode)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT ON CONSTRAINT uq_budgets_place DO UPDATE SET
      limit_amount = excluded.limit_amount, mode = excluded.mode, is_active = true,
      updated_at = now()
    RETURNING id, scope, subject, metric, period, limit_amount, mode
"""
REMOVE_BUDGET = """
    UPDATE budgets SET is_active = false, updated_at = now()
    WHERE scope = %s AND subject = %s AND metric = %s AND period = %s AND is_active
    RETURNING id
"""
LINES = """
    SELECT subject, posted, pending, would_refuse FROM budget_lines
    WHERE budget_id = %s AND period_start = %s ORDER BY subject
"""
ADD_BUDGETS = """
    INSERT INTO budgets (scope, subject, metric, period, limit_amount, mode)
    VALUES %s ON CONFLICT ON CONSTRAINT uq_budgets_place DO NOTHING
"""
RETRY_AFTER_S = 5.0
MAX_TRIES = 3
MAX_OPENED = 10_000
LINE_TEMPLATE = "(%s::bigint, %s::text, %s::timestamptz)"
SAVE_LINE_TEMPLATE = "(%s::bigint, %s::text, %s::timestamptz, %s::bigint, %s::bigint, %s::bigint)"


class _HoldAppearedError(Exception):
    """Another process has made a hold of the same id since the known ones were locked."""


class LedgerStore:
    """Blocking; for the ledger's own thread and for the command line.

    Every method raises DatabaseUnavailableError while Postgres is away.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        # One transaction at a time on the one connection.
        self._lock = threading.Lock()
        # Lines that are known to be there, so that they are not opened again for every call.
        self._opened: set[LineKey] = set()

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Run the operations in their order, all in one transaction; return their outcomes."""
        for _ in range(MAX_TRIES - 1):
            with contextlib.suppress(_HoldAppearedError):
                return self._apply(operations)
        return self._apply(operations)

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        with self._cursor() as cursor:
            known = _lock_holds(cursor, operations)
            book = Book(holds=dict(known))
            keys = keys_of(operations, book.holds)
            self._open_lines(cursor, keys)
            book.lines = _lock_lines(cursor, keys)
            outcomes = [book.run(operation) for operation in operations]
            _require_none_appeared(cursor, operations, outcomes, known)
            _save(cursor, book, known)
        self._opened.update(keys)
        return outcomes

    def expired(self, now: datetime, at_most: int) -> list[str]:
        """Return holds that nobody looks after any more."""
        with self._cursor() as cursor:
            cursor.execute(EXPIRED, (now, at_most))
            return [request_id for (request_id,) in cursor.fetchall()]

    def budgets(self) -> list[Budget]:
        with self._cursor() as cursor:
            cursor.execute(BUDGETS)
            return [Budget(*row) for row in cursor.fetchall()]

    def set_budget(
        self, scope: str, subject: str, metric: str, period: str, limit: int, mode: str
    ) -> Budget:
        """Make or change the budget of this place."""
        with self._cursor() as cursor:
            cursor.execute(SET_BUDGET, (scope, subject, metric, period, limit, mode))
            return Budget(*cursor.fetchone())

    def remove_budget(self, scope: str, subject: str, metric: str, period: str) -> bool:
        """Take the budget of this place away; tell whether there was one."""
        with self._cursor() as cursor:
            cursor.execute(REMOVE_BUDGET, (scope, subject, metric, period))
            return cursor.fetchone() is not None

    def lines(self, budget_id: int, period_start: datetime) -> dict[str, Line]:
        """Return how a budget stands in a period, by subject."""
        with self._cursor() as cursor:
            cursor.execute(LINES, (budget_id, period_start))
            return {subject: Line(*sums) for subject, *sums in cursor.fetchall()}

    def add_missing(self, limits: Iterable[Limit]) -> None:
        """Make the configuration's limits budgets, unless they were changed or taken away here."""
        rows = [
            (
                "model" if it.model else "global",
                it.model or "",
                it.metric,
                it.period,
                it.limit,
                it.mode,
            )
            for it in limits
        ]
        with self._cursor() as cursor:
            execute_values(cursor, ADD_BUDGETS, rows)

    def _open_lines(self, cursor: Any, keys: Sequence[LineKey]) -> None:
        if len(self._opened) > MAX_OPENED:
            # Every minute brings new ones, of each person; the old are asked for no more.
            self._opened.clear()
        if missing := [key for key in keys if key not in self._opened]:
            execute_values(cursor, OPEN_LINES, missing, page_size=len(missing))

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """One transaction, on a connection that is kept: asking whether it lives costs a trip."""
        with self._lock:
            try:
                connection = self._connected()
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()
            except (psycopg2.OperationalError, psycopg2.InterfaceError, PoolTimeoutError) as fault:
                self.close()
                raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
            except BaseException:
                self.close()
                raise

    def _connected(self) -> Any:
        if self._connection is None:
            try:
                self._connection = self._engine.raw_connection()
            except DBAPIError as fault:
                raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
        return self._connection

    def close(self) -> None:
        """Give the connection up; what was not committed is undone by Postgres."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()
            connection.close()


def _lock_holds(cursor: Any, operations: Iterable[Operation]) -> dict[str, Hold]:
    ids = sorted({operation.request_id for operation in operations})
    cursor.execute(LOCK_HOLDS, (ids,))
    return {row[0]: _hold(row) for row in cursor.fetchall()}


def _lock_lines(cursor: Any, keys: Sequence[LineKey]) -> dict[LineKey, Line]:
    if not keys:
        return {}
    rows = execute_values(
        cursor, LOCK_LINES, keys, template=LINE_TEMPLATE, page_size=len(keys), fetch=True
    )
    return {(budget, subject, start): Line(*sums) for budget, subject, start, *sums in rows}


def _require_none_appeared(
    cursor: Any,
    operations: Sequence[Operation],
    outcomes: Sequence[Outcome],
    known: Collection[str],
) -> None:
    """Raises: _HoldAppearedError, where a refused call has been granted elsewhere meanwhile, and
    may have been refused for the room that it has itself."""
    refused = [
        operation.request_id
        for operation, outcome in zip(operations, outcomes, strict=True)
        if isinstance(outcome, Refused) and operation.request_id not in known
    ]
    if refused:
        cursor.execute(HOLDS_THERE, (refused,))
        if cursor.fetchone() != (0,):
            raise _HoldAppearedError


def _save(cursor: Any, book: Book, known: Collection[str]) -> None:
    """Save what has changed. Raises: _HoldAppearedError."""
    if lines := [
        (*key, line.posted, line.pending, line.would_refuse)
        for key in book.changed_lines
        for line in (book.lines[key],)
    ]:
        execute_values(cursor, SAVE_LINES, lines, template=SAVE_LINE_TEMPLATE, page_size=len(lines))
    # In one order everywhere: two processes that insert the same holds wait for each other.
    if holds := [_row(book.holds[request_id]) for request_id in sorted(book.changed_holds)]:
        if_known: bytes = cursor.mogrify(IF_KNOWN, (list(known),))
        query = SAVE_HOLDS.encode() + if_known.replace(b"%", b"%%")
        execute_values(cursor, query, holds, page_size=len(holds))
        if cursor.rowcount != len(holds):
            raise _HoldAppearedError


def _hold(row: Sequence[Any]) -> Hold:
    """Return the hold of a row of `_HOLD_COLUMNS`."""
    (request_id, state, model, user, team, key, entries, held, checkpoint, posted, *rest) = row
    is_estimated, expires_at = rest
    return Hold(
        request_id,
        model,
        user,
        team,
        key,
        tuple(
            Entry((budget, subject, datetime.fromisoformat(start)), metric, amount, would_refuse)
            for budget, subject, start, metric, amount, would_refuse in entries
        ),
        Spend(*held),
        expires_at,
        HoldState(state),
        Spend(*checkpoint) if checkpoint else None,
        Spend(*posted),
        is_estimated,
    )


def _row(hold: Hold) -> tuple[Any, ...]:
    entries = [
        [
            budget,
            subject,
            start.astimezone(UTC).isoformat(),
            entry.metric,
            entry.held,
            entry.would_refuse,
        ]
        for entry in hold.entries
        for budget, subject, start in (entry.key,)
    ]
    return (
        hold.request_id,
        hold.state.value,
        hold.model,
        hold.user_id,
        hold.team_id,
        hold.key_id,
        orjson.dumps(entries).decode(),
        _json(hold.spend),
        _json(hold.checkpoint) if hold.checkpoint else None,
        _json(hold.posted),
        hold.is_estimated,
        hold.expires_at,
    )


def _json(spend: Spend) -> str:
    return orjson.dumps([spend.tokens, spend.cost_micro_usd, spend.requests]).decode()
