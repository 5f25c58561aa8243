"""Budget periods: by the calendar, in the company's time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

PERIODS = ("minute", "hour", "day", "week", "month")
# In these the clock on the wall does not matter, only time that passes.
_LENGTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class Window:
    """One period: from ``start`` until just before ``end``, both aware, in UTC."""

    start: datetime
    end: datetime


def window_at(period: str, at: datetime, zone: ZoneInfo) -> Window:
    """Return the period of this kind that ``at`` falls into. Weeks begin on Monday.

    A day is as long as it is there: 23 or 25 hours where the clock is changed.
    """
    if length := _LENGTHS.get(period):
        # Zones are off UTC by minutes, never by seconds nowadays, and by half hours in places.
        local = at.astimezone(zone)
        floor = local.replace(second=0, microsecond=0)
        start = (floor if period == "minute" else floor.replace(minute=0)).astimezone(UTC)
        return Window(start, start + length)
    first, following = _days(period, at.astimezone(zone))
    return Window(_midnight(first, zone), _midnight(following, zone))


def _days(period: str, local: datetime) -> tuple[datetime, datetime]:
    """Return the first day of the period, and of the next."""
    day = datetime(local.year, local.month, local.day)  # noqa: DTZ001  # a date on the wall
    if period == "day":
        return day, day + timedelta(days=1)
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def _midnight(day: datetime, zone: ZoneInfo) -> datetime:
    # Where the clock skips midnight, this is the moment at which it does.
    return day.replace(tzinfo=zone).astimezone(UTC)
