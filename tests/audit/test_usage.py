"""What was used, summed from the rollup; and how the command prints it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from itertools import combinations

import pytest
from sqlalchemy import Engine

from app.audit.names import USER
from app.audit.queries import DIMENSIONS, TrailQueries
from app.audit.store import AuditStore
from app.dialects.base import Usage
from tests.audit.conftest import Ask
from tests.audit.events import event
from tests.audit.trails import changed

ANA = {"user": "ana", "team": "sales", "key": "librechat"}
BIA = {"user": "bia", "team": "legal", "key": "librechat"}


def called(**facts: object) -> dict[str, object]:
    known: dict[str, object] = {"usage": Usage(100, 20), "cost_micro_usd": 500, "model": "gpt-4o"}
    return known | {"model_used": None, "status": 200} | facts


def erase(engine: Engine, user: str) -> int:
    """Erase a person as the trail does; return their number."""
    with changed(engine, keep=True) as cursor:
        cursor.execute(
            "UPDATE audit_names SET value = NULL, secret = NULL WHERE kind = %s AND value = %s"
            " RETURNING id",
            (USER, user),
        )
        (number,) = cursor.fetchone()
    return int(number)


@pytest.fixture
def two_people(store: AuditStore) -> None:
    store.append(
        [
            event(1, **called(**ANA)),
            event(2, **called(**ANA, usage=Usage(7, 3), cost_micro_usd=11, is_estimated=True)),
            event(3, **called(**ANA, model="o3", model_used="claude-3-opus", status=500)),
            event(4, **called(**BIA, event="refusal", usage=None, cost_micro_usd=0, status=402)),
            event(5, **called(**BIA, event="budget_set", cost_micro_usd=None)),
        ]
    )


@pytest.mark.usefixtures("two_people")
def test_usage_by_user_and_model_sums_calls_tokens_and_money(engine: Engine) -> None:
    rows = TrailQueries(engine).usage(["user", "model"])

    assert [tuple(row.values()) for row in rows] == [
        ("ana", "claude-3-opus", 1, 1, 0, 100, 20, 500),
        ("ana", "gpt-4o", 2, 0, 1, 107, 23, 511),
        ("bia", "gpt-4o", 1, 1, 0, 0, 0, 0),
    ]


@pytest.mark.usefixtures("two_people")
@pytest.mark.parametrize(
    "by", [*((it,) for it in DIMENSIONS), *combinations(DIMENSIONS, 2)], ids=",".join
)
def test_usage_by_any_one_or_two_has_everything_once(engine: Engine, by: tuple[str, ...]) -> None:
    rows = TrailQueries(engine).usage(by)

    assert [list(row)[: len(by)] for row in rows] == [list(by)] * len(rows)
    assert len({tuple(row[name] for name in by) for row in rows}) == len(rows)
    assert sum(row["requests"] for row in rows) == 4
    assert sum(row["cost_micro_usd"] for row in rows) == 1011


def test_usage_counts_days_where_the_company_is(engine: Engine, store: AuditStore) -> None:
    late = datetime(2026, 11, 24, 2, 59, 59, tzinfo=UTC)
    store.append([event(1, at=late), event(2, at=late.replace(hour=3))])

    rows = TrailQueries(engine).usage(["day"])

    assert [(row["day"], row["requests"]) for row in rows] == [
        (date(2026, 11, 23), 1),
        (date(2026, 11, 24), 1),
    ]


def test_usage_of_some_days_has_the_first_and_the_last(engine: Engine, store: AuditStore) -> None:
    store.append([event(day, at=datetime(2026, 11, day, 12, tzinfo=UTC)) for day in range(1, 8)])

    rows = TrailQueries(engine).usage(["day"], date(2026, 11, 3), date(2026, 11, 5))

    assert [row["day"].day for row in rows] == [3, 4, 5]


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        (date(2026, 9, 1), date(2026, 9, 30), [1, 15, 30]),
        (date(2026, 9, 1), date(2026, 9, 29), [1, 15]),
        (date(2026, 9, 2), date(2026, 9, 30), [15, 30]),
        (date(2026, 8, 31), date(2026, 10, 1), [31, 1, 15, 30, 1]),
        (date(2026, 8, 1), date(2026, 10, 31), [1, 15, 31, 1, 15, 30, 1, 15, 31]),
        (date(2026, 8, 2), date(2026, 9, 1), [15, 31, 1]),
        (date(2026, 9, 15), date(2026, 9, 15), [15]),
        (None, date(2026, 8, 31), [1, 15, 31]),
        (date(2026, 10, 1), None, [1, 15, 31]),
        (date(2026, 10, 1), date(2026, 12, 15), [1, 15, 31]),
        (date(2026, 7, 9), date(2026, 8, 15), [1, 15]),
        (None, None, [1, 15, 31, 1, 15, 30, 1, 15, 31]),
    ],
)
def test_usage_over_months_is_the_sum_of_their_days(
    engine: Engine, store: AuditStore, first: date | None, last: date | None, days: list[int]
) -> None:
    for month, length in ((8, 31), (9, 30), (10, 31)):
        store.append(
            [
                event(day, at=datetime(2026, month, day, 12, tzinfo=UTC), cost_micro_usd=day)
                for day in (1, 15, length)
            ]
        )

    (row,) = TrailQueries(engine).usage(["team"], first, last)

    assert (row["requests"], row["cost_micro_usd"]) == (len(days), sum(days))


def test_usage_shows_nobody_as_none_and_last(engine: Engine, store: AuditStore) -> None:
    store.append([event(1, user=None), event(2, user="zoe")])

    assert [row["user"] for row in TrailQueries(engine).usage(["user"])] == ["zoe", None]


def test_usage_of_an_erased_person_stays_under_a_pseudonym(
    engine: Engine, store: AuditStore
) -> None:
    store.append([event(1, user="ana"), event(2, user="bia")])
    number = erase(engine, "ana")
    # Who is really called so is somebody else.
    store.append([event(3, user=f"erased-{number}"), event(4, user="ana")])

    rows = TrailQueries(engine).usage(["user"])

    assert [(row["user"], row["requests"]) for row in rows] == [
        ("ana", 1),
        ("bia", 1),
        (f"erased-{number}", 1),
        (f"erased-{number}", 1),
    ]


@pytest.mark.usefixtures("two_people")
@pytest.mark.parametrize("asked", [["--json"], ["--format", "json"]])
def test_usage_command_prints_one_json_array(ask: Ask, asked: list[str]) -> None:
    done = ask("usage", "--by", "user, model", *asked)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[1] == {
        "user": "ana",
        "model": "gpt-4o",
        "requests": 2,
        "failed": 0,
        "estimated": 1,
        "input_tokens": 107,
        "output_tokens": 23,
        "cost_micro_usd": 511,
    }


def test_usage_command_as_csv_opens_inert(ask: Ask, store: AuditStore) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a"b,c', "x;=HYPERLINK(1)", " =1"]
    store.append([event(number, user=it) for number, it in enumerate(formulas)])

    done = ask("usage", "--by", "user", "--format", "csv")

    head, *rows = csv.reader(io.StringIO(done.stdout, newline=""))
    assert head[0] == "user"
    assert {row[0] for row in rows} == {
        "'=1+1",
        "'+1",
        "'-1",
        "'@SUM(A1)",
        "'\t'=1",
        "'\r'=1",
        'a"b,c',
        "x;'=HYPERLINK(1)",
        "' =1",
    }
    assert done.stdout.count("\r\n") == len(formulas) + 1
    assert '"a""b,c",1,' in done.stdout


@pytest.mark.usefixtures("two_people")
def test_usage_command_prints_a_table_in_portuguese(ask: Ask) -> None:
    done = ask("usage", "--by", "team", "--to", "2026-11-23", LOCALE="pt_BR")

    head, legal, sales = done.stdout.splitlines()
    assert head.split()[:2] == ["equipe", "chamadas"]
    assert (legal.split()[:2], sales.split()[:2]) == (["legal", "1"], ["sales", "3"])


@pytest.mark.usefixtures("two_people")
def test_usage_command_outside_of_the_days_has_nothing(ask: Ask) -> None:
    done = ask("usage", "--by", "user", "--from", "2026-11-24", "--json")

    assert (done.returncode, done.stdout) == (0, "[]\n")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--by", "user,client"], "--by: use, none twice"),
        (["--by", "user,user"], "--by: use, none twice"),
        (["--by", ""], "--by: use, none twice"),
        (["--by", "user", "--from", "2026-11-02", "--to", "2026-11-01"], "--from is after --to"),
        (["--by", "user", "--from", "yesterday"], "yesterday"),
    ],
)
def test_usage_command_that_cannot_be_meant_ends_with_2(
    ask: Ask, asked: list[str], said: str
) -> None:
    done = ask("usage", *asked)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
