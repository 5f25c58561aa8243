"""Kill switches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from flask.cli import with_appcontext

from app.cli.output import CommandError, WrongUsageError, print_json, print_table, say, text
from app.config.commands import KILL_SWITCH_COLUMNS
from app.extensions import kill_switch as service
from app.services.kill_switch_service import KillSwitchNotFoundError
from app.services.kill_switch_store import MAX_REASON_LENGTH, SCOPES
from app.utils.exceptions import InvalidFieldError

MOST_LISTED = 1_000


@click.group()
def killswitch() -> None:
    """Kill switches: refuse everybody's calls, a team's, a person's, or those to a model."""


@killswitch.command("throw")
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--subject", default="", help="Which model, team or person.")
@click.option("--reason", required=True, help="Shown to those who are refused.")
@click.option("--minutes", type=click.IntRange(1, 60 * 24 * 366), help="Else until it is lifted.")
@with_appcontext
def throw(scope: str, subject: str, reason: str, minutes: int | None) -> None:
    """Refuse calls from now on, on every worker within 2 seconds; streams are ended."""
    if not reason.strip() or len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise WrongUsageError("bad_reason", most=MAX_REASON_LENGTH)
    until = datetime.now(UTC) + timedelta(minutes=minutes) if minutes else None
    try:
        switch = service.throw(scope=scope, subject=subject, reason=reason, expires_at=until)
    except InvalidFieldError:
        raise WrongUsageError("bad_switch_subject") from None
    say(text("switch_thrown", id=switch.id))


@killswitch.command("lift")
@click.argument("switch_id", metavar="ID", type=int)
@with_appcontext
def lift(switch_id: int) -> None:
    """Let calls pass again, on every worker within 2 seconds."""
    try:
        service.lift(switch_id)
    except KillSwitchNotFoundError:
        raise CommandError("switch_unknown", id=switch_id) from None
    say(text("switch_lifted", id=switch_id))


@killswitch.command("list")
@click.option("--all", "past", is_flag=True, help="Those that are over, too.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_switches(past: bool, as_json: bool) -> None:
    """List kill switches that are thrown, the latest first."""
    found, _ = service.page(MOST_LISTED, past=past)
    rows = [it.as_dict() for it in found]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, KILL_SWITCH_COLUMNS)
