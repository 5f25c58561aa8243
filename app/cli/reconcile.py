"""Two ledgers that agree: a day of ours against LiteLLM's, and a provider's bill beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from flask.cli import with_appcontext

from app.cli.output import CommandError, WrongUsageError, print_json, print_table, say, text
from app.cli.usage import DAY, within_reason
from app.config.commands import RECONCILIATION_COLUMNS, RECONCILIATION_REASONS
from app.config.problems import locale_of
from app.extensions import reconciliation
from app.reconciliation.bill import COLUMNS, BillError, BillRow, Place, read_bill
from app.reconciliation.result import KEPT_DISCREPANCIES, Reconciliation
from app.services.reconciliation_service import AlreadyReconcilingError, DayDroppedError
from app.utils.helpers import format_usd

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
SHOWN_DISCREPANCIES = 50
SHOWN_BAD_LINES = 20
MODEL_CELLS = (
    "model",
    "matched",
    "missing_here",
    "missing_there",
    "differing",
    "adjusted",
    "our_micro_usd",
    "litellm_micro_usd",
    "difference_micro_usd",
)


@click.command()
@click.option("--day", type=DAY, help="In TIMEZONE. Default: yesterday, or the days of --bill.")
@click.option("--bill", type=FILE, help="A provider's bill as CSV: date, model, amount in USD.")
@click.option("--bill-columns", help="How it calls them: date=NAME,model=NAME,amount=NAME.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def reconcile(
    day: datetime | None, bill: Path | None, bill_columns: str | None, as_json: bool
) -> None:
    """Compare what was settled with what LiteLLM says of each request; exit 1 where it differs.

    What was settled on an estimate is corrected where LiteLLM has the exact usage, once.
    """
    billed = _bill(bill, bill_columns) if bill else {}
    days = _days(day, bill, billed)
    found = [_reconciled(it) for it in days]
    rows = reconciliation.beside_bill(found, billed) if billed else []
    if as_json:
        print_json([_document(it, rows, billed) for it in found])
    else:
        for it in found:
            _tell(it)
        _tell_bill(rows)
    for it in found:
        _note(it)
    if not (all(it.is_good for it in found) and all(it.is_good for it in rows)):
        sys.exit(1)


def _days(day: datetime | None, path: Path | None, billed: dict[Place, int]) -> list[date]:
    """Return what is compared. Raises: WrongUsageError."""
    in_bill = sorted({it for it, _ in billed})
    days = [within_reason(day)] if day else in_bill or [reconciliation.yesterday()]
    if late := next((it for it in days if it > reconciliation.today()), None):
        raise WrongUsageError("reconcile_future", day=late)
    if billed and (missing := next((it for it in days if it not in in_bill), None)):
        raise WrongUsageError("bill_no_day", path=path, day=missing)
    return days


def _reconciled(day: date) -> Reconciliation:
    try:
        return reconciliation.reconcile(day)
    except AlreadyReconcilingError:
        raise CommandError("reconcile_busy") from None
    except DayDroppedError:
        raise CommandError("reconcile_dropped", day=day) from None


def _bill(path: Path, columns: str | None) -> dict[Place, int]:
    try:
        return read_bill(path.read_bytes(), _names(columns))
    except OSError as fault:
        raise WrongUsageError("bill_unreadable", path=path, reason=fault.strerror) from None
    except BillError as error:
        _refuse(path, error)


def _refuse(path: Path, error: BillError) -> NoReturn:
    """Raises: WrongUsageError; or ends with every bad line named."""
    if error.missing:
        raise WrongUsageError("bill_columns", path=path, columns=", ".join(error.missing))
    if not error.lines:
        raise WrongUsageError("bill_empty", path=path)
    say(f"solaris: {text('bill_refused', path=path)}")
    for it in error.lines[:SHOWN_BAD_LINES]:
        say(f"  {text('bill_line', number=it.number, column=it.column)}")
    if len(error.lines) > SHOWN_BAD_LINES:
        say(f"  … +{len(error.lines) - SHOWN_BAD_LINES}")
    sys.exit(2)


def _names(columns: str | None) -> dict[str, str]:
    pairs = [it.partition("=") for it in (columns or "").split(",") if it.strip()]
    names = {column.strip(): name.strip() for column, _, name in pairs}
    if not names.keys() <= set(COLUMNS) or not all(names.values()):
        raise WrongUsageError("bill_names")
    return names


def _document(
    it: Reconciliation, rows: Sequence[BillRow], billed: dict[Place, int]
) -> dict[str, Any]:
    document = it.as_dict()
    if billed:
        document["bill"] = [row.as_dict() for row in rows if row.day == it.day]
    return document


def _tell(it: Reconciliation) -> None:
    counts = {name: it.counts[name] for name in it.counts if name != "day"}
    click.echo(
        text(
            "reconcile_day",
            day=it.day,
            requests=it.matched + it.found,
            estimated=it.estimated,
            **{name: n for name, n in counts.items() if name != "difference_micro_usd"},
        )
    )
    if it.adjusted:
        click.echo(text("reconcile_adjusted", amount=format_usd(it.adjusted_micro_usd)))
    if it.found:
        click.echo(text("reconcile_difference", amount=format_usd(it.difference_micro_usd)))
    if it.models:
        click.echo()
        rows = [{name: row[name] for name in MODEL_CELLS} for row in it.models]
        print_table(rows, RECONCILIATION_COLUMNS)
    if it.discrepancies:
        click.echo()
        shown = it.discrepancies[:SHOWN_DISCREPANCIES]
        print_table([_discrepancy(row) for row in shown], RECONCILIATION_COLUMNS)


def _discrepancy(row: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = row["ours"] or {}, row["litellm"] or {}
    words = RECONCILIATION_REASONS[locale_of(os.environ)]
    reasons = (row["reason"] or "").split(",")
    return {
        "kind": words[row["kind"]],
        "reason": ", ".join(words.get(it, it) for it in reasons),
        "request_id": row["request_id"],
        "model": row["model"],
        "tokens": f"{_tokens(ours)}/{_tokens(theirs)}",
        "cost": f"{_said(ours.get('cost_micro_usd'))}/{_said(theirs.get('cost_micro_usd'))}",
        "difference_micro_usd": row["difference_micro_usd"],
    }


def _tokens(amounts: dict[str, int | None]) -> str:
    counts = (amounts.get("input_tokens"), amounts.get("output_tokens"))
    return "-" if counts == (None, None) else "+".join(map(_said, counts))


def _said(number: int | None) -> str:
    return "-" if number is None else str(number)


def _tell_bill(rows: Sequence[BillRow]) -> None:
    if not rows:
        return
    click.echo()
    print_table([row.as_dict() for row in rows], RECONCILIATION_COLUMNS)
    bad = sum(not row.is_good for row in rows)
    click.echo(text("bill_differs", rows=bad) if bad else text("bill_good"))


def _note(it: Reconciliation) -> None:
    if it.day >= reconciliation.today():
        say(text("reconcile_open", day=it.day))
    hidden = len(it.discrepancies) - SHOWN_DISCREPANCIES
    if hidden > 0:
        say(text("reconcile_more", count=hidden))
    if it.found > KEPT_DISCREPANCIES:
        say(text("reconcile_lost", count=KEPT_DISCREPANCIES))
