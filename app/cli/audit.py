"""The audit trail: whether it is what was written, and how long it is kept."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import create_engine

from app.audit.anchor import FOLDER, keep_anchor
from app.audit.chain import AuditKeys
from app.audit.content import drop_old_contents
from app.audit.findings import (
    CHECKPOINT_EDITED,
    CHECKPOINT_REMOVED,
    DROP_EDITED,
    EDITED,
    EXCHANGED,
    INSERTED,
    NAME_CHANGED,
    NAME_REMOVED,
    REMOVED,
    REORDERED,
    TAIL_CUT,
    UNKNOWN_KEY,
    Finding,
    Report,
)
from app.audit.retention import AuditRetention, NotOwnerError, Retained
from app.cli.output import CommandError, WrongUsageError, print_json, say, text
from app.config.settings import Settings
from app.extensions import services_of, trail_verification
from app.services.trail_verification import BadAnchorError

# Named here, so that a text for each is known to be used.
TEXT_OF = {
    EDITED: "audit_edited",
    REMOVED: "audit_removed",
    INSERTED: "audit_inserted",
    REORDERED: "audit_reordered",
    EXCHANGED: "audit_exchanged",
    TAIL_CUT: "audit_tail_cut",
    CHECKPOINT_EDITED: "audit_checkpoint_edited",
    CHECKPOINT_REMOVED: "audit_checkpoint_removed",
    UNKNOWN_KEY: "audit_unknown_key",
    NAME_CHANGED: "audit_name_changed",
    NAME_REMOVED: "audit_name_removed",
    DROP_EDITED: "audit_drop_edited",
}


@click.group()
def audit() -> None:
    """The audit trail: list, verify, recount, chargeback, replay, retain."""


@audit.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only from this day on, in UTC.")
@click.option(
    "--anchor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the last checkpoint that is known. Default: this machine's own.",
)
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def verify(since: datetime | None, anchor: Path | None, as_json: bool) -> None:
    """Verify that the trail is what was written; exit 1 and name the first bad row if not."""
    try:
        verified = trail_verification.run(since and since.date(), anchor)
    except BadAnchorError as error:
        raise WrongUsageError("audit_bad_anchor", path=error) from error
    if not verified.has_anchor:
        say(text("audit_no_anchor", path=trail_verification.own_anchor))
    report = verified.report
    if as_json:
        print_json([_facts(report)])
    else:
        _tell(report)
    if not report.is_good:
        sys.exit(1)


@audit.command()
@click.option("--unverified", is_flag=True, help="Even where the trail does not verify.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def retain(unverified: bool, as_json: bool) -> None:
    """Drop the months that AUDIT_RETENTION_DAYS has passed, and make those ahead, as the owner."""
    settings = services_of(current_app).settings
    done = _retained(settings, verified=not unverified)
    if done.checkpoint is not None and _folder(settings).is_dir():
        keep_anchor(_folder(settings), done.checkpoint)
    if as_json:
        print_json([asdict(it) for it in done.dropped])
    for line in _said_of(done, settings.audit.retention_days):
        say(line)
    if done.finding is not None:
        sys.exit(1)


def _folder(settings: Settings) -> Path:
    return settings.server.state_dir / FOLDER


def _facts(report: Report) -> dict[str, Any]:
    return {"good": report.is_good} | asdict(report)


def _tell(report: Report) -> None:
    if report.finding is not None:
        say(f"solaris: {_problem(report.finding)}")
        say(text("audit_good_before", rows=report.rows, checkpoints=report.checkpoints))
    elif report.since is None:
        click.echo(text("audit_empty"))
    else:
        click.echo(
            text(
                "audit_good",
                rows=report.rows,
                checkpoints=report.checkpoints,
                names=report.names,
                dropped=report.dropped_rows,
                since=f"{report.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            )
        )


def _problem(it: Finding) -> str:
    facts = {name: "-" if value is None else value for name, value in asdict(it).items()}
    return text(TEXT_OF[it.problem], **facts)


def _retained(settings: Settings, *, verified: bool) -> Retained:
    engine = create_engine(settings.database.migration_url, hide_parameters=True)
    keys, zone = AuditKeys(settings.audit.hmac_keys), ZoneInfo(settings.budgets.timezone)
    retention = AuditRetention(engine, settings.database.url, keys, zone)
    now = datetime.now(UTC)
    try:
        done = retention.run(now, settings.audit.retention_days, verified=verified)
        with engine.begin() as connection:
            days = timedelta(settings.audit.content_retention_days)
            contents = drop_old_contents(connection, now - days)
        return replace(done, contents=contents)
    except NotOwnerError:
        raise CommandError("retain_not_owner") from None
    finally:
        engine.dispose()


def _said_of(done: Retained, days: int) -> list[str]:
    return [*_said_of_months(done, days), *_said_of_contents(done)]


def _said_of_contents(done: Retained) -> list[str]:
    return [text("retain_contents", contents=done.contents)] if done.contents else []


def _said_of_months(done: Retained, days: int) -> list[str]:
    if done.finding is not None:
        return [f"solaris: {_problem(done.finding)}", f"solaris: {text('retain_broken')}"]
    if done.holds:
        return [text("retain_held", holds=done.holds)]
    if not done.dropped:
        return [text("retain_nothing", days=days)]
    return [text("retain_dropped", month=f"{it.month:%Y-%m}", rows=it.rows) for it in done.dropped]
