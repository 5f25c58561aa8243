"""What was used: by whom, of what, when."""

from __future__ import annotations

from datetime import date, datetime

import click
from flask.cli import with_appcontext

from app.audit.days import EARLIEST, LATEST
from app.audit.queries import DIMENSIONS
from app.cli.output import WrongUsageError, print_json, print_table
from app.config.commands import USAGE_COLUMNS
from app.extensions import audit_reader
from app.utils.spreadsheet import csv_text

DAY = click.DateTime(["%Y-%m-%d"])
FORMATS = ("table", "json", "csv")


@click.command()
@click.option("--by", required=True, metavar="user,team,model,key,day", help="One or several.")
@click.option("--from", "first", type=DAY, help="The first day. Default: all there is.")
@click.option("--to", "last", type=DAY, help="The last day, included.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As --format json.")
@with_appcontext
def usage(by: str, first: datetime | None, last: datetime | None, form: str, as_json: bool) -> None:
    """Sum what was used, in tokens and micro-USD; days are of TIMEZONE."""
    dimensions = _dimensions(by)
    rows = audit_reader.usage(dimensions, *days(first, last))
    if as_json or form == "json":
        print_json(rows)
    elif form == "csv":
        head = [*dimensions, *(name for name in USAGE_COLUMNS["en"] if name not in DIMENSIONS)]
        click.echo(csv_text(head, (list(row.values()) for row in rows)), nl=False)
    else:
        print_table(rows, USAGE_COLUMNS)


def days(first: datetime | None, last: datetime | None) -> tuple[date | None, date | None]:
    """Return the days that were given. Raises: WrongUsageError, where they are in no order."""
    if first and last and first > last:
        raise WrongUsageError("bad_span")
    return first and within_reason(first), last and within_reason(last)


def within_reason(day: datetime) -> date:
    return min(max(day.date(), EARLIEST), LATEST)


def _dimensions(by: str) -> list[str]:
    names = [it.strip() for it in by.split(",")]
    if len(set(names)) != len(names) or not set(names) <= DIMENSIONS.keys():
        raise WrongUsageError("bad_dimensions", allowed=", ".join(DIMENSIONS))
    return names
