"""Calendar days where the company is, and the months of the trail that they are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

from app.audit.partitions import following

DAY = timedelta(days=1)
# Every day of ours is between; reckoning with days beyond would leave the calendar.
EARLIEST, LATEST = date(1970, 1, 1), date(9000, 12, 31)


@dataclass(frozen=True, slots=True)
class Span:
    """Days from ``first`` to ``last``, both included, in ``zone``."""

    first: date
    last: date
    zone: ZoneInfo

    @property
    def start(self) -> datetime:
        return midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """Return the moment just after."""
        return midnight(self.last + DAY, self.zone)

    def days(self) -> Iterator[date]:
        day = self.first
        while day <= self.last:
            yield day
            day += DAY

    def midnights(self) -> list[datetime]:
        """Return where each day begins, and the end of the last."""
        return [midnight(day, self.zone) for day in (*self.days(), self.last + DAY)]

    def days_in(self, months: Iterable[date]) -> set[date]:
        """Return the days that these months of UTC have any part of."""
        bounds = [(midnight(it, UTC), midnight(following(it), UTC)) for it in months]
        return {
            day
            for day, (start, end) in zip(self.days(), pairwise(self.midnights()), strict=True)
            if any(start < after and first < end for first, after in bounds)
        }


def midnight(day: date, zone: tzinfo) -> datetime:
    """Return when the day begins, in UTC; where the clock skips midnight, the moment it does."""
    return datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)


def month_of(first: date, zone: ZoneInfo) -> Span:
    return Span(first, following(first) - DAY, zone)


def whole_months(first: date, last: date) -> tuple[date, date]:
    """Return the first day of the first whole month in these days, and of the one after the last;
    not in this order where there is none."""
    month = first if first.day == 1 else following(first.replace(day=1))
    return month, (last + DAY).replace(day=1)
