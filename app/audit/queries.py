"""What the trail answers quickly: what was used, by whom; and what happened, newest first.

Usage comes from the sums by day that are kept with the rows, events from the rows themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from sqlalchemy import Engine

from app.audit.days import EARLIEST, LATEST, whole_months
from app.audit.names import EVENT, NOBODY, USER, ErasedError, Name
from app.audit.reading import ERASED, label, labels_of, names_of_numbers, snapshot
from app.audit.rows import COLUMNS, private_of, uuid_of
from app.audit.usage import CALL_EVENTS

DAY = "day"
# What usage is asked by, and the rollup's column for it.
DIMENSIONS = {
    "user": "user_id",
    "team": "team_id",
    "model": "model_id",
    "key": "key_id",
    DAY: "day",
}
SUMS = ("requests", "failed", "estimated", "input_tokens", "output_tokens", "cost_micro_usd")
ALL_SUMS = ", ".join(f"sum({name})::bigint" for name in SUMS)
USAGE = """
    SELECT {places}, {sums} FROM usage_days
    WHERE day BETWEEN %(first)s AND %(last)s
    GROUP BY {places}
"""
KNOWN_DAYS = "SELECT min(day), max(day) FROM usage_days"
# Whole months from their own sums, and the days before and after them.
USAGE_OF_MONTHS = """
    SELECT {places}, {sums} FROM (
      SELECT {columns} FROM usage_months WHERE month >= %(month)s AND month < %(after)s
      UNION ALL
      SELECT {columns} FROM usage_days
      WHERE day >= %(first)s AND day < %(month)s OR day >= %(after)s AND day <= %(last)s
    ) AS used
    GROUP BY {places}
"""

FIELDS = ", ".join(COLUMNS)
NEWEST = "ORDER BY at DESC, seq DESC LIMIT %(limit)s"
OF_REQUEST = """
    SELECT {fields} FROM audit_events
    WHERE (event_id = %(request)s::uuid OR request_id = %(request)s::uuid)
      AND (%(user)s IS NULL OR user_id = %(user)s)
      AND (%(event)s IS NULL OR event = %(event)s)
      AND at >= coalesce(%(since)s, '-infinity'::timestamptz)
    {newest}
"""
OF_USER = """
    SELECT {fields} FROM audit_events
    WHERE user_id = %(user)s
      AND (%(event)s IS NULL OR event = %(event)s)
      AND at >= coalesce(%(since)s, '-infinity'::timestamptz)
    {newest}
"""
# The newest of each kind of event, and of those the newest: one index is enough for both.
OF_EVENTS = """
    SELECT newest.* FROM audit_names AS kind CROSS JOIN LATERAL (
      SELECT {fields} FROM audit_events
      WHERE event = kind.id AND at >= coalesce(%(since)s, '-infinity'::timestamptz)
      {newest}
    ) AS newest
    WHERE kind.kind = 'event' AND (%(event)s IS NULL OR kind.id = %(event)s)
    {newest}
"""
NUMBER_OF = "SELECT id FROM audit_names WHERE kind = %s AND value = %s"
IS_ERASED = "SELECT id FROM audit_names WHERE kind = %s AND id = %s AND value IS NULL"
NAMED_COLUMNS = ("event", "user_id", "team_id", "key_id", "model_id", "model_used_id")
DEFAULT_LIMIT = 50


class Sums(NamedTuple):
    """Of some calls; money in micro-USD."""

    requests: int
    failed: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cost_micro_usd: int

    def plus(self, other: Sums) -> Sums:
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: Sums) -> Sums:
        return Sums(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def as_dict(self) -> dict[str, int]:
        return self._asdict()


NO_SUMS = Sums(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What of the trail is asked for; ``request`` and ``user`` as they are known outside."""

    request: str | None = None
    user: str | None = None
    event: str | None = None
    since: datetime | None = None
    limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event as it is read; money in micro-USD."""

    event_id: str
    request_id: str | None
    event: str
    at: datetime
    user: str | None
    team: str | None
    key: str | None
    model: str | None
    model_used: str | None
    status: int | None
    tokens: int | None
    cost: int | None
    input_tokens: int | None
    output_tokens: int | None
    is_estimated: bool
    latency_ms: int | None
    first_byte_ms: int | None
    path: list[Any]
    detail: dict[str, Any] = field(default_factory=dict)
    # Empty where there is nothing; None where it cannot be read: erased, or changed.
    private: dict[str, Any] | None = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class TrailQueries:
    """Blocking. Every method raises DatabaseUnavailableError while Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def usage(
        self, by: Sequence[str], first: date | None = None, last: date | None = None
    ) -> list[dict[str, Any]]:
        """Return what was used from ``first`` to ``last``, both included: what was asked by, None
        where there is nobody, and `SUMS`; in order of the names and days.

        ``by``: of `DIMENSIONS`, none twice.
        """
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            cursor.execute(*_usage_query(by, *_widened(cursor, first, last)))
            rows = cursor.fetchall()
            labels = labels_of(cursor, _numbers(rows, by))
        return _in_order(by, rows, labels)

    def events(self, wanted: EventFilter) -> list[EventRecord]:
        """Return events, newest first."""
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            user = _number_of(cursor, USER, wanted.user)
            event = _number_of(cursor, EVENT, wanted.event)
            if None in (user, event):
                return []
            asked = {
                "request": str(uuid_of(wanted.request)) if wanted.request else None,
                "user": user or None,
                "event": event or None,
                "since": wanted.since,
                "limit": wanted.limit,
            }
            cursor.execute(_query_for(wanted), asked)
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
            names = _names_in(cursor, rows)
        return [_record(row, names) for row in rows]


def _widened(cursor: Any, first: date | None, last: date | None) -> tuple[date, date]:
    """Leave out a bound that nothing is beyond: this month so far is the whole month's sums."""
    cursor.execute(KNOWN_DAYS)
    earliest, latest = cursor.fetchone()
    if earliest is None:
        return EARLIEST, LATEST
    first, last = first or EARLIEST, last or LATEST
    return first if first > earliest else EARLIEST, last if last < latest else LATEST


def _usage_query(by: Sequence[str], first: date, last: date) -> tuple[str, dict[str, date]]:
    places = ", ".join(DIMENSIONS[it] for it in by)
    month, after = whole_months(first, last)
    if DAY in by or month >= after:
        return USAGE.format(places=places, sums=ALL_SUMS), {"first": first, "last": last}
    columns = ", ".join((*(column for name, column in DIMENSIONS.items() if name != DAY), *SUMS))
    query = USAGE_OF_MONTHS.format(places=places, sums=ALL_SUMS, columns=columns)
    return query, {"first": first, "last": last, "month": month, "after": after}


def _query_for(wanted: EventFilter) -> str:
    without_request = OF_USER if wanted.user else OF_EVENTS
    query = OF_REQUEST if wanted.request else without_request
    return query.format(fields=FIELDS, newest=NEWEST)


def _number_of(cursor: Any, kind: str, value: str | None) -> int | None:
    """Return the number of a name or a pseudonym: 0 where none is asked for, None for unknown."""
    if value is None:
        return 0
    cursor.execute(NUMBER_OF, (kind, value))
    found = cursor.fetchone()
    number = value.removeprefix(ERASED)
    if found is None and number != value and number.isdecimal():
        cursor.execute(IS_ERASED, (kind, number))
        found = cursor.fetchone()
    return int(found[0]) if found else None


def _numbers(rows: Sequence[tuple[Any, ...]], by: Sequence[str]) -> set[int]:
    indexes = [index for index, name in enumerate(by) if name != DAY]
    return {row[index] for row in rows for index in indexes}


def _in_order(
    by: Sequence[str], rows: list[tuple[Any, ...]], labels: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Name the rows and order them; names are compared once, and not for each of many rows."""
    by_name = sorted(labels, key=lambda number: (labels[number], number))
    ranks = {number: rank for rank, number in enumerate(by_name)}
    names = [index for index, name in enumerate(by) if name != DAY]

    def order(index: int, row: tuple[Any, ...]) -> Any:
        # Nobody comes last; a day stands for itself.
        return ranks.get(row[index], len(ranks)) if index in names else row[index]

    def record(row: tuple[Any, ...]) -> dict[str, Any]:
        found = dict(zip((*by, *SUMS), row, strict=True))
        for index in names:
            found[by[index]] = labels.get(row[index])
        return found

    # The last sort counts most, and leaves those before it as they were.
    for index in reversed(range(len(by))):
        rows.sort(key=partial(order, index))
    return [record(row) for row in rows]


def _names_in(cursor: Any, rows: Sequence[Mapping[str, Any]]) -> dict[int, Name]:
    """Return every name that the rows refer to; as number 0 the one that stands for nobody."""
    numbers = {row[column] for row in rows for column in NAMED_COLUMNS} - {None}
    nobody = _number_of(cursor, USER, NOBODY)
    names = names_of_numbers(cursor, numbers | ({nobody} if nobody else set()))
    return names | ({0: names[nobody]} if nobody else {})


def _record(row: Mapping[str, Any], names: Mapping[int, Name]) -> EventRecord:
    def named(column: str) -> str | None:
        number = row[column]
        return None if number is None else label(number, names[number].value)

    event = named("event") or ""
    detail = orjson.loads(row["detail"]) if row["detail"] else {}
    counts = (row["input_tokens"], row["output_tokens"])
    return EventRecord(
        event_id=str(row["event_id"]),
        request_id=_request_id(row, event, detail),
        event=event,
        at=row["at"].astimezone(UTC),
        user=named("user_id"),
        team=named("team_id"),
        key=named("key_id"),
        model=named("model_id"),
        model_used=named("model_used_id"),
        status=row["status"],
        tokens=None if None in counts else sum(counts),
        cost=row["cost_micro_usd"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        is_estimated=row["is_estimated"],
        latency_ms=row["latency_ms"],
        first_byte_ms=row["first_byte_ms"],
        path=detail.pop("path", []),
        detail=detail,
        private=_private(row, names),
    )


def _request_id(row: Mapping[str, Any], event: str, detail: dict[str, Any]) -> str | None:
    """Return it as it came; of a call without one in its row it is the event's own."""
    if "request_id" in detail:
        return str(detail.pop("request_id"))
    if row["request_id"] is not None:
        return str(row["request_id"])
    return str(row["event_id"]) if event in CALL_EVENTS else None


def _private(row: Mapping[str, Any], names: Mapping[int, Name]) -> dict[str, Any] | None:
    if row["private"] is None:
        return {}
    owner = names.get(row["user_id"] or row["key_id"] or 0)
    if owner is None:
        return None
    try:
        return private_of(bytes(row["private"]), UUID(str(row["event_id"])), owner)
    except (ErasedError, InvalidTag, ValueError):
        return None
