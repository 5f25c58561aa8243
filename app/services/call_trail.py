"""What one request to a model is on record for: gathered on its way, told once at its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from app.audit.event import REFUSAL, REQUEST, AuditEvent
from app.dialects.answer_text import AnswerText
from app.services.access_service import Caller
from app.services.fallback import Step
from app.services.token_service import Hold
from app.services.tracing import UNTRACED, CallSpan
from app.utils.helpers import time_of_request_id

CLIENT_LEFT = 499
UNKNOWN_MODEL = "(unknown)"
# Ids that clients give; anything else in their place may be a text.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The first that a User-Agent contains. Not the header itself: it may say anything.
CLIENTS = {
    "librechat": "LibreChat",
    "open-webui": "Open WebUI",
    "openwebui": "Open WebUI",
    "langchain": "LangChain",
    "anthropic/python": "anthropic-python",
    "anthropic/js": "anthropic-node",
    "openai/python": "openai-python",
    "openai/js": "openai-node",
    "python": "python",
    "node": "node",
    "curl": "curl",
    "mozilla": "browser",
}
# Of a budget that had no room; figures are in the budget itself.
_LIMIT_FACTS = ("scope", "metric", "period")


@dataclass(slots=True)
class CallTrail:
    """``record`` takes the event; unbound, nothing is recorded."""

    request_id: str = ""
    started_at_s: float = 0.0
    ip: str = ""
    user_agent: str = ""
    record: Callable[[AuditEvent], None] | None = None
    caller: Caller | None = None
    model: str | None = None
    is_stream: bool = False
    path: list[Step] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    model_used: str | None = None
    is_from_cache: bool = False
    # What LiteLLM's own answer says that it cost, in micro-USD.
    litellm_cost: int | None = None
    first_byte_ms: int | None = None
    span: CallSpan = UNTRACED
    # Where the texts are kept too.
    keep: Callable[[CallTrail], None] | None = None
    prompt: Mapping[str, Any] | None = None
    answer: AnswerText = field(default_factory=AnswerText)

    def end(
        self,
        status: int,
        now_s: float,
        reason: str | None = None,
        limit: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the request, the first time that this is called. ``reason``: a code of ours, where
        it is no success; ``limit``: the budget that had no room."""
        if self.record is not None:
            record, self.record = self.record, None
            latency_ms = int((now_s - self.started_at_s) * 1000)
            event = self._event(status, latency_ms, reason, limit or {})
            record(event)
            self.span.end(event)
            if self.keep is not None and self.prompt is not None:
                self.keep(self)

    def _event(
        self, status: int, latency_ms: int, reason: str | None, limit: Mapping[str, Any]
    ) -> AuditEvent:
        caller = self.caller
        return AuditEvent(
            event_id=self.request_id,
            at=time_of_request_id(self.request_id) or datetime.now(UTC),
            # Before a model is asked, what it may take is held.
            event=REQUEST if self.holds else REFUSAL,
            request_id=self.request_id,
            user=caller.user_id if caller else None,
            team=caller.team if caller else None,
            key=caller.key_name if caller else None,
            model=self.model,
            model_used=self.model_used,
            status=status,
            # What was posted, also of an answer that broke off.
            usage=next((hold.usage for hold in reversed(self.holds) if hold.usage), None),
            cost_micro_usd=sum(hold.posted.cost_micro_usd for hold in self.holds),
            latency_ms=latency_ms,
            first_byte_ms=self.first_byte_ms,
            is_estimated=any(hold.is_estimated for hold in self.holds),
            private=dict(self._private()),
            detail=dict(self._detail(reason, limit)),
        )

    def _private(self) -> Iterator[tuple[str, str]]:
        person = self.caller.person if self.caller else None
        for name in ("conversation_id", "message_id"):
            value = getattr(person, name, None)
            if value and _ID.fullmatch(value):
                yield name, value
        if self.ip:
            yield "ip", self.ip
        if client := client_of(self.user_agent):
            yield "client", client

    def _detail(self, reason: str | None, limit: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        if reason:
            yield "reason", reason
        if "scope" in limit:
            yield "limit", {name: limit[name] for name in _LIMIT_FACTS}
        if len(self.path) > 1 or any(step.outcome == "failed" for step in self.path):
            yield "path", [_without_none(step.as_dict()) for step in self.path]
        if self.is_stream:
            yield "stream", True
        if self.is_from_cache:
            yield "cache", True
        elif self.litellm_cost is not None:
            yield "litellm_cost", self.litellm_cost
        yield from self._held()

    def _held(self) -> Iterator[tuple[str, Any]]:
        if not self.holds:
            return
        spend = self.holds[-1].spend
        yield "held", [spend.tokens, spend.cost_micro_usd]
        if shadows := [it.budget.id for hold in self.holds for it in hold.would_refuse]:
            yield "would_refuse", sorted(set(shadows))


@lru_cache(maxsize=1024)
def client_of(user_agent: str) -> str | None:
    """Return the known program that a User-Agent names."""
    said = user_agent.lower()
    return next((name for part, name in CLIENTS.items() if part in said), None)


def _without_none(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
