"""The one state machine of all alerts: from what is known and what is seen now, to what is known
next and what is to be told. Pure: no I/O, no clock of its own.

    nothing ─▶ opened ─▶ repeated ─▶ …            as long as it goes on, a message a window
                 │  ╲                             critical, and nobody acknowledges: escalated
                 │   ╲─▶ acknowledged             nothing more is told, until it is over or worse
                 ▼
              resolved                            said to be over, or quiet for long enough

What comes beyond the one message of a window is counted (``untold``), and told in a digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from app.alerting.message import Message
from app.alerting.rules import BUCKET_S, CRITICAL, RULES, SEVERITIES, Rule

NOTHING, OPENED, REPEATED = "nothing", "opened", "repeated"
ACKNOWLEDGED, ESCALATED, RESOLVED = "acknowledged", "escalated", "resolved"
DIGEST = "digest"
# Of a digest; whoever reads a longer one looks at the dashboard.
MOST_ITEMS = 200


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule and subject, as it is stored."""

    id: str
    rule: str
    subject: str
    state: str
    severity: str
    opened_at: datetime
    # When the trouble was last seen.
    seen_at: datetime
    # When the present window began: at the last message, or where there would have been one.
    told_at: datetime
    # How grave it is among alerts of its rule: a budget's threshold.
    level: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    # So many messages were made; their ids count on.
    messages: int = 0
    # Occurrences, all and those that nobody was told of.
    total: int = 0
    untold: int = 0
    # What is untold waits for no window's end: quiet hours kept it, or too many others.
    is_hushed: bool = False
    # Whoever was told that it began is told that it is over.
    owes_end: bool = False
    ended_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None

    @property
    def is_live(self) -> bool:
        return self.state not in (NOTHING, RESOLVED)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of one rule and subject now. ``new``: occurrences since the last look."""

    is_on: bool = False
    is_over: bool = False
    new: int = 0
    at: datetime | None = None
    level: int = 0
    severity: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


Next = tuple[Alert, tuple[Message, ...]]


def present(last: Alert | None, rule: Rule, subject: str, now: datetime, new_id: str) -> Alert:
    """Return the alert that something seen now belongs to: the last one while it lasts, and as
    long as its window does; then a new one."""
    if last is not None and (last.is_live or now < _window_end(last, rule)):
        return last
    return Alert(new_id, rule.name, subject, NOTHING, rule.severity, now, now, now)


def advance(
    alert: Alert, seen: Seen, rule: Rule, now: datetime, *, is_hushed: bool = False
) -> Next:
    """``is_hushed``: only what is critical may be told now; the rest is kept for the digest."""
    if not alert.is_live:
        return _begin(alert, seen, now, is_hushed=is_hushed) if seen.is_on else (alert, ())
    if seen.is_over or _is_quiet(alert, seen, rule, now):
        return _end(alert, seen, now, is_hushed=is_hushed)
    is_worse = seen.is_on and seen.level > alert.level
    alert = _counted(alert, seen, is_silent=alert.state == ACKNOWLEDGED and not is_worse)
    if is_worse:
        alert = replace(alert, state=OPENED, acknowledged_at=None, acknowledged_by=None)
        return _tell(alert, ESCALATED, now, is_hushed=is_hushed)
    return _go_on(alert, seen, rule, now, is_hushed=is_hushed)


def acknowledge(alert: Alert, by: str, now: datetime) -> Alert:
    """Silence a live alert, until it is over or worse."""
    return replace(
        alert,
        state=ACKNOWLEDGED,
        untold=0,
        is_hushed=False,
        acknowledged_at=now,
        acknowledged_by=by,
    )


def digest_of(
    alerts: Sequence[Alert], now: datetime, new_id: str, *, is_quiet: bool
) -> tuple[list[Alert], tuple[Message, ...]]:
    """Return the alerts that are told of in a digest now, with nothing untold any more, and it."""
    due = [it for it in alerts if _is_in_digest(it, now, is_quiet=is_quiet)]
    if not due:
        return [], ()
    due.sort(key=lambda it: (-SEVERITIES.index(it.severity), -it.untold, it.rule, it.subject))
    items = tuple(
        {"rule": it.rule, "subject": it.subject, "severity": it.severity, "count": it.untold}
        for it in due[:MOST_ITEMS]
    )
    message = Message(new_id, DIGEST, "", "", due[0].severity, now, {}, items)
    return [replace(it, untold=0, is_hushed=False, told_at=now) for it in due], (message,)


def last_above(
    counts: Mapping[datetime, int], new: Sequence[datetime], rule: Rule, subject: str
) -> tuple[int, datetime] | None:
    """Return how many there were in the last span of time that had too many and ends with
    something new, and its end; None where none had. ``counts`` are by the start of each step.

    What comes late, since Postgres was away, counts for when it happened.
    """
    for last in sorted(new, reverse=True):
        first = last - timedelta(seconds=rule.within_s)
        count = sum(many for at, many in counts.items() if first < at <= last)
        if count > rule.most(subject):
            return count, last + timedelta(seconds=BUCKET_S)
    return None


def _go_on(alert: Alert, seen: Seen, rule: Rule, now: datetime, *, is_hushed: bool) -> Next:
    if alert.state == ACKNOWLEDGED:
        return alert, ()
    if _is_to_escalate(alert, rule, now):
        return _tell(replace(alert, state=ESCALATED), ESCALATED, now, is_hushed=is_hushed)
    if _is_to_repeat(alert, seen, rule, now):
        state = ESCALATED if alert.state == ESCALATED else REPEATED
        return _tell(replace(alert, state=state), REPEATED, now, is_hushed=is_hushed)
    return alert, ()


def _begin(alert: Alert, seen: Seen, now: datetime, *, is_hushed: bool) -> Next:
    is_again = alert.state == RESOLVED
    begun = _counted(replace(alert, state=OPENED, ended_at=None), seen, is_silent=False)
    begun = replace(
        begun,
        opened_at=now,
        seen_at=seen.at or now,
        level=seen.level,
        acknowledged_at=None,
        acknowledged_by=None,
    )
    if is_again:
        # Within the window of its last message.
        return replace(begun, owes_end=False), ()
    return _tell(begun, OPENED, now, is_hushed=is_hushed)


def _end(alert: Alert, seen: Seen, now: datetime, *, is_hushed: bool) -> Next:
    ended = replace(
        _counted(alert, seen, is_silent=alert.state == ACKNOWLEDGED), state=RESOLVED, ended_at=now
    )
    if not alert.owes_end:
        return ended, ()
    if alert.is_hushed or (is_hushed and alert.severity != CRITICAL):
        # One whose beginning a digest has yet to tell of ends in it, too.
        untold = max(1, ended.untold)
        return replace(ended, owes_end=False, is_hushed=True, untold=untold), ()
    # What is untold still is; the window goes on.
    ended = replace(ended, owes_end=False, messages=ended.messages + 1)
    return ended, (_message(ended, RESOLVED, now),)


def _counted(alert: Alert, seen: Seen, *, is_silent: bool) -> Alert:
    is_more = seen.is_on or seen.is_over
    severity = seen.severity if seen.is_on and seen.severity else alert.severity
    return replace(
        alert,
        total=alert.total + seen.new,
        untold=0 if is_silent else alert.untold + seen.new,
        seen_at=max(alert.seen_at, seen.at) if seen.at and seen.is_on else alert.seen_at,
        level=max(alert.level, seen.level) if seen.is_on else alert.level,
        severity=severity,
        facts={**alert.facts, **seen.facts} if is_more else alert.facts,
    )


def _tell(alert: Alert, kind: str, now: datetime, *, is_hushed: bool) -> Next:
    alert = replace(alert, told_at=now, owes_end=True)
    if is_hushed and alert.severity != CRITICAL:
        return replace(alert, untold=max(1, alert.untold), is_hushed=True), ()
    alert = replace(alert, untold=0, is_hushed=False, messages=alert.messages + 1)
    return alert, (_message(alert, kind, now),)


def _message(alert: Alert, kind: str, now: datetime) -> Message:
    at = now if kind == RESOLVED else alert.seen_at
    identity = (f"{alert.id}.{alert.messages}", kind, alert.rule, alert.subject)
    return Message(*identity, alert.severity, at, alert.facts)


def _is_quiet(alert: Alert, seen: Seen, rule: Rule, now: datetime) -> bool:
    if rule.quiet_s is None or (seen.is_on and seen.new):
        return False
    return now - alert.seen_at >= timedelta(seconds=rule.quiet_s)


def _is_to_escalate(alert: Alert, rule: Rule, now: datetime) -> bool:
    is_unheard = alert.state in (OPENED, REPEATED) and alert.severity == CRITICAL
    return is_unheard and now - alert.opened_at >= timedelta(seconds=rule.escalate_after_s)


def _is_to_repeat(alert: Alert, seen: Seen, rule: Rule, now: datetime) -> bool:
    """One that began again within its window, and goes on, was not told yet."""
    goes_on = seen.is_on and (seen.new > 0 or not alert.owes_end)
    return goes_on and now >= _window_end(alert, rule)


def _is_in_digest(alert: Alert, now: datetime, *, is_quiet: bool) -> bool:
    if not alert.untold or alert.state == ACKNOWLEDGED:
        return False
    if is_quiet and alert.severity != CRITICAL:
        return False
    return alert.is_hushed or now >= _window_end(alert, RULES[alert.rule])


def _window_end(alert: Alert, rule: Rule) -> datetime:
    return alert.told_at + timedelta(seconds=rule.window_s)
