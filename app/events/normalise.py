"""From what a sender wrote to a `LiteLLMEvent`: the seed's five events, and LiteLLM's own form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from app.events import standard_logging
from app.events.event import END, ERROR, FALLBACK, RATE_LIMIT, START, LiteLLMEvent
from app.events.fields import (
    MAX_ID_LENGTH,
    Fields,
    RejectedEventError,
    code,
    flag,
    identifier,
    integer,
    micro_usd,
    moment,
    number,
    object_at,
    text,
)

# What senders of later versions may call an event; nothing else is written into a log.
KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
NO_KIND = "unnamed"
# The codes of an error go into a small integer.
MAX_ERROR_CODE = 9999


class UnknownKindError(ValueError):
    """An event of a kind that is not ours; ``kind`` can be written anywhere."""

    def __init__(self, kind: str) -> None:
        self.kind = kind if KIND.fullmatch(kind) else NO_KIND
        super().__init__(self.kind)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An element that is no event: its place, from 0, and what is wrong with it."""

    index: int
    problem: str
    field: str | None


@dataclass(slots=True)
class Batch:
    """What a delivery holds."""

    events: list[LiteLLMEvent] = field(default_factory=list)
    # Of the events that are of no kind of ours, each.
    unknown: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


def normalise(elements: Sequence[Any], delivery_id: str | None, now: datetime) -> Batch:
    """``delivery_id`` is whom a sender calls the whole by, where that was vouched for."""
    batch = Batch()
    for index, element in enumerate(elements):
        name = _name_of(delivery_id, index, len(elements))
        try:
            batch.events.append(event_of(element, name, now))
        except UnknownKindError as unknown:
            batch.unknown.append(unknown.kind)
        except RejectedEventError as error:
            batch.rejected.append(Rejection(index, error.problem, error.field))
    return batch


def event_of(element: Any, name: str | None, now: datetime) -> LiteLLMEvent:
    """``name`` is its id where it has none of its own.

    Raises: RejectedEventError; UnknownKindError.
    """
    if not isinstance(element, dict):
        raise RejectedEventError("not_an_event")
    if standard_logging.is_payload(element):
        element = standard_logging.event_of(element)
    read = READERS.get(_kind(element))
    if read is None:
        raise UnknownKindError(element["event_type"])
    data = object_at(element, "data", "data")
    return LiteLLMEvent(
        id=identifier(element, "id", "id") or name or _digest(element),
        event_type=element["event_type"],
        at=moment(element.get("timestamp"), "timestamp", now) or now,
        received_at=now,
        user_id=text(data, "user_id", "data.user_id"),
        **read(data),
    )


def _kind(element: Fields) -> str:
    kind = element.get("event_type")
    if kind is None:
        raise RejectedEventError("required", "event_type")
    if not isinstance(kind, str) or not kind:
        raise RejectedEventError("not_text", "event_type")
    return kind


def _name_of(delivery_id: str | None, index: int, count: int) -> str | None:
    if not delivery_id:
        return None
    name = delivery_id if count == 1 else f"{delivery_id}.{index}"
    if len(name) <= MAX_ID_LENGTH and name.isprintable():
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _digest(element: Fields) -> str:
    return hashlib.sha256(orjson.dumps(element, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _start(data: Fields) -> dict[str, Any]:
    return {"request_id": _request_id(data), "model": text(data, "model", "data.model")}


def _end(data: Fields) -> dict[str, Any]:
    usage = object_at(data, "usage", "data.usage")
    return {
        **_start(data),
        "model_used": text(data, "model_used", "data.model_used"),
        "provider": code(data, "provider", "data.provider"),
        "status": code(data, "status", "data.status") or "success",
        "input_tokens": integer(usage, "prompt_tokens", "data.usage.prompt_tokens"),
        "output_tokens": integer(usage, "completion_tokens", "data.usage.completion_tokens"),
        "cost_micro_usd": micro_usd(data, "cost", "data.cost"),
        "response_time_ms": integer(data, "response_time_ms", "data.response_time_ms"),
        "is_cached": flag(data, "cache_hit", "data.cache_hit"),
        "detail": {"stream": True} if flag(data, "stream", "data.stream") else {},
    }


def _error(data: Fields) -> dict[str, Any]:
    facts = {
        "error": code(data, "error", "data.error"),
        "error_code": _error_code(data),
    }
    return {
        # Whoever was refused before the call was named has none.
        "request_id": identifier(data, "request_id", "data.request_id"),
        "model": text(data, "model", "data.model"),
        "model_used": text(data, "model_used", "data.model_used"),
        "provider": code(data, "provider", "data.provider"),
        "status": "failure",
        "response_time_ms": integer(data, "response_time_ms", "data.response_time_ms"),
        "detail": _known(facts),
    }


def _fallback(data: Fields) -> dict[str, Any]:
    asked, used = "data.original_model", "data.fallback_model"
    facts = {"reason": code(data, "reason", "data.reason")}
    return {
        "request_id": _request_id(data),
        "model": _required(text(data, "original_model", asked), asked),
        "model_used": _required(text(data, "fallback_model", used), used),
        "detail": _known(facts),
    }


def _rate_limit(data: Fields) -> dict[str, Any]:
    facts = {
        "limit_type": code(data, "limit_type", "data.limit_type"),
        "current_usage": number(data, "current_usage", "data.current_usage"),
        "limit": number(data, "limit", "data.limit"),
    }
    return {
        # The seed's own event has none.
        "request_id": identifier(data, "request_id", "data.request_id"),
        "model": text(data, "model", "data.model"),
        "detail": _known(facts),
    }


def _request_id(data: Fields) -> str:
    place = "data.request_id"
    return _required(identifier(data, "request_id", place), place)


def _error_code(data: Fields) -> int | str | None:
    """Return a status, or a provider's own code."""
    try:
        return integer(data, "error_code", "data.error_code", MAX_ERROR_CODE)
    except RejectedEventError:
        return code(data, "error_code", "data.error_code")


def _required(value: str | None, place: str) -> str:
    if value is None:
        raise RejectedEventError("required", place)
    return value


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


READERS: dict[str, Callable[[Fields], dict[str, Any]]] = {
    START: _start,
    END: _end,
    ERROR: _error,
    FALLBACK: _fallback,
    RATE_LIMIT: _rate_limit,
}
