"""What administrators are to be told, in Postgres until it has been said. Only this module knows
its SQL.

A message is a delivery for each target. A delivery is pending until it is sent, given up (failed),
or moved: one that is pending on a target that is not to be had goes to those that are, unless the
message reached somebody already. A target gets its deliveries in order, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg2
from psycopg2.extras import execute_values
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.alerting.message import Message
from app.config.plain_text import plain_tree
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

RETRY_AFTER_S = 5.0
# Whoever claims a delivery has sent it by then, or has died.
LEASE_S = 60.0
# A target that is not in this process's configuration may be in another's, during a restart.
STRANGER_GRACE_S = 600.0
GIVE_UP_AFTER_S = 3 * 86_400.0
KEEP_S = 90 * 86_400.0

ADD_MESSAGES = """
    INSERT INTO alert_messages (id, body, created_at) VALUES %s
    ON CONFLICT (id) DO NOTHING RETURNING id
"""
# Also revives one that had moved away from there.
ADD_DELIVERIES = """
    INSERT INTO alert_deliveries AS it (message_id, channel, target, created_at, not_before)
    VALUES %s
    ON CONFLICT (message_id, target) DO UPDATE
      SET state = 'pending', not_before = excluded.not_before, attempts = 0, claimed_until = NULL,
        ended_at = NULL
      WHERE it.state = 'moved'
"""
DISABLED = "SELECT target FROM alert_channels WHERE disabled_at IS NOT NULL"
# A target's oldest alone: what follows waits, so that nothing is resolved before it was opened.
CLAIM = """
    WITH due AS (
      SELECT it.id FROM alert_deliveries AS it
      WHERE it.state = 'pending' AND it.target = ANY(%(targets)s) AND it.not_before <= %(now)s
        AND (it.claimed_until IS NULL OR it.claimed_until <= %(now)s)
        AND NOT EXISTS (
          SELECT FROM alert_deliveries AS older
          WHERE older.target = it.target AND older.state = 'pending' AND older.id < it.id
        )
      FOR UPDATE SKIP LOCKED
    )
    UPDATE alert_deliveries AS it SET claimed_until = %(until)s, attempts = it.attempts + 1
    FROM due, alert_messages AS message
    WHERE it.id = due.id AND message.id = it.message_id
    RETURNING it.id, it.target, it.attempts, it.created_at, message.id, message.body
"""
# Whoever still holds the claim, or not: what was sent was sent.
SENT = """
    UPDATE alert_deliveries SET state = 'sent', ended_at = %s, claimed_until = NULL,
      last_error = NULL
    WHERE id = %s AND state IN ('pending', 'moved')
"""
RETRY = """
    UPDATE alert_deliveries SET not_before = %s, claimed_until = NULL, last_error = %s
    WHERE id = %s AND state = 'pending' AND claimed_until = %s
"""
GIVE_UP = """
    UPDATE alert_deliveries SET state = 'failed', ended_at = %s, claimed_until = NULL,
      last_error = %s
    WHERE id = %s AND state = 'pending' AND claimed_until = %s
"""
DISABLE = """
    INSERT INTO alert_channels AS it (target, name, disabled_at, reason) VALUES (%s, %s, %s, %s)
    ON CONFLICT (target) DO UPDATE SET name = excluded.name, disabled_at = excluded.disabled_at,
      reason = excluded.reason
    WHERE it.disabled_at IS NULL
"""
ENABLE = """
    UPDATE alert_channels SET disabled_at = NULL, reason = NULL
    WHERE target = %s AND disabled_at IS NOT NULL
"""
# It waits no longer than it takes to send.
WAKE = """
    UPDATE alert_deliveries SET not_before = %s WHERE target = %s AND state = 'pending'
      AND not_before > %s
"""
STRANDED = """
    SELECT it.id, it.message_id,
      EXISTS (
        SELECT FROM alert_deliveries AS other
        WHERE other.message_id = it.message_id AND other.id <> it.id
          AND (other.state = 'sent'
            OR other.state = 'pending' AND other.target = ANY(%(targets)s))
      )
    FROM alert_deliveries AS it
    WHERE it.state = 'pending' AND it.target <> ALL(%(targets)s)
      AND (it.claimed_until IS NULL OR it.claimed_until <= %(now)s)
      AND (it.target = ANY(%(known)s) OR it.created_at <= %(strange_since)s)
    ORDER BY it.id FOR UPDATE SKIP LOCKED
"""
MOVED = """
    UPDATE alert_deliveries SET state = 'moved', ended_at = %s, claimed_until = NULL
    WHERE id = ANY(%s)
"""
FORSAKEN = """
    UPDATE alert_deliveries SET state = 'failed', ended_at = %(now)s, claimed_until = NULL,
      last_error = coalesce(last_error, 'no_channel')
    WHERE state = 'pending' AND target <> ALL(%(targets)s) AND created_at <= %(before)s
      AND (claimed_until IS NULL OR claimed_until <= %(now)s)
    RETURNING message_id
"""
FORGET = """
    DELETE FROM alert_messages AS message WHERE created_at <= %s AND NOT EXISTS (
      SELECT FROM alert_deliveries AS it WHERE it.message_id = message.id AND it.state = 'pending'
    )
"""
STANDINGS = """
    SELECT target, count(*) FILTER (WHERE state = 'pending'),
      max(ended_at) FILTER (WHERE state = 'sent'),
      (array_agg(last_error ORDER BY id) FILTER (WHERE state = 'pending' AND attempts > 0))[1]
    FROM alert_deliveries WHERE target = ANY(%s) GROUP BY target
"""
SWITCHED_OFF = """
    SELECT target, disabled_at, reason FROM alert_channels WHERE disabled_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go. ``fingerprint`` changes with whatever decides whether one arrives there:
    the address, a password, a secret."""

    name: str
    # slack, email, webhook or null.
    channel: str
    fingerprint: str
    # For the people who look after it: a host, or an e-mail address.
    place: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed one; it is this process's to send until ``claimed_until``."""

    id: int
    target: str
    # This one included.
    attempts: int
    created_at: datetime
    claimed_until: datetime
    message: Message


@dataclass(frozen=True, slots=True)
class Standing:
    """How a target does."""

    target: Target
    disabled_at: datetime | None
    reason: str | None
    waiting: int
    last_sent_at: datetime | None
    # Of what is tried again just now.
    last_error: str | None


class Outbox:
    """Blocking; for a thread, or within somebody else's transaction (`add`)."""

    def __init__(self, engine: Engine, targets: Sequence[Target], clock: Clock) -> None:
        self._engine = engine
        self.targets = tuple(targets)
        self._clock = clock

    def add(self, cursor: Any, messages: Sequence[Message]) -> None:
        """Have ``messages`` sent, once ``cursor``'s transaction is committed. One whose id was
        there before is left out.

        Raises: what psycopg2 raises.
        """
        now, unique = self._clock.now(), {it.id: it for it in messages}
        if not unique:
            return
        rows = [(it.id, _packed(it), now) for it in unique.values()]
        new = execute_values(cursor, ADD_MESSAGES, rows, page_size=len(rows), fetch=True)
        added = {message_id for (message_id,) in new}
        # Where all are switched off it waits at them.
        targets = self._available(cursor) or self.targets
        self._add_deliveries(cursor, [it for it in unique if it in added], targets)

    def claim(self) -> list[Delivery]:
        """Take what is due, a delivery a target at most. Raises: DatabaseUnavailableError."""
        now = self._clock.now()
        until = now + timedelta(seconds=LEASE_S)
        with self._cursor() as cursor:
            targets = [it.fingerprint for it in self._available(cursor)]
            cursor.execute(CLAIM, {"targets": targets, "now": now, "until": until})
            return [
                Delivery(number, target, attempts, since, until, _unpacked(message_id, body))
                for number, target, attempts, since, message_id, body in cursor.fetchall()
            ]

    def sent(self, delivery: Delivery) -> None:
        with self._cursor() as cursor:
            cursor.execute(SENT, (self._clock.now(), delivery.id))

    def retry(self, delivery: Delivery, error: str, after_s: float) -> bool:
        """Try again later. Return whether that is worth it still; if not it is given up."""
        now = self._clock.now()
        if now - delivery.created_at >= timedelta(seconds=GIVE_UP_AFTER_S):
            self.give_up(delivery, error)
            return False
        with self._cursor() as cursor:
            at = now + timedelta(seconds=after_s)
            cursor.execute(RETRY, (at, error, delivery.id, delivery.claimed_until))
        return True

    def give_up(self, delivery: Delivery, error: str) -> None:
        with self._cursor() as cursor:
            own = (delivery.id, delivery.claimed_until)
            cursor.execute(GIVE_UP, (self._clock.now(), error, *own))

    def disable(self, target: Target, reason: str, delivery: Delivery | None = None) -> bool:
        """Switch a target off; return whether it was on. What is pending there, ``delivery``
        first, moves to the others, or waits."""
        now = self._clock.now()
        with self._cursor() as cursor:
            if delivery is not None:
                own = (delivery.id, delivery.claimed_until)
                cursor.execute(RETRY, (now, reason, *own))
            cursor.execute(DISABLE, (target.fingerprint, target.name, now, reason))
            was_on = bool(cursor.rowcount)
            self._move_stranded(cursor)
        return was_on

    def enable(self, target: Target) -> bool:
        """Switch a target on, and try at once what waits there, or where it cannot be sent; return
        whether it was off."""
        now = self._clock.now()
        with self._cursor() as cursor:
            cursor.execute(ENABLE, (target.fingerprint,))
            was_off = bool(cursor.rowcount)
            cursor.execute(WAKE, (now, target.fingerprint, now))
            self._move_stranded(cursor)
        return was_off

    def tend(self) -> list[str]:
        """Move what is pending where nobody can send it, and forget what is long over. Return the
        messages that were given up since there was nowhere to send them."""
        now = self._clock.now()
        with self._cursor() as cursor:
            targets = self._move_stranded(cursor)
            before = now - timedelta(seconds=GIVE_UP_AFTER_S)
            cursor.execute(FORSAKEN, {"targets": targets, "before": before, "now": now})
            forsaken = sorted({message_id for (message_id,) in cursor.fetchall()})
            cursor.execute(FORGET, (now - timedelta(seconds=KEEP_S),))
        return forsaken

    def standings(self) -> list[Standing]:
        with self._cursor() as cursor:
            cursor.execute(SWITCHED_OFF)
            off = {target: (at, reason) for target, at, reason in cursor.fetchall()}
            cursor.execute(STANDINGS, ([it.fingerprint for it in self.targets],))
            counts = {target: tuple(rest) for target, *rest in cursor.fetchall()}
        return [
            Standing(
                it,
                *off.get(it.fingerprint, (None, None)),
                *counts.get(it.fingerprint, (0, None, None)),
            )
            for it in self.targets
        ]

    def _available(self, cursor: Any) -> tuple[Target, ...]:
        cursor.execute(DISABLED)
        off = {target for (target,) in cursor.fetchall()}
        return tuple(it for it in self.targets if it.fingerprint not in off)

    def _add_deliveries(
        self, cursor: Any, message_ids: Sequence[str], targets: Sequence[Target]
    ) -> None:
        now = self._clock.now()
        rows = [
            (message_id, it.channel, it.fingerprint, now, now)
            for message_id in message_ids
            for it in targets
        ]
        if rows:
            execute_values(cursor, ADD_DELIVERIES, rows, page_size=len(rows))

    def _move_stranded(self, cursor: Any) -> list[str]:
        """Return the fingerprints of the targets that are to be had."""
        now, available = self._clock.now(), self._available(cursor)
        targets = [it.fingerprint for it in available]
        if not available:
            return targets
        since = now - timedelta(seconds=STRANGER_GRACE_S)
        known = [it.fingerprint for it in self.targets]
        values = {"targets": targets, "known": known, "now": now, "strange_since": since}
        cursor.execute(STRANDED, values)
        stranded = cursor.fetchall()
        if stranded:
            cursor.execute(MOVED, (now, [number for number, _, _ in stranded]))
            lost = dict.fromkeys(
                message_id for _, message_id, has_other in stranded if not has_other
            )
            self._add_deliveries(cursor, list(lost), available)
        return targets

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """One transaction. Raises: DatabaseUnavailableError."""
        try:
            connection: Any = self._engine.raw_connection()
            try:
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()
            finally:
                # Undoes what was not committed.
                connection.close()
        except (psycopg2.Error, DBAPIError, PoolTimeoutError) as fault:
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault


def _packed(message: Message) -> str:
    body = {
        "kind": message.kind,
        "rule": message.rule,
        "subject": message.subject,
        "severity": message.severity,
        "at": message.at,
        "facts": dict(message.facts),
        "items": [dict(it) for it in message.items],
    }
    # JSON in Postgres takes no NUL; nobody takes the rest.
    return orjson.dumps(plain_tree(body), default=str).decode()


def _unpacked(message_id: str, body: dict[str, Any]) -> Message:
    return Message(
        message_id,
        body["kind"],
        body["rule"],
        body["subject"],
        body["severity"],
        datetime.fromisoformat(body["at"]),
        body["facts"],
        tuple(body["items"]),
    )
