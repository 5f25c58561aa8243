"""Batches of events on a real Postgres; two stores are two processes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, create_engine, text

from app.audit.chain import GENESIS, AuditKey, AuditKeys, merkle_root
from app.audit.rows import COLUMNS
from app.audit.store import AuditStore, UnstorableEventError
from tests.audit.events import NOW, event, events

SECRET = "an-audit-secret-of-the-tests-only-01"
ZONE = ZoneInfo("America/Sao_Paulo")


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> AuditStore:
    return AuditStore(engine, AuditKey.of(SECRET), ZONE)


def copied_rows(engine: Engine) -> list[bytes]:
    """Return the rows as they are signed, in the order of their numbers."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        columns = ", ".join(COLUMNS)
        sink = _Lines()
        cursor.copy_expert(
            f"COPY (SELECT {columns} FROM audit_events ORDER BY seq) TO STDOUT", sink
        )
        return sink.lines
    finally:
        connection.close()


class _Lines:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.lines += data.splitlines()


def count(engine: Engine, query: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def test_rows_come_back_as_the_very_bytes_that_were_signed(
    engine: Engine, store: AuditStore
) -> None:
    (checkpoint,) = store.append(events(50))

    rows = copied_rows(engine)
    assert merkle_root(rows) == checkpoint.merkle_root
    assert checkpoint.is_genuine(AuditKeys([SECRET]))
    assert (checkpoint.first_seq, checkpoint.rows, checkpoint.previous_hash) == (
        1,
        50,
        GENESIS.hash,
    )


def test_events_that_are_sent_again_are_there_once(engine: Engine, store: AuditStore) -> None:
    first = events(10)
    store.append(first)

    (checkpoint,) = store.append([*first[5:], *events(3), first[0]])

    assert checkpoint.rows == 3
    assert count(engine, "SELECT count(*) FROM audit_events") == 13
    assert count(engine, "SELECT sum(requests) FROM usage_days") == 13


def test_batch_over_the_end_of_a_month_is_a_checkpoint_for_each(store: AuditStore) -> None:
    batch = [event(1, at=NOW + timedelta(days=30)), event(2), event(3, at=NOW)]

    checkpoints = store.append(batch)

    assert [(it.month, it.rows) for it in checkpoints] == [("2026-11-01", 2), ("2026-12-01", 1)]
    assert checkpoints[1].previous_hash == checkpoints[0].hash


def test_event_that_no_database_takes_is_told_from_one_that_may_be_sent_again(
    engine: Engine, store: AuditStore
) -> None:
    with pytest.raises(UnstorableEventError):
        store.append([event(1), event(2, latency_ms=2**40)])

    assert count(engine, "SELECT count(*) FROM audit_events") == 0
