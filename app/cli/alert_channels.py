"""Where alerts go: the channels, a test of each, and switching one on again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import with_appcontext

from app.alerting.outbox import Standing
from app.cli.output import CommandError, print_json, print_table, say, text
from app.config.commands import ALERT_TEST_COLUMNS, CHANNEL_COLUMNS
from app.extensions import alert_delivery, alert_outbox
from app.services.alert_delivery import ChannelNotFoundError, Tried
from app.services.alerts.configured import NULL


@click.command("channels")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_channels(as_json: bool) -> None:
    """List where alerts go, and how each channel does."""
    rows = [_row(it) for it in alert_outbox.standings()]
    if as_json:
        print_json(rows)
        return
    print_table(rows, CHANNEL_COLUMNS)
    if _only_log():
        say(text("no_channels"))


@click.command("enable")
@click.argument("name")
@with_appcontext
def enable_channel(name: str) -> None:
    """Switch a channel on again that a failure switched off; what waits for it goes at once."""
    try:
        was_off = alert_delivery.enable(name)
    except ChannelNotFoundError:
        names = ", ".join(it.name for it in alert_outbox.targets)
        raise CommandError("channel_unknown", name=name, names=names) from None
    click.echo(text("channel_enabled" if was_off else "channel_was_enabled", name=name))


@click.command("test")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
@with_appcontext
def test_channels(context: click.Context, as_json: bool) -> None:
    """Send a test message through each channel, also one that is switched off."""
    if _only_log():
        raise CommandError("no_channels")
    tried = asyncio.run(alert_delivery.test())
    rows = [_result(it) for it in tried]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ALERT_TEST_COLUMNS)
    if off := [it.target.name for it in alert_outbox.standings() if it.disabled_at]:
        say(text("channels_off", names=", ".join(off)))
    context.exit(1 if any(it.error for it in tried) else 0)


def _only_log() -> bool:
    return [it.channel for it in alert_outbox.targets] == [NULL]


def _result(it: Tried) -> dict[str, Any]:
    target = it.target
    return {"name": target.name, "place": target.place, "ok": it.error is None, "error": it.error}


def _row(standing: Standing) -> dict[str, Any]:
    target = standing.target
    return {
        "name": target.name,
        "place": target.place,
        "enabled": standing.disabled_at is None,
        "disabled_at": _utc(standing.disabled_at),
        "reason": standing.reason or standing.last_error,
        "waiting": standing.waiting,
        "last_sent_at": _utc(standing.last_sent_at),
    }


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None
