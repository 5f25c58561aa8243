"""One call while it is under way, and what is known of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from app.dialects.base import ModelRequest, Usage
from app.ledger.allowance import Allowance
from app.ledger.rules import Payer
from app.services.answer_stream import AnswerStream
from app.services.call_trail import CallTrail
from app.services.fallback import Step


class CompletionMetadata(TypedDict):
    """What is known of one call beside its body; a stream fills the last fields as it ends."""

    request_id: str
    model_used: str
    response_time_ms: int
    litellm_status: int
    fallback_used: bool
    # Every model that was tried or left out, in order, and why.
    path: list[dict[str, str | int | None]]
    cache_hit: bool
    usage: Usage | None
    # Micro-USD; None while it is not known.
    cost: int | None


Answer = tuple[dict[str, Any] | AnswerStream, int, CompletionMetadata]


@dataclass(frozen=True, slots=True)
class Call:
    """``user`` is whom it is made for; ``headers`` are the caller's that go on upstream."""

    request_id: str
    request: ModelRequest
    user: str | None
    started_at_s: float
    headers: Mapping[str, str]
    payer: Payer
    # What the caller is told of their own budgets.
    allowance: Allowance = field(default_factory=Allowance)
    path: list[Step] = field(default_factory=list)
    # What goes on record.
    trail: CallTrail = field(default_factory=CallTrail)

    @property
    def attempt_id(self) -> str:
        """Return the id of the next attempt's hold: each has one of its own."""
        attempts = sum(step.outcome == "failed" for step in self.path)
        return f"{self.request_id}.{attempts + 1}" if attempts else self.request_id

    @property
    def steps(self) -> list[dict[str, str | int | None]]:
        return [step.as_dict() for step in self.path]
