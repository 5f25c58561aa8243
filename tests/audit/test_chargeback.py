"""A closed month: the same bytes every time, whatever arrives afterwards."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from app.audit.chain import AuditKeys
from app.audit.closing import (
    ChangedStatementError,
    Closing,
    MonthDroppedError,
    MonthNotOverError,
    UnprovenMonthError,
)
from app.audit.event import AuditEvent
from app.audit.retention import AuditRetention
from app.audit.store import AuditStore
from app.dialects.base import Usage
from tests.audit.conftest import Ask
from tests.audit.events import event
from tests.audit.test_usage import erase
from tests.audit.trails import FORMER, KEYS, PRESENT, ZONE, changed

SEPTEMBER = date(2026, 9, 1)
# In September there, in October in UTC.
LAST_HOUR = datetime(2026, 10, 1, 2, 59, tzinfo=UTC)
AFTER = datetime(2026, 10, 1, 4, 0, tzinfo=UTC)


def call(number: int, day: int = 10, **facts: Any) -> AuditEvent:
    at = datetime(2026, 9, day, 12, number, tzinfo=UTC)
    known = {"at": at, "user": "ana", "usage": Usage(100, 20), "cost_micro_usd": 1000}
    return event(number, **(known | facts))


@pytest.fixture
def closing(engine: Engine) -> Closing:
    return Closing(engine, KEYS, ZONE)


@pytest.fixture
def september(store: AuditStore) -> None:
    store.append(
        [
            call(1),
            call(2, day=30, team="legal", user="bia", model_used="o3"),
            call(3, at=LAST_HOUR, cost_micro_usd=7),
            call(4, team=None, user=None),
            # Of August and of October there.
            call(5, at=datetime(2026, 9, 1, 2, 59, tzinfo=UTC)),
            call(6, at=datetime(2026, 10, 1, 3, 0, tzinfo=UTC)),
        ]
    )


def do(engine: Engine, statement: str) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute(statement)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.usefixtures("september")
def test_statement_has_the_month_where_the_company_is(ask: Ask) -> None:
    done = ask("audit", "chargeback", "2026-09")

    assert (done.returncode, done.stderr) == (0, "")
    assert [
        (it["month"], it["team"], it["user"], it["model"], it["requests"], it["cost_micro_usd"])
        for it in rows_of(done.stdout)
    ] == [
        ("2026-09", "legal", "bia", "o3", "1", "1000"),
        ("2026-09", "sales", "ana", "gpt-4o", "2", "1007"),
        ("2026-09", "", "", "gpt-4o", "1", "1000"),
    ]


@pytest.mark.usefixtures("september")
def test_statement_names_the_checkpoint_that_it_rests_on(
    ask: Ask, store: AuditStore, engine: Engine
) -> None:
    (last,) = store.append([call(9, at=AFTER)])

    rows = rows_of(ask("audit", "chargeback", "2026-09").stdout)

    assert {(it["checkpoint"], it["checkpoint_hash"]) for it in rows} == {
        (str(last.id), last.hash.hex())
    }


@pytest.mark.usefixtures("september")
@pytest.mark.parametrize("form", ["csv", "json"])
def test_statement_has_the_same_bytes_after_late_events_and_a_new_key(
    ask: Ask, store: AuditStore, form: str
) -> None:
    first = ask("audit", "chargeback", "2026-09", "--format", form)
    store.append([call(7, cost_micro_usd=50), call(8, user="carla", cost_micro_usd=3)])

    again = ask(
        "audit",
        "chargeback",
        "2026-09",
        "--format",
        form,
        AUDIT_HMAC_KEY=FORMER,
        AUDIT_HMAC_KEY_PREVIOUS=PRESENT,
        LOCALE="pt_BR",
        TIMEZONE="Asia/Tokyo",
    )

    assert first.stdout == again.stdout != ""
    assert "2 chamadas chegaram depois do fechamento (53 micro-USD)" in again.stderr


@pytest.mark.usefixtures("september")
def test_late_events_are_corrections_beside_the_statement(ask: Ask, store: AuditStore) -> None:
    ask("audit", "chargeback", "2026-09")
    store.append([call(7, cost_micro_usd=50), call(8, user="carla", cost_micro_usd=3)])

    rows = rows_of(ask("audit", "chargeback", "2026-09", "--corrections").stdout)

    assert [(it["user"], it["requests"], it["cost_micro_usd"]) for it in rows] == [
        ("ana", "1", "50"),
        ("carla", "1", "3"),
    ]


@pytest.mark.usefixtures("september")
def test_statement_as_json_sums_by_team_and_by_user_in_it(ask: Ask) -> None:
    done = ask("audit", "chargeback", "2026-09", "--json")

    (document,) = json.loads(done.stdout)
    assert (document["month"], document["cost_micro_usd"]) == ("2026-09", 3007)
    assert (document["timezone"], document["checkpoint"]) == ("America/Sao_Paulo", 2)
    sales = document["teams"][1]
    assert (sales["team"], sales["requests"], sales["cost_micro_usd"]) == ("sales", 2, 1007)
    assert [(it["user"], it["cost_micro_usd"]) for it in sales["users"]] == [("ana", 1007)]
    assert [it["model"] for it in sales["users"][0]["models"]] == ["gpt-4o"]


@pytest.mark.usefixtures("september")
def test_statement_after_an_erasure_differs_by_the_name_alone(
    ask: Ask, engine: Engine, store: AuditStore
) -> None:
    store.append([call(7, user="zoe"), call(8, user="bob")])
    before = ask("audit", "chargeback", "2026-09").stdout

    number = erase(engine, "zoe")

    after = ask("audit", "chargeback", "2026-09").stdout
    assert after == before.replace(",zoe,", f",erased-{number},") != before


@pytest.mark.usefixtures("september")
def test_month_that_goes_on_is_not_charged(closing: Closing, engine: Engine) -> None:
    with pytest.raises(MonthNotOverError) as refused:
        closing.statement(SEPTEMBER, AFTER.replace(hour=3, minute=59))

    assert refused.value.closes_at == AFTER
    assert closing.statement(SEPTEMBER, AFTER).lines


def test_month_that_goes_on_is_said_to_close_later(ask: Ask) -> None:
    month = f"{datetime.now(ZONE):%Y-%m}"

    done = ask("audit", "chargeback", month)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"{month} is not closed yet: only a closed month is charged" in done.stderr


@pytest.mark.parametrize("month", ["2026", "2026-13", "september"])
def test_month_that_is_none_ends_with_2(ask: Ask, month: str) -> None:
    done = ask("audit", "chargeback", month)

    assert (done.returncode, done.stdout) == (2, "")
    assert "YYYY-MM" in done.stderr


def test_month_in_which_nothing_was_used_is_closed_empty(ask: Ask) -> None:
    done = ask("audit", "chargeback", "2020-02")

    assert (done.returncode, rows_of(done.stdout)) == (0, [])
    assert done.stdout.startswith("month,team,user,model,requests,")


@pytest.mark.usefixtures("september")
def test_month_whose_sums_the_rows_do_not_prove_is_not_closed(
    closing: Closing, engine: Engine, ask: Ask
) -> None:
    do(engine, "UPDATE usage_days SET cost_micro_usd = 1 WHERE day = '2026-09-10'")

    with pytest.raises(UnprovenMonthError):
        closing.statement(SEPTEMBER, AFTER)

    done = ask("audit", "chargeback", "2026-09")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the sums of 2026-09-10 are not what the rows say" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE closed_usage SET cost_micro_usd = cost_micro_usd - 1",
        "DELETE FROM closed_usage WHERE cost_micro_usd = 1007",
        "INSERT INTO closed_usage VALUES ('2026-09-01', 0, 0, 0, 1, 0, 0, 1, 1, 1)",
        "UPDATE closed_months SET checkpoint_id = 1",
        "UPDATE closed_months SET checkpoint_hash = '\\x00'",
        "UPDATE closed_months SET timezone = 'UTC'",
    ],
)
@pytest.mark.usefixtures("september")
def test_statement_that_was_changed_is_not_given_out(
    closing: Closing, engine: Engine, ask: Ask, change: str
) -> None:
    closing.statement(SEPTEMBER, AFTER)
    do(engine, change)

    with pytest.raises(ChangedStatementError):
        closing.statement(SEPTEMBER, AFTER)

    assert "was changed in the database" in ask("audit", "chargeback", "2026-09").stderr


@pytest.mark.usefixtures("september")
def test_statement_under_a_key_that_nobody_gave_is_not_given_out(
    closing: Closing, engine: Engine
) -> None:
    closing.statement(SEPTEMBER, AFTER)

    with pytest.raises(ChangedStatementError):
        Closing(engine, AuditKeys([FORMER]), ZONE).statement(SEPTEMBER, AFTER)


@pytest.mark.usefixtures("september")
def test_month_that_many_close_at_once_is_closed_once(closing: Closing) -> None:
    with ThreadPoolExecutor(8) as pool:
        statements = list(pool.map(lambda _: closing.statement(SEPTEMBER, AFTER), range(8)))

    assert len({it.closed.code for it in statements}) == 1
    assert len({it.lines for it in statements}) == 1


@pytest.mark.usefixtures("september")
def test_month_that_was_closed_outlives_its_rows(
    closing: Closing, engine: Engine, clean_database: str, ask: Ask
) -> None:
    before = ask("audit", "chargeback", "2026-09").stdout
    AuditRetention(engine, clean_database, KEYS, ZONE).run(datetime.now(UTC), 5)

    done = ask("audit", "chargeback", "2026-09")

    assert (done.stdout, done.stderr) == (before, "")


@pytest.mark.usefixtures("september")
def test_month_that_retention_dropped_before_can_be_closed_no_more(
    closing: Closing, engine: Engine, clean_database: str, ask: Ask
) -> None:
    AuditRetention(engine, clean_database, KEYS, ZONE).run(datetime.now(UTC), 5)

    with pytest.raises(MonthDroppedError):
        closing.statement(SEPTEMBER, AFTER)

    assert "before retention dropped rows of it" in ask("audit", "chargeback", "2026-09").stderr
