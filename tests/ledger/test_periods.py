from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.periods import PERIODS, window_at

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NEW_YORK = ZoneInfo("America/New_York")
KOLKATA = ZoneInfo("Asia/Kolkata")


def window(period: str, at: str, zone: ZoneInfo = SAO_PAULO) -> tuple[str, str]:
    """Return a period's bounds as local times."""
    found = window_at(period, datetime.fromisoformat(at), zone)
    return (
        found.start.astimezone(zone).strftime("%Y-%m-%d %H:%M"),
        found.end.astimezone(zone).strftime("%Y-%m-%d %H:%M"),
    )


@pytest.mark.parametrize(
    ("period", "at", "bounds"),
    [
        ("minute", "2026-11-23T12:34:56Z", ("2026-11-23 09:34", "2026-11-23 09:35")),
        ("hour", "2026-11-23T12:34:56Z", ("2026-11-23 09:00", "2026-11-23 10:00")),
        ("day", "2026-11-23T02:59:59Z", ("2026-11-22 00:00", "2026-11-23 00:00")),
        ("day", "2026-11-23T03:00:00Z", ("2026-11-23 00:00", "2026-11-24 00:00")),
        ("week", "2026-11-23T03:00:00Z", ("2026-11-23 00:00", "2026-11-30 00:00")),
        ("week", "2026-11-22T12:00:00Z", ("2026-11-16 00:00", "2026-11-23 00:00")),
        ("month", "2026-12-01T02:59:59Z", ("2026-11-01 00:00", "2026-12-01 00:00")),
        ("month", "2027-01-01T03:00:00Z", ("2027-01-01 00:00", "2027-02-01 00:00")),
        ("month", "2028-02-29T12:00:00Z", ("2028-02-01 00:00", "2028-03-01 00:00")),
    ],
)
def test_period_follows_the_calendar_of_the_place(
    period: str, at: str, bounds: tuple[str, str]
) -> None:
    assert window(period, at) == bounds


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25)])
def test_day_on_which_the_clock_changes_is_as_long_as_it_is(day: str, hours: int) -> None:
    found = window_at("day", datetime.fromisoformat(f"{day}T17:00Z"), NEW_YORK)

    assert found.end - found.start == timedelta(hours=hours)


def test_day_whose_midnight_the_clock_skips_begins_when_it_does() -> None:
    # In 2018 Brazil's clocks went from 23:59 on November 3rd to 01:00 on the 4th.
    found = window_at("day", datetime(2018, 11, 4, 12, tzinfo=UTC), SAO_PAULO)

    assert found.start == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert found.end - found.start == timedelta(hours=23)


def test_hour_of_a_zone_off_by_half_an_hour_begins_there() -> None:
    found = window_at("hour", datetime(2026, 11, 23, 12, 10, tzinfo=UTC), KOLKATA)

    assert found.start == datetime(2026, 11, 23, 11, 30, tzinfo=UTC)


@given(
    st.sampled_from(PERIODS),
    st.integers(0, 20 * 365 * 24 * 3600),
    st.sampled_from([SAO_PAULO, NEW_YORK, KOLKATA, ZoneInfo("UTC")]),
)
def test_periods_leave_no_gap_and_do_not_overlap(period: str, seconds: int, zone: ZoneInfo) -> None:
    at = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    found = window_at(period, at, zone)

    assert found.start <= at < found.end
    assert window_at(period, found.end, zone).start == found.end
    assert window_at(period, found.start, zone) == found
