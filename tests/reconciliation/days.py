"""Days of requests, written down here and told by LiteLLM, with what is planted in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg2.extras import execute_values
from sqlalchemy import Engine

from app.audit.event import AuditEvent
from app.audit.store import AuditStore
from app.dialects.base import Usage
from app.ledger.book import Demand, Expire, Operation, Reserve, Settle, Spend
from app.ledger.rules import Budget, Payer, accounts_for
from app.ledger.store import LedgerStore
from tests.audit.trails import ZONE, changed

DAY = date(2026, 11, 22)
# Midnight in São Paulo.
START = datetime(2026, 11, 22, 3, tzinfo=UTC)
MODELS = ("gpt-4o", "gpt-4", "claude-3-opus")
DEMAND = Demand(100, 900, 1, 2_000_000, 8_000_000, is_flexible=False)
EVENT_COLUMNS = (
    "id",
    "event_type",
    "request_id",
    "at",
    "received_at",
    "model",
    "model_used",
    "status",
    "input_tokens",
    "output_tokens",
    "cost_micro_usd",
    "is_cached",
    "detail",
)
ADD_EVENTS = f"INSERT INTO litellm_events ({', '.join(EVENT_COLUMNS)}) VALUES %s"
AT_ONCE = 2_000


def request_id(number: int, at: datetime | None = None) -> str:
    """Return the id of a request that was made at a moment: by default the number says it."""
    moment = at or START + timedelta(seconds=8 * number, milliseconds=number % 1000)
    digits = f"{int(moment.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7{number % 4096:03x}-8000-{number:012x}"


def moment_of(it: str) -> datetime:
    return datetime.fromtimestamp(int(it[:8] + it[9:13], 16) / 1000, UTC)


def call(it: str, **facts: Any) -> AuditEvent:
    """Return what is on record of a request."""
    known: dict[str, Any] = {
        "event_id": it,
        "at": moment_of(it),
        "event": "request",
        "request_id": it,
        "user": "ana",
        "team": "sales",
        "key": "librechat",
        "model": "gpt-4o",
        "model_used": facts.get("model", "gpt-4o"),
        "status": 200,
        "usage": Usage(100, 20),
        "cost_micro_usd": 2_000,
    }
    return AuditEvent(**(known | facts))


def told(it: str, **facts: Any) -> dict[str, Any]:
    """Return an event of LiteLLM's about a request."""
    at = facts.get("at") or moment_of(it) + timedelta(seconds=2)
    known: dict[str, Any] = {
        "id": f"{it}:request_end",
        "event_type": "request_end",
        "request_id": it,
        "at": at,
        "received_at": at + timedelta(seconds=1),
        "model": "gpt-4o",
        "model_used": facts.get("model", "gpt-4o"),
        "status": "success",
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_micro_usd": 2_000,
        "is_cached": False,
        "detail": "{}",
    }
    return known | facts


@dataclass
class Day:
    """Writes both sides into Postgres."""

    engine: Engine
    store: AuditStore
    ledger: LedgerStore
    calls: list[AuditEvent] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)

    def add(self, it: str, ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> str:
        """Add a request; None: that side knows nothing of it."""
        if ours is not None:
            self.calls.append(call(it, **ours))
        if theirs is not None:
            self.events.append(told(it, **theirs))
        return it

    def hold(
        self, it: str, posted: Spend | None, model: str = "gpt-4o", *, is_estimated: bool = True
    ) -> None:
        """Have the ledger settle a call of Ana's; ``posted`` None: its worker was lost."""
        if not self.budgets:
            make = self.ledger.set_budget
            self.budgets = [
                make("global", "", "cost", "month", 10**9, "enforce"),
                make("user", "*", "tokens", "day", 10**7, "enforce"),
                make("user", "*", "requests", "day", 10**6, "shadow"),
            ]
        at = moment_of(it.partition(".")[0])
        accounts = accounts_for(self.budgets, Payer("ana", "sales", "k"), [model], at, ZONE)
        end: Operation = Expire(it) if posted is None else Settle(it, posted, is_estimated)
        self.ledger.apply([Reserve(it, model, tuple(accounts), DEMAND, at, "ana"), end])

    def write(self) -> None:
        for batch in _batches(self.calls):
            self.store.append(batch)
        with changed(self.engine, keep=True) as cursor:
            rows = [tuple(it[name] for name in EVENT_COLUMNS) for it in self.events]
            execute_values(cursor, ADD_EVENTS, rows, page_size=AT_ONCE)
        self.calls, self.events = [], []

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with changed(self.engine) as cursor:
            cursor.execute(query)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found


def _batches(events: Sequence[AuditEvent]) -> Iterator[Sequence[AuditEvent]]:
    for start in range(0, len(events), AT_ONCE):
        yield events[start : start + AT_ONCE]
