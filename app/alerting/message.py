"""What the alert service hands to the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell the administrators; texts are made where it is sent, in LOCALE."""

    id: str  # unique: the receiver's idempotency key
    kind: str  # opened | repeated | escalated | resolved | digest | test
    rule: str  # "" for a digest or test
    subject: str  # a model, a budget's place, a day, …; "" for a digest or test
    severity: str  # info | warning | critical
    at: datetime
    facts: Mapping[str, Any]  # numbers and codes only: no prompt, no key, no e-mail
    items: tuple[Mapping[str, Any], ...] = ()  # of a digest: {rule, subject, severity, count}
