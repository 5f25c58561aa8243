"""What the gauges of budgets mean for the rules; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.alerting.rules import (
    BUDGET_FORECAST,
    BUDGET_THRESHOLD,
    FORECAST_AFTER_PERCENT,
    INFO,
    THRESHOLDS,
    WARNING,
)
from app.alerting.state import Alert, Seen
from app.ledger.gauges import HIDDEN, BudgetGauge, Place

Key = tuple[str, str]
# Of a day's budget the day is known.
FORECAST_PERIODS = ("week", "month")
SHADOW = "shadow"


def budgets_seen(
    gauges: Iterable[BudgetGauge], alerts: Mapping[Key, Alert], now: datetime, zone: ZoneInfo
) -> dict[Key, Seen]:
    """Return what is seen of every budget that is to be told of, and of those that were.

    ``alerts`` are the live ones.
    """
    by_place = {it.place: it for it in gauges}
    seen: dict[Key, Seen] = {}
    for place, gauge in by_place.items():
        key = (BUDGET_THRESHOLD, place)
        if level := level_of(gauge):
            seen[key] = _at_threshold(gauge, level, alerts.get(key), now)
        key = (BUDGET_FORECAST, place)
        if day := runs_out_on(gauge, now, zone):
            seen[key] = _at_pace(gauge, day, alerts.get(key), now)
    for key, alert in alerts.items():
        if key[0] in (BUDGET_THRESHOLD, BUDGET_FORECAST):
            end = _end_of(alert, by_place.get(key[1]), is_seen=key in seen)
            seen |= {key: end} if end else {}
    return seen


def places_of(alerts: Iterable[Alert]) -> list[Place]:
    """Return the budgets that these alerts are about, as far as their names are told."""
    mine = [it.facts for it in alerts if it.rule in (BUDGET_THRESHOLD, BUDGET_FORECAST)]
    told = [it for it in mine if HIDDEN not in it["subject"]]
    return [(it["scope"], it["subject"], it["metric"], it["period"]) for it in told]


def level_of(gauge: BudgetGauge) -> int:
    """Return the highest threshold that is reached, or 0.

    Calls are cut to what is left, so that the last bit of a budget may never be used: whole is
    what rounds to it.
    """
    tenths = gauge.used * 1000 // gauge.limit
    reached = [it for it in THRESHOLDS if tenths >= (it * 10 if it < 100 else 995)]
    return max(reached, default=0)


def runs_out_on(gauge: BudgetGauge, now: datetime, zone: ZoneInfo) -> str | None:
    """Return the day on which the budget is used up if all goes on as since its period began; None
    where that is not before it renews, where it is used up, and where it is too early to tell."""
    window = gauge.window
    passed_s = (now - window.start).total_seconds()
    whole_s = (window.end - window.start).total_seconds()
    is_early = passed_s * 100 < whole_s * FORECAST_AFTER_PERCENT
    if gauge.period not in FORECAST_PERIODS or is_early or not 0 < gauge.used < gauge.limit:
        return None
    lasts_s = passed_s * gauge.limit / gauge.used
    if lasts_s >= whole_s:
        return None
    return (window.start + timedelta(seconds=lasts_s)).astimezone(zone).date().isoformat()


def _at_threshold(gauge: BudgetGauge, level: int, alert: Alert | None, now: datetime) -> Seen:
    is_new = alert is None or level > alert.level
    severity = INFO if gauge.mode == SHADOW else THRESHOLDS[level]
    facts = {**_facts(gauge), "percent": level}
    # It is told of the threshold that was reached, with the figures of then.
    return Seen(is_on=is_new, new=int(is_new), at=now, level=level, severity=severity, facts=facts)


def _at_pace(gauge: BudgetGauge, day: str, alert: Alert | None, now: datetime) -> Seen:
    is_new = alert is None
    severity = INFO if gauge.mode == SHADOW else WARNING
    facts = {**_facts(gauge), "runs_out_on": day}
    return Seen(is_on=True, new=int(is_new), at=now, severity=severity, facts=facts)


def _end_of(alert: Alert, gauge: BudgetGauge | None, *, is_seen: bool) -> Seen | None:
    """Return that it is over, where it is: the budget renewed, was raised or taken away."""
    if gauge is None:
        # Nobody has it any more.
        return Seen(is_over=True, facts={"used": None})
    facts = _facts(gauge)
    is_same_period = alert.facts.get("renews_at") == facts["renews_at"]
    if alert.rule == BUDGET_FORECAST:
        is_over = not is_seen or not is_same_period
    else:
        is_same_limit = alert.facts.get("limit") == gauge.limit
        is_over = not is_same_period or (not is_same_limit and level_of(gauge) < alert.level)
    return Seen(is_over=True, facts=facts) if is_over else None


def _facts(gauge: BudgetGauge) -> dict[str, Any]:
    return {
        "subject": gauge.shown,
        "scope": gauge.scope,
        "metric": gauge.metric,
        "period": gauge.period,
        "used": gauge.used,
        "limit": gauge.limit,
        "renews_at": gauge.window.end.isoformat(),
    }
