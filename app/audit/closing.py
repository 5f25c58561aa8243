"""Months that are over, closed: their sums are written down once and never change again.

A closed month rests on a checkpoint: it has every row up to that one and none after it. What
arrives later, from the spool of a machine that was away, is not put into it: it is a correction,
beside it. The lines are signed, so that a statement is the one that was first given out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
from psycopg2.errors import SerializationFailure, UniqueViolation
from psycopg2.extras import execute_values
from sqlalchemy import Engine

from app.audit.chain import GENESIS, AuditKey, AuditKeys, UnknownAuditKeyError
from app.audit.days import Span, month_of
from app.audit.queries import ALL_SUMS, NO_SUMS, SUMS, Sums
from app.audit.reading import Labels, labels_of, snapshot
from app.audit.recount import DROPPED, Recount, recount_in
from app.audit.store import LAST_CHECKPOINT, checkpoint_of

# What began in the month's last minutes is still under way, or on its way here.
CLOSES_AFTER = timedelta(hours=1)
PLACE = "team_id, user_id, model_id"
CLOSED_MONTH = """
    SELECT month, timezone, checkpoint_id, checkpoint_hash, last_seq, closed_at, digest, key_id,
      code
    FROM closed_months WHERE month = %s
"""
CLOSED_LINES = f"""
    SELECT {PLACE}, {", ".join(SUMS)} FROM closed_usage WHERE month = %s ORDER BY {PLACE}
"""  # noqa: S608  # names of ours
LINES = f"""
    SELECT {PLACE}, {ALL_SUMS} FROM usage_days WHERE day BETWEEN %s AND %s
    GROUP BY {PLACE} ORDER BY {PLACE}
"""  # noqa: S608  # names of ours
ADD_MONTH = """
    INSERT INTO closed_months
      (month, timezone, checkpoint_id, checkpoint_hash, last_seq, closed_at, digest, key_id, code)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
ADD_LINES = f"""
    INSERT INTO closed_usage (month, {PLACE}, {", ".join(SUMS)}) VALUES %s
"""  # noqa: S608  # names of ours


class MonthNotOverError(ValueError):
    """Nothing is charged of a month that goes on; ``closes_at`` is when it can be."""

    def __init__(self, closes_at: datetime) -> None:
        self.closes_at = closes_at
        super().__init__(closes_at)


class MonthDroppedError(LookupError):
    """Retention dropped rows of the month before anybody closed it: nothing proves its sums."""


class UnprovenMonthError(ValueError):
    """The sums are not what the rows say: nobody is charged on them."""

    def __init__(self, found: Recount) -> None:
        self.found = found
        super().__init__(found)


class ChangedStatementError(ValueError):
    """A closed month is not what was written down."""


class Line(NamedTuple):
    """What one person of a team used of one model; numbers of `audit_names`, 0 is none."""

    team: int
    user: int
    model: int
    sums: Sums

    @classmethod
    def of(cls, row: Sequence[Any]) -> Line:
        return cls(row[0], row[1], row[2], Sums(*map(int, row[3:])))

    @property
    def place(self) -> tuple[int, int, int]:
        return self[:3]


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    month: date
    timezone: str
    checkpoint_id: int
    checkpoint_hash: bytes
    last_seq: int
    closed_at: datetime
    digest: bytes
    key_id: str = ""
    code: bytes = b""

    def signed(self, key: AuditKey) -> ClosedMonth:
        unsigned = replace(self, key_id=key.id)
        return replace(unsigned, code=hmac.digest(key.checkpoints, unsigned.said(), "sha256"))

    def is_genuine(self, keys: AuditKeys) -> bool:
        try:
            key = keys.named(self.key_id)
        except UnknownAuditKeyError:
            return False
        return hmac.compare_digest(hmac.digest(key.checkpoints, self.said(), "sha256"), self.code)

    def said(self) -> bytes:
        """Return what is signed; neither a checkpoint nor a drop can look like it."""
        hashes = (self.checkpoint_hash.hex(), self.digest.hex())
        numbers = (self.checkpoint_id, self.last_seq)
        closed_at = self.closed_at.astimezone(UTC).isoformat()
        facts = (self.month, self.timezone, *numbers, *hashes, closed_at, self.key_id)
        return "\t".join(("closed", *map(str, facts))).encode()


@dataclass(frozen=True, slots=True)
class Statement:
    """A closed month as it was first given out; ``labels`` are the names of its numbers."""

    closed: ClosedMonth
    lines: tuple[Line, ...]
    labels: Labels
    # What arrived since, by line; not in the lines.
    corrections: tuple[Line, ...]


class Closing:
    """Blocking. Raises DatabaseUnavailableError while Postgres is away."""

    def __init__(self, engine: Engine, keys: AuditKeys, zone: ZoneInfo) -> None:
        self._engine = engine
        self._keys = keys
        self._zone = zone

    def statement(self, month: date, now: datetime) -> Statement:
        """Return what ``month`` is charged on, from its first day; closes it the first time.

        Raises: MonthNotOverError, MonthDroppedError, UnprovenMonthError, ChangedStatementError.
        """
        known = self._known(month)
        if known is None:
            self._close(month_of(month, self._zone), now)
            known = self._known(month)
        if known is None:
            raise ChangedStatementError(month)
        return known

    def _known(self, month: date) -> Statement | None:
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            closed = _closed(cursor, month)
            if closed is None:
                return None
            lines = _lines(cursor, CLOSED_LINES, month)
            if not closed.is_genuine(self._keys) or digest_of(lines) != closed.digest:
                raise ChangedStatementError(month)
            span = month_of(month, ZoneInfo(closed.timezone))
            corrections = _later(lines, _lines(cursor, LINES, span.first, span.last))
            places = [it.place for it in (*lines, *corrections)]
            labels = labels_of(cursor, (number for place in places for number in place))
        return Statement(closed, lines, labels, corrections)

    def _close(self, span: Span, now: datetime) -> None:
        """Write the month down; whoever does so at the same time does it for both."""
        if now < span.end + CLOSES_AFTER:
            raise MonthNotOverError(span.end + CLOSES_AFTER)
        with (
            snapshot(self._engine, is_thorough=True, is_read_only=False) as connection,
            suppress(UniqueViolation, SerializationFailure),
            connection.cursor() as cursor,
        ):
            _require_proof(cursor, span)
            lines = _lines(cursor, LINES, span.first, span.last)
            closed = _to_close(cursor, span, now, lines).signed(self._keys.current)
            cursor.execute(ADD_MONTH, _row(closed))
            if lines:
                rows = [(span.first, *it.place, *it.sums) for it in lines]
                execute_values(cursor, ADD_LINES, rows, page_size=len(rows))
            connection.commit()


def digest_of(lines: Sequence[Line]) -> bytes:
    return hashlib.sha256(orjson.dumps([[*it.place, *it.sums] for it in lines])).digest()


def _closed(cursor: Any, month: date) -> ClosedMonth | None:
    cursor.execute(CLOSED_MONTH, (month,))
    row = cursor.fetchone()
    if row is None:
        return None
    first, timezone, number, checkpoint_hash, seq, at, digest, key_id, code = row
    hashes = (bytes(checkpoint_hash), seq, at, bytes(digest))
    return ClosedMonth(first, timezone, number, *hashes, key_id, bytes(code))


def _lines(cursor: Any, query: str, *asked: date) -> tuple[Line, ...]:
    cursor.execute(query, asked)
    return tuple(map(Line.of, cursor.fetchall()))


def _later(closed: Sequence[Line], now: Sequence[Line]) -> tuple[Line, ...]:
    """Return by how much the month's lines have changed since it was closed."""
    before = {it.place: it.sums for it in closed}
    after = {it.place: it.sums for it in now}
    return tuple(
        Line(*place, change)
        for place in sorted(before.keys() | after.keys())
        if any(change := after.get(place, NO_SUMS).minus(before.get(place, NO_SUMS)))
    )


def _require_proof(cursor: Any, span: Span) -> None:
    cursor.execute(DROPPED)
    if span.days_in(month for (month,) in cursor.fetchall()):
        raise MonthDroppedError(span.first)
    found = recount_in(cursor, span.zone, span.first, span.last)
    if not found.is_good:
        raise UnprovenMonthError(found)


def _to_close(cursor: Any, span: Span, now: datetime, lines: Sequence[Line]) -> ClosedMonth:
    cursor.execute(LAST_CHECKPOINT)
    row = cursor.fetchone()
    last = checkpoint_of(row) if row else GENESIS
    return ClosedMonth(
        span.first, span.zone.key, last.id, last.hash, last.last_seq, now, digest_of(lines)
    )


def _row(it: ClosedMonth) -> tuple[Any, ...]:
    return (
        it.month,
        it.timezone,
        it.checkpoint_id,
        it.checkpoint_hash,
        it.last_seq,
        it.closed_at,
        it.digest,
        it.key_id,
        it.code,
    )
