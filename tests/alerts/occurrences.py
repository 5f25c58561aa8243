"""Events of the trail that alerts are counted from, and a place where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from app.alerting.message import Message
from app.alerting.outbox import Outbox, Target
from app.alerting.store import observe
from app.audit.chain import AuditKey
from app.audit.event import AuditEvent
from app.audit.store import AuditStore
from app.config.quiet_hours import QuietHours
from app.services.alert_service import AlertService
from app.utils.helpers import generate_request_id
from tests.fakes.clock import FakeClock

SECRET = "the-audit-secret-of-the-alert-tests"
ZONE = ZoneInfo("America/Sao_Paulo")
MODEL = "gpt-4o"


def happened(event: str, at: datetime, **facts: Any) -> AuditEvent:
    return AuditEvent(generate_request_id(), at, event, **facts)


def failed(at: datetime, model: str = MODEL, reason: str = "upstream_error") -> AuditEvent:
    """One request, whose one model failed."""
    path = [{"model": model, "outcome": "failed", "reason": reason, "litellm_status": 500}]
    return happened("request", at, model=model, status=502, detail={"path": path})


def fell_back(at: datetime, model: str = MODEL, reason: str = "breaker_open") -> AuditEvent:
    path = [
        {"model": model, "outcome": "skipped", "reason": reason},
        {"model": "gemini-pro", "outcome": "answered"},
    ]
    return happened("request", at, model=model, status=200, detail={"path": path})


@dataclass
class Watch:
    """A trail, and one process that looks at what is counted from it."""

    engine: Engine
    clock: FakeClock
    quiet_hours: QuietHours | None = None
    recorded: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trail = AuditStore(self.engine, AuditKey.of(SECRET), ZONE, observe=observe)
        self.service = self.another()

    def another(self) -> AlertService:
        """One more process."""
        outbox = Outbox(self.engine, [Target("log", "null", "here")], self.clock)

        def record(action: str, **facts: Any) -> None:
            self.recorded.append((action, facts))

        return AlertService(self.engine, outbox, self.clock, ZONE, self.quiet_hours, record)

    def append(self, events: Sequence[AuditEvent]) -> None:
        self.trail.append(events)

    def fail(self, count: int, model: str = MODEL, reason: str = "upstream_error") -> None:
        self.append([failed(self.clock.now(), model, reason) for _ in range(count)])

    def look(self) -> list[Message]:
        messages = self.service.look()
        assert messages is not None
        return messages

    def kinds(self) -> list[str]:
        return [it.kind for it in self.look()]

    def look_after(self, seconds: float) -> list[Message]:
        self.clock.advance(seconds)
        return self.look()

    def sent(self) -> list[dict[str, Any]]:
        """Return every message that is in the outbox, in order."""
        return [
            body
            for (body,) in self.rows(
                "SELECT message.body FROM alert_deliveries AS it"
                " JOIN alert_messages AS message ON message.id = it.message_id ORDER BY it.id"
            )
        ]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]
