"""Alerts themselves: those that last, and the rules that they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import with_appcontext

from app.alerting.rules import RULES, Rule
from app.alerting.state import Alert
from app.cli.output import CommandError, print_json, print_table, say, text
from app.config.commands import ALERT_COLUMNS, RULE_COLUMNS
from app.extensions import alerts
from app.services.alert_service import AlertNotFoundError

SHOWN = ("id", "severity", "state", "rule", "subject", "opened_at", "seen_at", "total", "untold")


@click.command("list")
@click.option("--all", "with_past", is_flag=True, help="Those that are over, too.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_alerts(with_past: bool, as_json: bool) -> None:
    """List the alerts that last, the latest first."""
    rows = [_row(it) for it in alerts.listed(with_past=with_past)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table([{name: row[name] for name in SHOWN} for row in rows], ALERT_COLUMNS)
    else:
        say(text("no_alerts"))


@click.command("ack")
@click.argument("alert_id", metavar="ID")
@with_appcontext
def acknowledge_alert(alert_id: str) -> None:
    """Acknowledge an alert: nothing more is told of it, until it is over or worse."""
    try:
        alert = alerts.acknowledge(alert_id)
    except AlertNotFoundError:
        raise CommandError("alert_unknown", id=alert_id) from None
    click.echo(text("alert_acknowledged", id=alert.id, rule=alert.rule, subject=alert.subject))


@click.command("rules")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_rules(as_json: bool) -> None:
    """List what is told, and when."""
    rows = [_rule(it) for it in RULES.values()]
    if as_json:
        print_json(rows)
    else:
        shown = [{name: it[name] for name in RULE_COLUMNS["en"]} for it in rows]
        print_table(shown, RULE_COLUMNS)


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "rule": alert.rule,
        "subject": alert.subject,
        "state": alert.state,
        "severity": alert.severity,
        "opened_at": _utc(alert.opened_at),
        "seen_at": _utc(alert.seen_at),
        "ended_at": _utc(alert.ended_at),
        "acknowledged_at": _utc(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
        "total": alert.total,
        "untold": alert.untold,
        "messages": alert.messages,
        "facts": dict(alert.facts),
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "severity": rule.severity,
        "more_than": rule.more_than if rule.is_counted else None,
        "more_than_of": dict(rule.more_than_of),
        "within_s": rule.within_s or None,
        "window_s": rule.window_s,
        "quiet_s": rule.quiet_s,
        "escalate_after_s": rule.escalate_after_s,
    }


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None
