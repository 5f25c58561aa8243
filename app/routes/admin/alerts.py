"""Alerts: what lasts, who has seen it, and whether messages arrive."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.alerting.outbox import Target
from app.alerting.rules import RULES
from app.alerting.state import Alert
from app.extensions import alert_delivery, alert_outbox, alerts
from app.routes.access import ADMINS, READERS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.alerts import (
    AlertQuery,
    AlertSchema,
    ChannelsSchema,
    EnabledSchema,
    RulesSchema,
    TriedListSchema,
)
from app.schemas.base import page, page_of

alerts_bp = AdminBlueprint("alerts", __name__, "/alerts", "Alerts")


@alerts_bp.get("")
@requires_role(*READERS)
@alerts_bp.query(AlertQuery)
@errors(422)
@alerts_bp.answers(200, page_of(AlertSchema))
def list_alerts(query: dict[str, Any]) -> dict[str, Any]:
    """Alerts that last, the latest first"""
    found, position = alerts.page(query["limit"], with_past=query["past"], after=query["cursor"])
    return page(found, position)


@alerts_bp.post("/<name:alert_id>/acknowledge")
@requires_role(*ADMINS)
@errors(404)
@alerts_bp.answers(200, AlertSchema)
def acknowledge_alert(alert_id: str) -> Alert:
    """Tell nothing more of an alert, until it is over or worse"""
    return alerts.acknowledge(alert_id)


@alerts_bp.get("/rules")
@requires_role(*READERS)
@alerts_bp.answers(200, RulesSchema)
def list_alert_rules() -> dict[str, Any]:
    """What is told, and when"""
    return {"data": list(RULES.values())}


@alerts_bp.get("/channels")
@requires_role(*READERS)
@alerts_bp.answers(200, ChannelsSchema)
def list_alert_channels() -> dict[str, Any]:
    """Where alerts go, and how each channel does"""
    rows = [
        {
            **asdict(it),
            **_target(it.target),
            "enabled": it.disabled_at is None,
            "reason": it.reason or it.last_error,
        }
        for it in alert_outbox.standings()
    ]
    return {"data": rows}


@alerts_bp.post("/channels/<name:name>/enable")
@requires_role(*ADMINS)
@errors(404)
@alerts_bp.answers(200, EnabledSchema)
def enable_alert_channel(name: str) -> dict[str, Any]:
    """Switch a channel on again that a failure switched off; what waits for it goes at once"""
    return {"name": name, "was_disabled": alert_delivery.enable(name)}


@alerts_bp.post("/test")
@requires_role(*ADMINS)
@alerts_bp.answers(200, TriedListSchema)
async def test_alert_channels() -> dict[str, Any]:
    """Send a test message through each channel, also one that is switched off"""
    tried = await alert_delivery.test()
    rows = [{**_target(it.target), "ok": it.error is None, "error": it.error} for it in tried]
    return {"data": rows}


def _target(it: Target) -> dict[str, str]:
    return {"name": it.name, "channel": it.channel, "place": it.place}
