"""One event of LiteLLM, and the line of JSON that it is in the spool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

START, END, ERROR = "request_start", "request_end", "request_error"
FALLBACK, RATE_LIMIT = "model_fallback", "rate_limit_hit"
EVENT_TYPES = (START, END, ERROR, FALLBACK, RATE_LIMIT)

CLIENT_LEFT = "client_left"


@dataclass(frozen=True, slots=True)
class LiteLLMEvent:
    """Whatever the sender's form was; every text and number fits its column. ``at`` and
    ``received_at`` are aware, in UTC, and never change once they are in the spool."""

    # The sender's own, else made so that the same event has the same one.
    id: str
    event_type: str
    at: datetime
    received_at: datetime
    # LiteLLM's call id: of a call of ours, the id of the request.
    request_id: str | None = None
    # As LiteLLM was told: our pseudonym, or what whoever called it directly said.
    user_id: str | None = None
    model: str | None = None
    model_used: str | None = None
    provider: str | None = None
    status: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_micro_usd: int | None = None
    response_time_ms: int | None = None
    is_cached: bool = False
    # Codes and numbers only: no prompt, no message of a provider.
    detail: Mapping[str, Any] = field(default_factory=dict)


def to_line(event: LiteLLMEvent) -> bytes:
    """Return the line, with its end."""
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> LiteLLMEvent:
    """Raises: ValueError, where it is none of `to_line`."""
    fields = orjson.loads(line)
    try:
        at = datetime.fromisoformat(fields.pop("at"))
        received_at = datetime.fromisoformat(fields.pop("received_at"))
        return LiteLLMEvent(at=at, received_at=received_at, **fields)
    except (AttributeError, KeyError, TypeError) as fault:
        raise ValueError("not an event of LiteLLM") from fault
