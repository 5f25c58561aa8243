"""Budgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from flask.cli import with_appcontext

from app.cli.output import CommandError, WrongUsageError, print_json, print_table, say, text
from app.config.commands import BUDGET_COLUMNS, RAISE_COLUMNS
from app.extensions import budgets as budget_service
from app.extensions import raises as raise_service
from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, SCOPES
from app.services.budget_service import BudgetNotFoundError, UnknownSubjectError
from app.services.raise_service import RaiseNotFoundError

MOST_LISTED = 1_000
SHOWN = (
    "id",
    "scope",
    "subject",
    "metric",
    "period",
    "mode",
    "limit",
    "raised",
    "posted",
    "pending",
    "left",
    "would_refuse",
    "credited",
    "renews_at",
)


@click.group()
def budgets() -> None:
    """Budgets and rate limits: set, list, remove; raises of them for a while."""


@budgets.command("set")
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--subject", default="", help="Whose it is; * for each who has none of their own.")
@click.option("--metric", type=click.Choice(METRICS), required=True)
@click.option("--period", type=click.Choice(PERIODS), required=True)
@click.option("--limit", type=click.IntRange(min=0), required=True, help="Money in micro-USD.")
@click.option("--shadow", is_flag=True, help="Only report who would have been refused.")
@with_appcontext
def set_budget(
    scope: str, subject: str, metric: str, period: str, limit: int, shadow: bool
) -> None:
    """Create a budget or change it; every worker obeys within 2 seconds."""
    mode = "shadow" if shadow else "enforce"
    try:
        budget = budget_service.set(
            scope=scope, subject=subject, metric=metric, period=period, limit=limit, mode=mode
        )
    except UnknownSubjectError:
        raise WrongUsageError("bad_subject") from None
    say(text("budget_set", id=budget.id))


@budgets.command("remove")
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--subject", default="")
@click.option("--metric", type=click.Choice(METRICS), required=True)
@click.option("--period", type=click.Choice(PERIODS), required=True)
@with_appcontext
def remove_budget(scope: str, subject: str, metric: str, period: str) -> None:
    """Take a budget away; what was spent on it stays recorded."""
    try:
        budget_service.remove(scope=scope, subject=subject, metric=metric, period=period)
    except BudgetNotFoundError:
        raise WrongUsageError("no_such_budget") from None
    say(text("budget_removed"))


@budgets.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_budgets(as_json: bool) -> None:
    """List budgets with what is posted, pending and left, and when they renew."""
    rows = [{name: it.as_dict()[name] for name in SHOWN} for it in budget_service.states()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, BUDGET_COLUMNS)


@budgets.command("raise")
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--subject", default="", help="For whom.")
@click.option("--metric", type=click.Choice(METRICS), required=True)
@click.option("--period", type=click.Choice(PERIODS), required=True)
@click.option("--amount", type=click.IntRange(min=1), required=True, help="Money in micro-USD.")
@click.option("--hours", type=click.IntRange(1, 24 * 366), required=True, help="For so long.")
@click.option("--reason", required=True, help="For those who look after it.")
@with_appcontext
def raise_budget(
    scope: str, subject: str, metric: str, period: str, amount: int, hours: int, reason: str
) -> None:
    """Raise the budget that binds somebody, for a while; everywhere within 2 seconds."""
    try:
        record = raise_service.grant_to(
            scope=scope,
            subject=subject,
            metric=metric,
            period=period,
            amount=amount,
            expires_at=datetime.now(UTC) + timedelta(hours=hours),
            reason=reason,
        )
    except BudgetNotFoundError:
        raise WrongUsageError("no_such_budget") from None
    say(text("budget_raised", id=record.id, until=f"{record.expires_at:%Y-%m-%d %H:%M} UTC"))


@budgets.command("raises")
@click.option("--all", "past", is_flag=True, help="Those that are over, too.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_raises(past: bool, as_json: bool) -> None:
    """List raises that last, the latest first."""
    found, _ = raise_service.page(MOST_LISTED, past=past)
    rows = [it.as_dict() for it in found]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, RAISE_COLUMNS)


@budgets.command("end-raise")
@click.argument("raise_id", metavar="ID", type=int)
@with_appcontext
def end_raise(raise_id: int) -> None:
    """End a raise before its time."""
    try:
        raise_service.end(raise_id)
    except RaiseNotFoundError:
        raise CommandError("raise_unknown", id=raise_id) from None
    say(text("raise_ended", id=raise_id))
