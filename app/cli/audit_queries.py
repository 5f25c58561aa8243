"""Questions to the audit trail: what happened, whether its sums hold, what to charge, what if."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from app.audit.closing import (
    ChangedStatementError,
    MonthDroppedError,
    MonthNotOverError,
    Statement,
    UnprovenMonthError,
)
from app.audit.queries import DEFAULT_LIMIT, SUMS, EventFilter, EventRecord
from app.audit.recount import Recount
from app.cli.output import (
    CommandError,
    WrongUsageError,
    print_facts,
    print_json,
    print_table,
    say,
    text,
)
from app.cli.usage import DAY, days, within_reason
from app.config.catalog import Catalog, load_catalog
from app.config.commands import EVENT_COLUMNS, REPLAY_COLUMNS
from app.config.errors import ConfigurationError
from app.config.problems import locale_of
from app.extensions import audit_reader
from app.ledger.rules import Budget
from app.services.budget_file import BudgetFileError, read_budgets
from app.services.chargeback import document_of, lines_of, total_of
from app.utils.spreadsheet import csv_text

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
STATEMENT_COLUMNS = ("month", "team", "user", "model", *SUMS, "checkpoint", "checkpoint_hash")


@click.command("list")
@click.option("--request", help="Everything about one request, by its id.")
@click.option("--user", help="Of one person; of one who was erased, by the pseudonym.")
@click.option("--event", help="Of one kind, such as request, refusal or budget_set.")
@click.option("--since", type=MOMENT, help="From this moment on, in TIMEZONE.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=DEFAULT_LIMIT, show_default=True)
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_events(
    request: str | None,
    user: str | None,
    event: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List events, newest first; times in UTC, money in micro-USD."""
    moment = since and since.replace(tzinfo=audit_reader.zone)
    events = audit_reader.events(EventFilter(request, user, event, moment, limit))
    if as_json:
        print_json([it.as_dict() for it in events])
    else:
        print_table([_event_row(it) for it in events], EVENT_COLUMNS)


@click.command()
@click.option("--from", "first", type=DAY, help="The first day, in TIMEZONE.")
@click.option("--to", "last", type=DAY, help="The last day, included.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def recount(first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Count usage from the rows again; exit 1 and name the first sum that differs."""
    found = audit_reader.recount(*days(first, last))
    if as_json:
        print_json([found.as_dict()])
    elif found.difference is None:
        click.echo(_said_of(found))
    if found.skipped_days:
        say(text("recount_skipped", days=found.skipped_days))
    if found.difference is not None:
        say(f"solaris: {_difference(found)}")
        sys.exit(1)


@click.command()
@click.argument("month", metavar="YYYY-MM")
@click.option("--format", "form", type=click.Choice(("csv", "json")), default="csv")
@click.option("--json", "as_json", is_flag=True, help="As --format json.")
@click.option("--corrections", is_flag=True, help="Only what arrived after it was closed.")
@with_appcontext
def chargeback(month: str, form: str, as_json: bool, corrections: bool) -> None:
    """Print what a closed month cost, by team, user and model; the same bytes every time."""
    statement = _statement(month)
    lines = statement.corrections if corrections else statement.lines
    if as_json or form == "json":
        print_json([document_of(statement, lines)])
    else:
        rows = (list(row.values()) for row in lines_of(statement, lines))
        click.echo(csv_text(STATEMENT_COLUMNS, rows), nl=False)
    if statement.corrections and not corrections:
        later = total_of(statement.corrections)
        say(text("corrections_there", calls=later.requests, cost=later.cost_micro_usd))


@click.command()
@click.option("--from", "first", type=DAY, required=True, help="Where a budget's period begins.")
@click.option("--to", "last", type=DAY, required=True, help="The last day, included.")
@click.option("--prices", type=FILE, help="Other prices: a file like litellm-config.yaml.")
@click.option("--budgets", type=FILE, help="Other budgets: a YAML list. Default: the present ones.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def replay(
    first: datetime, last: datetime, prices: Path | None, budgets: Path | None, as_json: bool
) -> None:
    """Say what a period would have cost, and who would have been stopped; changes nothing.

    Budgets begin empty on the first day. Each call is judged by what it really took; the ledger
    holds more than that before a call, and may stop a little earlier.
    """
    days(first, last)
    span = within_reason(first), within_reason(last)
    found = audit_reader.replay(*span, _prices(prices), _budgets(budgets)).as_dict()
    if as_json:
        print_json([found])
    else:
        _tell(found)


def _event_row(it: EventRecord) -> dict[str, Any]:
    row = it.as_dict() | {"at": f"{it.at:%Y-%m-%d %H:%M:%S}", "model": it.model_used or it.model}
    return {name: row[name] for name in EVENT_COLUMNS["en"]}


def _said_of(found: Recount) -> str:
    if not found.sums:
        return text("recount_nothing")
    return text(
        "recount_good",
        requests=found.requests,
        sums=found.sums,
        first=found.first,
        last=found.last,
    )


def _difference(found: Recount) -> str:
    facts = found.difference.as_dict() if found.difference else {}
    words = {name: _words(value) for name, value in facts.items()}
    return text("recount_differs", of_key=words.pop("key"), **words)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return "-" if value is None else str(value)


def _statement(month: str) -> Statement:
    first = _month(month)
    try:
        return audit_reader.chargeback(first)
    except MonthNotOverError as error:
        closes_at = f"{error.closes_at.astimezone(audit_reader.zone):%Y-%m-%d %H:%M %Z}"
        raise CommandError("month_not_over", month=month, closes_at=closes_at) from None
    except MonthDroppedError:
        raise CommandError("month_dropped", month=month) from None
    except ChangedStatementError:
        raise CommandError("statement_changed", month=month) from None
    except UnprovenMonthError as error:
        say(f"solaris: {_difference(error.found)}")
        sys.exit(1)


def _month(month: str) -> date:
    try:
        first = datetime.strptime(month, "%Y-%m")  # noqa: DTZ007  # a month on the wall
    except ValueError:
        raise WrongUsageError("bad_month", month=month) from None
    if within_reason(first) != first.date():
        raise WrongUsageError("bad_month", month=month)
    return first.date()


def _prices(path: Path | None) -> Catalog | None:
    try:
        return load_catalog(path) if path else None
    except ConfigurationError as error:
        problems = error.text(locale_of(os.environ))
        raise WrongUsageError("bad_prices", path=path, problems=problems) from None


def _budgets(path: Path | None) -> list[Budget] | None:
    try:
        return read_budgets(path) if path else None
    except BudgetFileError as error:
        raise WrongUsageError(
            "bad_budgets", path=path, entry=error.entry or "-", field=error.field or "-"
        ) from None


def _tell(found: dict[str, Any]) -> None:
    models, stopped = found.pop("models"), found.pop("stopped")
    print_facts(found, REPLAY_COLUMNS)
    if models:
        click.echo(f"\n{text('replay_models')}")
        print_table(models, REPLAY_COLUMNS)
    if stopped:
        click.echo(f"\n{text('replay_stops')}")
        print_table(stopped, REPLAY_COLUMNS)
    else:
        click.echo(f"\n{text('replay_no_stops')}")
