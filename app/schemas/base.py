"""What every body, query, answer and page has in common."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson
from marshmallow import RAISE, Schema, fields

from app.schemas.fields import NOT_NULL, Integer, messages

PAGE_SIZE = 50
MOST_IN_PAGE = 200
MAX_CURSOR_LENGTH = 1024


class Asked(Schema):
    """A body or a query: a field that nobody knows is an error that names it."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "unknown_field", "type": "not_object"}  # noqa: RUF012


class Answer(Schema):
    """What is sent back."""


class ErrorFields(Answer):
    message = fields.String(required=True)
    type = fields.String(required=True)
    param = fields.String(required=True, allow_none=True)
    code = fields.String(required=True)


class ErrorAnswer(Answer):
    """The envelope of every failure; ``param`` names the field that is wrong."""

    error = fields.Nested(ErrorFields, required=True)


class Cursor(fields.String):
    """Where the next page begins: what an answer's `next_cursor` said, and nothing else.

    ``parts``: the types of the position's values, in their order.
    """

    default_error_messages = messages("not_a_cursor")

    def __init__(self, *parts: type, **options: Any) -> None:
        self._parts = parts
        super().__init__(**NOT_NULL | options)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any
    ) -> Any:
        text = super()._deserialize(value, attr, data, **options)
        try:
            return _position(text or "", self._parts)
        except (ValueError, TypeError, OverflowError):
            raise self.make_error("invalid") from None


class PageQuery(Asked):
    """Subclasses add `cursor`."""

    limit = Integer(
        least=1,
        most=MOST_IN_PAGE,
        in_query=True,
        load_default=PAGE_SIZE,
        metadata={"description": "How many at most."},
    )


def cursor_field(*parts: type) -> Cursor:
    words = "`next_cursor` of the page before; without it, the first page."
    return Cursor(*parts, load_default=None, metadata={"description": words})


def page_of(schema: type[Schema]) -> type[Schema]:
    """Return the schema of a page of these."""
    name = f"{schema.__name__.removesuffix('Schema')}PageSchema"
    return Answer.from_dict(
        {
            "data": fields.List(fields.Nested(schema), required=True),
            "next_cursor": fields.String(required=True, allow_none=True),
        },
        name=name,
    )


def page(rows: Sequence[Any], position: Sequence[Any] | None) -> dict[str, Any]:
    """Return what `page_of` serialises; ``position``: of the last row, None on the last page."""
    return {"data": rows, "next_cursor": None if position is None else _cursor(position)}


def _cursor(position: Sequence[Any]) -> str:
    packed = orjson.dumps(list(position))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _position(text: str, parts: Sequence[type]) -> tuple[Any, ...]:
    """Raises: ValueError, TypeError."""
    if len(text) > MAX_CURSOR_LENGTH or not text.isascii():
        raise ValueError
    packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    values = orjson.loads(packed)
    if not isinstance(values, list) or len(values) != len(parts):
        raise ValueError
    return tuple(_part(value, kind) for value, kind in zip(values, parts, strict=True))


def _part(value: Any, kind: type) -> Any:
    if kind is date:
        return date.fromisoformat(value)
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None or not 1970 <= moment.year < 9000:
            raise ValueError
        return moment
    if type(value) is not kind or (isinstance(value, str) and "\0" in value):
        raise ValueError
    if isinstance(value, int) and not -(2**62) < value < 2**62:
        raise ValueError
    return value
