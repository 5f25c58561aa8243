"""Rules as data: budgets and their forecast, quiet hours, and words for every rule."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from app.alerting.budgets import budgets_seen, level_of, places_of, runs_out_on
from app.alerting.rules import RULES, SEVERITIES
from app.alerting.state import Alert
from app.audit.backlog import Backlog
from app.config.alert_messages import CODES
from app.config.alert_messages import RULES as WORDS
from app.config.errors import ConfigurationError
from app.config.quiet_hours import QuietHours, parse_quiet_hours
from app.config.settings import load_settings
from app.ledger.gauges import BudgetGauge
from app.ledger.periods import window_at
from tests.alerts.samples import AT, ZONE
from tests.fakes.clock import FakeClock

MONTH = window_at("month", AT, ZONE)


def gauge(
    used: int, limit: int = 1000, period: str = "month", subject: str = "vendas"
) -> BudgetGauge:
    window = window_at(period, AT, ZONE)
    return BudgetGauge(window, "team", subject, "cost", period, "enforce", limit, used)


@pytest.mark.parametrize("locale", ["pt_BR", "en"])
def test_every_rule_has_words(locale: str) -> None:
    assert RULES.keys() <= WORDS[locale].keys()
    assert RULES["security_incident"].more_than_of.keys() <= CODES[locale]["what"].keys()
    assert {it.severity for it in RULES.values()} <= set(SEVERITIES)


@pytest.mark.parametrize(
    ("used", "level"),
    [(499, 0), (500, 50), (799, 50), (800, 80), (994, 80), (995, 100), (1000, 100), (5000, 100)],
)
def test_level_is_the_highest_threshold_that_is_reached(used: int, level: int) -> None:
    assert level_of(gauge(used)) == level


@pytest.mark.parametrize(
    ("day", "used", "expected"),
    [
        # Half of it within a third of the month: in two thirds all of it.
        (11, 500, "2026-11-21"),
        (11, 334, "2026-11-30"),
        # Just as long as the month.
        (11, 333, None),
        (11, 0, None),
        # It has run out.
        (11, 1000, None),
        # The first 20 % say nothing.
        (6, 999, None),
        (7, 999, "2026-11-07"),
    ],
)
def test_forecast_is_a_day_before_the_renewal_or_none(
    day: int, used: int, expected: str | None
) -> None:
    now = datetime(2026, 11, day, 3, 0, tzinfo=UTC)

    assert runs_out_on(gauge(used), now, ZONE) == expected


def test_budget_of_a_day_is_not_forecast() -> None:
    assert runs_out_on(gauge(900, period="day"), AT, ZONE) is None
    assert runs_out_on(gauge(900, period="week"), AT + timedelta(days=2), ZONE) is not None


def test_address_of_a_person_is_told_as_a_stand_in() -> None:
    it = gauge(600, subject="ana@empresa.test")
    (seen,) = budgets_seen([it], {}, AT, ZONE).values()

    assert "ana@" not in it.place
    assert "empresa" not in f"{it.place}{seen.facts}"
    assert it.place != gauge(600, subject="ada@empresa.test").place


def test_budget_that_nobody_has_any_more_is_over() -> None:
    facts = {"scope": "team", "subject": "vendas", "metric": "cost", "period": "month"}
    alert = Alert("a", "budget_threshold", "x", "opened", "info", AT, AT, AT, facts=facts)
    key = (alert.rule, alert.subject)

    assert places_of([alert]) == [("team", "vendas", "cost", "month")]
    assert budgets_seen([], {key: alert}, AT, ZONE)[key].is_over


@pytest.mark.parametrize(
    ("hours", "at", "expected"),
    [
        ("22:00-07:00", time(21, 59), False),
        ("22:00-07:00", time(22, 0), True),
        ("22:00-07:00", time(6, 59), True),
        ("22:00-07:00", time(7, 0), False),
        ("12:30-13:00", time(12, 45), True),
        ("12:30-13:00", time(13, 0), False),
    ],
)
def test_quiet_hours_end_just_before_their_end(hours: str, at: time, expected: bool) -> None:
    assert parse_quiet_hours(hours).contain(at) is expected


@pytest.mark.parametrize("written", ["22-7", "22:00", "25:00-07:00", "a:b-c:d", "07:00-07:00", "-"])
def test_quiet_hours_that_are_none_are_refused_by_name(written: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"ENVIRONMENT": "development", "ALERT_QUIET_HOURS": written})

    assert [it.subject for it in refused.value.problems] == ["ALERT_QUIET_HOURS"]


def test_quiet_hours_are_read_from_the_environment() -> None:
    settings = load_settings({"ENVIRONMENT": "development", "ALERT_QUIET_HOURS": "22:00-07:00"})

    assert settings.alerts.quiet_hours == QuietHours(time(22), time(7))


def test_backlog_is_told_when_it_is_reached_again_later_and_when_it_is_half() -> None:
    clock, told = FakeClock(), []

    def tell(waiting_bytes: int, *, is_over: bool) -> None:
        told.append((waiting_bytes, is_over))

    backlog = Backlog(100, 600.0, clock, tell)
    for waiting, seconds in ((99, 1), (100, 1), (500, 598), (300, 1), (200, 1), (60, 1), (50, 1)):
        clock.advance(seconds)
        backlog.note(waiting)
    backlog.note(0)

    assert told == [(100, False), (200, False), (50, True)]
