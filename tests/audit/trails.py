"""Trails to tamper with: small ones, with a month's end, a change of the key and an erased name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from app.audit.chain import AuditKey, AuditKeys, Checkpoint
from app.audit.store import AuditStore
from tests.audit.events import NOW, event

FORMER, PRESENT = "the-audit-secret-of-last-year-01", "the-audit-secret-of-this-year-01"
KEYS = AuditKeys([PRESENT, FORMER])
ZONE = ZoneInfo("America/Sao_Paulo")
BATCH = 5


def append(engine: Engine, count: int, at: datetime = NOW, secret: str = PRESENT) -> Checkpoint:
    """Append one batch within one month."""
    store = AuditStore(engine, AuditKey.of(secret), ZONE)
    batch = [event(number, at=at + timedelta(seconds=number)) for number in range(count)]
    (checkpoint,) = store.append(batch)
    return checkpoint


def make_trail(engine: Engine) -> list[Checkpoint]:
    """Append 60 rows with 12 checkpoints: over a month's end, and a change of the key."""
    next_month = NOW + timedelta(days=20)
    checkpoints = [append(engine, BATCH, NOW, FORMER) for _ in range(4)]
    checkpoints += [append(engine, BATCH, NOW) for _ in range(4)]
    checkpoints += [append(engine, BATCH, next_month) for _ in range(4)]
    with changed(engine, keep=True) as cursor:
        cursor.execute(
            "UPDATE audit_names SET value = NULL, secret = NULL"
            " WHERE kind = 'user' AND value = 'person-3'"
        )
    return checkpoints


@contextmanager
def changed(engine: Engine, *, keep: bool = False) -> Iterator[Any]:
    """Open a transaction of the owner, whose changes are undone in the end or kept."""
    connection: Any = engine.raw_connection()
    try:
        with connection.cursor() as cursor:
            yield cursor
        if keep:
            connection.commit()
    finally:
        connection.close()
