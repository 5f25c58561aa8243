"""Drops what is older than it has to be kept: whole months, as the owner of the tables.

The checkpoints stay, so that what is left still verifies; each month that goes leaves a signed
record, so that one that somebody else dropped shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from app.audit import grants
from app.audit.chain import AuditKeys, Checkpoint
from app.audit.drops import Drop, is_due
from app.audit.event import AuditEvent
from app.audit.findings import Finding
from app.audit.partitions import following, make_partitions, name_of
from app.audit.store import LOCK_ID, RETRY_AFTER_S, AuditStore
from app.audit.verify import verify_trail
from app.utils.exceptions import DatabaseUnavailableError
from app.utils.helpers import generate_request_id

RETENTION_EVENT = "audit_month_dropped"
INSUFFICIENT_PRIVILEGE = "42501"

# Requests wait behind whoever waits for a table.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '4s'"
# No batch between what is counted and what is dropped; no hold while we drop.
LOCKS = text("SELECT pg_advisory_xact_lock(:lock)")
LOCK_HOLDS = "LOCK TABLE legal_holds IN SHARE MODE"
HOLDS = "SELECT count(*) FROM legal_holds WHERE lifted_at IS NULL"
# Of months with rows that are not dropped yet.
MONTHS = """
    SELECT month, max(id), count(*), sum(last_seq - first_seq + 1) FROM audit_checkpoints AS signed
    WHERE NOT EXISTS (
      SELECT FROM audit_drops AS dropped
      WHERE dropped.month = signed.month AND dropped.last_checkpoint >= signed.id
    )
    GROUP BY month ORDER BY month
"""
ADD_DROP = text("""
    INSERT INTO audit_drops (month, last_checkpoint, dropped_at, retention_days, key_id, code)
    VALUES (:month, :last_checkpoint, :dropped_at, :retention_days, :key_id, :code)
""")
# Of a month without a table of its own.
DELETE_ROWS = text("DELETE FROM audit_events WHERE at >= :first AND at < :following")


class NotOwnerError(PermissionError):
    """Only who owns the tables can drop a part of them."""


@dataclass(frozen=True, slots=True)
class DroppedMonth:
    month: date
    last_checkpoint: int
    checkpoints: int
    rows: int


@dataclass(frozen=True, slots=True)
class Retained:
    """What a run of retention did."""

    dropped: tuple[DroppedMonth, ...] = ()
    # Legal holds; while there is one nothing is dropped.
    holds: int = 0
    # The trail does not verify: what would be dropped may be what shows why.
    finding: Finding | None = None
    # Texts of calls that went, where any are kept.
    contents: int = 0
    # Of the events that say what was dropped.
    checkpoint: Checkpoint | None = None


class AuditRetention:
    """Blocking; ``engine`` connects as the owner of the tables."""

    def __init__(
        self, engine: Engine, application_url: str, keys: AuditKeys, zone: ZoneInfo
    ) -> None:
        self._engine = engine
        self._application_url = application_url
        self._keys = keys
        self._store = AuditStore(engine, keys.current, zone)

    def run(self, now: datetime, days: int, *, verified: bool = True) -> Retained:
        """Make the months ahead, and drop those of which every row is older than ``days``.

        ``verified``: only from a trail that verifies. Raises: DatabaseUnavailableError,
        NotOwnerError, UnknownRoleError.
        """
        with self._transaction() as connection:
            make_partitions(connection.exec_driver_sql, now)
            grants.grant(connection, self._application_url)
            due, holds = _due(connection, now, days), _holds(connection)
        if holds or not due:
            return Retained(holds=holds)
        if verified and (finding := verify_trail(self._engine, self._keys).finding):
            return Retained(finding=finding)
        with self._transaction() as connection:
            connection.execute(LOCKS, {"lock": LOCK_ID})
            connection.exec_driver_sql(LOCK_HOLDS)
            if holds := _holds(connection):
                return Retained(holds=holds)
            due = _due(connection, now, days)
            for it in due:
                self._drop(connection, it, now, days)
        return Retained(tuple(due), checkpoint=self._tell(due, now, days))

    def _drop(self, connection: Connection, it: DroppedMonth, now: datetime, days: int) -> None:
        drop = Drop(it.month, it.last_checkpoint, now, days).signed(self._keys.current)
        connection.execute(ADD_DROP, drop.facts())
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name_of(it.month)}")
        first, end = _midnight(it.month), _midnight(following(it.month))
        connection.execute(DELETE_ROWS, {"first": first, "following": end})

    def _tell(self, dropped: list[DroppedMonth], now: datetime, days: int) -> Checkpoint | None:
        """Say in the trail what was dropped from it."""
        events = [
            AuditEvent(
                event_id=generate_request_id(),
                at=now,
                event=RETENTION_EVENT,
                detail={
                    "month": f"{it.month:%Y-%m}",
                    "rows": it.rows,
                    "checkpoints": it.checkpoints,
                    "last_checkpoint": it.last_checkpoint,
                    "retention_days": days,
                },
            )
            for it in dropped
        ]
        return self._store.append(events)[-1] if events else None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(LOCK_TIMEOUT)
                yield connection
        except DBAPIError as fault:
            if getattr(fault.orig, "pgcode", None) == INSUFFICIENT_PRIVILEGE:
                raise NotOwnerError from fault
            raise DatabaseUnavailableError(
                retry_after_s=RETRY_AFTER_S, variable="MIGRATION_DATABASE_URL"
            ) from fault


def _due(connection: Connection, now: datetime, days: int) -> list[DroppedMonth]:
    months = connection.exec_driver_sql(MONTHS).all()
    return [
        DroppedMonth(month, last_checkpoint, checkpoints, int(rows))
        for month, last_checkpoint, checkpoints, rows in months
        if is_due(month, now, days)
    ]


def _holds(connection: Connection) -> int:
    return int(connection.exec_driver_sql(HOLDS).scalar_one())


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)
