"""The trail in Postgres: a batch of events is one transaction, with its checkpoint and its sums.

One process appends at a time (an advisory lock), so that numbers have no gaps and checkpoints are
one chain. Only inserts here: the application's role may do nothing else to the trail.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2.extras import execute_values
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.audit.chain import GENESIS, AuditKey, Checkpoint, merkle_root
from app.audit.content import ContentStore
from app.audit.event import AuditEvent
from app.audit.names import Name
from app.audit.rows import COLUMNS, names_of, row_of, uuid_of
from app.audit.usage import usage_rows
from app.utils.exceptions import DatabaseUnavailableError

# "audit" in ASCII: any number will do that nobody else locks.
LOCK_ID = 0x6175646974
RETRY_AFTER_S = 5.0

BEGIN = "SET LOCAL TimeZone = 'UTC'; SELECT clock_timestamp() FROM pg_advisory_xact_lock(%s)"
KNOWN_EVENTS = """
    SELECT event.event_id::text FROM (VALUES %s) AS wanted (event_id, at)
    JOIN audit_events AS event USING (event_id, at)
"""
CHECKPOINTS = """
    SELECT id, first_seq, last_seq, month::text, merkle_root, previous_hash, key_id, created_at,
      last_name, code
    FROM audit_checkpoints
"""
LAST_CHECKPOINT = CHECKPOINTS + "ORDER BY id DESC LIMIT 1"
NAMES = """
    SELECT name.id, name.kind, name.value, name.secret, name.commitment
    FROM (VALUES %s) AS wanted (kind, value) JOIN audit_names AS name USING (kind, value)
"""
# A number is never given twice, whatever became of its name.
LAST_NAME = """
    SELECT greatest(0, (SELECT max(id) FROM audit_names),
      (SELECT last_name FROM audit_checkpoints ORDER BY id DESC LIMIT 1))
"""
ADD_NAMES = """
    INSERT INTO audit_names (id, kind, value, secret, commitment, key_id, code) VALUES %s
"""
COPY_ROWS = f"COPY audit_events ({', '.join(COLUMNS)}, code) FROM STDIN"
ADD_CHECKPOINT = """
    INSERT INTO audit_checkpoints
      (id, first_seq, last_seq, month, merkle_root, previous_hash, key_id, created_at, last_name,
       code)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
# By day, and by month: a question about a year reads no more than one about a week.
ADD_USAGE = """
    WITH new (day, user_id, team_id, key_id, model_id, requests, failed, estimated, input_tokens,
      output_tokens, cost_micro_usd) AS (VALUES %s),
    by_day AS (
      INSERT INTO usage_days AS days SELECT * FROM new
      ON CONFLICT (day, user_id, team_id, key_id, model_id) DO UPDATE SET
        requests = days.requests + excluded.requests,
        failed = days.failed + excluded.failed,
        estimated = days.estimated + excluded.estimated,
        input_tokens = days.input_tokens + excluded.input_tokens,
        output_tokens = days.output_tokens + excluded.output_tokens,
        cost_micro_usd = days.cost_micro_usd + excluded.cost_micro_usd
    )
    INSERT INTO usage_months AS months
    SELECT day - (extract(day FROM day)::int - 1), user_id, team_id, key_id, model_id,
      sum(requests), sum(failed), sum(estimated), sum(input_tokens), sum(output_tokens),
      sum(cost_micro_usd)
    FROM new GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (month, user_id, team_id, key_id, model_id) DO UPDATE SET
      requests = months.requests + excluded.requests,
      failed = months.failed + excluded.failed,
      estimated = months.estimated + excluded.estimated,
      input_tokens = months.input_tokens + excluded.input_tokens,
      output_tokens = months.output_tokens + excluded.output_tokens,
      cost_micro_usd = months.cost_micro_usd + excluded.cost_micro_usd
"""


Observe = Callable[[Any, Sequence[AuditEvent]], None]


class UnstorableEventError(ValueError):
    """Postgres takes no such value, however often it is sent."""


class AuditStore:
    """Blocking; for the shipper's own thread."""

    def __init__(
        self,
        engine: Engine,
        key: AuditKey,
        zone: ZoneInfo,
        contents: ContentStore | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Without ``contents`` events are stored without theirs. ``observe`` gets the new events,
        with the cursor of the transaction in which they are stored."""
        self._engine = engine
        self._key = key
        self._zone = zone
        self._contents = contents
        self._observe = observe

    def append(self, events: Sequence[AuditEvent]) -> list[Checkpoint]:
        """Add the events that are not there yet; return the checkpoints that sign them.

        Raises: DatabaseUnavailableError, after which they may or may not be there: they may be
        sent again; UnstorableEventError, where one of them will never fit.
        """
        with transaction(self._engine) as cursor:
            return self.append_in(cursor, events)

    def append_in(self, cursor: Any, events: Sequence[AuditEvent]) -> list[Checkpoint]:
        """`append` within a transaction of somebody else's, which is alone from here to its end.

        Raises: what psycopg2 raises.
        """
        now = lock_trail(cursor)
        new = _without_known(cursor, events)
        if not new:
            return []
        names = self._named(cursor, new)
        checkpoints = self._add_rows(cursor, new, names, now)
        _add_usage(cursor, new, names, self._zone)
        if self._contents is not None:
            self._contents.add(cursor, new, names)
        if self._observe is not None:
            self._observe(cursor, new)
        return checkpoints

    def _named(self, cursor: Any, events: Sequence[AuditEvent]) -> dict[tuple[str, str], Name]:
        """Return every name of the events, and add those that are new."""
        wanted = {name for event in events for name in names_of(event)}
        # Not remembered: a person may be erased meanwhile.
        names = _known_names(cursor, sorted(wanted))
        if missing := sorted(wanted - names.keys()):
            names |= self._add_names(cursor, missing)
        return names

    def _add_names(
        self, cursor: Any, missing: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], Name]:
        cursor.execute(LAST_NAME)
        (last,) = cursor.fetchone()
        added = [
            Name.make(number, kind, value) for number, (kind, value) in enumerate(missing, last + 1)
        ]
        rows = [
            (it.id, it.kind, it.value, it.secret, it.commitment, self._key.id, it.code(self._key))
            for it in added
        ]
        execute_values(cursor, ADD_NAMES, rows, page_size=len(rows))
        return dict(zip(missing, added, strict=True))

    def _add_rows(
        self,
        cursor: Any,
        events: Sequence[AuditEvent],
        names: dict[tuple[str, str], Name],
        now: datetime,
    ) -> list[Checkpoint]:
        """One checkpoint a month: retention drops whole months, and must leave no half batch."""
        last = _last_checkpoint(cursor)
        last_name = max(last.last_name, *(name.id for name in names.values()))
        checkpoints = []
        for month, group in groupby(sorted(events, key=_order), key=_month):
            rows = [
                row_of(seq, event, lambda *name: names[name])
                for seq, event in enumerate(group, last.last_seq + 1)
            ]
            last = Checkpoint(
                last.id + 1,
                last.last_seq + 1,
                last.last_seq + len(rows),
                month.isoformat(),
                merkle_root(rows),
                last.hash,
                self._key.id,
                now,
                last_name,
            ).signed(self._key)
            _copy(cursor, rows, self._key)
            cursor.execute(ADD_CHECKPOINT, _checkpoint_row(last))
            checkpoints.append(last)
        return checkpoints


@contextmanager
def transaction(engine: Engine) -> Iterator[Any]:
    """Yield the cursor of one transaction, which is committed in the end.

    Raises: DatabaseUnavailableError; UnstorableEventError, where a value will never fit.
    """
    try:
        connection: Any = engine.raw_connection()
        try:
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()
        finally:
            # Undoes what was not committed.
            connection.close()
    except psycopg2.DataError as fault:
        raise UnstorableEventError from fault
    except (psycopg2.Error, DBAPIError, PoolTimeoutError) as fault:
        raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault


def lock_trail(cursor: Any) -> datetime:
    """Be alone in the trail until the transaction ends; return the time."""
    cursor.execute(BEGIN, (LOCK_ID,))
    (now,) = cursor.fetchone()
    return cast("datetime", now)


def checkpoint_of(row: Sequence[Any]) -> Checkpoint:
    """Return the checkpoint of a row of `CHECKPOINTS`."""
    number, first, last, month, root, previous, key_id, at, last_name, code = row
    signature = (key_id, at, last_name, bytes(code))
    return Checkpoint(number, first, last, month, bytes(root), bytes(previous), *signature)


def _without_known(cursor: Any, events: Sequence[AuditEvent]) -> list[AuditEvent]:
    """Leave out what is there already, and what was said twice."""
    unique = {(str(uuid_of(it.event_id)), it.at): it for it in events}
    known = execute_values(
        cursor,
        KNOWN_EVENTS,
        list(unique),
        template="(%s::uuid, %s::timestamptz)",
        page_size=len(unique),
        fetch=True,
    )
    there = {event_id for (event_id,) in known}
    return [event for (event_id, _), event in unique.items() if event_id not in there]


def _known_names(cursor: Any, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Name]:
    rows = execute_values(cursor, NAMES, asked, page_size=len(asked), fetch=True)
    return {
        (kind, value): Name(number, kind, value, bytes(secret), bytes(commitment))
        for number, kind, value, secret, commitment in rows
    }


def _last_checkpoint(cursor: Any) -> Checkpoint:
    cursor.execute(LAST_CHECKPOINT)
    row = cursor.fetchone()
    return checkpoint_of(row) if row else GENESIS


def _copy(cursor: Any, rows: Sequence[bytes], key: AuditKey) -> None:
    lines = io.BytesIO()
    for row in rows:
        lines.write(row)
        lines.write(b"\t\\\\x" + key.row_code(row).hex().encode() + b"\n")
    lines.seek(0)
    cursor.copy_expert(COPY_ROWS, lines)


def _checkpoint_row(it: Checkpoint) -> tuple[Any, ...]:
    numbers = (it.id, it.first_seq, it.last_seq)
    hashes = (it.merkle_root, it.previous_hash)
    return (*numbers, it.month, *hashes, it.key_id, it.created_at, it.last_name, it.code)


def _add_usage(
    cursor: Any, events: Sequence[AuditEvent], names: dict[tuple[str, str], Name], zone: ZoneInfo
) -> None:
    if rows := usage_rows(events, names, zone):
        execute_values(cursor, ADD_USAGE, rows, page_size=len(rows))


def _order(event: AuditEvent) -> tuple[date, datetime, str]:
    return _month(event), event.at, event.event_id


def _month(event: AuditEvent) -> date:
    return event.at.astimezone(UTC).date().replace(day=1)
