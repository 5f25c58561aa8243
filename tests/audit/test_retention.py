"""Months that are old enough go as a whole, and what is left still verifies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine

from app.audit.chain import AuditKey
from app.audit.drops import Drop
from app.audit.partitions import make_partitions
from app.audit.retention import ADD_DROP, RETENTION_EVENT, AuditRetention, Retained
from app.audit.verify import verify_trail
from tests.audit.trails import FORMER, KEYS, ZONE, append, changed

# Months that no other test has.
JANUARY, FEBRUARY, MARCH = (datetime(2031, month, 10, tzinfo=UTC) for month in (1, 2, 3))
# January has just become older than 30 days, February is not yet.
NOW = datetime(2031, 3, 4, tzinfo=UTC)
DAYS = 30


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    with engine.begin() as connection:
        make_partitions(connection.exec_driver_sql, JANUARY)
    yield engine
    with engine.begin() as connection:
        for month in partitions_of(engine, "audit_events_203%"):
            connection.exec_driver_sql(f"DROP TABLE {month}")
    engine.dispose()


@pytest.fixture
def old_trail(engine: Engine) -> Engine:
    """Five rows of each of three months, the first signed with a key that was changed since."""
    append(engine, 5, JANUARY, FORMER)
    append(engine, 5, FEBRUARY)
    append(engine, 5, MARCH)
    return engine


def partitions_of(engine: Engine, pattern: str) -> list[str]:
    with changed(engine) as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE %s", (pattern,))
        relations = {name for (name,) in cursor.fetchall()}
        cursor.execute("SELECT tablename FROM pg_tables")
        return sorted(relations & {name for (name,) in cursor.fetchall()})


def do(engine: Engine, statement: str) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute(statement)


def retain(engine: Engine, now: datetime = NOW, days: int = DAYS, **options: bool) -> Retained:
    url = engine.url.render_as_string(hide_password=False)
    return AuditRetention(engine, url, KEYS, ZONE).run(now, days, **options)


def rows_of(engine: Engine) -> list[int]:
    with changed(engine) as cursor:
        cursor.execute("SELECT seq FROM audit_events ORDER BY seq")
        return [seq for (seq,) in cursor.fetchall()]


def test_month_that_is_old_enough_goes_as_a_whole_and_the_rest_verifies(
    old_trail: Engine,
) -> None:
    done = retain(old_trail)

    assert [(it.month.month, it.rows) for it in done.dropped] == [(1, 5)]
    assert rows_of(old_trail) == [*range(6, 16), 16]
    assert partitions_of(old_trail, "audit_events_2031_01") == []
    report = verify_trail(old_trail, KEYS)
    assert (report.finding, report.rows, report.dropped_rows) == (None, 11, 5)


def test_what_was_dropped_is_said_in_the_trail(old_trail: Engine) -> None:
    retain(old_trail)

    with changed(old_trail) as cursor:
        cursor.execute(
            "SELECT detail FROM audit_events AS it"
            " JOIN audit_names AS name ON name.id = it.event AND name.value = %s",
            (RETENTION_EVENT,),
        )
        ((detail,),) = cursor.fetchall()
    assert '"month":"2031-01"' in detail
    assert '"rows":5' in detail


def test_day_before_a_month_is_old_enough_nothing_goes(old_trail: Engine) -> None:
    end_of_january = datetime(2031, 2, 1, tzinfo=UTC)

    done = retain(old_trail, now=end_of_january + timedelta(days=DAYS, microseconds=-1))

    assert done.dropped == ()
    assert rows_of(old_trail) == [*range(1, 16)]


def test_no_days_keep_everything(old_trail: Engine) -> None:
    assert retain(old_trail, now=NOW.replace(year=2099), days=0).dropped == ()


def test_months_ahead_are_made(old_trail: Engine) -> None:
    retain(old_trail)

    assert "audit_events_2032_03" in partitions_of(old_trail, "audit_events_2032_%")


def test_late_rows_of_a_month_that_went_go_the_next_time(old_trail: Engine) -> None:
    retain(old_trail)
    append(old_trail, 3, JANUARY)
    assert verify_trail(old_trail, KEYS).finding is None

    done = retain(old_trail)

    assert [(it.month.month, it.rows) for it in done.dropped] == [(1, 3)]
    assert verify_trail(old_trail, KEYS).finding is None


@pytest.mark.parametrize("subject", ["NULL", "'ana'"])
def test_while_there_is_a_legal_hold_nothing_goes(old_trail: Engine, subject: str) -> None:
    do(
        old_trail,
        "INSERT INTO legal_holds (subject, reason, set_by)"
        f" VALUES ({subject}, 'a lawsuit', 'the lawyer')",
    )
    held = retain(old_trail)
    do(old_trail, "UPDATE legal_holds SET lifted_at = now()")
    lifted = retain(old_trail)

    assert (held.holds, held.dropped) == (1, ())
    assert (lifted.holds, len(lifted.dropped)) == (0, 1)


def test_trail_that_does_not_verify_loses_nothing_more_unless_asked_for(old_trail: Engine) -> None:
    do(old_trail, "UPDATE audit_events SET status = 500 WHERE seq = 2")

    refused, forced = retain(old_trail), retain(old_trail, verified=False)

    assert refused.finding is not None
    assert (refused.finding.problem, refused.finding.seq) == ("edited", 2)
    assert (refused.dropped, len(forced.dropped)) == ((), 1)
    assert verify_trail(old_trail, KEYS).finding is None


def test_month_that_was_dropped_by_hand_is_found(old_trail: Engine) -> None:
    do(old_trail, "DROP TABLE audit_events_2031_01")

    finding = verify_trail(old_trail, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq, finding.missing) == ("removed", 1, 5)


@pytest.mark.parametrize(
    ("statement", "problem", "seq"),
    [
        # A record that is not genuine covers nothing: what it covered is missing.
        ("UPDATE audit_drops SET month = '2031-02-01'", "removed", 1),
        ("UPDATE audit_drops SET last_checkpoint = 3", "removed", 1),
        ("UPDATE audit_drops SET retention_days = 1", "removed", 1),
        ("UPDATE audit_drops SET dropped_at = now()", "removed", 1),
        ("UPDATE audit_drops SET key_id = 'none'", "removed", 1),
        ("DELETE FROM audit_drops", "removed", 1),
        (
            "INSERT INTO audit_drops SELECT '2031-02-01', 2, dropped_at, 1, key_id, code"
            " FROM audit_drops",
            "drop_edited",
            6,
        ),
        ("DELETE FROM audit_events WHERE seq BETWEEN 6 AND 10", "removed", 6),
    ],
)
def test_record_of_retention_covers_what_retention_dropped_and_no_more(
    old_trail: Engine, statement: str, problem: str, seq: int
) -> None:
    retain(old_trail)
    do(old_trail, statement)

    finding = verify_trail(old_trail, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == (problem, seq)


def test_rows_that_come_back_after_retention_are_not_ours(old_trail: Engine) -> None:
    do(old_trail, "CREATE TABLE kept AS SELECT * FROM audit_events WHERE seq = 3")
    retain(old_trail)
    do(old_trail, "INSERT INTO audit_events SELECT * FROM kept; DROP TABLE kept")

    finding = verify_trail(old_trail, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == ("inserted", 3)


def test_month_that_was_dropped_too_early_is_found(old_trail: Engine) -> None:
    february = date(2031, 2, 1)
    early = Drop(february, 2, NOW, DAYS).signed(KEYS.current)
    with old_trail.begin() as connection:
        connection.execute(ADD_DROP, early.facts())
        connection.exec_driver_sql("DROP TABLE audit_events_2031_02")

    finding = verify_trail(old_trail, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == ("removed", 6)


def test_record_of_retention_that_was_not_due_is_not_believed() -> None:
    drop = Drop(JANUARY.date().replace(day=1), 1, NOW, DAYS).signed(KEYS.current)

    early = replace(drop, dropped_at=NOW - timedelta(days=3)).signed(KEYS.current)

    assert (drop.is_genuine(KEYS), drop.was_due) == (True, True)
    assert (early.is_genuine(KEYS), early.was_due) == (True, False)
    assert not drop.signed(AuditKey.of("somebody else's secret")).is_genuine(KEYS)
