"""What is counted from the trail, in its own transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from app.alerting import store
from app.audit.store import transaction
from app.utils.exceptions import DatabaseUnavailableError
from tests.alerts.occurrences import MODEL, Watch, failed, happened
from tests.alerts.samples import AT
from tests.fakes.clock import FakeClock


@pytest.fixture
def watch(clean_database: str) -> Iterator[Watch]:
    engine = create_engine(clean_database)
    yield Watch(engine, FakeClock())
    engine.dispose()


COUNTS = "SELECT subject, bucket, reason, count FROM alert_counts ORDER BY 1, 2, 3"


def test_events_are_counted_by_ten_seconds_and_reason(watch: Watch) -> None:
    watch.append([failed(AT + timedelta(seconds=second)) for second in (0, 1, 9, 10)])
    watch.append([failed(AT, reason="upstream_timeout"), failed(AT)])

    assert watch.rows(COUNTS) == [
        (MODEL, AT, "upstream_error", 4),
        (MODEL, AT, "upstream_timeout", 1),
        (MODEL, AT + timedelta(seconds=10), "upstream_error", 1),
    ]


def test_trail_that_is_not_committed_is_not_counted(watch: Watch) -> None:
    def append_and_fail() -> None:
        with transaction(watch.engine) as cursor:
            watch.trail.append_in(cursor, [failed(AT)])
            raise InterruptedError

    with pytest.raises(InterruptedError):
        append_and_fail()

    assert watch.rows(COUNTS) == []


def test_what_cannot_be_counted_is_on_record_all_the_same(watch: Watch) -> None:
    with watch.engine.begin() as connection:
        connection.execute(text("ALTER TABLE alert_counts RENAME TO alert_counts_away"))
    try:
        watch.append([failed(AT)])
    finally:
        with watch.engine.begin() as connection:
            connection.execute(text("ALTER TABLE alert_counts_away RENAME TO alert_counts"))

    assert watch.rows("SELECT count(*) FROM audit_events") == [(1,)]
    assert watch.rows(COUNTS) == []


def test_counts_of_many_writers_and_a_reader_at_once_are_exact(watch: Watch) -> None:
    models = ["one", "two", "three"]

    def append(order: list[str]) -> None:
        for number in range(10):
            at = AT + timedelta(seconds=number * 7)
            watch.append([failed(at, model) for model in order])

    threads = [threading.Thread(target=append, args=(it,)) for it in (models, models[::-1])]
    for thread in threads:
        thread.start()
    taken: dict[Any, int] = {}
    while True:
        is_last = not any(thread.is_alive() for thread in threads)
        with transaction(watch.engine) as cursor:
            for key, counts in store.take_counts(cursor).items():
                taken[key] = taken.get(key, 0) + sum(counts.new.values())
        if is_last:
            break

    assert taken == {("model_errors", it): 20 for it in models}


def test_what_began_and_ended_is_taken_once_in_its_order(watch: Watch) -> None:
    watch.append(
        [
            happened("breaker_closed", AT + timedelta(seconds=5), model=MODEL),
            happened("breaker_opened", AT, model=MODEL),
        ]
    )
    watch.append([happened("breaker_opened", AT + timedelta(seconds=6), model=MODEL)])

    with transaction(watch.engine) as cursor:
        taken = [it.kind.value for it in store.take_signals(cursor)]
        again = store.take_signals(cursor)

    assert (taken, again) == (["begun", "over", "begun"], [])


def test_answers_leave_nothing_where_no_alert_lasts(watch: Watch) -> None:
    for event in ("breaker_opened", "breaker_closed"):
        watch.append([happened(event, AT - timedelta(hours=1), model=MODEL)])
        watch.look()
    watch.append([happened("request", AT, model_used=MODEL, status=200) for _ in range(5)])

    assert watch.rows("SELECT count(*) FROM alert_signals") == [(0,)]


def test_one_live_alert_of_a_rule_and_subject_is_all_that_the_database_takes(watch: Watch) -> None:
    watch.fail(11)
    watch.look()
    (alert,) = watch.service.listed()

    with (
        pytest.raises((IntegrityError, DatabaseUnavailableError)),
        transaction(watch.engine) as cursor,
    ):
        store.save(cursor, [replace(alert, id="another")])


def test_alert_is_read_as_it_was_saved(watch: Watch) -> None:
    watch.append([happened("breaker_opened", AT, model="@litellm", detail={"reason": "odd"})])
    watch.look()
    (alert,) = watch.service.listed()
    watch.service.acknowledge(alert.id)

    with transaction(watch.engine) as cursor:
        (loaded,) = store.load(cursor, AT)
        one = store.one(cursor, alert.id)

    assert loaded == one
    assert (loaded.state, loaded.facts) == ("acknowledged", {"reason": "odd"})
    assert loaded.acknowledged_at == watch.clock.now()


def test_something_is_due_once_in_its_time_and_when_the_clock_was_set_back(watch: Watch) -> None:
    def is_due(seconds: float) -> bool:
        with transaction(watch.engine) as cursor:
            return store.is_due(cursor, "x", AT + timedelta(seconds=seconds), 10)

    assert [is_due(it) for it in (0, 1, 9.9, 10, 15, -60)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]
