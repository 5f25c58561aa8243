"""What the trail answers quickly: what was used, by whom; and what happened, newest first.

Usage comes from the sums by day that are kept with the rows, events from the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from sqlalchemy import Engine

from app.audit.days import EARLIEST, LATEST, whole_months
from app.audit.names import EVENT, KEY, MODEL, NOBODY, TEAM, USER, ErasedError, Name
from app.audit.reading import ERASED, label, labels_of, names_of_numbers, snapshot
from app.audit.rows import COLUMNS, private_of, uuid_of
from app.audit.usage import CALL_EVENTS, FIRST_ERROR_STATUS

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
    WHERE day BETWEEN %(first)s AND %(last)s{whose}
    GROUP BY {places}
"""
KNOWN_DAYS = "SELECT min(day), max(day) FROM usage_days"
# Whole months from their own sums, and the days before and after them.
USAGE_OF_MONTHS = """
    SELECT {places}, {sums} FROM (
      SELECT {columns} FROM usage_months
      WHERE month >= %(month)s AND month < %(after)s{whose}
      UNION ALL
      SELECT {columns} FROM usage_days
      WHERE (day >= %(first)s AND day < %(month)s OR day >= %(after)s AND day <= %(last)s){whose}
    ) AS used
    GROUP BY {places}
"""

# Whose usage may be asked for alone.
USAGE_OF = ("user", "team")
CALLS_BY_HOUR = """
    SELECT date_trunc('hour', at), count(*)::bigint, count(*) FILTER (WHERE status >= %(error)s)
    FROM audit_events
    WHERE event = ANY(ARRAY(
        SELECT id FROM audit_names WHERE kind = %(kind)s AND value = ANY(%(events)s)
      )) AND at >= %(since)s AND at < %(until)s
    GROUP BY 1 ORDER BY 1
"""

FIELDS = ", ".join(COLUMNS)
NEWEST = "ORDER BY at DESC, seq DESC LIMIT %(rows)s"
OF_ROWS = "SELECT {fields} FROM audit_events WHERE {where} {newest}"
# The newest of each kind of event, and of those the newest: one index is enough for both.
OF_EVENTS = """
    SELECT newest.* FROM audit_names AS kind CROSS JOIN LATERAL (
      SELECT {fields} FROM audit_events WHERE event = kind.id AND {where} {newest}
    ) AS newest
    WHERE kind.kind = 'event'
      AND (%(events)s::integer[] IS NULL OR kind.id = ANY(%(events)s::integer[]))
    {newest}
"""
# What no index finds is looked for among the newest rows that one does; the last of them says
# where to look on.
SIFTED = """
    WITH newest AS MATERIALIZED ({query})
    (SELECT {fields}, true FROM newest WHERE {sieve} ORDER BY at DESC, seq DESC LIMIT %(limit)s + 1)
    UNION ALL
    (SELECT {fields}, false FROM newest ORDER BY at DESC, seq DESC OFFSET %(rows)s - 1)
"""
SIFTED_ROWS = 5_000
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


# Of a row: its time and its number.
Position = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What of the trail is asked for; ``request`` and ``user`` as they are known outside."""

    request: str | None = None
    user: str | None = None
    event: str | None = None
    since: datetime | None = None
    limit: int = DEFAULT_LIMIT
    # The moment after the last one.
    until: datetime | None = None
    team: str | None = None
    key: str | None = None
    model: str | None = None
    status: int | None = None
    # Where the page before ended.
    before: Position | None = None
    # Of one of these kinds, instead of `event`.
    events: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of events that are asked for; none: all."""
        return self.events or ((self.event,) if self.event else ())


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


# Everybody's usage.
NOBODYS: Mapping[str, str] = {}
KINDS_OF_USAGE = {"user": USER, "team": TEAM}


class HourlyCalls(NamedTuple):
    """Calls that were let in or refused within one hour of UTC, and how many failed of them."""

    hour: datetime
    calls: int
    failed: int


class TrailQueries:
    """Blocking. Every method raises DatabaseUnavailableError while Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def usage(
        self,
        by: Sequence[str],
        first: date | None = None,
        last: date | None = None,
        of: Mapping[str, str] = NOBODYS,
    ) -> list[dict[str, Any]]:
        """Return what was used from ``first`` to ``last``, both included: what was asked by, None
        where there is nobody, and `SUMS`; in order of the names and days.

        ``by``: of `DIMENSIONS`, none twice. ``of``: only whose, by `USAGE_OF`.
        """
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            whose = {it: _number_of(cursor, KINDS_OF_USAGE[it], name) for it, name in of.items()}
            if None in whose.values():
                return []
            query, days = _usage_query(by, *_widened(cursor, first, last), tuple(whose))
            cursor.execute(query, {**days, **whose})
            rows = cursor.fetchall()
            labels = labels_of(cursor, _numbers(rows, by))
        return _in_order(by, rows, labels)

    def events(self, wanted: EventFilter) -> list[EventRecord]:
        """Return the first page of `page`."""
        return self.page(wanted)[0]

    def page(self, wanted: EventFilter) -> tuple[list[EventRecord], Position | None]:
        """Return events, newest first, and where the next page begins, if there may be one.

        By ``team``, ``key``, ``model`` or ``status`` a page looks through `SIFTED_ROWS` rows at
        most: it may have fewer than ``limit``, or none, and yet not be the last.
        """
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            asked = _asked(cursor, wanted)
            if asked is None:
                return [], None
            cursor.execute(_query_for(wanted), asked)
            rows, position = _page_of(cursor.fetchall(), wanted)
            names = _names_in(cursor, rows)
        return [_record(row, names) for row in rows], position

    def calls_by_hour(self, since: datetime, until: datetime) -> list[HourlyCalls]:
        """Return the hours from ``since`` to just before ``until`` that had calls, in order."""
        asked = {
            "kind": EVENT,
            "events": sorted(CALL_EVENTS),
            "error": FIRST_ERROR_STATUS,
            "since": since,
            "until": until,
        }
        with snapshot(self._engine) as connection, connection.cursor() as cursor:
            cursor.execute(CALLS_BY_HOUR, asked)
            return [HourlyCalls(*row) for row in cursor.fetchall()]


def _widened(cursor: Any, first: date | None, last: date | None) -> tuple[date, date]:
    """Leave out a bound that nothing is beyond: this month so far is the whole month's sums."""
    cursor.execute(KNOWN_DAYS)
    earliest, latest = cursor.fetchone()
    if earliest is None:
        return EARLIEST, LATEST
    first, last = first or EARLIEST, last or LATEST
    return first if first > earliest else EARLIEST, last if last < latest else LATEST


def _usage_query(
    by: Sequence[str], first: date, last: date, of: Sequence[str]
) -> tuple[str, dict[str, date]]:
    places = ", ".join(DIMENSIONS[it] for it in by)
    whose = "".join(f" AND {DIMENSIONS[it]} = %({it})s" for it in of)
    month, after = whole_months(first, last)
    if DAY in by or month >= after:
        query = USAGE.format(places=places, sums=ALL_SUMS, whose=whose)
        return query, {"first": first, "last": last}
    columns = ", ".join((*(column for name, column in DIMENSIONS.items() if name != DAY), *SUMS))
    query = USAGE_OF_MONTHS.format(places=places, sums=ALL_SUMS, columns=columns, whose=whose)
    return query, {"first": first, "last": last, "month": month, "after": after}


def _query_for(wanted: EventFilter) -> str:
    finds_rows = bool(wanted.request or wanted.user)
    where = " AND ".join(_found_by(wanted, finds_rows=finds_rows)) or "true"
    query = (OF_ROWS if finds_rows else OF_EVENTS).format(fields=FIELDS, where=where, newest=NEWEST)
    if sieve := " AND ".join(_sifted_by(wanted)):
        return SIFTED.format(query=query, fields=FIELDS, sieve=sieve)
    return query


def _found_by(wanted: EventFilter, *, finds_rows: bool) -> Iterator[str]:
    """Yield the conditions that an index serves."""
    if wanted.request:
        yield "(event_id = %(request)s::uuid OR request_id = %(request)s::uuid)"
    if wanted.user:
        yield "user_id = %(user)s"
    if wanted.kinds and finds_rows:
        yield "event = ANY(%(events)s::integer[])"
    if wanted.since:
        yield "at >= %(since)s"
    if wanted.until:
        yield "at < %(until)s"
    if wanted.before:
        yield "at <= %(before_at)s AND (at, seq) < (%(before_at)s, %(before_seq)s)"


def _sifted_by(wanted: EventFilter) -> Iterator[str]:
    """Yield the conditions that no index serves."""
    for column in ("team", "key"):
        if getattr(wanted, column):
            yield f"{column}_id = %({column})s"
    if wanted.model:
        yield "%(model)s IN (model_id, model_used_id)"
    if wanted.status is not None:
        yield "status = %(status)s"


def _asked(cursor: Any, wanted: EventFilter) -> dict[str, Any] | None:
    """Return the values of a query; None where a name was never on record."""
    kinds = {"user": USER, "team": TEAM, "key": KEY, "model": MODEL}
    numbers = {it: _number_of(cursor, kind, getattr(wanted, it)) for it, kind in kinds.items()}
    found = [_number_of(cursor, EVENT, it) for it in wanted.kinds]
    events = [it for it in found if it is not None]
    if None in numbers.values() or (wanted.kinds and not events):
        return None
    before_at, before_seq = wanted.before or (None, None)
    is_sifted = any(True for _ in _sifted_by(wanted))
    return {
        **{name: number or None for name, number in numbers.items()},
        "events": events or None,
        "request": str(uuid_of(wanted.request)) if wanted.request else None,
        "since": wanted.since,
        "until": wanted.until,
        "status": wanted.status,
        "before_at": before_at,
        "before_seq": before_seq,
        "limit": wanted.limit,
        # One more tells whether there is another page.
        "rows": SIFTED_ROWS if is_sifted else wanted.limit + 1,
    }


def _page_of(
    found: Sequence[tuple[Any, ...]], wanted: EventFilter
) -> tuple[list[dict[str, Any]], Position | None]:
    rows = [dict(zip(COLUMNS, row, strict=False)) for row in found if _is_match(row)]
    shown = rows[: wanted.limit]
    if len(rows) > wanted.limit:
        return shown, (shown[-1]["at"], shown[-1]["seq"])
    ends = [dict(zip(COLUMNS, row, strict=False)) for row in found if not _is_match(row)]
    return shown, (ends[0]["at"], ends[0]["seq"]) if ends else None


def _is_match(row: tuple[Any, ...]) -> bool:
    return len(row) == len(COLUMNS) or bool(row[-1])


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
