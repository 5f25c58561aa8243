"""LiteLLM's own StandardLoggingPayload, as one of our events.

Its `generic_api` sender knows successes and failures only; a failure is reported at the first
attempt, even where another one then succeeds. Prompts and answers in it are not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from app.events.event import CLIENT_LEFT, END, ERROR
from app.events.fields import RejectedEventError, object_at

TYPE_OF = {"success": END, "failure": ERROR}
# LiteLLM's mark of a caller who left before the end.
CLIENT_CLOSED_REQUEST = "499"
# What tells one such payload from another; a retry of the sender repeats them all.
IDENTITY = ("litellm_call_id", "id", "status", "model_id", "startTime", "endTime")


def is_payload(element: Mapping[str, Any]) -> bool:
    return "event_type" not in element and "litellm_call_id" in element and "status" in element


def event_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event in the seed's form. Raises: RejectedEventError."""
    status = payload["status"]
    event_type = TYPE_OF.get(status) if isinstance(status, str) else None
    if event_type is None:
        raise RejectedEventError("not_an_event", "status")
    failure = object_at(payload, "error_information", "error_information")
    data = {
        "request_id": payload.get("litellm_call_id") or payload.get("trace_id"),
        "user_id": payload.get("end_user"),
        "model": payload.get("model_group") or payload.get("model"),
        "model_used": payload.get("model"),
        "provider": payload.get("custom_llm_provider"),
        "stream": payload.get("stream"),
        "cache_hit": payload.get("cache_hit"),
        "response_time_ms": _took_ms(payload),
        "usage": {
            "prompt_tokens": payload.get("prompt_tokens"),
            "completion_tokens": payload.get("completion_tokens"),
        },
        "cost": payload.get("response_cost"),
        "status": CLIENT_LEFT if _has_left(failure) else "success",
        "error": failure.get("error_class"),
        "error_code": failure.get("error_code"),
    }
    return {
        "event_type": event_type,
        "id": _id(payload),
        "timestamp": payload.get("endTime") or payload.get("startTime"),
        "data": data,
    }


def _has_left(failure: Mapping[str, Any]) -> bool:
    return str(failure.get("error_code")) == CLIENT_CLOSED_REQUEST


def _took_ms(payload: Mapping[str, Any]) -> float | None:
    """Return the whole duration; `response_time` of a stream is that of its first token."""
    start, end = payload.get("startTime"), payload.get("endTime")
    numbers = [it for it in (start, end) if isinstance(it, int | float)]
    if len(numbers) < 2:
        return None
    return max(0.0, round((numbers[1] - numbers[0]) * 1000, 1))


def _id(payload: Mapping[str, Any]) -> str:
    identity = {name: payload.get(name) for name in IDENTITY}
    return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()
