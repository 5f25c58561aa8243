"""The ledger in Postgres: a batch of operations is one transaction, in two round trips.

Rows are locked in the order of their keys, holds before lines: two processes' batches deadlocked
without it. Only this module knows the ledger's SQL.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
import psycopg2
from psycopg2.extras import execute_values
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.config.catalog import Limit
from app.ledger.book import (
    NOTHING,
    Book,
    Checkpoint,
    Entry,
    Hold,
    HoldState,
    Line,
    LineKey,
    Operation,
    Outcome,
    Refused,
    Spend,
    hold_ids,
    keys_named_by,
    keys_of,
)
from app.ledger.raises import live_raises
from app.ledger.rules import Budget, Raise, place_of
from app.utils.exceptions import DatabaseUnavailableError, DatabaseUnreachableError

# Prepared once for a connection: planning them again took Postgres longer than running them. The
# plans are made while the tables are still small, and must hold when they are not.
PREPARE = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan;

PREPARE ledger_lock (text[], json) AS
WITH locked_holds AS MATERIALIZED (
    SELECT request_id, state, model, user_id, team_id, key_id, entries, held, checkpoint, posted,
           is_estimated, credited, expires_at
    FROM holds WHERE request_id = ANY ($1) ORDER BY request_id FOR UPDATE
), locked_lines AS MATERIALIZED (
    SELECT line.budget_id, line.subject, line.period_start,
           line.posted, line.pending, line.would_refuse, line.credited
    FROM json_to_recordset($2)
           AS wanted (budget_id bigint, subject text, period_start timestamptz)
    JOIN budget_lines AS line USING (budget_id, subject, period_start)
    ORDER BY line.budget_id, line.subject, line.period_start FOR UPDATE OF line
)
-- The parts of a UNION ALL run one after the other: holds are locked before lines.
SELECT row_to_json(locked_holds)::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM locked_holds
UNION ALL
SELECT NULL, budget_id, subject, period_start, posted, pending, would_refuse, credited
FROM locked_lines;

PREPARE ledger_save_lines (json) AS
UPDATE budget_lines AS line
SET posted = new.posted, pending = new.pending, would_refuse = new.would_refuse,
    credited = new.credited
FROM json_to_recordset($1) AS new (budget_id bigint, subject text, period_start timestamptz,
                                   posted bigint, pending bigint, would_refuse bigint,
                                   credited bigint)
WHERE line.budget_id = new.budget_id
  AND line.subject = new.subject
  AND line.period_start = new.period_start;

PREPARE ledger_add_holds (json) AS
INSERT INTO holds (request_id, state, model, user_id, team_id, key_id, entries, held, checkpoint,
                   posted, is_estimated, credited, expires_at)
SELECT * FROM json_to_recordset($1) AS new (
    request_id text, state text, model text, user_id text, team_id text, key_id text,
    entries jsonb, held jsonb, checkpoint jsonb, posted jsonb, is_estimated boolean,
    credited jsonb, expires_at timestamptz);

PREPARE ledger_save_holds (json) AS
UPDATE holds
SET state = new.state, model = new.model, entries = new.entries, held = new.held,
    checkpoint = new.checkpoint, posted = new.posted, is_estimated = new.is_estimated,
    credited = new.credited, expires_at = new.expires_at
FROM json_to_recordset($1) AS new (
    request_id text, state text, model text, entries jsonb, held jsonb, checkpoint jsonb,
    posted jsonb, is_estimated boolean, credited jsonb, expires_at timestamptz)
WHERE holds.request_id = new.request_id
"""
LOCK = "BEGIN; EXECUTE ledger_lock (%s, %s)"
SAVE_LINES = "EXECUTE ledger_save_lines (%s)"
ADD_HOLDS = "EXECUTE ledger_add_holds (%s)"
SAVE_HOLDS = "EXECUTE ledger_save_holds (%s)"
HOLDS_THERE = "SELECT count(*) FROM holds WHERE request_id = ANY (%s)"
OPEN_LINES = """
    INSERT INTO budget_lines (budget_id, subject, period_start)
    VALUES %s ON CONFLICT DO NOTHING
"""
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
ADD_BUDGETS = """
    INSERT INTO budgets (scope, subject, metric, period, limit_amount, mode)
    VALUES %s ON CONFLICT ON CONSTRAINT uq_budgets_place DO NOTHING
"""
RETRY_AFTER_S = 5.0
MAX_TRIES = 3


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
        # The lines of holds made here, so that holds and lines can be locked in one trip.
        self._keys_of_holds: dict[str, list[LineKey]] = {}

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Run the operations in their order, all in one transaction; return their outcomes."""
        was_connected = self._connection is not None
        try:
            return self._apply_until_known(operations)
        except DatabaseUnavailableError:
            if not was_connected:
                raise
        # Postgres was started again since, perhaps: every operation may be run once more.
        try:
            return self._apply_until_known(operations)
        except DatabaseUnreachableError as fault:
            # The first time something was sent.
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault

    def _apply_until_known(self, operations: Sequence[Operation]) -> list[Outcome]:
        for _ in range(MAX_TRIES - 1):
            with contextlib.suppress(_HoldAppearedError):
                return self._apply(operations)
        return self._apply(operations)

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        with self._cursor() as cursor:
            book = self._locked(cursor, operations)
            known = frozenset(book.holds)
            outcomes = [book.run(operation) for operation in operations]
            _require_none_appeared(cursor, operations, outcomes, known)
            _save_and_commit(cursor, book, known)
        self._remember(operations, book)
        return outcomes

    def expired(self, now: datetime, at_most: int) -> list[str]:
        """Return holds that nobody looks after any more."""
        with self._cursor() as cursor:
            cursor.execute(EXPIRED, (now, at_most))
            return [request_id for (request_id,) in cursor.fetchall()]

    def budgets(self) -> list[Budget]:
        """Return them with the raises that nobody has ended."""
        with self._cursor() as cursor:
            raises = live_raises(cursor)
            cursor.execute(BUDGETS)
            return [_budget(row, raises) for row in cursor.fetchall()]

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

    @contextmanager
    def asking(self) -> Iterator[Any]:
        """Yield a cursor for `raises` and `standings`; every statement is a transaction."""
        with self._cursor() as cursor:
            yield cursor

    def add_missing(self, limits: Iterable[Limit]) -> None:
        """Make the configuration's limits budgets, unless they were changed or taken away here."""
        rows = [(*place_of(it), it.metric, it.period, it.limit, it.mode) for it in limits]
        with self._cursor() as cursor:
            execute_values(cursor, ADD_BUDGETS, rows)

    def _locked(self, cursor: Any, operations: Sequence[Operation]) -> Book:
        """Begin a transaction, and lock everything in it that the operations touch."""
        keys = set(self._expected_keys(operations))
        while True:
            book = _lock(cursor, operations, keys)
            needed = keys_of(operations, book.holds)
            missing = [key for key in needed if key not in book.lines]
            if not missing:
                return book
            # A new period; or a hold of another process's, whose lines nobody knew here. What is
            # locked is given up first: the order of locking must hold.
            cursor.execute("ROLLBACK")
            execute_values(cursor, OPEN_LINES, missing, page_size=len(missing))
            keys.update(needed)

    def _expected_keys(self, operations: Iterable[Operation]) -> Iterator[LineKey]:
        for operation in operations:
            yield from keys_named_by(operation)
            # A checkpoint changes no line.
            if not isinstance(operation, Checkpoint):
                yield from self._keys_of_holds.get(operation.request_id, ())

    def _remember(self, operations: Iterable[Operation], book: Book) -> None:
        for request_id in {operation.request_id for operation in operations}:
            hold = book.holds.get(request_id)
            if hold is not None and hold.state is HoldState.PENDING:
                self._keys_of_holds[request_id] = [entry.key for entry in hold.entries]
            else:
                self._keys_of_holds.pop(request_id, None)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A connection that is kept: asking whether it lives costs a trip. Every statement is a
        transaction of its own, unless it begins one."""
        with self._lock:
            try:
                connection = self._connected()
                with connection.cursor() as cursor:
                    yield cursor
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as fault:
                self.close()
                raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
            except BaseException:
                self.close()
                raise

    def _connected(self) -> Any:
        if self._connection is None:
            try:
                self._connection = self._engine.raw_connection()
            except (DBAPIError, PoolTimeoutError) as fault:
                raise DatabaseUnreachableError(retry_after_s=RETRY_AFTER_S) from fault
            self._connection.driver_connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(PREPARE)
        return self._connection

    def close(self) -> None:
        """Give the connection up; what was not committed is undone by Postgres."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()
            connection.close()


def _lock(cursor: Any, operations: Sequence[Operation], keys: Iterable[LineKey]) -> Book:
    ids = hold_ids(operations)
    wanted = [
        {"budget_id": budget, "subject": subject, "period_start": start}
        for budget, subject, start in keys
    ]
    cursor.execute(LOCK, (ids, _json(wanted)))
    book = Book()
    for hold, budget, subject, start, *sums in cursor.fetchall():
        if hold is None:
            book.lines[budget, subject, start] = Line(*sums)
        else:
            found = _hold(orjson.loads(hold))
            book.holds[found.request_id] = found
    return book


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


def _save_and_commit(cursor: Any, book: Book, known: Collection[str]) -> None:
    """Save what has changed, in one trip. Raises: _HoldAppearedError."""
    # In one order everywhere: two processes that insert the same holds wait for each other.
    changed = [book.holds[request_id] for request_id in sorted(book.changed_holds)]
    saving = {
        SAVE_LINES: [_line_row(book, key) for key in book.changed_lines],
        SAVE_HOLDS: [_hold_row(hold) for hold in changed if hold.request_id in known],
        ADD_HOLDS: [_hold_row(hold) for hold in changed if hold.request_id not in known],
    }
    statements = [statement for statement, rows in saving.items() if rows]
    try:
        # An error undoes what came before it, and the rest is not run.
        cursor.execute(
            "; ".join([*statements, "COMMIT"]), [_json(rows) for rows in saving.values() if rows]
        )
    except psycopg2.errors.UniqueViolation as fault:
        raise _HoldAppearedError from fault


def _budget(row: Sequence[Any], raises: Mapping[int, tuple[Raise, ...]]) -> Budget:
    budget = Budget(*row)
    return replace(budget, raises=raises[budget.id]) if budget.id in raises else budget


def _line_row(book: Book, key: LineKey) -> dict[str, Any]:
    budget, subject, start = key
    line = book.lines[key]
    return {
        "budget_id": budget,
        "subject": subject,
        "period_start": start,
        "posted": line.posted,
        "pending": line.pending,
        "would_refuse": line.would_refuse,
        "credited": line.credited,
    }


def _hold(row: Mapping[str, Any]) -> Hold:
    checkpoint = row["checkpoint"]
    return Hold(
        row["request_id"],
        row["model"],
        row["user_id"],
        row["team_id"],
        row["key_id"],
        tuple(
            Entry((budget, subject, datetime.fromisoformat(start)), metric, amount, would_refuse)
            for budget, subject, start, metric, amount, would_refuse in row["entries"]
        ),
        Spend(*row["held"]),
        datetime.fromisoformat(row["expires_at"]),
        HoldState(row["state"]),
        Spend(*checkpoint) if checkpoint else None,
        Spend(*row["posted"]),
        row["is_estimated"],
        Spend(*row["credited"]) if row["credited"] else NOTHING,
    )


def _hold_row(hold: Hold) -> dict[str, Any]:
    return {
        "request_id": hold.request_id,
        "state": hold.state.value,
        "model": hold.model,
        "user_id": hold.user_id,
        "team_id": hold.team_id,
        "key_id": hold.key_id,
        "entries": [
            [*entry.key, entry.metric, entry.held, entry.would_refuse] for entry in hold.entries
        ],
        "held": _amounts(hold.spend),
        "checkpoint": _amounts(hold.checkpoint) if hold.checkpoint else None,
        "posted": _amounts(hold.posted),
        "is_estimated": hold.is_estimated,
        "credited": _amounts(hold.credited) if hold.credited != NOTHING else None,
        "expires_at": hold.expires_at,
    }


def _amounts(spend: Spend) -> list[int]:
    return [spend.tokens, spend.cost_micro_usd, spend.requests]


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
