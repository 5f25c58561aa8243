"""What codes are called; a code that is not known is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask_babel import get_locale
from flask_babel import lazy_gettext as _l

from app.alerting.state import RESOLVED, Alert
from app.config.alert_words import AlertText, AlertWords
from app.extensions import settings
from app.routes.pages import present

LANGUAGES = {"pt_BR": "Português", "en": "English"}

SCOPES = {
    "global": _l("Whole company"),
    "team": _l("Team"),
    "user": _l("Person"),
    "key": _l("Key"),
    "model": _l("Model"),
    "all": _l("Everybody"),
}
METRICS = {"tokens": _l("Tokens"), "cost": _l("Money (US$)"), "requests": _l("Requests")}
PERIODS = {
    "minute": _l("a minute"),
    "hour": _l("an hour"),
    "day": _l("a day"),
    "week": _l("a week"),
    "month": _l("a month"),
}
MODES = {"enforce": _l("Enforced"), "shadow": _l("Only watches")}
ROLES = {
    "user": _l("Calls models"),
    "viewer": _l("Viewer"),
    "auditor": _l("Auditor"),
    "admin": _l("Administrator"),
}
KEY_STATES = {
    "live": _l("Live"),
    "expired": _l("Expired"),
    "revoked": _l("Revoked"),
    "replaced": _l("Replaced"),
}
MODEL_STATES = {
    "healthy": _l("Well"),
    "unhealthy": _l("Out of use"),
    "rate_limited": _l("At the provider's limit"),
    "unavailable": _l("Not called yet"),
}
HOLD_STATES = {
    "pending": _l("Held"),
    "settled": _l("Settled"),
    "released": _l("Given back"),
    "expired": _l("Settled by another worker"),
}
ALERT_STATES = {
    "opened": _l("Open"),
    "repeated": _l("Still open"),
    "escalated": _l("Worse"),
    "acknowledged": _l("Seen by somebody"),
    "resolved": _l("Over"),
}
SEVERITIES = {"info": _l("Information"), "warning": _l("Warning"), "critical": _l("Critical")}
RAISE_REQUEST_STATES = {
    "open": _l("Waiting"),
    "approved": _l("Approved"),
    "declined": _l("Declined"),
}
OUTCOMES = {
    "answered": _l("Answered"),
    "failed": _l("Failed"),
    "skipped": _l("Skipped"),
    "not_tried": _l("Not needed"),
    "under_way": _l("Under way"),
}
REASONS = {
    "assumed_down": _l("assumed to be down"),
    "breaker_open": _l("out of use after failures"),
    "unhealthy": _l("out of use after failures"),
    "rate_limited": _l("at the provider's limit"),
    "budget": _l("its budget has no room"),
    "insufficient_quota": _l("its budget has no room"),
    "not_allowed": _l("the key may not call it"),
    "model_not_allowed": _l("the key may not call it"),
    "no_vision": _l("it takes no images"),
    "no_tools": _l("it takes no tools"),
    "too_long": _l("the text is too long for it"),
    "wrong_mode": _l("not for this kind of request"),
    "switched_off": _l("a kill switch is thrown"),
    "team_suspended": _l("a kill switch is thrown"),
    "user_suspended": _l("a kill switch is thrown"),
    "client_left": _l("the caller left"),
    "worker_lost": _l("its worker died"),
    "internal_error": _l("an internal error"),
    "draining": _l("the server was restarting"),
    "overloaded": _l("too many requests at once"),
    "access_suspended": _l("a kill switch is thrown"),
    "upstream_timeout": _l("took too long"),
    "upstream_unavailable": _l("unavailable"),
    "upstream_error": _l("the provider's error"),
    "rate_limit_exceeded": _l("at a limit"),
    "litellm_unreachable": _l("LiteLLM does not answer"),
    "misconfigured": _l("a wrong key or name in the configuration"),
    "too_many_calls": _l("too many calls at once"),
    "above_limit": _l("larger than the whole limit"),
    "invalid_request_error": _l("a bad request"),
    "invalid_api_key": _l("an invalid key"),
    "model_not_found": _l("there is no such model"),
    "database_unavailable": _l("Postgres was away"),
}
EVENTS = {
    "request": _l("Call"),
    "refusal": _l("Call refused"),
    "adjustment": _l("Cost corrected"),
    "request_lost": _l("Call of a worker that died"),
    "unauthorized": _l("Call with an invalid key"),
    "webhook_refused": _l("Event refused"),
    "breaker_opened": _l("Model out of use"),
    "breaker_closed": _l("Model in use again"),
    "spool_growing": _l("Events wait on the disk"),
    "content": _l("Text of a call"),
    "litellm_request_start": _l("LiteLLM: call began"),
    "litellm_request_end": _l("LiteLLM: call ended"),
    "litellm_request_error": _l("LiteLLM: call failed"),
    "model_fallback": _l("LiteLLM: another model answered"),
    "rate_limit_hit": _l("LiteLLM: a limit was reached"),
    "budget_set": _l("Budget set"),
    "budget_removed": _l("Budget taken away"),
    "budget_raised": _l("Budget raised"),
    "budget_raise_ended": _l("Raise ended"),
    "raise_requested": _l("More was asked for"),
    "raise_request_approved": _l("Request for more approved"),
    "raise_request_declined": _l("Request for more declined"),
    "key_created": _l("Key made"),
    "key_changed": _l("Key changed"),
    "key_rotated": _l("Key rotated"),
    "key_revoked": _l("Key revoked"),
    "person_created": _l("Person made"),
    "person_changed": _l("Person changed"),
    "person_removed": _l("Person removed"),
    "team_created": _l("Team made"),
    "team_changed": _l("Team changed"),
    "team_removed": _l("Team removed"),
    "kill_switch_thrown": _l("Kill switch thrown"),
    "kill_switch_lifted": _l("Kill switch lifted"),
    "alert_acknowledged": _l("Alert acknowledged"),
    "alert_channel_enabled": _l("Alert channel switched on"),
    "alert_channel_disabled": _l("Alert channel switched off"),
    "alert_given_up": _l("Alert could not be sent"),
    "audit_verified": _l("Audit trail verified"),
    "metrics_reset": _l("Counts reset"),
    "signed_in": _l("Signed in"),
    "sign_in_refused": _l("Sign-in refused"),
    "sign_in_link_made": _l("Sign-in link made"),
}
FINDINGS = {
    "edited": _l("a row was changed"),
    "removed": _l("a row is missing"),
    "inserted": _l("a row was added"),
    "reordered": _l("rows are in another order"),
    "exchanged": _l("rows were exchanged"),
    "tail_cut": _l("the end of the trail is missing"),
    "checkpoint_edited": _l("a checkpoint was changed"),
    "checkpoint_removed": _l("a checkpoint is missing"),
    "unknown_key": _l("signed with a key that is not known here"),
    "name_changed": _l("a name was changed"),
    "name_removed": _l("a name is missing"),
    "drop_edited": _l("a record of retention was changed"),
}


DISCREPANCIES = {
    "missing_here": _l("Only at LiteLLM"),
    "missing_there": _l("Only here"),
    "differing": _l("Other amount"),
}
DISCREPANCY_REASONS = {
    "not_by_the_proxy": _l("somebody called LiteLLM directly"),
    "not_on_record": _l("not on record here"),
    "only_in_the_ledger": _l("in the ledger, but not on record"),
    "refused": _l("refused here"),
    "not_charged": _l("not charged here"),
    "failed_there": _l("failed at LiteLLM"),
    "no_event": _l("LiteLLM sent no event of it"),
    "event_lost": _l("LiteLLM's event of it was lost"),
}


# What forms call the fields of the API.
FIELDS = {
    "limit": _l("Limit"),
    "subject": _l("Who"),
    "scope": _l("For"),
    "metric": _l("Counts"),
    "period": _l("Each"),
    "mode": _l("Mode"),
    "amount": _l("Amount"),
    "expires_at": _l("Until"),
    "reason": _l("Reason"),
    "name": _l("Name"),
    "email": _l("E-mail"),
    "team": _l("Team"),
    "user": _l("Person"),
    "role": _l("Role"),
    "models": _l("Models"),
    "id": _l("Id"),
    "days": _l("Days"),
    "day": _l("Day"),
    "since": _l("Only from this day on"),
    "status": _l("Status"),
    "request": _l("Request id"),
    "model": _l("Model"),
    "sure": _l("I am sure"),
    "answer": _l("What the person is told"),
    "input_tokens": _l("Tokens read"),
    "output_tokens": _l("Tokens written"),
}


@dataclass(frozen=True, slots=True)
class _Told:
    """An alert, as `AlertWords` reads messages."""

    kind: str
    rule: str
    subject: str
    severity: str
    at: datetime
    facts: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...] = ()


def word(known: Mapping[str, Any], code: object) -> str:
    return str(known.get(str(code), code))


def alert(it: Alert) -> AlertText:
    """Return an alert as its messages tell it."""
    kind = "resolved" if it.state == RESOLVED else ""
    told = _Told(kind, it.rule, it.subject, it.severity, it.opened_at, it.facts)
    zone = ZoneInfo(settings.budgets.timezone)
    return AlertWords(str(get_locale()), zone).text(told)


def whose(scope: str, subject: str) -> str:
    """Return a budget's or a switch's place, without its figures."""
    if not subject:
        return word(SCOPES, scope)
    if subject == "*":
        return f"{word(SCOPES, scope)}: {_l('each')}"
    return f"{word(SCOPES, scope)}: {subject}"


DETAILS = {
    "by": _l("by"),
    "reason": _l("reason"),
    "scope": _l("for"),
    "subject": _l("whose"),
    "metric": _l("counts"),
    "period": _l("each"),
    "limit": _l("limit"),
    "mode": _l("mode"),
    "amount": _l("amount"),
    "expires_at": _l("expires"),
    "role": _l("role"),
    "team": _l("team"),
    "name": _l("name"),
    "models": _l("models"),
    "trusted": _l("trusted"),
    "model": _l("model"),
    "rule": _l("rule"),
    "days": _l("days"),
    "thrown": _l("thrown"),
    "findings": _l("differences"),
    "changed": _l("changed"),
    "prefix": _l("key"),
    "way": _l("by way of"),
}
# What is shown elsewhere in the row, or to machines only.
NOT_SHOWN = frozenset({"held", "litellm_cost", "stream", "cache", "would_refuse"})
MOST_DETAILS = 8


# In which words the value of a fact is told.
VALUES = {
    "scope": SCOPES,
    "metric": METRICS,
    "period": PERIODS,
    "mode": MODES,
    "role": ROLES,
    "reason": REASONS,
}
AMOUNTS = frozenset({"limit", "amount"})


def details(event: Any) -> list[tuple[str, str]]:
    """Return what an event says, in words: a change as from what to what."""
    said: dict[str, Any] = {**event.detail, **(event.private or {}).get("facts", {})}
    if isinstance(said.get("limit"), dict):
        said |= said.pop("limit")
    before, after = said.pop("before", None) or {}, said.pop("after", None) or {}
    metric, by = said.get("metric"), said.pop("by", None) or said.pop("actor", None)
    found = [("by", str(by))] if by else []
    for name in sorted({*before, *after}):
        old, new = (_told(name, it.get(name), metric) for it in (before, after))
        if old != new:
            found.append((name, f"{old} → {new}" if before else new))
    found += [
        (name, _told(name, value, metric)) for name, value in said.items() if name not in NOT_SHOWN
    ]
    return [(word(DETAILS, name), value) for name, value in found if value][:MOST_DETAILS]


def _told(name: str, value: Any, metric: str | None) -> str:
    if value is None or value in ("", [], {}):
        return ""
    if name in VALUES:
        return word(VALUES[name], value)
    if name in AMOUNTS and isinstance(value, int):
        return present.amount(value, metric or "")
    return present.plain_moment(value) if name.endswith("_at") else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return present.yes_no(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {it}" for key, it in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
