"""Alerts: what lasts, what was, where they go."""

from __future__ import annotations

from typing import Any

from flask import current_app
from flask_babel import gettext as _

from app.extensions import alert_delivery, alert_outbox, alerts
from app.routes.access import ADMINS, READERS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, render
from app.schemas.alerts import AlertQuery


@admin_pages.get("/alerts")
@requires_session(*READERS)
def list_alerts() -> str:
    """Alerts that last, or all of them, and the channels"""
    asked = forms.query(AlertQuery())
    found, position = alerts.page(asked["limit"], with_past=asked["past"], after=asked["cursor"])
    return render(
        "admin/alerts.html",
        alerts=found,
        asked=asked,
        pager=Pager(position),
        channels=alert_outbox.standings(),
        tried=None,
    )


@admin_pages.post("/alerts/<name:alert_id>/acknowledge")
@requires_session(*ADMINS)
def acknowledge_alert(alert_id: str) -> Any:
    """Tell nothing more of an alert, until it is over or worse"""
    alerts.acknowledge(alert_id)
    done(_("Acknowledged: it is told of again only if it gets worse, or is over."))
    return back_to(".list_alerts")


@admin_pages.post("/alerts/test")
@requires_session(*ADMINS)
def test_alerts() -> str:
    """Send a test message through each channel"""
    tried = current_app.ensure_sync(alert_delivery.test)()
    asked = AlertQuery().load({})
    found, position = alerts.page(asked["limit"])
    return render(
        "admin/alerts.html",
        alerts=found,
        asked=asked,
        pager=Pager(position),
        channels=alert_outbox.standings(),
        tried=tried,
    )


@admin_pages.post("/alerts/channels/<name:name>/enable")
@requires_session(*ADMINS)
def enable_channel(name: str) -> Any:
    """Switch a channel on again that a failure switched off"""
    alert_delivery.enable(name)
    done(_("The channel is on again; what waits for it goes at once."))
    return back_to(".list_alerts")
