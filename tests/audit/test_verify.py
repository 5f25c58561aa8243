"""What verification says of trails that were tampered with, and of those that were not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import Engine, create_engine

from app.audit.anchor import anchor_of
from app.audit.chain import AuditKey, AuditKeys
from app.audit.diagnosis import lines_at
from app.audit.verify import verify, verify_trail
from tests.audit.tamperings import TAMPERINGS, Expected, Trail
from tests.audit.trails import BATCH, FORMER, KEYS, PRESENT, append, changed, make_trail

TIMES = 100


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda it: it.__name__)
def test_tampering_at_random_is_always_found_at_its_place(
    engine: Engine, tamper: Callable[[Trail], Expected]
) -> None:
    checkpoints = make_trail(engine)
    anchor = anchor_of(checkpoints[-1])
    misses = []
    for seed in range(TIMES):
        with changed(engine) as cursor:
            expected = tamper(Trail(cursor, checkpoints, Random(seed)))
            finding = verify(cursor.connection, KEYS, anchor=anchor).finding
        if not expected.is_met_by(finding):
            misses.append((seed, expected, finding))

    assert misses == []


def test_trail_with_a_changed_key_and_an_erased_name_is_good(engine: Engine) -> None:
    checkpoints = make_trail(engine)

    report = verify_trail(engine, KEYS, anchor=anchor_of(checkpoints[3]))

    assert report.finding is None
    assert (report.rows, report.checkpoints, report.dropped_rows) == (60, 12, 0)
    assert report.since == checkpoints[0].created_at


def test_trail_since_a_day_does_not_read_what_was_before(engine: Engine) -> None:
    make_trail(engine)
    ahead = datetime.now(UTC) + timedelta(days=40)
    append(engine, 3, ahead)
    do(engine, "UPDATE audit_events SET status = 500 WHERE seq = 2")

    report = verify_trail(engine, KEYS, since=ahead)

    assert (report.finding, report.rows, report.checkpoints) == (None, 3, 1)


def test_trail_since_a_day_is_read_whole_where_its_beginning_was_moved(engine: Engine) -> None:
    """Else whoever edits a row had only to make its checkpoint older than what is asked for."""
    make_trail(engine)
    now = datetime.now(UTC)
    do(engine, "UPDATE audit_events SET status = 500 WHERE seq = 42")
    do(engine, "UPDATE audit_checkpoints SET created_at = '2020-01-01' WHERE id <= 10")

    finding = verify_trail(engine, KEYS, since=now).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == ("checkpoint_edited", 1)


def test_trail_signed_with_a_key_that_is_not_known_names_it(engine: Engine) -> None:
    make_trail(engine)

    finding = verify_trail(engine, AuditKeys([PRESENT])).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == ("unknown_key", 1)
    assert finding.key_id == AuditKey.of(FORMER).id


def test_good_row_of_another_trail_with_the_same_key_is_found(engine: Engine) -> None:
    """As after a backup was put back: its numbers were signed twice."""
    make_trail(engine)
    key = AuditKey.of(PRESENT)
    do(engine, "UPDATE audit_events SET status = 201 WHERE seq = 58")
    with changed(engine, keep=True) as cursor:
        (line,) = lines_at(cursor, 58)
        code = key.row_code(line.row)
        cursor.execute("UPDATE audit_events SET code = %s WHERE seq = 58", (code,))

    finding = verify_trail(engine, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq, finding.checkpoint) == ("exchanged", 56, 12)


def test_rows_of_another_month_than_their_checkpoint_says_are_found(engine: Engine) -> None:
    """Retention would drop them without their checkpoint, or it without them."""
    checkpoints = make_trail(engine)
    wrong = replace(checkpoints[-1], month="2031-01-01").signed(AuditKey.of(PRESENT))
    with changed(engine, keep=True) as cursor:
        cursor.execute(
            "UPDATE audit_checkpoints SET month = %s, code = %s WHERE id = %s",
            (wrong.month, wrong.code, wrong.id),
        )

    finding = verify_trail(engine, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == ("exchanged", wrong.first_seq)


def test_genuine_checkpoint_of_another_trail_breaks_the_chain(engine: Engine) -> None:
    checkpoints = make_trail(engine)
    other = replace(checkpoints[-2], created_at=datetime(2031, 1, 1, tzinfo=UTC))
    with changed(engine, keep=True) as cursor:
        cursor.execute(
            "UPDATE audit_checkpoints SET created_at = %s, code = %s WHERE id = %s",
            (other.created_at, other.signed(AuditKey.of(PRESENT)).code, other.id),
        )

    finding = verify_trail(engine, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.checkpoint) == ("checkpoint_edited", other.id + 1)


def test_anchor_of_a_checkpoint_before_the_day_that_is_asked_for_still_counts(
    engine: Engine,
) -> None:
    checkpoints = make_trail(engine)
    ahead = datetime.now(UTC) + timedelta(days=40)
    append(engine, 3, ahead)
    do(engine, "DELETE FROM audit_checkpoints WHERE id = 5")

    finding = verify_trail(engine, KEYS, since=ahead, anchor=anchor_of(checkpoints[4])).finding

    assert finding is not None
    assert (finding.problem, finding.checkpoint) == ("checkpoint_removed", 5)


def test_name_that_was_removed_stays_missing_when_others_come(engine: Engine) -> None:
    """Its number must not be given again: rows would say that another did what it did."""
    checkpoints = make_trail(engine)
    last = checkpoints[-1].last_name
    do(engine, f"DELETE FROM audit_names WHERE id = {last}")
    append(engine, BATCH)

    finding = verify_trail(engine, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.name) == ("name_removed", last)


def test_name_without_the_row_that_brought_it_shows_a_cut_tail(engine: Engine) -> None:
    """Even without an anchor."""
    append(engine, 1)
    append(engine, BATCH)
    do(engine, "DELETE FROM audit_events WHERE seq > 1; DELETE FROM audit_checkpoints WHERE id > 1")

    finding = verify_trail(engine, KEYS).finding

    assert finding is not None
    assert (finding.problem, finding.seq) == ("tail_cut", 2)


def test_database_that_writes_times_and_bytes_otherwise_verifies(engine: Engine) -> None:
    make_trail(engine)
    with changed(engine) as cursor:
        cursor.execute(
            "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET bytea_output = 'escape'"
        )
        report = verify(cursor.connection, KEYS)

    assert (report.finding, report.rows) == (None, 60)


def do(engine: Engine, statement: str) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute(statement)
