"""An event as a row, in the one form that Postgres reads, gives back, and that is signed.

The form is a line of `COPY` in text format (PostgreSQL manual, COPY, "Text Format") under
`TimeZone=UTC`: what was signed and what is stored cannot come apart in a conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from app.audit.event import PRIVATE_FIELDS, AuditEvent
from app.audit.names import EVENT, KEY, MODEL, NOBODY, TEAM, USER, Name

# In the order of the line; `code` comes last and is not signed.
COLUMNS = (
    "seq",
    "event_id",
    "at",
    "request_id",
    "event",
    "user_id",
    "team_id",
    "key_id",
    "model_id",
    "model_used_id",
    "status",
    "input_tokens",
    "output_tokens",
    "cost_micro_usd",
    "latency_ms",
    "first_byte_ms",
    "is_estimated",
    "private",
    "detail",
)
NULL = "\\N"

NameOf = Callable[[str, str], Name]


def names_of(event: AuditEvent) -> list[tuple[str, str]]:
    """Return (kind, value) of every name that the event's row refers to."""
    named = [
        (EVENT, event.event),
        (USER, event.user),
        (TEAM, event.team),
        (KEY, event.key),
        (MODEL, event.model),
        (MODEL, event.model_used),
    ]
    return [(kind, value) for kind, value in [*named, owner_of(event)] if value is not None]


def owner_of(event: AuditEvent) -> tuple[str, str | None]:
    """Return whose the private part and the content are; None where there is neither."""
    if not event.private and event.content is None:
        return USER, None
    if event.user is None and event.key is not None:
        return KEY, event.key
    return USER, event.user or NOBODY


def row_of(seq: int, event: AuditEvent, name: NameOf) -> bytes:
    """Return the line without its end, and without the code."""

    def number(kind: str, value: str | None) -> str:
        return NULL if value is None else str(name(kind, value).id)

    event_id = uuid_of(event.event_id)
    usage = event.usage
    fields = (
        str(seq),
        str(event_id),
        timestamp(event.at),
        NULL if event.request_id in (None, event.event_id) else str(uuid_of(event.request_id)),
        number(EVENT, event.event),
        number(USER, event.user),
        number(TEAM, event.team),
        number(KEY, event.key),
        number(MODEL, event.model),
        number(MODEL, event.model_used),
        _text(event.status),
        _text(usage.input_tokens if usage else None),
        _text(usage.output_tokens if usage else None),
        _text(event.cost_micro_usd),
        _text(event.latency_ms),
        _text(event.first_byte_ms),
        "t" if event.is_estimated else "f",
        _private(event, event_id, name),
        _detail(event),
    )
    return "\t".join(fields).encode()


def uuid_of(text: str) -> UUID:
    """Return an id as it is stored: one that is no UUID gets one that is always the same."""
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"solaris:{text}")


def timestamp(at: datetime) -> str:
    """Return the moment as Postgres writes it in UTC: no zeros at the end of the second."""
    at = at.astimezone(UTC)
    fraction = f".{at.microsecond:06d}".rstrip("0") if at.microsecond else ""
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction}+00"


def private_of(row_private: bytes, event_id: UUID, owner: Name) -> dict[str, Any]:
    """Return what `row_of` has encrypted. Raises: as `Name.decrypt`."""
    values = orjson.loads(owner.decrypt(event_id.bytes, row_private))
    return {name: value for name, value in zip(PRIVATE_FIELDS, values, strict=False) if value}


def _private(event: AuditEvent, event_id: UUID, name: NameOf) -> str:
    kind, value = owner_of(event)
    if value is None or not event.private:
        return NULL
    values = [event.private.get(it) for it in PRIVATE_FIELDS]
    while values and values[-1] is None:
        values.pop()
    plain = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    # The form's escape of the backslash that begins a bytea.
    return "\\\\x" + name(kind, value).encrypt(event_id.bytes, plain).hex()


def _detail(event: AuditEvent) -> str:
    detail = dict(event.detail)
    usage = event.usage
    if usage and usage.cached_input_tokens:
        detail["cached_input_tokens"] = usage.cached_input_tokens
    if usage and usage.cache_write_tokens:
        detail["cache_write_tokens"] = usage.cache_write_tokens
    if event.request_id and str(uuid_of(event.request_id)) != event.request_id:
        detail["request_id"] = event.request_id
    if event.content is not None:
        # So that one which was taken away before its time shows.
        detail["content"] = True
    if not detail:
        return NULL
    # JSON has no control characters of its own; the form escapes backslashes.
    return orjson.dumps(detail, option=orjson.OPT_SORT_KEYS).decode().replace("\\", "\\\\")


def _text(number: int | None) -> str:
    return NULL if number is None else str(number)
