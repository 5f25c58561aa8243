"""What may stand in a field of an event: of the right type, and no larger than its column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from app.utils.helpers import MICRO_USD

MAX_ID_LENGTH = 128
MAX_TEXT_LENGTH = 256
MAX_INTEGER = 2**31 - 1
MAX_MICRO_USD = 2**63 - 1
# Of texts that are numbers; Python's own limit is far away.
MAX_DIGITS = 30

# The trail has months: none that cannot be, and none that is yet to come.
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
# Seconds since 1970 are fewer until the year 5138; milliseconds were more from 1973 on.
FIRST_OF_MILLISECONDS = 1e11

# A code, such as `timeout` or `litellm.RateLimitError`; what else is said may quote a prompt.
CODE = re.compile(r"[A-Za-z0-9][\w.:-]{0,63}", re.ASCII)
ERROR_CLASS = re.compile(r"[A-Za-z_][\w.]{0,55}(?:Error|Exception|Timeout)\b", re.ASCII)
NO_CODE = "unspecified"


class RejectedEventError(ValueError):
    """What is wrong with one event: ``problem`` is a key of `DETAILS` in app/config/messages.py."""

    def __init__(self, problem: str, field: str | None = None) -> None:
        self.problem = problem
        self.field = field
        super().__init__(problem)


Fields = Mapping[str, Any]


def object_at(fields: Fields, name: str, place: str) -> Fields:
    """Return an object, empty where there is none. ``place`` is what it is called in complaints."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RejectedEventError("not_object", place)
    return value


def identifier(fields: Fields, name: str, place: str) -> str | None:
    """Return an id; one that is too long is refused: cut, two might be one."""
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 2**63 else None
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isprintable():
        raise RejectedEventError("not_text", place)
    if len(value) > MAX_ID_LENGTH:
        raise RejectedEventError("out_of_range", place)
    return value


def text(fields: Fields, name: str, place: str) -> str | None:
    """Return a name, without what cannot be printed, cut to its limit."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RejectedEventError("not_text", place)
    cut = value[: 2 * MAX_TEXT_LENGTH]
    return "".join(filter(str.isprintable, cut)).strip()[:MAX_TEXT_LENGTH] or None


def code(fields: Fields, name: str, place: str) -> str | None:
    """Return a code; of a message only the class of error that it begins with."""
    value = text(fields, name, place)
    if value is None or CODE.fullmatch(value):
        return value
    error_class = ERROR_CLASS.match(value)
    return error_class[0] if error_class else NO_CODE


def integer(fields: Fields, name: str, place: str, high: int = MAX_INTEGER) -> int | None:
    """Return a whole number from 0 on; one with a fraction is rounded."""
    value = _decimal(fields.get(name), place)
    if value is None:
        return None
    if not 0 <= value <= high:
        raise RejectedEventError("out_of_range", place)
    return int(value.to_integral_value(ROUND_HALF_UP))


def micro_usd(fields: Fields, name: str, place: str) -> int | None:
    """Return dollars as micro-USD, half a micro-USD rounded up."""
    value = _decimal(fields.get(name), place)
    if value is None:
        return None
    if not 0 <= value <= Decimal(MAX_MICRO_USD) / MICRO_USD:
        raise RejectedEventError("out_of_range", place)
    return int((value * MICRO_USD).to_integral_value(ROUND_HALF_UP))


def number(fields: Fields, name: str, place: str) -> int | float | None:
    """Return what was used of a limit: a count, or dollars."""
    value = _decimal(fields.get(name), place)
    if value is None:
        return None
    if abs(value) > MAX_MICRO_USD:
        raise RejectedEventError("out_of_range", place)
    return int(value) if value == value.to_integral_value() else float(value)


def flag(fields: Fields, name: str, place: str) -> bool:
    """Return whether it says true; LiteLLM writes some of its flags as texts."""
    value = fields.get(name)
    if value is None or value == "":
        return False
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise RejectedEventError("not_boolean", place)
    return value


def moment(value: object, place: str, now: datetime) -> datetime | None:
    """Return a time in UTC, of ISO 8601 (without a zone: UTC) or seconds or milliseconds."""
    if value is None or value == "":
        return None
    at = _moment(value)
    if at is None or not EARLIEST <= at <= now + AHEAD:
        raise RejectedEventError("not_a_time", place)
    return at


def _moment(value: object) -> datetime | None:
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value[:64])
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value >= FIRST_OF_MILLISECONDS else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _decimal(value: object, place: str) -> Decimal | None:
    """Return a number, or what a text that is one says."""
    if value is None or value == "":
        return None
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise RejectedEventError("not_number", place)
    written = str(value)
    try:
        found = Decimal(written if len(written) <= MAX_DIGITS else "nan")
    except ArithmeticError:
        raise RejectedEventError("not_number", place) from None
    if not found.is_finite():
        raise RejectedEventError("not_number", place)
    return found
