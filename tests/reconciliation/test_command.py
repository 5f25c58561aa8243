"""`solaris reconcile`: what it prints, and how it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from app.services.reconciliation_service import LOCK_ID
from tests.audit.conftest import Ask
from tests.audit.trails import changed
from tests.reconciliation.days import Day, request_id

# The command has the real clock: here it is noon, or nearly, so that no midnight comes between.
NOW = datetime.now(UTC)
ZONE = f"Etc/GMT{NOW.hour - 12:+d}"
YESTERDAY = NOW.astimezone(ZoneInfo(ZONE)).date() - timedelta(days=1)
NOON = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=ZoneInfo(ZONE))


def made(number: int) -> str:
    return request_id(number, NOON + timedelta(seconds=number))


@pytest.fixture
def ask_here(ask: Ask) -> Ask:
    return partial(ask, TIMEZONE=ZONE)


@pytest.fixture
def good_day(day: Day) -> Day:
    for number in range(3):
        day.add(made(number), {}, {})
    return day


def test_day_that_agrees_ends_with_0(good_day: Day, ask_here: Ask) -> None:
    good_day.write()

    done = ask_here("reconcile")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{YESTERDAY}: 3 requests compared; 3 match" in done.stdout
    assert done.stderr == ""


def test_discrepancy_is_shown_with_both_sides_and_ends_with_1(good_day: Day, ask_here: Ask) -> None:
    it = good_day.add(made(9), {}, {"output_tokens": 40, "cost_micro_usd": 3_000})
    good_day.write()

    done = ask_here("reconcile", "--day", str(YESTERDAY))

    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if it in line]
    assert "output tokens, cost" in line
    assert line.split()[-3:] == ["100+20/100+40", "2000/3000", "-1000"]
    assert "the discrepancies come to US$ 0.001000" in done.stdout


def test_words_are_portuguese_where_that_is_the_locale(good_day: Day, ask_here: Ask) -> None:
    good_day.add(made(9), None, {})
    good_day.write()

    done = ask_here("reconcile", LOCALE="pt_BR")

    assert "falta aqui" in done.stdout
    assert "sem registro" in done.stdout


def test_json_is_one_array_with_all_that_was_found(good_day: Day, ask_here: Ask) -> None:
    it = good_day.add(made(9), {}, None)
    good_day.write()

    done = ask_here("reconcile", "--json")

    (found,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["good"], found["day"], found["matched"]) == (False, str(YESTERDAY), 3)
    assert found["missing_there"] == 1
    (discrepancy,) = found["discrepancies"]
    assert discrepancy["request_id"] == it
    assert discrepancy["ours"] == {
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_micro_usd": 2_000,
    }
    assert discrepancy["litellm"] is None


def test_many_discrepancies_are_not_all_printed(day: Day, ask_here: Ask) -> None:
    for number in range(60):
        day.add(made(number), {}, None)
    day.write()

    done = ask_here("reconcile")

    assert sum(line.startswith("missing there") for line in done.stdout.splitlines()) == 50
    assert "10 more discrepancies are not shown" in done.stderr


def test_day_without_requests_agrees(day: Day, ask_here: Ask) -> None:
    done = ask_here("reconcile", "--day", "2020-02-29")

    assert (done.returncode, done.stderr) == (0, "")


def test_day_that_retention_has_dropped_is_not_compared(
    day: Day, engine: Engine, ask_here: Ask
) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute("INSERT INTO audit_drops VALUES ('2020-03-01', 1, now(), 400, '', '')")

    done = ask_here("reconcile", "--day", "2020-03-31")

    assert (done.returncode, done.stdout) == (1, "")
    assert "retention has dropped rows of this day" in done.stderr


def test_command_waits_for_nobody_who_compares_already(
    day: Day, engine: Engine, ask_here: Ask
) -> None:
    with changed(engine) as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK_ID,))
        done = ask_here("reconcile")
        cursor.execute("SELECT pg_advisory_unlock(%s)", (LOCK_ID,))

    assert (done.returncode, done.stdout) == (1, "")
    assert "another reconciliation is under way" in done.stderr


def test_day_that_is_not_over_is_compared_with_a_warning(day: Day, ask_here: Ask) -> None:
    today = YESTERDAY + timedelta(days=1)

    done = ask_here("reconcile", "--day", str(today))

    assert done.returncode == 0
    assert f"{today} is not over" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--day", "yesterday"), "Invalid value for '--day'"),
        (("--day", "2026-02-30"), "Invalid value for '--day'"),
        (("--day", "2999-01-01"), "2999-01-01 has not begun"),
        (("--bill", "no-such-file.csv"), "Invalid value for '--bill'"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(
    day: Day, ask_here: Ask, arguments: tuple[str, ...], said: str
) -> None:
    done = ask_here("reconcile", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_bill_is_the_third_column_of_its_days(good_day: Day, ask_here: Ask, tmp_path: Path) -> None:
    """Three calls at 2,000 micro-USD are 0.006 dollars."""
    good_day.write()
    bill = tmp_path / "bill.csv"
    bill.write_text(f"date,model,amount\n{YESTERDAY},gpt-4o-2024-08-06,0.0065\n")

    done = ask_here("reconcile", "--bill", str(bill))
    (found,) = json.loads(ask_here("reconcile", "--bill", str(bill), "--json").stdout)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the bill agrees" in done.stdout
    assert found["bill"] == [
        {
            "day": str(YESTERDAY),
            "model": "gpt-4o",
            "our_micro_usd": 6_000,
            "litellm_micro_usd": 6_000,
            "bill_micro_usd": 6_500,
            "difference_micro_usd": -500,
            "good": True,
        }
    ]


def test_bill_that_differs_ends_with_1(good_day: Day, ask_here: Ask, tmp_path: Path) -> None:
    good_day.write()
    bill = tmp_path / "bill.csv"
    bill.write_text(f"dia;modelo;valor\n{YESTERDAY:%d/%m/%Y};gpt-4o;1,50\n")

    done = ask_here("reconcile", "--bill", str(bill))

    assert done.returncode == 1
    assert "the bill differs in 1 rows" in done.stdout


def test_bill_with_bad_lines_is_not_used_and_names_them(
    good_day: Day, ask_here: Ask, tmp_path: Path
) -> None:
    good_day.write()
    bill = tmp_path / "bill.csv"
    bill.write_text(f"date,model,amount\n{YESTERDAY},gpt-4o,0.01\n,gpt-4o,1.00\nTotal,,x\n")

    done = ask_here("reconcile", "--bill", str(bill))

    assert (done.returncode, done.stdout) == (2, "")
    assert "line 3: date cannot be read" in done.stderr
    assert "line 4: date cannot be read" in done.stderr


def test_bill_of_other_days_than_the_one_asked_for_is_wrong_use(
    good_day: Day, ask_here: Ask, tmp_path: Path
) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text("date,model,amount\n2026-01-01,gpt-4o,0.01\n")

    done = ask_here("reconcile", "--bill", str(bill), "--day", str(YESTERDAY))

    assert done.returncode == 2
    assert f"has nothing of {YESTERDAY}" in done.stderr
