"""Events for tests, each unlike the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.audit.event import AuditEvent
from app.dialects.base import Usage
from app.utils.helpers import generate_request_id

NOW = datetime(2026, 11, 23, 12, 0, 0, 120_000, tzinfo=UTC)


def event(number: int = 0, **facts: Any) -> AuditEvent:
    known: dict[str, Any] = {
        "event_id": generate_request_id(),
        "at": NOW + timedelta(milliseconds=number),
        "event": "request",
        "user": f"person-{number % 5}",
        "team": "sales",
        "key": "librechat",
        "model": "gpt-4o",
        "model_used": "gpt-4o",
        "status": 200,
        "usage": Usage(100 + number, 20, cached_input_tokens=10),
        "cost_micro_usd": 500 + number,
        "latency_ms": 1200,
        "first_byte_ms": 300,
        "private": {"conversation_id": f"talk-{number}", "ip": "10.0.0.7", "client": "librechat"},
        "detail": {"path": [{"model": "gpt-4o", "outcome": "answered"}], "odd": 'a\\b\t"c"\n€'},
    }
    return AuditEvent(**(known | facts))


def events(count: int, **facts: Any) -> list[AuditEvent]:
    return [event(number, **facts) for number in range(count)]
