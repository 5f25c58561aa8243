"""One event, and the line of JSON that it is in the spool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from app.dialects.base import Usage

# What belongs to the person: encrypted in the row, with a key that erasing the person destroys.
# `facts` is what an administrator did to them: before and after, a reason.
PRIVATE_FIELDS = ("conversation_id", "message_id", "ip", "client", "facts")


# Of a call to a model: one that was let in, and one that was not.
REQUEST, REFUSAL = "request", "refusal"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """``at`` is aware, in UTC, and never changes once it is in the spool. Of a call to a model
    ``event_id`` is the request's own id, so that there is one such event at most."""

    event_id: str
    at: datetime
    event: str
    request_id: str | None = None
    user: str | None = None
    team: str | None = None
    key: str | None = None
    model: str | None = None
    model_used: str | None = None
    status: int | None = None
    usage: Usage | None = None
    # What the ledger posted, in micro-USD.
    cost_micro_usd: int | None = None
    latency_ms: int | None = None
    first_byte_ms: int | None = None
    is_estimated: bool = False
    # Of `PRIVATE_FIELDS`.
    private: Mapping[str, Any] = field(default_factory=dict)
    # The rest: the path with its reasons, the hold, before and after, …; no prompt, no key.
    detail: Mapping[str, Any] = field(default_factory=dict)
    # Prompt and answer, where they are kept, as `ContentKeys.seal` has sealed them.
    content: str | None = None


def to_line(event: AuditEvent) -> bytes:
    """Return the line, with its end; no longer than what a spool reads at once."""
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> AuditEvent:
    """Raises: ValueError, where it is none of `to_line`."""
    fields = orjson.loads(line)
    try:
        at = datetime.fromisoformat(fields.pop("at"))
        usage = fields.pop("usage")
        return AuditEvent(at=at, usage=Usage(**usage) if usage else None, **fields)
    except (AttributeError, KeyError, TypeError) as fault:
        raise ValueError("not an audit event") from fault
