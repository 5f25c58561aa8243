"""The months of the trail: each is a table of its own, made ahead of time and dropped as a whole.

For the owner of the tables; the application's own role can do neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime

TABLE = "audit_events"
MONTHS_AHEAD = 12

EXISTS = "SELECT to_regclass('audit_events') IS NOT NULL"
# Rows of a month without a table of its own go to the last one, which should stay empty.
MAKE_DEFAULT = f"CREATE TABLE IF NOT EXISTS {TABLE}_default PARTITION OF {TABLE} DEFAULT"
MAKE = """
    CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}
    FOR VALUES FROM ('{first} 00:00+00') TO ('{following} 00:00+00')
"""


def months_ahead(now: datetime) -> Iterator[date]:
    """Yield the first days of this month in UTC and of those that follow."""
    month = now.date().replace(day=1)
    for _ in range(MONTHS_AHEAD + 1):
        yield month
        month = following(month)


def following(month: date) -> date:
    """Return the first day of the month after ``month``, which is one, too."""
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def name_of(month: date) -> str:
    return f"{TABLE}_{month:%Y_%m}"


def make_partitions(execute: Callable[[str], object], now: datetime) -> None:
    """Make what is missing, this month's and twelve ahead; ``now`` in UTC."""
    execute(MAKE_DEFAULT)
    for month in months_ahead(now):
        execute(
            MAKE.format(name=name_of(month), table=TABLE, first=month, following=following(month))
        )
