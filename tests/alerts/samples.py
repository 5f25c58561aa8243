"""Messages to send, and the words to send them in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.alerting.message import Message
from app.config.alert_words import AlertWords

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ZONE = ZoneInfo("America/Sao_Paulo")
PORTUGUESE, ENGLISH = AlertWords("pt_BR", ZONE), AlertWords("en", ZONE)

FACTS: dict[str, dict[str, Any]] = {
    "model_errors": {
        "model": "gpt-4o",
        "count": 1234,
        "window_s": 300,
        "reason": "upstream_timeout",
    },
    "model_fallbacks": {"model": "gpt-4o", "count": 6, "window_s": 600, "reason": "odd"},
    "rate_limit": {
        "model": "gpt-4",
        "limit_type": "tpm",
        "count": 1,
        "window_s": 60,
        "current_usage": 50_100,
        "limit": 50_000,
    },
    "budget_threshold": {
        "scope": "team",
        "subject": "finance",
        "metric": "cost",
        "period": "month",
        "percent": 80,
        "used": 812_345_678,
        "limit": 1_000_000_000,
        "renews_at": "2026-12-01T03:00:00+00:00",
    },
    "budget_forecast": {
        "scope": "global",
        "subject": "",
        "metric": "tokens",
        "period": "month",
        "used": 8_123_456,
        "limit": 10_000_000,
        "runs_out_on": "2026-11-27",
        "renews_at": "2026-12-01T03:00:00+00:00",
    },
    "breaker": {"model": "gpt-4o", "reason": "upstream_error"},
    "litellm_away": {"reason": "litellm_unreachable"},
    "audit_verification": {"findings": 2, "first_seq": 48_211},
    "spool_growing": {"waiting_bytes": 12_345_678},
    "reconciliation": {
        "day": "2026-11-22",
        "missing_here": 50,
        "missing_there": 3,
        "differing": 2,
        "difference_micro_usd": -1_234_567,
    },
    "security_incident": {"what": "webhook_refused", "count": 20, "window_s": 300},
}


def message(message_id: str = "m-1", rule: str = "model_errors", **changes: Any) -> Message:
    facts = changes.pop("facts", FACTS.get(rule, {}))
    known: dict[str, Any] = {
        "kind": "opened",
        "subject": facts.get("model", ""),
        "severity": "critical",
        "at": AT,
    }
    return Message(message_id, rule=rule, facts=facts, **known | changes)


def digest(*items: dict[str, Any]) -> Message:
    return Message("d-1", "digest", "", "", "warning", AT, {}, items)
