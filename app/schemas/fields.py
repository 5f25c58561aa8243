"""Fields whose errors are codes of `app.config.messages.DETAILS`, told in the caller's language.

A code may carry what is allowed, after a bar: `not_one_of|day, week, month`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any

from marshmallow import ValidationError, fields, validate
from webargs.fields import DelimitedList

# What Postgres and every client can hold.
MOST = 2**53 - 1
EARLIEST, LATEST = date(1970, 1, 1), date(9000, 12, 31)
CONTROL_CATEGORIES = frozenset({"Cc", "Cs"})
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
# A default of None is for who says nothing; null must be allowed by name.
NOT_NULL = {"allow_none": False}


def messages(code: str) -> dict[str, str | list[Any] | dict[Any, Any]]:
    """Return marshmallow's own errors of a field: one of them stands for every wrong value."""
    wrong = ("invalid", "invalid_utf8", "invalid_awareness", "format", "too_large")
    return {"required": "required", "null": "not_null", **dict.fromkeys(wrong, code)}


class Text(fields.String):
    """Text without control characters, of 1 to ``most`` characters (0, where it may be empty)."""

    default_error_messages = messages("not_text")

    def __init__(self, *, least: int = 1, most: int = 256, **options: Any) -> None:
        length = validate.Length(least, most, error=f"not_this_long|{least}–{most}")
        super().__init__(validate=[length, printable], **NOT_NULL | options)


class Choice(fields.String):
    """One of some words."""

    default_error_messages = messages("not_text")

    def __init__(self, choices: Collection[str], **options: Any) -> None:
        # A list, so that the description says them in their order.
        one_of = validate.OneOf(list(choices), error="not_one_of|{choices}")
        super().__init__(validate=one_of, **NOT_NULL | options)


class Integer(fields.Integer):
    """A whole number from ``least`` to ``most``; in a query, digits."""

    default_error_messages = messages("not_integer")

    def __init__(
        self, *, least: int = 0, most: int = MOST, in_query: bool = False, **options: Any
    ) -> None:
        self._in_query = in_query
        between = validate.Range(least, most, error=f"not_between|{least}–{most}")
        super().__init__(validate=between, **NOT_NULL | options)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any
    ) -> int:
        is_digits = self._in_query and isinstance(value, str) and WHOLE_NUMBER.fullmatch(value)
        if not is_digits and (isinstance(value, bool) or not isinstance(value, int)):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **options)


class Flag(fields.Boolean):
    """True or false, and nothing that could be taken for it; in a query, `true` or `false`."""

    default_error_messages = messages("not_boolean")

    def __init__(self, *, in_query: bool = False, **options: Any) -> None:
        self._words = {"true": True, "false": False} if in_query else {}
        super().__init__(**NOT_NULL | options)

    def _deserialize(
        self,
        value: Any,
        attr: str | None,  # noqa: ARG002  # as marshmallow calls it
        data: Mapping[str, Any] | None,  # noqa: ARG002
        **_options: Any,
    ) -> bool:
        if isinstance(value, str) and value in self._words:
            return self._words[value]
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Moment(fields.AwareDateTime):
    """A moment with its offset from UTC (ISO 8601); shown in UTC."""

    default_error_messages = messages("not_a_time")

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", validate=_is_plausible, **NOT_NULL | options)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any
    ) -> datetime:
        moment = super()._deserialize(value, attr, data, **options)
        try:
            # Postgres takes no offset beyond 15:59, which ISO 8601 has.
            return moment.astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid") from None

    def _serialize(
        self, value: datetime | None, attr: str | None, obj: Any, **options: Any
    ) -> str | float | None:
        in_utc = value.astimezone(UTC) if value is not None else None
        return super()._serialize(in_utc, attr, obj, **options)


class Day(fields.Date):
    """A day of TIMEZONE, as 2026-11-30."""

    default_error_messages = messages("not_a_day")

    def __init__(self, **options: Any) -> None:
        between = validate.Range(EARLIEST, LATEST, error="not_a_day")
        super().__init__(format="iso", validate=between, **NOT_NULL | options)


class Several(fields.List[Any]):
    """A list of at most ``most``."""

    default_error_messages = messages("not_list")

    def __init__(
        self, inner: fields.Field[Any], *, least: int = 0, most: int = 100, **options: Any
    ) -> None:
        length = validate.Length(least, most, error="not_list")
        super().__init__(inner, validate=length, **NOT_NULL | options)


class Listed(DelimitedList):
    """Several words in one parameter of a query, with commas between; ``least`` of them."""

    default_error_messages = messages("not_text")

    def __init__(self, inner: fields.Field[Any], *, least: int = 0, **options: Any) -> None:
        length = validate.Length(min=least, error="not_text")
        super().__init__(inner, validate=length, **NOT_NULL | options)


def printable(text: str) -> None:
    """Refuse what would command a terminal, or what Postgres cannot keep."""
    if any(unicodedata.category(it) in CONTROL_CATEGORIES for it in text):
        raise ValidationError("not_printable")


def _is_plausible(moment: datetime) -> None:
    if not EARLIEST.year < moment.year < LATEST.year:
        raise ValidationError("not_a_time")
