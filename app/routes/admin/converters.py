"""Parts of addresses: what does not look like one is not found."""

from __future__ import annotations

from datetime import date

from werkzeug.routing import BaseConverter

from app.schemas.fields import EARLIEST, LATEST
from app.utils.exceptions import InvalidFieldError

MAX_NAME_LENGTH = 256
DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


class NameConverter(BaseConverter):
    """The name or id of something: no control characters; it may have slashes."""

    part_isolating = False
    regex = rf"[^/\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]{{0,{MAX_NAME_LENGTH - 1}}}?"
    weight = 200


class NumberConverter(BaseConverter):
    """The number that something has in the database."""

    regex = "[1-9][0-9]{0,17}"

    def to_python(self, value: str) -> int:
        return int(value)


class DayConverter(BaseConverter):
    """What looks like a day, as 2026-11-30; whether there is such a day, `day_of` says."""

    regex = DAY


def day_of(text: str) -> date:
    """Return the day that an address names. Raises: InvalidFieldError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not EARLIEST <= day <= LATEST:
        raise InvalidFieldError("not_a_day", param="day")
    return day
