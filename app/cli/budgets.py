"""Budgets."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from app.cli.output import WrongUsageError, print_json, print_table, say, text
from app.config.commands import BUDGET_COLUMNS
from app.extensions import budgets as budget_service
from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, SCOPES
from app.services.budget_service import BudgetNotFoundError, UnknownSubjectError


@click.group()
def budgets() -> None:
    """Budgets and rate limits: set, list."""


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
    rows = [state.as_dict() for state in budget_service.states()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, BUDGET_COLUMNS)
