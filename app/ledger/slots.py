"""Calls under way, by person: each has a moment at which it counts no more, unless kept alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Enter:
    """Let one more call in, if ``limit`` leaves room; ``own`` are others known to be alive."""

    person: str
    call_id: str
    own: tuple[str, ...]
    limit: int
    now: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Stay:
    """Keep calls alive that are still under way."""

    person: str
    call_ids: tuple[str, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Leave:
    person: str
    call_id: str


SlotOperation = Enter | Stay | Leave


@dataclass
class SlotBook:
    """What everybody who is named in the operations has under way: {person: {call: until when}}."""

    calls: dict[str, dict[str, datetime]] = field(default_factory=dict)

    def run(self, operation: SlotOperation) -> bool:
        """Return whether the call is in; of `Stay` and `Leave` it says nothing."""
        calls = self.calls.setdefault(operation.person, {})
        match operation:
            case Enter():
                return self._enter(calls, operation)
            case Stay():
                calls.update(dict.fromkeys(operation.call_ids, operation.expires_at))
            case Leave():
                calls.pop(operation.call_id, None)
        return True

    def _enter(self, calls: dict[str, datetime], wish: Enter) -> bool:
        for call_id in [it for it, expires_at in calls.items() if expires_at <= wish.now]:
            del calls[call_id]
        calls.update(dict.fromkeys(wish.own, wish.expires_at))
        if len(calls) >= wish.limit:
            return False
        calls[wish.call_id] = wish.expires_at
        return True


def packed(calls: Mapping[str, datetime]) -> dict[str, str]:
    return {call_id: expires_at.isoformat() for call_id, expires_at in calls.items()}


def unpacked(calls: Mapping[str, str]) -> dict[str, datetime]:
    return {call_id: datetime.fromisoformat(moment) for call_id, moment in calls.items()}
