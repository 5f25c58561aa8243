"""What an event of the trail means for the rules; pure.

The proxy's own outcomes are in its own events. LiteLLM's say the same of the proxy's calls, and
count only where somebody called LiteLLM directly: where the request id is none of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from app.alerting.rules import (
    AUDIT_VERIFICATION,
    BREAKER,
    LITELLM_AWAY,
    MODEL_ERRORS,
    MODEL_FALLBACKS,
    RATE_LIMIT,
    RECONCILIATION,
    SECURITY_INCIDENT,
    SPOOL_GROWING,
)
from app.audit.event import AuditEvent
from app.utils.helpers import time_of_request_id

UNSPECIFIED = "unspecified"
# The breaker of LiteLLM itself, the one door to every model.
LITELLM = "@litellm"
# Why a model did not answer, where that is the model's own fault.
_MODELS_FAULTS = {"upstream_error", "upstream_timeout", "upstream_unavailable", "misconfigured"}
# What a model cannot do at all is no reason to look after it.
_UNFIT = {"wrong_mode", "no_vision", "no_tools", "too_long", "model_not_allowed"}
# Mistakes of whoever asked; 429 comes as an event of its own, too.
_CALLERS_MISTAKES = {400, 404, 413, 422, 429, 499}
_LIMITED = {"rate_limit_exceeded", "rate_limited"}
_METRICS = {"requests": "rpm", "tokens": "tpm", "cost": "budget"}
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
MOST_LETTERS = 128


class Kind(Enum):
    # One occurrence, or ``count`` of them; or a trouble that has begun, or is over.
    COUNTED = "counted"
    BEGUN = "begun"
    OVER = "over"
    # A model has answered: whatever was said of it a while ago is no longer so.
    WELL = "well"


@dataclass(frozen=True, slots=True)
class Signal:
    rule: str
    subject: str
    at: datetime
    kind: Kind = Kind.COUNTED
    count: int = 1
    # Of those that are counted: which of them is most frequent is told.
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def signals_of(event: AuditEvent) -> list[Signal]:
    """Return what ``event`` means for the rules: nothing, one thing, or several."""
    read = _READERS.get(event.event)
    return list(read(event)) if read else []


def code_of(said: object) -> str:
    """Return a code as it is; of anything else, such as a sentence, nothing."""
    return said if isinstance(said, str) and _CODE.fullmatch(said) else UNSPECIFIED


def name_of(said: object) -> str:
    """Return the name of a model as any database takes it."""
    name = said if isinstance(said, str) else ""
    return _NOT_IN_NAMES.sub("", name)[:MOST_LETTERS] or UNSPECIFIED


def rate_limit_signal(
    model: object, limit_type: object, at: datetime, usage: object = None, limit: object = None
) -> Signal:
    name, kind = name_of(model), code_of(limit_type)
    facts = {"model": name, "limit_type": kind, "current_usage": usage, "limit": limit}
    numbers = {key: value for key, value in facts.items() if not isinstance(value, bool)}
    sound = {key: it for key, it in numbers.items() if isinstance(it, str | int | float)}
    return Signal(RATE_LIMIT, f"{name} {kind}", at, reason=kind, facts=sound)


def _of_request(event: AuditEvent) -> Iterator[Signal]:
    steps = [it for it in event.detail.get("path") or () if isinstance(it, Mapping)]
    yield from _of_steps(event, steps)
    reason = event.detail.get("reason")
    failed = {it.get("model") for it in steps if it.get("outcome") == "failed"}
    if event.model_used and reason in _MODELS_FAULTS and event.model_used not in failed:
        # It had begun to answer.
        yield _error(event, event.model_used, reason)
    if limit := event.detail.get("limit"):
        yield from _of_limit(event, limit)
    if event.status == 401:
        count = 1 + _number(event.detail.get("unauthenticated_before"))
        yield _incident("unauthorized", event.at, count)
    if event.status == 200 and event.model_used and not event.detail.get("cache"):
        yield Signal(BREAKER, name_of(event.model_used), event.at, Kind.WELL)
        yield Signal(LITELLM_AWAY, "", event.at, Kind.WELL)


def _of_steps(event: AuditEvent, steps: list[Mapping[str, Any]]) -> Iterator[Signal]:
    for step in steps:
        if step.get("outcome") != "failed":
            continue
        model, reason = step.get("model"), step.get("reason")
        if reason in _MODELS_FAULTS:
            yield _error(event, model, reason)
        elif reason in _LIMITED and step.get("litellm_status") is not None:
            yield rate_limit_signal(model, "rpm", event.at)
    if len(steps) > 1 and steps[-1].get("outcome") == "answered":
        first = next((it for it in steps if it.get("reason") not in _UNFIT), steps[-1])
        if first is not steps[-1]:
            model = name_of(first.get("model"))
            reason = code_of(first.get("reason"))
            yield Signal(MODEL_FALLBACKS, model, event.at, reason=reason)


def _of_limit(event: AuditEvent, limit: Mapping[str, Any]) -> Iterator[Signal]:
    """A limit of ours that had no room; what is no limit of a minute's is a budget's own matter."""
    if limit.get("period") == "minute":
        yield rate_limit_signal(event.model, _METRICS.get(str(limit.get("metric"))), event.at)


def _of_litellm_error(event: AuditEvent) -> Iterator[Signal]:
    if not _is_ours(event) and event.status not in _CALLERS_MISTAKES:
        yield _error(event, event.model, event.detail.get("reason"))


def _of_litellm_fallback(event: AuditEvent) -> Iterator[Signal]:
    if not _is_ours(event):
        reason = code_of(event.detail.get("reason"))
        yield Signal(MODEL_FALLBACKS, name_of(event.model), event.at, reason=reason)


def _of_litellm_limit(event: AuditEvent) -> Iterator[Signal]:
    if not _is_ours(event):
        it = event.detail
        yield rate_limit_signal(
            event.model, it.get("limit_type"), event.at, it.get("current_usage"), it.get("limit")
        )


def _of_breaker(event: AuditEvent) -> Iterator[Signal]:
    kind = Kind.BEGUN if event.event == "breaker_opened" else Kind.OVER
    reason = {"reason": code_of(event.detail.get("reason"))} if kind is Kind.BEGUN else {}
    if event.model == LITELLM:
        yield Signal(LITELLM_AWAY, "", event.at, kind, facts=reason)
    else:
        model = name_of(event.model)
        yield Signal(BREAKER, model, event.at, kind, facts={"model": model, **reason})


def _of_verification(event: AuditEvent) -> Iterator[Signal]:
    findings = _number(event.detail.get("findings"))
    if findings:
        facts = {"findings": findings, "first_seq": event.detail.get("first_seq")}
        yield Signal(AUDIT_VERIFICATION, "", event.at, Kind.BEGUN, facts=facts)
        yield _incident("audit_verified", event.at, findings, Kind.BEGUN)
    elif not event.detail.get("since"):
        # Of all there is, not of a part that may be good in a trail that is not.
        yield Signal(AUDIT_VERIFICATION, "", event.at, Kind.OVER)
        yield _incident("audit_verified", event.at, 0, Kind.OVER)


def _of_reconciliation(event: AuditEvent) -> Iterator[Signal]:
    names = ("missing_here", "missing_there", "differing", "difference_micro_usd")
    numbers = {name: _number(event.detail.get(name)) for name in names}
    day = code_of(event.detail.get("day"))
    is_off = any(numbers[name] for name in names[:3])
    kind = Kind.BEGUN if is_off else Kind.OVER
    yield Signal(RECONCILIATION, day, event.at, kind, facts={"day": day, **numbers})


def _of_spool(event: AuditEvent) -> Iterator[Signal]:
    kind = Kind.OVER if event.detail.get("is_over") else Kind.BEGUN
    facts = {"waiting_bytes": _number(event.detail.get("waiting_bytes"))}
    yield Signal(SPOOL_GROWING, name_of(event.detail.get("host")), event.at, kind, facts=facts)


def _of_refused_webhook(event: AuditEvent) -> Iterator[Signal]:
    count = 1 + _number(event.detail.get("refused_before"))
    yield _incident("webhook_refused", event.at, count)


def _incident(what: str, at: datetime, count: int, kind: Kind = Kind.COUNTED) -> Signal:
    return Signal(SECURITY_INCIDENT, what, at, kind, count, facts={"what": what})


def _error(event: AuditEvent, model: object, reason: object) -> Signal:
    return Signal(MODEL_ERRORS, name_of(model), event.at, reason=code_of(reason))


def _is_ours(event: AuditEvent) -> bool:
    return event.request_id is not None and time_of_request_id(event.request_id) is not None


def _number(said: object) -> int:
    return said if isinstance(said, int) and not isinstance(said, bool) else 0


_READERS: dict[str, Callable[[AuditEvent], Iterator[Signal]]] = {
    "request": _of_request,
    "refusal": _of_request,
    "litellm_request_error": _of_litellm_error,
    "model_fallback": _of_litellm_fallback,
    "rate_limit_hit": _of_litellm_limit,
    "breaker_opened": _of_breaker,
    "breaker_closed": _of_breaker,
    "audit_verified": _of_verification,
    "reconciled": _of_reconciliation,
    "spool_growing": _of_spool,
    "webhook_refused": _of_refused_webhook,
}
