"""The sums that are kept are what the rows say; a sum that somebody changed is found."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.audit.chain import AuditKey
from app.audit.event import AuditEvent
from app.audit.queries import SUMS
from app.audit.recount import recount
from app.audit.retention import AuditRetention
from app.audit.store import AuditStore
from app.dialects.base import Usage
from app.utils.helpers import generate_request_id
from tests.audit.conftest import Ask
from tests.audit.events import NOW, event, events
from tests.audit.trails import KEYS, PRESENT, ZONE, changed

TABLES = "audit_events, audit_checkpoints, audit_names, usage_days, usage_months"
FIRST = datetime(2026, 10, 23, tzinfo=UTC)
names = st.sampled_from([None, "a", "b", "é;=1"])
# An adjustment may take away.
amounts = st.integers(-(10**6), 10**6)
facts = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["request", "refusal", "adjustment", "budget_set"]),
        "user": names,
        "team": names,
        "key": names,
        "model": names,
        "model_used": names,
        "status": st.sampled_from([None, 200, 399, 400, 402, 503]),
        "usage": st.none() | st.builds(Usage, amounts, amounts),
        "cost_micro_usd": st.none() | amounts,
        "is_estimated": st.booleans(),
        # A zone that has days of 23 and of 25 hours then, and ends of months.
        "at": st.integers(0, 11 * 86_400).map(lambda after: FIRST + timedelta(seconds=after)),
    }
)
batches = st.lists(st.lists(facts, min_size=1, max_size=8), min_size=1, max_size=4)


def do(engine: Engine, statement: str) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute(statement)


def made(given: dict[str, Any]) -> AuditEvent:
    return AuditEvent(event_id=generate_request_id(), **given)


@given(batches, st.sampled_from(["America/Sao_Paulo", "Europe/Lisbon", "Asia/Kolkata"]))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sums_are_what_the_rows_say_whatever_came_and_when(
    engine: Engine, batches: list[list[dict[str, Any]]], zone: str
) -> None:
    do(engine, f"TRUNCATE {TABLES}")
    store = AuditStore(engine, AuditKey.of(PRESENT), ZoneInfo(zone))
    for batch in batches:
        store.append([made(it) for it in batch])

    found = recount(engine, ZoneInfo(zone))

    calls = [it for batch in batches for it in batch if it["event"] in ("request", "refusal")]
    assert (found.difference, found.requests) == (None, len(calls))


@pytest.mark.parametrize("column", SUMS)
def test_sum_that_was_changed_is_found(engine: Engine, store: AuditStore, column: str) -> None:
    store.append(events(30))
    do(
        engine,
        f"UPDATE usage_days SET {column} = {column} + 1 WHERE user_id ="
        " (SELECT id FROM audit_names WHERE kind = 'user' AND value = 'person-2')",
    )

    difference = recount(engine, ZONE).difference

    assert difference is not None
    assert difference.place == {
        "day": date(2026, 11, 23),
        "user": "person-2",
        "team": "sales",
        "key": "librechat",
        "model": "gpt-4o",
    }
    assert difference.counted is not None
    assert difference.kept is not None
    assert difference.kept.minus(difference.counted).as_dict() == {
        name: int(name == column) for name in SUMS
    }


def test_sum_that_was_removed_is_found(engine: Engine, store: AuditStore) -> None:
    store.append(events(3))
    do(engine, "DELETE FROM usage_days")

    difference = recount(engine, ZONE).difference

    assert difference is not None
    assert (difference.kept, difference.counted and difference.counted.requests) == (None, 1)


def test_sum_of_nothing_is_found_on_whatever_day(engine: Engine, store: AuditStore) -> None:
    store.append(events(3))
    do(engine, "INSERT INTO usage_days VALUES ('2019-02-03', 1, 2, 3, 4, 1, 0, 0, 10, 10, 5)")

    difference = recount(engine, ZONE).difference

    assert difference is not None
    assert (difference.place["day"], difference.counted) == (date(2019, 2, 3), None)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_months SET cost_micro_usd = cost_micro_usd - 1",
        "DELETE FROM usage_months",
        "INSERT INTO usage_months VALUES ('2026-11-01', 0, 0, 0, 0, 1, 0, 0, 10, 10, 5)",
    ],
)
def test_sum_of_a_month_that_is_not_that_of_its_days_is_found(
    engine: Engine, store: AuditStore, change: str
) -> None:
    store.append(events(3))
    do(engine, change)

    difference = recount(engine, ZONE, date(2026, 11, 23), date(2026, 11, 23)).difference

    assert difference is not None
    assert difference.place["day"] == "2026-11"


def test_sum_of_a_month_without_days_is_found(engine: Engine, store: AuditStore) -> None:
    store.append(events(3))
    do(engine, "INSERT INTO usage_months VALUES ('2019-02-01', 0, 0, 0, 0, 1, 0, 0, 10, 10, 5)")

    difference = recount(engine, ZONE).difference

    assert difference is not None
    assert (difference.place["day"], difference.counted) == ("2019-02", None)


def test_row_that_was_removed_is_found(engine: Engine, store: AuditStore) -> None:
    store.append(events(7))
    do(engine, "DELETE FROM audit_events WHERE seq = 3")

    assert recount(engine, ZONE).difference is not None


def test_recount_of_some_days_leaves_others_alone(engine: Engine, store: AuditStore) -> None:
    store.append([event(1), event(2, at=NOW + timedelta(days=9))])
    do(engine, "UPDATE usage_days SET requests = 9 WHERE day = '2026-12-02'")

    assert recount(engine, ZONE, last=date(2026, 11, 30)).difference is None
    assert recount(engine, ZONE, first=date(2026, 12, 2)).difference is not None


def test_days_of_which_retention_dropped_rows_are_left_out(
    engine: Engine, store: AuditStore, clean_database: str
) -> None:
    # The last is of May there, of June in UTC: half its day is gone.
    dropped = [datetime(2020, 5, 5, tzinfo=UTC), datetime(2020, 5, 31, 20, tzinfo=UTC)]
    kept = [datetime(2020, 6, 1, 1, tzinfo=UTC), datetime(2020, 6, 1, 12, tzinfo=UTC), NOW]
    store.append([event(number, at=at) for number, at in enumerate([*dropped, *kept])])
    now = datetime.now(UTC)
    days = (now - datetime(2020, 6, 15, tzinfo=UTC)).days
    AuditRetention(engine, clean_database, KEYS, ZONE).run(now, days)

    found = recount(engine, ZONE)

    assert (found.difference, found.requests) == (None, 2)
    # From the evening of the 4th there, as far as the 31st.
    assert found.skipped_days == 28


def test_recount_changes_nothing(engine: Engine, store: AuditStore) -> None:
    store.append(events(3))
    do(engine, "UPDATE usage_days SET requests = 9")

    recount(engine, ZONE)

    with changed(engine) as cursor:
        cursor.execute("SELECT DISTINCT requests FROM usage_days")
        assert cursor.fetchall() == [(9,)]


def test_recount_command_says_that_the_sums_are_good(ask: Ask, store: AuditStore) -> None:
    store.append(events(7))

    done = ask("audit", "recount")

    assert (done.returncode, done.stderr) == (0, "")
    said = "the sums are what the rows say: 7 calls in 5 sums, from 2026-11-23 to 2026-11-23\n"
    assert done.stdout == said


def test_recount_command_of_nothing_says_so(ask: Ask) -> None:
    done = ask("audit", "recount", LOCALE="pt_BR")

    assert (done.returncode, done.stdout) == (0, "não há nada a conferir\n")


def test_recount_command_names_the_first_difference_and_ends_with_1(
    ask: Ask, engine: Engine, store: AuditStore
) -> None:
    store.append(events(7))
    do(engine, "UPDATE usage_days SET cost_micro_usd = 0")

    done = ask("audit", "recount")
    as_json = ask("audit", "recount", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert "the sums of 2026-11-23 are not what the rows say (user person-0" in done.stderr
    (found,) = json.loads(as_json.stdout)
    assert (as_json.returncode, found["good"]) == (1, False)
    assert found["difference"]["kept"]["cost_micro_usd"] == 0
