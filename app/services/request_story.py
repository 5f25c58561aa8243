"""One request from its hold to its settlement: what the trail and the ledger have of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.audit.queries import EventFilter, EventRecord
from app.audit.usage import CALL_EVENTS, FIRST_ERROR_STATUS
from app.ledger.history import PastHold
from app.ledger.rules import Budget
from app.services.audit_reader import AuditReader
from app.services.budget_service import BudgetService
from app.utils.exceptions import NotFoundError

MOST_EVENTS = 100


class RequestNotFoundError(NotFoundError):
    """Neither the trail nor the ledger knows a request of this id."""


ANSWERED, FAILED, SKIPPED, UNDER_WAY = "answered", "failed", "skipped", "under_way"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One model of the path: what was held for it, and what became of it."""

    model: str
    outcome: str
    reason: str | None = None
    litellm_status: int | None = None
    # None where nothing was held: it was skipped.
    hold: PastHold | None = None


@dataclass(frozen=True, slots=True)
class RequestStory:
    """``call`` is None while the request is under way, or where its event is still on a disk."""

    request_id: str
    call: EventRecord | None
    attempts: Sequence[Attempt]
    # Everything else on record of it, the oldest first.
    later: Sequence[EventRecord]
    # Those that the holds drew on, by their numbers, as they are now.
    budgets: dict[int, Budget]


class RequestStories:
    """Blocking."""

    def __init__(self, reader: AuditReader, budgets: BudgetService) -> None:
        self._reader = reader
        self._budgets = budgets

    def story(self, request_id: str) -> RequestStory:
        """Raises: RequestNotFoundError, DatabaseUnavailableError."""
        wanted = EventFilter(request=request_id, limit=MOST_EVENTS)
        events = list(reversed(self._reader.events(wanted)))
        holds = self._budgets.holds_of(request_id)
        if not events and not holds:
            raise RequestNotFoundError(request_id)
        call = next((it for it in events if it.event in CALL_EVENTS), None)
        drawn_on = {number for hold in holds for number in hold.budgets}
        budgets = {it.id: it for it in self._budgets.rules() if it.id in drawn_on}
        later = [it for it in events if it is not call]
        return RequestStory(request_id, call, list(_attempts(call, holds)), later, budgets)


def _attempts(call: EventRecord | None, holds: Sequence[PastHold]) -> Iterator[Attempt]:
    """Yield the path in its order. Each model that was asked has the next hold; a call that went
    to its first model at once has no path on record."""
    left = list(holds)
    for step in call.path if call else ():
        asked = step["outcome"] != SKIPPED
        yield _attempt(step, left.pop(0) if asked and left else None)
    for hold in left:
        yield Attempt(hold.model, _outcome(call, hold), hold=hold)


def _attempt(step: dict[str, Any], hold: PastHold | None) -> Attempt:
    # What had no room was never asked.
    outcome = SKIPPED if hold is None else step["outcome"]
    return Attempt(step["model"], outcome, step.get("reason"), step.get("litellm_status"), hold)


def _outcome(call: EventRecord | None, hold: PastHold) -> str:
    if call is None or hold.state == "pending":
        return UNDER_WAY
    return ANSWERED if (call.status or FIRST_ERROR_STATUS) < FIRST_ERROR_STATUS else FAILED
