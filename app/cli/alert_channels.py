"""Where alerts go: the channels, a test of each, and switching one on again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import with_appcontext

from app.alerting.message import Message
from app.alerting.outbox import Standing
from app.cli.output import CommandError, print_json, print_table, say, text
from app.config.commands import ALERT_TEST_COLUMNS, CHANNEL_COLUMNS
from app.extensions import alert_delivery, alert_outbox, audit
from app.services.alerts.channel import ConfiguredChannel, TransportError
from app.services.alerts.configured import NULL
from app.utils.clock import SystemClock
from app.utils.helpers import generate_request_id


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
    targets = {it.name: it for it in alert_outbox.targets}
    if name not in targets:
        raise CommandError("channel_unknown", name=name, names=", ".join(targets))
    if alert_outbox.enable(targets[name]):
        audit.record_action("alert_channel_enabled", channel=name)
        click.echo(text("channel_enabled", name=name))
    else:
        click.echo(text("channel_was_enabled", name=name))


@click.command("test")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
@with_appcontext
def test_channels(context: click.Context, as_json: bool) -> None:
    """Send a test message through each channel, also one that is switched off."""
    if _only_log():
        raise CommandError("no_channels")
    channels = list(alert_delivery.channels.values())
    errors = asyncio.run(_try_all(channels))
    rows = [_result(it, error) for it, error in zip(channels, errors, strict=True)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ALERT_TEST_COLUMNS)
    if off := [it.target.name for it in alert_outbox.standings() if it.disabled_at]:
        say(text("channels_off", names=", ".join(off)))
    context.exit(1 if any(errors) else 0)


async def _try_all(channels: list[ConfiguredChannel]) -> list[str | None]:
    message = Message(generate_request_id(), "test", "", "", "info", SystemClock().now(), facts={})
    return list(await asyncio.gather(*(_try(it, message) for it in channels)))


async def _try(channel: ConfiguredChannel, message: Message) -> str | None:
    """Return why it did not arrive; None where it did."""
    try:
        await channel.send(message)
    except TransportError as error:
        return error.code
    return None


def _only_log() -> bool:
    return [it.channel for it in alert_outbox.targets] == [NULL]


def _result(channel: ConfiguredChannel, error: str | None) -> dict[str, Any]:
    target = channel.target
    return {"name": target.name, "place": target.place, "ok": error is None, "error": error}


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
