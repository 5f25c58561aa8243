"""Calendar days where the company is, and the months of the trail that they are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

from app.audit.partitions import following

DAY = timedelta(days=1)


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
