"""What alerts are counted from, and how they stand, in Postgres. Only this module knows its SQL.

Signals come in with the trail's own transaction, so that what is on record is counted, once.
Whoever looks at them takes them in the transaction that changes the alerts. Counts that somebody
else has locked are left for the next look: nobody waits here but whoever appends to the trail, and
that for one look at most.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg2
from psycopg2.extras import execute_values

from app.alerting.rules import BUCKET_S, DAY_S, HOUR_S, RULES, WELL_AFTER_S
from app.alerting.signals import Kind, Signal, signals_of
from app.alerting.state import Alert
from app.audit.event import AuditEvent

logger = logging.getLogger("alerts")

Key = tuple[str, str]

# "alerts" in ASCII: any number will do that nobody else locks.
LOCK_ID = 0x616C65727473
# Longer than any rule's window, and than most of what comes late.
KEEP_COUNTS_S = 2 * HOUR_S
KEEP_ALERTS_S = 90 * DAY_S
# One that was acknowledged and never said to be over, such as of a day that will stay different.
FORGET_ACKNOWLEDGED_S = 30 * DAY_S
SIGNALS_AT_ONCE = 1000

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s)"
IS_DUE = """
    INSERT INTO alert_looks AS it (name, at) VALUES (%(name)s, %(now)s)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at
      WHERE it.at <= %(before)s OR it.at > %(now)s
    RETURNING 1
"""
ADD_COUNTS = """
    INSERT INTO alert_counts AS it (rule, subject, bucket, reason, count, facts) VALUES %s
    ON CONFLICT (rule, subject, bucket, reason) DO UPDATE
      SET count = it.count + excluded.count, facts = excluded.facts
"""
ADD_SIGNALS = "INSERT INTO alert_signals (rule, subject, at, is_over, facts) VALUES %s"
# It is over for who answers a while after the trouble was last seen.
ADD_WELL = """
    INSERT INTO alert_signals (rule, subject, at, is_over, facts)
    SELECT well.rule, well.subject, well.at, true, '{}'
    FROM (VALUES %s) AS well (rule, subject, at) JOIN alerts AS it USING (rule, subject)
    WHERE it.state <> 'resolved' AND well.at > it.seen_at + make_interval(secs => well_after())
"""
TAKE_COUNTS = """
    WITH new AS (
      SELECT rule, subject, bucket, reason, taken FROM alert_counts WHERE taken < count
      FOR UPDATE SKIP LOCKED
    )
    UPDATE alert_counts AS it SET taken = it.count FROM new
    WHERE (it.rule, it.subject, it.bucket, it.reason)
      = (new.rule, new.subject, new.bucket, new.reason)
    RETURNING it.rule, it.subject, it.bucket, it.count - new.taken
"""
COUNTS_OF = """
    SELECT it.rule, it.subject, it.bucket, it.reason, it.count, it.facts
    FROM alert_counts AS it JOIN (VALUES %s) AS wanted (rule, subject) USING (rule, subject)
    ORDER BY it.bucket
"""
TAKE_SIGNALS = """
    DELETE FROM alert_signals WHERE id IN (
      SELECT id FROM alert_signals ORDER BY id LIMIT %s FOR UPDATE
    ) RETURNING id, rule, subject, at, is_over, facts
"""
COLUMNS = tuple(it.name for it in fields(Alert))
# What is live, what a digest has yet to tell, and what may begin again without a new message.
ALERTS = f"""
    SELECT {", ".join(COLUMNS)} FROM alerts
    WHERE state <> 'resolved' OR untold > 0 OR ended_at > %s
    ORDER BY opened_at, id FOR UPDATE
"""  # noqa: S608  # names of ours
SAVE = f"""
    INSERT INTO alerts ({", ".join(COLUMNS)}) VALUES %s
    ON CONFLICT (id) DO UPDATE SET
      {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}
"""  # noqa: S608  # names of ours
ONE = f"SELECT {', '.join(COLUMNS)} FROM alerts WHERE id = %s FOR UPDATE"  # noqa: S608
LISTED = f"""
    SELECT {", ".join(COLUMNS)} FROM alerts
    WHERE (%(with_past)s OR state <> 'resolved')
      AND (%(at)s IS NULL OR opened_at < %(at)s OR opened_at = %(at)s AND id > %(id)s)
    ORDER BY opened_at DESC, id LIMIT %(limit)s
"""  # noqa: S608  # names of ours
FORGET_COUNTS = """
    DELETE FROM alert_counts WHERE (rule, subject, bucket, reason) IN (
      SELECT rule, subject, bucket, reason FROM alert_counts
      WHERE bucket < %s AND taken = count FOR UPDATE SKIP LOCKED
    )
"""
FORGET_ALERTS = """
    DELETE FROM alerts WHERE ended_at < %s AND untold = 0
      OR state = 'acknowledged' AND greatest(seen_at, acknowledged_at) < %s
"""


@dataclass(slots=True)
class Counts:
    """Of one rule and subject: what is new, and all that is still kept."""

    new: Counter[datetime] = field(default_factory=Counter)
    by_bucket: Counter[datetime] = field(default_factory=Counter)
    # (bucket, reason, count)
    reasons: list[tuple[datetime, str, int]] = field(default_factory=list)
    # Of the latest.
    facts: Mapping[str, Any] = field(default_factory=dict)

    def reason(self, first: datetime, last: datetime) -> str:
        """Return the most frequent one between these moments."""
        totals: Counter[str] = Counter()
        for bucket, reason, count in self.reasons:
            if first <= bucket <= last:
                totals[reason] += count
        return max(sorted(totals), key=lambda it: totals[it], default="")


def observe(cursor: Any, events: Sequence[AuditEvent]) -> None:
    """Count what new events of the trail mean, in their own transaction. What cannot be counted
    does not keep them off the record.

    Raises: psycopg2.OperationalError, which ends the transaction anyway.
    """
    signals = [signal for event in events for signal in signals_of(event)]
    if not signals:
        return
    cursor.execute("SAVEPOINT alerts")
    try:
        add_signals(cursor, signals)
    except (psycopg2.DataError, psycopg2.ProgrammingError, psycopg2.IntegrityError) as fault:
        cursor.execute("ROLLBACK TO SAVEPOINT alerts")
        logger.error("alerts_not_counted", extra={"fault": type(fault).__name__})  # noqa: TRY400  # its text quotes values


def add_signals(cursor: Any, signals: Iterable[Signal]) -> None:
    """Raises: what psycopg2 raises."""
    by_kind: dict[Kind, list[Signal]] = {kind: [] for kind in Kind}
    for signal in signals:
        by_kind[signal.kind].append(signal)
    if rows := _count_rows(by_kind[Kind.COUNTED]):
        execute_values(cursor, ADD_COUNTS, rows, page_size=len(rows))
    if rows := _signal_rows([*by_kind[Kind.BEGUN], *by_kind[Kind.OVER]]):
        execute_values(cursor, ADD_SIGNALS, rows, page_size=len(rows))
    if well := {(it.rule, it.subject): it.at for it in sorted(by_kind[Kind.WELL], key=_at)}:
        query = ADD_WELL.replace("well_after()", str(WELL_AFTER_S))
        template = "(%s, %s, %s::timestamptz)"
        rows = [(*key, at) for key, at in sorted(well.items())]
        execute_values(cursor, query, rows, template=template, page_size=len(rows))


def begin(cursor: Any) -> bool:
    """Be the only one who looks, until the transaction ends; tell whether that is so."""
    cursor.execute(TRY_LOCK, (LOCK_ID,))
    return bool(cursor.fetchone()[0])


def is_due(cursor: Any, name: str, now: datetime, every_s: float) -> bool:
    """Tell whether nobody has done this for so long; now somebody has."""
    before = now - timedelta(seconds=every_s)
    cursor.execute(IS_DUE, {"name": name, "now": now, "before": before})
    return cursor.fetchone() is not None


def take_counts(cursor: Any) -> dict[Key, Counts]:
    """Return what was counted since this was last asked, with what was before it."""
    cursor.execute(TAKE_COUNTS)
    found: dict[Key, Counts] = {}
    for rule, subject, bucket, count in cursor.fetchall():
        found.setdefault((rule, subject), Counts()).new[bucket] += count
    if not found:
        return found
    rows = execute_values(cursor, COUNTS_OF, sorted(found), page_size=len(found), fetch=True)
    for rule, subject, bucket, reason, count, facts in rows:
        counts = found[rule, subject]
        counts.by_bucket[bucket] += count
        counts.reasons.append((bucket, reason, count))
        counts.facts = facts
    return found


def take_signals(cursor: Any) -> list[Signal]:
    """Return what has begun, and what is over, in the order in which it was said."""
    cursor.execute(TAKE_SIGNALS, (SIGNALS_AT_ONCE,))
    return [
        Signal(rule, subject, at, Kind.OVER if is_over else Kind.BEGUN, facts=facts)
        for _, rule, subject, at, is_over, facts in sorted(cursor.fetchall(), key=lambda it: it[0])
    ]


def load(cursor: Any, now: datetime) -> list[Alert]:
    """Return what may change now, the oldest first; locked."""
    longest_s = max(it.window_s for it in RULES.values())
    cursor.execute(ALERTS, (now - timedelta(seconds=longest_s),))
    return [Alert(*row) for row in cursor.fetchall()]


def save(cursor: Any, alerts: Sequence[Alert]) -> None:
    if alerts:
        # One that is over before its successor begins: there is one live alert of a kind.
        ordered = sorted(alerts, key=lambda it: (it.is_live, it.id))
        for group in (False, True):
            rows = [_alert_row(it) for it in ordered if it.is_live is group]
            if rows:
                execute_values(cursor, SAVE, rows, page_size=len(rows))


def one(cursor: Any, alert_id: str) -> Alert | None:
    """Return an alert, locked."""
    cursor.execute(ONE, (alert_id,))
    row = cursor.fetchone()
    return Alert(*row) if row else None


def listed(
    cursor: Any, limit: int, *, with_past: bool, after: tuple[datetime, str] | None = None
) -> list[Alert]:
    """Return the live alerts, and those that are over if asked; the latest first, or those after
    one that was opened then and has this id."""
    at, alert_id = after or (None, None)
    asked = {"with_past": with_past, "at": at, "id": alert_id, "limit": limit}
    cursor.execute(LISTED, asked)
    return [Alert(*row) for row in cursor.fetchall()]


def forget(cursor: Any, now: datetime) -> None:
    """Delete what nobody needs any more."""
    cursor.execute(FORGET_COUNTS, (now - timedelta(seconds=KEEP_COUNTS_S),))
    ended, acknowledged = (
        now - timedelta(seconds=it) for it in (KEEP_ALERTS_S, FORGET_ACKNOWLEDGED_S)
    )
    cursor.execute(FORGET_ALERTS, (ended, acknowledged))


def bucket_of(at: datetime) -> datetime:
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % BUCKET_S, UTC)


def _count_rows(signals: Iterable[Signal]) -> list[tuple[Any, ...]]:
    """One row a step, in the order of the key: whoever else locks some of them does so, too."""
    counts: Counter[tuple[str, str, datetime, str]] = Counter()
    facts: dict[tuple[str, str, datetime, str], Mapping[str, Any]] = {}
    for it in signals:
        key = (it.rule, it.subject, bucket_of(it.at), it.reason)
        counts[key] += it.count
        facts[key] = it.facts
    return [(*key, counts[key], _json(facts[key])) for key in sorted(counts)]


def _signal_rows(signals: Iterable[Signal]) -> list[tuple[Any, ...]]:
    return [
        (it.rule, it.subject, it.at, it.kind is Kind.OVER, _json(it.facts))
        for it in sorted(signals, key=_at)
    ]


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    values = {name: getattr(alert, name) for name in COLUMNS} | {"facts": _json(alert.facts)}
    return tuple(values.values())


def _json(facts: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(facts)).decode()


def _at(signal: Signal) -> datetime:
    return signal.at
